#include "cmd/server/auth/gate.h"

#include "cmd/server/auth/call_metrics.h"
#include "cmd/server/auth/credentials.h"
#include "cmd/server/auth/replica_pass.h"
#include "cmd/server/core/throttle.h"
#include "cmd/server/core/work.h"
#include "cmd/server/store/access.h"
#include "common/base/log.h"
#include "common/crypto/hash.h"

#include <stdio.h>
#include <unistd.h>

enum {
    ARENA_BYTES = 16384
};

const struct principal *principal_of(const struct rpc_call *call)
{
    return rpc_call_principal(call);
}

static void release_principal(void *principal)
{
    mem_free(principal);
}

char *gate_source(const struct rpc_call *call, char out[GATE_SOURCE_BYTES])
{
    const struct rpc_peer *peer = rpc_call_peer(call);
    if (peer->kind == RPC_PEER_UNIX) {
        (void)snprintf(out, GATE_SOURCE_BYTES, "unix:uid=%u", peer->uid);
    } else {
        (void)snprintf(out, GATE_SOURCE_BYTES, "%s:%u", peer->address, peer->port);
    }
    return out;
}

static void set_principal(struct rpc_call *call, const struct principal *principal)
{
    struct principal *own = mem_dup(principal, sizeof(*principal));
    _Static_assert(sizeof(own->source) == GATE_SOURCE_BYTES, "room for a source");
    (void)gate_source(call, own->source);
    rpc_call_set_principal(call, own, release_principal);
}

/*
 * The credential of the request. ERR_NOT_FOUND: none at all. A malformed or doubled one is refused:
 * a wrong credential never falls through to a weaker one.
 */
static enum err_code read_bearer(
    const struct service *service,
    const struct rpc_call *call,
    struct str_view *ret_token,
    struct err_info *err)
{
    unsigned count = 0;
    struct str_view value = rpc_call_metadata(call, "authorization", &count);
    if (count == 0) {
        return ERR_NOT_FOUND;
    }
    if (count > 1 || value.len < 8 || !str_equal_fold(str_from(value.ptr, 7), STR("Bearer "))) {
        return ERR_SET(
            err, ERR_UNAUTHENTICATED, "authorization: one \"Bearer <token>\" is expected");
    }
    const struct rpc_peer *peer = rpc_call_peer(call);
    if (peer->kind == RPC_PEER_PLAIN && !peer->is_reached_locally
        && !service->settings.allow_remote_plaintext) {
        return ERR_SET(
            err, ERR_UNAUTHENTICATED, "credentials are refused over plaintext: connect with TLS");
    }
    *ret_token = str_from(value.ptr + 7, value.len - 7);
    return ERR_OK;
}

enum {
    REFUSALS_KEY_BYTES = GATE_SOURCE_BYTES + 1
};

/*
 * Of the bucket from which refusals of this caller are taken: its address, and once its connection
 * is known that connection alone, so that it suffers nothing from neighbours behind one address.
 */
static struct str_view refusals_key(const struct rpc_call *call, char out[REFUSALS_KEY_BYTES])
{
    const struct rpc_peer *peer = rpc_call_peer(call);
    out[0] = '!'; /* no other key begins like this */
    if (rpc_peer_is_known(peer)) {
        (void)gate_source(call, out + 1);
    } else {
        (void)snprintf(out + 1, GATE_SOURCE_BYTES, "%s", peer->address);
    }
    return str_of(out);
}

/* Before a credential that is not in memory costs a look-up or a check of a signature. */
static enum err_code check_refusals(const struct rpc_call *call, struct err_info *err)
{
    const struct service *service = rpc_call_service(call);
    char key[REFUSALS_KEY_BYTES];
    return rpc_call_peer(call)->kind == RPC_PEER_UNIX
        ? ERR_OK
        : throttle_check(service->throttle, refusals_key(call, key), err);
}

static enum err_code count_refusal(const struct rpc_call *call, struct err_info *err)
{
    const struct service *service = rpc_call_service(call);
    char key[REFUSALS_KEY_BYTES];
    return rpc_call_peer(call)->kind == RPC_PEER_UNIX
        ? ERR_OK
        : throttle_take(service->throttle, refusals_key(call, key), err);
}

static bool is_local_operator(const struct rpc_peer *peer)
{
    return peer->kind == RPC_PEER_UNIX && strcmp(peer->listener, GATE_LISTENER_OPERATOR) == 0
        && (peer->uid == geteuid() || peer->uid == 0);
}

