#include "cmd/server/core/throttle.h"

#include "common/base/map.h"
#include "common/base/mem.h"
#include "common/sys/lock.h"

enum {
    BUCKETS_MAX = 65536
};

struct bucket {
    int64_t full_at_us; /* when it will hold `burst` again; in the past: it does */
};

struct throttle {
    const struct clock *clock;
    struct lock lock;
    struct map *buckets;
    int64_t refill_us; /* per token */
    int64_t depth_us;  /* refill time of a whole burst */
};

struct throttle *throttle_create(const struct clock *clock, unsigned burst, unsigned per_second)
{
    struct throttle *throttle = mem_alloc(sizeof(*throttle));
    throttle->clock = clock;
    lock_init(&throttle->lock, LOCK_RANK_LEAF);
    throttle->buckets = map_create();
    throttle->refill_us = US_PER_SECOND / per_second;
    throttle->depth_us = throttle->refill_us * burst;
    return throttle;
}

void throttle_destroy(struct throttle *throttle)
{
    if (throttle != NULL) {
        map_destroy(throttle->buckets, mem_free);
        lock_deinit(&throttle->lock);
        mem_free(throttle);
    }
}

/* A full bucket is as good as none. */
static void forget_full(struct throttle *throttle, int64_t now)
{
    size_t cursor = 0;
    struct str_view key;
    void *value = NULL;
    while (map_next(throttle->buckets, &cursor, &key, &value)) {
        if (((struct bucket *)value)->full_at_us <= now) {
            mem_free(map_remove(throttle->buckets, key));
        }
    }
}

/* When the bucket will be full again after one more. ERR_LIMIT: there is none left. */
static enum err_code draw(
    const struct throttle *throttle,
    const struct bucket *bucket,
    int64_t now,
    int64_t *ret_full_at,
    struct err_info *err)
{
    int64_t full_at = bucket->full_at_us < now ? now : bucket->full_at_us;
    if (full_at - now + throttle->refill_us > throttle->depth_us) {
        return ERR_SET(
            err,
            ERR_LIMIT,
            "too many attempts; try again in %lld s",
            (long long)(throttle->refill_us / US_PER_SECOND + 1));
    }
    *ret_full_at = full_at + throttle->refill_us;
    return ERR_OK;
}

enum err_code throttle_take(struct throttle *throttle, struct str_view key, struct err_info *err)
{
    int64_t now = clock_mono(throttle->clock).value;
    LOCK_GUARD(&throttle->lock);
    struct bucket *bucket = map_find(throttle->buckets, key);
    if (bucket == NULL) {
        if (map_count(throttle->buckets) >= BUCKETS_MAX) {
            forget_full(throttle, now);
        }
        if (map_count(throttle->buckets) >= BUCKETS_MAX) {
            return ERR_SET(err, ERR_LIMIT, "too many attempts from everywhere; try again later");
        }
        bucket = mem_alloc(sizeof(*bucket));
        (void)map_put(throttle->buckets, key, bucket);
    }
    return draw(throttle, bucket, now, &bucket->full_at_us, err);
}

enum err_code throttle_check(struct throttle *throttle, struct str_view key, struct err_info *err)
{
    int64_t now = clock_mono(throttle->clock).value;
    int64_t full_at = 0;
    LOCK_GUARD(&throttle->lock);
    const struct bucket *bucket = map_find(throttle->buckets, key);
    return bucket == NULL ? ERR_OK : draw(throttle, bucket, now, &full_at, err);
}
