#include "cmd/server/auth/key_uses.h"

#include "cmd/server/core/work.h"
#include "cmd/server/store/access.h"
#include "common/base/id.h"
#include "common/base/map.h"
#include "common/sys/lock.h"

#include <stdio.h>

enum {
    WRITTEN_EVERY_US = 60000000,
    FLUSH_KEYS = 64, /* of a transaction */
    ARENA_BYTES = 64 * 1024
};

struct use {
    int64_t workspace_id;
    struct wall_us at;
    struct wall_us written_at; /* the time that was written */
    struct mono_us due;        /* not before */
};

struct key_uses {
    struct lock lock;
    struct map *by_id; /* id of the key -> struct use */
};

struct key_uses *key_uses_create(void)
{
    struct key_uses *uses = mem_alloc(sizeof(*uses));
    lock_init(&uses->lock, LOCK_RANK_REGISTRY);
    uses->by_id = map_create();
    return uses;
}

void key_uses_destroy(struct key_uses *uses)
{
    if (uses != NULL) {
        map_destroy(uses->by_id, mem_free);
        lock_deinit(&uses->lock);
        mem_free(uses);
    }
}

void key_uses_note(
    struct key_uses *uses, int64_t workspace_id, struct str_view id, struct wall_us at)
{
    LOCK_GUARD(&uses->lock);
    struct use *use = map_find(uses->by_id, id);
    if (use == NULL) {
        use = mem_alloc(sizeof(*use));
        (void)map_put(uses->by_id, id, use);
    }
    use->workspace_id = workspace_id;
    use->at = at;
}

struct due {
    size_t count;
    struct api_key_use uses[FLUSH_KEYS];
    char ids[FLUSH_KEYS][ID_TEXT_BYTES];
};

static bool is_due(const struct use *use, struct mono_us now, bool is_last)
{
    return use->at.value > use->written_at.value && (is_last || use->due.value <= now.value);
}

/* Takes some of what is due; what has nothing new for a minute is forgotten. */
static void take_due(struct key_uses *uses, struct mono_us now, bool is_last, struct due *due)
{
    LOCK_GUARD(&uses->lock);
    size_t cursor = 0;
    struct str_view key;
    void *value = NULL;
    due->count = 0;
    while (due->count < FLUSH_KEYS && map_next(uses->by_id, &cursor, &key, &value)) {
        struct use *use = value;
        if (is_due(use, now, is_last)) {
            char *id = due->ids[due->count];
            (void)snprintf(id, ID_TEXT_BYTES, "%.*s", (int)key.len, key.ptr);
            due->uses[due->count++] =
                (struct api_key_use){ use->workspace_id, str_of(id), use->at };
        } else if (use->at.value <= use->written_at.value && use->due.value <= now.value) {
            mem_free(map_remove(uses->by_id, key));
        }
    }
}

static void note_written(struct key_uses *uses, struct mono_us now, const struct due *due)
{
    LOCK_GUARD(&uses->lock);
    for (size_t i = 0; i < due->count; i++) {
        struct use *use = map_find(uses->by_id, due->uses[i].id);
        if (use != NULL) {
            use->written_at = due->uses[i].at;
            use->due.value = now.value + WRITTEN_EVERY_US;
        }
    }
}

static enum err_code write_due(struct work *work, void *context, struct err_info *err)
{
    const struct due *due = context;
    return store_api_key_used(work->conn, due->uses, due->count, err);
}

enum err_code key_uses_flush(
    struct key_uses *uses, struct worker *worker, bool is_last, struct err_info *err)
{
    AUTO_FREE struct due *due = mem_alloc(sizeof(*due));
    AUTO_ARENA struct arena *arena = arena_create(ARENA_BYTES);
    struct mono_us now = clock_mono(worker->service->clock);
    do {
        take_due(uses, now, is_last, due);
        if (due->count > 0) {
            TRY(work_run(worker, arena, SQL_ALL_WORKSPACES, write_due, due, err));
            note_written(uses, now, due);
        }
    } while (due->count == FLUSH_KEYS);
    return ERR_OK;
}
