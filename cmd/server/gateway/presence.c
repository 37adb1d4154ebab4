#include "cmd/server/gateway/presence.h"

#include "cmd/server/store/agent.h"
#include "common/base/map.h"
#include "common/sys/lock.h"

enum {
    STATUS_BYTES_MAX = 1024,
    ARENA_BYTES = 64 * 1024,
    FLUSH_BEATS = 512
};

struct beat {
    int64_t workspace_id;
    int64_t agent_id;
    struct wall_us at;
    size_t status_bytes; /* 0: unchanged */
    char status[STATUS_BYTES_MAX];
};

struct presence {
    struct lock lock;
    struct map *streams; /* agent id -> struct rpc_stream */
    struct map *beats;   /* agent id -> struct beat */
    bool draining;
};

struct presence *presence_create(void)
{
    struct presence *presence = mem_alloc(sizeof(*presence));
    lock_init(&presence->lock, LOCK_RANK_REGISTRY);
    presence->streams = map_create();
    presence->beats = map_create();
    return presence;
}

static void unref_stream(void *stream)
{
    rpc_stream_unref(stream);
}

void presence_destroy(struct presence *presence)
{
    if (presence != NULL) {
        map_destroy(presence->streams, unref_stream);
        map_destroy(presence->beats, mem_free);
        lock_deinit(&presence->lock);
        mem_free(presence);
    }
}

void presence_add_stream(struct presence *presence, int64_t agent_id, struct rpc_stream *stream)
{
    lock_acquire(&presence->lock);
    struct rpc_stream *older =
        map_put(presence->streams, map_key_of(&agent_id), rpc_stream_ref(stream));
    lock_release(&presence->lock);
    if (older != NULL) {
        rpc_stream_finish(older, ERR_CONFLICT, "a newer control stream of this agent took over");
        rpc_stream_unref(older);
    }
}

void presence_remove_stream(struct presence *presence, int64_t agent_id, struct rpc_stream *stream)
{
    lock_acquire(&presence->lock);
    bool is_own = map_find(presence->streams, map_key_of(&agent_id)) == stream;
    if (is_own) {
        (void)map_remove(presence->streams, map_key_of(&agent_id));
    }
    lock_release(&presence->lock);
    if (is_own) {
        rpc_stream_unref(stream);
    }
}

size_t presence_stream_count(struct presence *presence)
{
    LOCK_GUARD(&presence->lock);
    return map_count(presence->streams);
}

void presence_beat(
    struct presence *presence, const int64_t owner[2], struct wall_us at, struct str_view status)
{
    LOCK_GUARD(&presence->lock);
    struct beat *beat = map_find(presence->beats, map_key_of(&owner[1]));
    if (beat == NULL) {
        beat = mem_alloc(sizeof(*beat));
        beat->workspace_id = owner[0];
        beat->agent_id = owner[1];
        (void)map_put(presence->beats, map_key_of(&owner[1]), beat);
    }
    beat->at = at;
    if (status.len > 0 && status.len <= sizeof(beat->status)) {
        memcpy(beat->status, status.ptr, status.len);
        beat->status_bytes = status.len;
    }
}

struct flush {
    struct beat *beats[FLUSH_BEATS];
    size_t count;
};

static void take_beats(struct presence *presence, struct flush *flush)
{
    LOCK_GUARD(&presence->lock);
    size_t cursor = 0;
    struct str_view key;
    void *value = NULL;
    while (flush->count < FLUSH_BEATS && map_next(presence->beats, &cursor, &key, &value)) {
        flush->beats[flush->count++] = value;
        (void)map_remove(presence->beats, key);
    }
}

static enum err_code write_beats(struct work *work, void *context, struct err_info *err)
{
    const struct flush *flush = context;
    for (size_t i = 0; i < flush->count; i++) {
        const struct beat *beat = flush->beats[i];
        struct str_view status =
            beat->status_bytes == 0 ? STR_NONE : str_from(beat->status, beat->status_bytes);
        TRY(store_agent_seen(
            work->conn, beat->workspace_id, beat->agent_id, beat->at, status, err));
        work_wake(work, HUB_AGENTS, beat->workspace_id);
    }
    return ERR_OK;
}

/* What could not be written goes back, unless a newer beat has come meanwhile. */
static void put_back(struct presence *presence, struct beat *beat)
{
    LOCK_GUARD(&presence->lock);
    if (map_find(presence->beats, map_key_of(&beat->agent_id)) != NULL) {
        mem_free(beat);
    } else {
        (void)map_put(presence->beats, map_key_of(&beat->agent_id), beat);
    }
}

enum err_code presence_flush(struct presence *presence, struct worker *worker, struct err_info *err)
{
    AUTO_ARENA struct arena *arena = arena_create(ARENA_BYTES);
    AUTO_FREE struct flush *flush = mem_alloc(sizeof(*flush));
    do {
        flush->count = 0;
        take_beats(presence, flush);
        enum err_code code = ERR_OK;
        if (flush->count > 0) {
            code = work_run(worker, arena, SQL_ALL_WORKSPACES, write_beats, flush, err);
        }
        for (size_t i = 0; i < flush->count; i++) {
            if (code == ERR_OK) {
                mem_free(flush->beats[i]);
            } else {
                put_back(presence, flush->beats[i]);
            }
        }
        TRY(code);
    } while (flush->count == FLUSH_BEATS);
    return ERR_OK;
}

void presence_drain(struct presence *presence)
{
    LOCK_GUARD(&presence->lock);
    presence->draining = true;
    size_t cursor = 0;
    struct str_view key;
    void *value = NULL;
    while (map_next(presence->streams, &cursor, &key, &value)) {
        rpc_stream_wake(value);
    }
}

bool presence_is_draining(struct presence *presence)
{
    LOCK_GUARD(&presence->lock);
    return presence->draining;
}