static void make_local(const struct rpc_peer *peer, struct principal *principal)
{
    *principal = (struct principal){
        .kind = PRINCIPAL_LOCAL,
        .workspace_id = WORKSPACE_DEFAULT,
        .workspace = "default",
        .scopes = AUTH_SCOPES_ALL,
        .is_platform_admin = true,
        .expires_at = INT64_MAX,
    };
    (void)snprintf(principal->subject, sizeof(principal->subject), "user:local/%u", peer->uid);
}

static enum err_code authenticate(
    struct service *service,
    struct rpc_call *call,
    bool may_block,
    struct principal *ret_principal,
    struct err_info *err)
{
    struct str_view token = STR_NONE;
    enum err_code code = read_bearer(service, call, &token, err);
    if (code == ERR_NOT_FOUND) {
        if (!is_local_operator(rpc_call_peer(call))) {
            return ERR_SET(
                err, ERR_UNAUTHENTICATED, "no credential: send \"authorization: Bearer <token>\"");
        }
        make_local(rpc_call_peer(call), ret_principal);
        return ERR_OK;
    }
    TRY(code);
    bool is_pass = str_has_prefix(token, STR(REPLICA_PASS_PREFIX));
    uint8_t hash[HASH_SHA256_BYTES];
    if (!is_pass) {
        token_hash(token, hash);
        if (credentials_find(service->credentials, hash, ret_principal)) {
            return ERR_OK;
        }
    }
    TRY(check_refusals(call, err));
    if (!may_block) {
        return ERR_BUSY; /* the store, and signatures, are for a worker */
    }
    if (is_pass) {
        return replica_pass_check(service, token, ret_principal, err);
    }
    return credentials_load(service, rpc_call_worker(call), token, ret_principal, err);
}

static enum err_code authorise(
    const struct auth_rule *rule, const struct principal *principal, struct err_info *err)
{
    if (principal->kind == PRINCIPAL_REPLICA) {
        return rule->takes_replicas
            ? ERR_OK
            : ERR_SET(err, ERR_DENIED, "a server's pass is for the relay it names alone");
    }
    bool is_agent = principal->kind == PRINCIPAL_AGENT;
    if (is_agent != (rule->class == AUTH_AGENT)) {
        return ERR_SET(
            err,
            ERR_DENIED,
            is_agent ? "an agent's session may not call this method"
                     : "only an agent's session may call this method");
    }
    if (rule->class == AUTH_SANDBOX) {
        return ERR_SET(err, ERR_DENIED, "only a sandbox's own credential may call this method");
    }
    if (rule->needs_platform_admin && !principal->is_platform_admin) {
        return ERR_SET(err, ERR_DENIED, "platform admin role required");
    }
    if (rule->class == AUTH_OPERATOR && (principal->scopes & AUTH_SCOPE_BIT(rule->scope)) == 0) {
        return ERR_SET(err, ERR_DENIED, "the scope '%s' is required", auth_scope_name(rule->scope));
    }
    return ERR_OK;
}

static enum err_code add_refusal(struct work *work, void *context, struct err_info *err)
{
    const struct audit_entry *entry = context;
    return work_audit(work, entry, err);
}

bool gate_is_refusal(enum err_code code)
{
    return code != ERR_INTERNAL && code != ERR_UNAVAILABLE && code != ERR_NOMEM
        && code != ERR_UNCERTAIN && code != ERR_BUSY && code != ERR_TIMEOUT && code != ERR_CANCELED;
}

enum err_code gate_audit_refusal(
    const struct rpc_call *call, const struct gate_refusal *refusal, struct err_info *err)
{
    const struct principal *principal = refusal->principal;
    bool known = principal != NULL && principal->workspace_id != 0;
    bool refused = refusal->code == ERR_DENIED || refusal->code == ERR_UNAUTHENTICATED;
    char source[GATE_SOURCE_BYTES];
    struct audit_entry entry = {
        .workspace_id = known ? principal->workspace_id : WORKSPACE_SYSTEM,
        .actor = known ? principal->subject : "unknown",
        .action = rpc_call_method(call)->path + 1,
        .target = refusal->target,
        .decision = refused ? "denied" : "failed",
        .reason = refusal->reason,
        .request_id = rpc_call_id(call),
        .source = gate_source(call, source),
    };
    AUTO_ARENA struct arena *arena = arena_create(ARENA_BYTES);
    return work_run(rpc_call_worker(call), arena, SQL_ALL_WORKSPACES, add_refusal, &entry, err);
}

