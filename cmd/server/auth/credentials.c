#include "cmd/server/auth/credentials.h"

#include "cmd/server/auth/key_uses.h"
#include "cmd/server/core/work.h"
#include "cmd/server/store/access.h"
#include "common/base/map.h"
#include "common/crypto/hash.h"
#include "common/sys/lock.h"

#include <stdatomic.h>

enum {
    KEPT_US = 5000000,
    KEPT_HEARING_US = 60000000, /* a session, where its end is heard of at once */
    NAME_KEPT_US = 60000000,
    KEPT_MAX = 65536
};

struct kept {
    struct principal principal;
    struct mono_us until;
    struct agent_note *note; /* a session's; it goes no sooner than this does */
};

/* A workspace's: asked for apart, so that a look-up need not join what hardly ever changes. */
struct known_name {
    char text[sizeof(((struct principal *)NULL)->workspace)];
    struct mono_us until;
};

struct credentials {
    const struct clock *clock;
    struct lock lock;
    struct key_uses *key_uses;
    struct map *by_hash;         /* hash -> struct kept */
    struct map *by_agent;        /* agent id -> struct agent_note */
    struct map *names;           /* workspace id -> struct known_name */
    _Atomic uint64_t generation; /* rises with every forget, which has the lock */
    uint64_t floor;              /* look-ups that began before this generation are not kept */
};

/* What a forget needs to know of an agent without looking at every credential. */
struct agent_note {
    uint64_t forgotten_at;           /* generation: an older look-up of this agent is not kept */
    uint8_t hash[HASH_SHA256_BYTES]; /* its session's, last kept */
};

struct credentials *credentials_create(const struct clock *clock)
{
    struct credentials *credentials = mem_alloc(sizeof(*credentials));
    credentials->clock = clock;
    credentials->key_uses = key_uses_create();
    credentials->by_hash = map_create();
    credentials->by_agent = map_create();
    credentials->names = map_create();
    lock_init(&credentials->lock, LOCK_RANK_REGISTRY);
    return credentials;
}

void credentials_destroy(struct credentials *credentials)
{
    if (credentials != NULL) {
        key_uses_destroy(credentials->key_uses);
        map_destroy(credentials->by_hash, mem_free);
        map_destroy(credentials->by_agent, mem_free);
        map_destroy(credentials->names, mem_free);
        lock_deinit(&credentials->lock);
        mem_free(credentials);
    }
}

struct key_uses *credentials_key_uses(struct credentials *credentials)
{
    return credentials->key_uses;
}

static struct str_view key_of(const uint8_t hash[HASH_SHA256_BYTES])
{
    return str_from((const char *)hash, HASH_SHA256_BYTES);
}

bool credentials_find(
    struct credentials *credentials, const uint8_t hash[32], struct principal *ret_principal)
{
    LOCK_GUARD(&credentials->lock);
    const struct kept *kept = map_find(credentials->by_hash, key_of(hash));
    if (kept == NULL || kept->until.value <= clock_mono(credentials->clock).value
        || kept->principal.expires_at <= clock_wall(credentials->clock).value) {
        return false;
    }
    *ret_principal = kept->principal;
    return true;
}

/* Forgets everything, and what is being looked up right now too. */
static void clear_locked(struct credentials *credentials)
{
    map_destroy(credentials->by_hash, mem_free);
    map_destroy(credentials->by_agent, mem_free);
    map_destroy(credentials->names, mem_free);
    credentials->by_hash = map_create();
    credentials->by_agent = map_create();
    credentials->names = map_create();
    credentials->floor = ++credentials->generation;
}

static struct agent_note *note_of_locked(struct credentials *credentials, int64_t agent_id)
{
    struct agent_note *note = map_find(credentials->by_agent, map_key_of(&agent_id));
    if (note == NULL) {
        if (map_count(credentials->by_agent) >= KEPT_MAX) {
            clear_locked(credentials);
        }
        note = mem_alloc(sizeof(*note));
        (void)map_put(credentials->by_agent, map_key_of(&agent_id), note);
    }
    return note;
}

static int64_t kept_us(const struct service *service, const struct principal *principal)
{
    bool is_heard = principal->kind == PRINCIPAL_AGENT && atomic_load(&service->hears_all);
    return is_heard ? KEPT_HEARING_US : KEPT_US;
}

/* What was kept of this credential before, or what is to be from now on. */
static struct kept *kept_of_locked(
    struct credentials *credentials, const struct principal *principal)
{
    struct kept *kept = map_find(credentials->by_hash, key_of(principal->credential_hash));
    if (kept != NULL) {
        return kept;
    }
    if (map_count(credentials->by_hash) >= KEPT_MAX) {
        clear_locked(credentials);
    }
    struct agent_note *note =
        principal->agent_id == 0 ? NULL : note_of_locked(credentials, principal->agent_id);
    kept = mem_alloc(sizeof(*kept));
    kept->note = note;
    (void)map_put(credentials->by_hash, key_of(principal->credential_hash), kept);
    return kept;
}

/* generation: as it was before the look-up; a credential forgotten since is not kept. */
static void keep_locked(
    struct service *service, const struct principal *principal, uint64_t generation)
{
    struct credentials *credentials = service->credentials;
    struct kept *kept = kept_of_locked(credentials, principal);
    if (generation < credentials->floor
        || (kept->note != NULL && generation < kept->note->forgotten_at)) {
        return;
    }
    if (kept->note != NULL) {
        memcpy(kept->note->hash, principal->credential_hash, sizeof(kept->note->hash));
    }
    kept->principal = *principal;
    kept->until.value = clock_mono(credentials->clock).value + kept_us(service, principal);
}

