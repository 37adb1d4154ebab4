#include "cmd/server/auth/credentials.h"

#include "cmd/server/core/work.h"
#include "cmd/server/store/access.h"
#include "cmd/server/store/session.h"
#include "common/base/map.h"
#include "common/crypto/hash.h"
#include "common/sys/lock.h"

#include <inttypes.h>
#include <stdio.h>

enum {
    KEPT_US = 5000000,
    KEPT_MAX = 65536,
    ARENA_BYTES = 64 * 1024
};

struct kept {
    struct principal principal;
    struct mono_us until;
};

struct credentials {
    const struct clock *clock;
    struct lock lock;
    struct map *by_hash; /* hash -> struct kept */
    uint64_t generation; /* rises with every forget: a look-up that began before is not kept */
};

struct credentials *credentials_create(const struct clock *clock)
{
    struct credentials *credentials = mem_alloc(sizeof(*credentials));
    credentials->clock = clock;
    credentials->by_hash = map_create();
    lock_init(&credentials->lock, LOCK_RANK_REGISTRY);
    return credentials;
}

void credentials_destroy(struct credentials *credentials)
{
    if (credentials != NULL) {
        map_destroy(credentials->by_hash, mem_free);
        lock_deinit(&credentials->lock);
        mem_free(credentials);
    }
}

bool credentials_find(
    struct credentials *credentials, const uint8_t hash[32], struct principal *ret_principal)
{
    struct str_view key = str_from((const char *)hash, HASH_SHA256_BYTES);
    LOCK_GUARD(&credentials->lock);
    const struct kept *kept = map_find(credentials->by_hash, key);
    if (kept == NULL || kept->until.value <= clock_mono(credentials->clock).value
        || kept->principal.expires_at <= clock_wall(credentials->clock).value) {
        return false;
    }
    *ret_principal = kept->principal;
    return true;
}

static void keep(
    struct credentials *credentials, const struct principal *principal, uint64_t generation)
{
    struct kept *kept = mem_alloc(sizeof(*kept));
    kept->principal = *principal;
    kept->until.value = clock_mono(credentials->clock).value + KEPT_US;
    struct str_view key = str_from((const char *)principal->credential_hash, HASH_SHA256_BYTES);
    LOCK_GUARD(&credentials->lock);
    if (generation != credentials->generation) {
        mem_free(kept);
        return;
    }
    if (map_count(credentials->by_hash) >= KEPT_MAX) {
        map_destroy(credentials->by_hash, mem_free);
        credentials->by_hash = map_create();
    }
    mem_free(map_put(credentials->by_hash, key, kept));
}

void credentials_forget(void *context, int64_t agent_id)
{
    struct credentials *credentials = context;
    LOCK_GUARD(&credentials->lock);
    credentials->generation++;
    if (agent_id == 0) {
        map_destroy(credentials->by_hash, mem_free);
        credentials->by_hash = map_create();
        return;
    }
    size_t cursor = 0;
    struct str_view key;
    void *value = NULL;
    while (map_next(credentials->by_hash, &cursor, &key, &value)) {
        if (((struct kept *)value)->principal.agent_id == agent_id) {
            mem_free(map_remove(credentials->by_hash, key));
        }
    }
}

static enum err_code load_session(struct work *work, void *context, struct err_info *err)
{
    struct principal *principal = context;
    struct session_record session;
    TRY(store_session_by_token(
        work->conn, principal->credential_hash, work->now, work->arena, &session, err));
    principal->kind = PRINCIPAL_AGENT;
    principal->workspace_id = session.workspace_id;
    principal->agent_id = session.agent_id;
    principal->epoch = session.epoch;
    principal->expires_at = session.expires_at;
    (void)snprintf(
        principal->subject, sizeof(principal->subject), "agent:%" PRId64, session.agent_id);
    return str_copy(str_of(session.workspace), principal->workspace, sizeof(principal->workspace));
}

static enum err_code load_key(struct work *work, void *context, struct err_info *err)
{
    struct principal *principal = context;
    struct api_key_record key;
    TRY(store_api_key_by_hash(
        work->conn, principal->credential_hash, work->now, work->arena, &key, err));
    principal->kind = PRINCIPAL_KEY;
    principal->workspace_id = key.workspace_id;
    principal->scopes = auth_scopes_of(str_of(key.scopes));
    principal->expires_at = key.expires_at;
    (void)snprintf(principal->subject, sizeof(principal->subject), "key:%s", key.id);
    TRY(str_copy(str_of(key.workspace), principal->workspace, sizeof(principal->workspace)));
    return store_api_key_used(work->conn, key.workspace_id, str_of(key.id), work->now, err);
}

/* Looks up principal->credential_hash, which is filled in, and keeps what it finds. */
static enum err_code load(
    struct service *service,
    struct worker *worker,
    work_fn fn,
    struct principal *principal,
    struct err_info *err)
{
    AUTO_ARENA struct arena *arena = arena_create(ARENA_BYTES);
    lock_acquire(&service->credentials->lock);
    uint64_t generation = service->credentials->generation;
    lock_release(&service->credentials->lock);
    enum err_code code = work_run(service, worker, arena, SQL_ALL_WORKSPACES, fn, principal, err);
    if (code == ERR_NOT_FOUND) {
        return ERR_SET(err, ERR_UNAUTHENTICATED, "the credential is unknown, expired or revoked");
    }
    TRY(code);
    keep(service->credentials, principal, generation);
    return ERR_OK;
}

enum err_code credentials_load(
    struct service *service,
    struct worker *worker,
    struct str_view token,
    struct principal *ret_principal,
    struct err_info *err)
{
    struct principal principal = { .kind = PRINCIPAL_NOBODY };
    bool is_session = token_has_form(token, "bls_");
    if (!is_session && !token_has_form(token, "blk_")) {
        return ERR_SET(err, ERR_UNAUTHENTICATED, "the credential is unknown, expired or revoked");
    }
    token_hash(token, principal.credential_hash);
    TRY(load(service, worker, is_session ? load_session : load_key, &principal, err));
    *ret_principal = principal;
    return ERR_OK;
}

enum err_code credentials_recheck(
    struct service *service,
    struct worker *worker,
    const struct principal *principal,
    struct err_info *err)
{
    struct principal now = { .kind = PRINCIPAL_NOBODY };
    if (principal->kind != PRINCIPAL_AGENT && principal->kind != PRINCIPAL_KEY) {
        return ERR_OK;
    }
    memcpy(now.credential_hash, principal->credential_hash, sizeof(now.credential_hash));
    if (credentials_find(service->credentials, principal->credential_hash, &now)) {
        return ERR_OK;
    }
    return load(
        service, worker, principal->kind == PRINCIPAL_AGENT ? load_session : load_key, &now, err);
}