static bool is_written_down(const struct rpc_call *call, enum err_code code)
{
    const struct auth_rule *rule = rpc_call_method(call)->policy;
    return code == ERR_DENIED || rule->is_audited;
}

/* On a worker: counts what was tried in vain, and writes down what is to be; gives the refusal. */
static enum err_code refuse(
    const struct rpc_call *call,
    const struct principal *principal,
    enum err_code code,
    struct err_info *err)
{
    struct err_info why = *err;
    enum err_code counted = principal->kind == PRINCIPAL_NOBODY ? count_refusal(call, err) : ERR_OK;
    if (is_written_down(call, code)) {
        const struct gate_refusal refusal = { principal, "", code, why.text };
        TRY(counted); /* a stranger may not fill the audit trail */
        TRY(gate_audit_refusal(call, &refusal, err));
    }
    *err = why;
    return code;
}

static enum err_code admit(
    void *context, struct rpc_call *call, bool may_block, struct err_info *err)
{
    struct service *service = context;
    const struct rpc_method *method = rpc_call_method(call);
    struct principal principal = { .kind = PRINCIPAL_NOBODY, .subject = "nobody" };
    if (method->policy == &rpc_builtin_policy) {
        set_principal(call, &principal);
        return ERR_OK;
    }
    const struct auth_rule *rule = method->policy;
    if (rule->class == AUTH_PUBLIC) {
        set_principal(call, &principal);
        return ERR_OK;
    }
    enum err_code code = authenticate(service, call, may_block, &principal, err);
    if (code == ERR_OK) {
        code = authorise(rule, &principal, err);
    }
    if (code == ERR_OK) {
        set_principal(call, &principal);
        rpc_call_vouch(call);
        return ERR_OK;
    }
    if (code != ERR_DENIED && code != ERR_UNAUTHENTICATED) {
        return code;
    }
    if (!may_block) {
        return is_written_down(call, code) ? ERR_BUSY : code; /* by a worker */
    }
    return refuse(call, &principal, code, err);
}

/*
 * Lines about strangers' calls come at a limited rate, of the whole process, so that nobody fills
 * the log from outside; the next one tells how many were left out.
 */
static bool may_log(struct service *service, const struct rpc_call *call, uint64_t *ret_left_out)
{
    const struct principal *principal = rpc_call_principal(call);
    bool is_strangers = principal == NULL || principal->kind == PRINCIPAL_NOBODY;
    *ret_left_out = 0;
    if (!is_strangers || rpc_peer_is_known(rpc_call_peer(call))) {
        return true;
    }
    if (throttle_take(service->throttle, STR("!lines"), NULL) != ERR_OK) {
        (void)atomic_fetch_add(&service->lines_left_out, 1);
        return false;
    }
    *ret_left_out = atomic_exchange(&service->lines_left_out, 0);
    return true;
}

static void finished(
    void *context,
    const struct rpc_call *call,
    enum rpc_status status,
    const char *text,
    int64_t elapsed_us)
{
    struct service *service = context;
    const struct rpc_method *method = rpc_call_method(call);
    const struct principal *principal = rpc_call_principal(call);
    call_metrics_count(service->calls, method, status, elapsed_us);
    bool quiet = status == RPC_OK && principal != NULL
        && (principal->kind == PRINCIPAL_AGENT || principal->kind == PRINCIPAL_REPLICA);
    enum log_level level = quiet ? LOG_DEBUG : LOG_INFO;
    uint64_t left_out = 0;
    if (log_get_level() > level || !may_log(service, call, &left_out)) {
        return;
    }
    log_write(
        level,
        "rpc",
        (const struct log_field[]){
            LOG_STR("request_id", rpc_call_id(call)),
            LOG_STR("method", method->path + 1),
            LOG_STR("status", rpc_status_name(status)),
            LOG_STR("principal", principal == NULL ? "unknown" : principal->subject),
            LOG_STR("workspace", principal == NULL ? "" : principal->workspace),
            LOG_INT("elapsed_us", elapsed_us),
            LOG_STR("error", text == NULL ? "" : text),
            LOG_UINT("left_out", left_out),
        },
        left_out > 0 ? 8 : 7);
}

struct rpc_gate gate_create(struct service *service)
{
    return (struct rpc_gate){ .admit = admit, .finished = finished, .context = service };
}