/* Names the principal's workspace and keeps the principal; false: the name is not known. */
static bool complete(struct service *service, struct principal *principal, uint64_t generation)
{
    struct credentials *credentials = service->credentials;
    LOCK_GUARD(&credentials->lock);
    const struct known_name *name =
        map_find(credentials->names, map_key_of(&principal->workspace_id));
    if (name == NULL || name->until.value <= clock_mono(credentials->clock).value) {
        return false;
    }
    memcpy(principal->workspace, name->text, sizeof(principal->workspace));
    keep_locked(service, principal, generation);
    return true;
}

static void keep_name(struct credentials *credentials, int64_t workspace_id, const char *text)
{
    LOCK_GUARD(&credentials->lock);
    struct known_name *name = map_find(credentials->names, map_key_of(&workspace_id));
    if (name == NULL) {
        if (map_count(credentials->names) >= KEPT_MAX) {
            clear_locked(credentials);
        }
        name = mem_alloc(sizeof(*name));
        (void)map_put(credentials->names, map_key_of(&workspace_id), name);
    }
    memcpy(name->text, text, sizeof(name->text));
    name->until.value = clock_mono(credentials->clock).value + NAME_KEPT_US;
}

void credentials_forget(void *context, int64_t agent_id)
{
    struct credentials *credentials = context;
    LOCK_GUARD(&credentials->lock);
    if (agent_id == 0) {
        clear_locked(credentials);
        return;
    }
    struct agent_note *note = note_of_locked(credentials, agent_id);
    note->forgotten_at = ++credentials->generation;
    mem_free(map_remove(credentials->by_hash, key_of(note->hash)));
}

/* What is looked up, and when it was. */
struct loading {
    struct principal *principal;
    struct wall_us at;
};

/* What both have. kind: "agent:" or "key:"; no format string, which would cost as much as all the
 * rest that is done with a row. */
static enum err_code set_principal(
    struct principal *principal,
    const struct credential_record *record,
    struct str_view kind,
    struct str_view id)
{
    principal->workspace_id = record->workspace_id;
    principal->expires_at = record->expires_at;
    memcpy(principal->subject, kind.ptr, kind.len);
    return str_copy(id, principal->subject + kind.len, sizeof(principal->subject) - kind.len);
}

static enum err_code load_session(struct work *work, void *context, struct err_info *err)
{
    struct loading *loading = context;
    struct principal *principal = loading->principal;
    loading->at = work->now;
    struct credential_record record;
    AUTO_ROWS struct sql_rows *rows = NULL;
    TRY(store_credential_session(
        work->conn, principal->credential_hash, work->now, &record, &rows, err));
    principal->kind = PRINCIPAL_AGENT;
    principal->agent_id = record.agent_id;
    principal->epoch = record.epoch;
    char id[STR_INT64_BYTES];
    return set_principal(
        principal, &record, STR("agent:"), str_of(str_format_int64(record.agent_id, id)));
}

static enum err_code load_key(struct work *work, void *context, struct err_info *err)
{
    struct loading *loading = context;
    struct principal *principal = loading->principal;
    loading->at = work->now;
    struct credential_record record;
    AUTO_ROWS struct sql_rows *rows = NULL;
    TRY(store_credential_key(
        work->conn, principal->credential_hash, work->now, &record, &rows, err));
    principal->kind = PRINCIPAL_KEY;
    principal->scopes = auth_scopes_of(record.scopes);
    return set_principal(principal, &record, STR("key:"), record.key_id);
}

static enum err_code load_name(struct work *work, void *context, struct err_info *err)
{
    struct principal *principal = context;
    return store_workspace_name(
        work->conn,
        principal->workspace_id,
        principal->workspace,
        sizeof(principal->workspace),
        err);
}

/* The name was not known, or is so no longer. */
static enum err_code learn_name(
    struct service *service,
    struct worker *worker,
    struct principal *principal,
    struct err_info *err)
{
    TRY(work_lookup(worker, NULL, principal->workspace_id, load_name, principal, err));
    keep_name(service->credentials, principal->workspace_id, principal->workspace);
    return ERR_OK;
}

static void note_use(struct service *service, const struct principal *principal, struct wall_us at)
{
    struct str_view subject = str_of(principal->subject);
    struct str_view id = str_from(subject.ptr + 4, subject.len - 4); /* "key:..." */
    key_uses_note(service->credentials->key_uses, principal->workspace_id, id, at);
}

/*
 * Looks up principal->credential_hash, which is filled in, and keeps what it finds. Only what is
 * found is noted: a stranger's guesses cost a read.
 */
static enum err_code load(
    struct service *service,
    struct worker *worker,
    work_fn fn,
    struct principal *principal,
    struct err_info *err)
{
    uint64_t generation = atomic_load(&service->credentials->generation);
    struct loading loading = { .principal = principal };
    enum err_code code = work_lookup(worker, NULL, SQL_OWN_WALL, fn, &loading, err);
    if (code == ERR_OK && !complete(service, principal, generation)) {
        code = learn_name(service, worker, principal, err);
        (void)(code == ERR_OK && complete(service, principal, generation));
    }
    if (code == ERR_NOT_FOUND) {
        return ERR_SET(err, ERR_UNAUTHENTICATED, "the credential is unknown, expired or revoked");
    }
    if (code == ERR_OK && principal->kind == PRINCIPAL_KEY) {
        note_use(service, principal, loading.at);
    }
    return code;
}

enum err_code credentials_load(
    struct service *service,
    struct worker *worker,
    struct str_view token,
    struct principal *ret_principal,
    struct err_info *err)
{
    struct principal principal = { .kind = PRINCIPAL_NOBODY };
    bool is_session = str_has_prefix(token, STR("bls_"));
    if (!token_has_form(token, is_session ? "bls_" : "blk_")) {
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
