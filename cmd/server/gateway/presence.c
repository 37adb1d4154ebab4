#include "cmd/server/gateway/presence.h"

#include "common/base/map.h"
#include "common/sys/lock.h"

#include <stdlib.h>

enum {
    STATUS_BYTES_MAX = 1024,
    ARENA_BYTES = 64 * 1024,
    FLUSH_BEATS = 512
};

struct beat {
    int64_t workspace_id;
    int64_t agent_id;
    int64_t epoch;
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

void presence_beat(struct presence *presence, const struct agent_beat *beat)
{
    LOCK_GUARD(&presence->lock);
    struct beat *kept = map_find(presence->beats, map_key_of(&beat->id));
    if (kept == NULL) {
        kept = mem_alloc(sizeof(*kept));
        (void)map_put(presence->beats, map_key_of(&beat->id), kept);
    } else if (beat->epoch < kept->epoch) {
        return;
    }
    kept->workspace_id = beat->workspace_id;
    kept->agent_id = beat->id;
    kept->epoch = beat->epoch;
    kept->at = beat->at;
    if (beat->status.len > 0 && beat->status.len <= sizeof(kept->status)) {
        memcpy(kept->status, beat->status.ptr, beat->status.len);
        kept->status_bytes = beat->status.len;
    }
}

struct flush {
    struct beat *beats[FLUSH_BEATS];
    size_t count;
};

/* As the writer of uploads locks the agents' rows, so that the two do not meet crosswise. */
static int compare_beats(const void *a, const void *b)
{
    const struct beat *const *left = a;
    const struct beat *const *right = b;
    return ((*left)->agent_id > (*right)->agent_id) - ((*left)->agent_id < (*right)->agent_id);
}

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
    qsort(flush->beats, flush->count, sizeof(void *), compare_beats);
}

static enum err_code write_beats(struct work *work, void *context, struct err_info *err)
{
    const struct flush *flush = context;
    AUTO_FREE struct agent_beat *seen = mem_alloc_array(flush->count, sizeof(*seen));
    for (size_t i = 0; i < flush->count; i++) {
        const struct beat *beat = flush->beats[i];
        seen[i] = (struct agent_beat){
            .workspace_id = beat->workspace_id,
            .id = beat->agent_id,
            .epoch = beat->epoch,
            .at = beat->at,
            .status =
                beat->status_bytes == 0 ? STR_NONE : str_from(beat->status, beat->status_bytes),
        };
        work_wake(work, HUB_AGENTS, beat->workspace_id);
    }
    return store_agent_seen(work->conn, seen, flush->count, err);
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
