#include "cmd/server/core/enroll_token.h"

#include "common/base/cleanup.h"
#include "common/base/id.h"
#include "common/base/join.h"
#include "common/crypto/hash.h"

static enum err_code fill_join(
    const struct service *service, struct str_view token, struct join_string *join)
{
    TRY(str_copy(str_of(service->join_target), join->target, sizeof(join->target)));
    TRY(str_copy(token, join->token, sizeof(join->token)));
    if (join->has_pin) {
        TRY(str_hex_decode(str_of(service->ca_sha256), join->ca_pin, sizeof(join->ca_pin)));
    }
    return ERR_OK;
}

static enum err_code make_join(
    const struct service *service,
    struct str_view token,
    struct secret **ret_join,
    struct err_info *err)
{
    struct join_string join = { .has_pin = service->ca_sha256[0] != '\0' };
    AUTO_BUF struct buf text = BUF_INIT(JOIN_TEXT_MAX);
    enum err_code code = fill_join(service, token, &join);
    if (code == ERR_OK) {
        code = join_format(&join, &text, err);
    }
    secret_wipe(&join, sizeof(join));
    if (code == ERR_OK) {
        *ret_join = secret_create(text.data, text.len);
    }
    if (text.data != NULL) {
        secret_wipe(text.data, text.len);
    }
    return code;
}

enum err_code enroll_token_issue(
    struct work *work,
    const struct enroll_token_order *order,
    struct enrollment_record *ret_record,
    struct secret **ret_token,
    struct secret **ret_join,
    struct err_info *err)
{
    char id[ID_TEXT_BYTES];
    uint8_t hash[HASH_SHA256_BYTES];
    if (work->service->join_target[0] == '\0') {
        return ERR_SET(
            err,
            ERR_PRECONDITION,
            "this server has no address for agents: set --listen or --advertise");
    }
    const struct enrollment_record record = {
        .workspace_id = order->workspace_id,
        .id = arena_strdup(work->arena, id_create("enr", work->now, id)),
        .state = ENROLLMENT_PENDING,
        .labels = arena_strdup(work->arena, order->labels),
        .auto_confirm = order->auto_confirm,
        .created_by = order->created_by,
        .created_at = work->now.value,
        .expires_at = work->now.value + order->ttl_us,
        .agent_name = "",
        .workspace = order->workspace,
    };
    if (record.id == NULL || record.labels == NULL) {
        return ERR_SET(err, ERR_LIMIT, "the labels are too large");
    }
    AUTO_SECRET struct secret *token = token_create("blt_");
    token_hash(secret_peek(token), hash);
    TRY(store_enrollment_add(work->conn, &record, hash, err));
    TRY(make_join(work->service, secret_peek(token), ret_join, err));
    if (ret_token != NULL) {
        *ret_token = STEAL(token);
    }
    *ret_record = record;
    return ERR_OK;
}
