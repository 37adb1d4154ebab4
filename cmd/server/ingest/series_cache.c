#include "cmd/server/ingest/series_cache.h"

#include "common/base/buf.h"
#include "common/base/map.h"

enum {
    ENTRIES_MAX = 262144,
    KEY_BYTES = 2048
};

struct series_cache {
    struct map *ids; /* agent and name -> id, kept in the pointer itself */
};

struct series_cache *series_cache_create(void)
{
    struct series_cache *cache = mem_alloc(sizeof(*cache));
    cache->ids = map_create();
    return cache;
}

void series_cache_destroy(struct series_cache *cache)
{
    if (cache != NULL) {
        map_destroy(cache->ids, mem_free);
        mem_free(cache);
    }
}

void series_cache_clear(struct series_cache *cache)
{
    map_destroy(cache->ids, mem_free);
    cache->ids = map_create();
}

static void make_key(int64_t agent_id, const struct series_name *name, struct buf *key)
{
    buf_clear(key);
    buf_append_u64_be(key, (uint64_t)agent_id);
    buf_append_str(key, name->metric);
    buf_append_char(key, '\0');
    buf_append_str(key, name->device);
    buf_append_char(key, '\0');
    buf_append_str(key, name->instance);
}

static void remember(struct series_cache *cache, struct str_view key, int64_t id)
{
    if (map_count(cache->ids) >= ENTRIES_MAX) {
        series_cache_clear(cache);
    }
    mem_free(map_put(cache->ids, key, mem_dup(&id, sizeof(id))));
}

enum err_code series_cache_resolve(
    struct series_cache *cache,
    struct sql_conn *conn,
    const struct series_request *request,
    int64_t *ret_ids,
    struct err_info *err)
{
    const struct series_name *names = request->names;
    size_t count = request->count;
    AUTO_BUF struct buf key = BUF_INIT(KEY_BYTES);
    AUTO_FREE struct series_name *missing = mem_alloc_array(count, sizeof(*missing));
    AUTO_FREE size_t *places = mem_alloc_array(count, sizeof(*places));
    AUTO_FREE int64_t *made = mem_alloc_array(count, sizeof(*made));
    size_t missing_count = 0;
    for (size_t i = 0; i < count; i++) {
        make_key(request->agent_id, &names[i], &key);
        const int64_t *known = map_find(cache->ids, buf_view(&key));
        if (known != NULL) {
            ret_ids[i] = *known;
        } else {
            places[missing_count] = i;
            missing[missing_count++] = names[i];
        }
    }
    if (missing_count == 0) {
        return ERR_OK;
    }
    const struct series_request rest = {
        .workspace_id = request->workspace_id,
        .agent_id = request->agent_id,
        .names = missing,
        .count = missing_count,
    };
    TRY(store_series_put(conn, &rest, made, err));
    for (size_t i = 0; i < missing_count; i++) {
        ret_ids[places[i]] = made[i];
        make_key(request->agent_id, &missing[i], &key);
        remember(cache, buf_view(&key), made[i]);
    }
    return ERR_OK;
}
