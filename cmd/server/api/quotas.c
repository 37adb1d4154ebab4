/* Quotas: get, list, set, delete. */
#include "cmd/server/api/handlers.h"
#include "cmd/server/api/page.h"
#include "cmd/server/domain/quota.h"
#include "cmd/server/store/sandbox/quota.h"
#include "common/wire/wire.h"

#include <inttypes.h>

typedef Agentgateway__V1__QuotaLimits limits_type;

enum {
    OWNER_BYTES = 255 /* a page token has to hold it */
};

/* ---- messages ---- */

/* Each limit is a oneof of one member: its case is the member's number, 0 when it is not set. */
#define LIMIT_MEMBERS(name)                                                        \
    {                                                                              \
        offsetof(limits_type, name), offsetof(limits_type, _##name##_case),        \
            offsetof(struct quota_record, name), offsetof(struct quota_use, name), \
            offsetof(Agentgateway__V1__QuotaUse, name)                             \
    }

static const struct {
    size_t value;
    size_t set;
    size_t record;
    size_t use;
    size_t used;
} members[] = {
    LIMIT_MEMBERS(sandboxes),
    LIMIT_MEMBERS(cpu_millis),
    LIMIT_MEMBERS(memory_bytes),
    LIMIT_MEMBERS(disk_bytes),
};

static void put(void *base, size_t offset, const void *value, size_t bytes)
{
    memcpy((char *)base + offset, value, bytes);
}

static void get(const void *base, size_t offset, void *value, size_t bytes)
{
    memcpy(value, (const char *)base + offset, bytes);
}

static limits_type *map_limits(struct arena *arena, const struct quota_record *record)
{
    limits_type *limits = wire_new(arena, &agentgateway__v1__quota_limits__descriptor);
    for (size_t i = 0; limits != NULL && i < ARRAY_LENGTH(members); i++) {
        int64_t most = QUOTA_NONE;
        int set = (int)i + 1;
        get(record, members[i].record, &most, sizeof(most));
        if (most != QUOTA_NONE) {
            put(limits, members[i].set, &set, sizeof(set));
            put(limits, members[i].value, &most, sizeof(most));
        }
    }
    return limits;
}

static void read_limits(const limits_type *limits, struct quota_record *record)
{
    for (size_t i = 0; i < ARRAY_LENGTH(members); i++) {
        int64_t most = QUOTA_NONE;
        int set = 0;
        get(limits, members[i].set, &set, sizeof(set));
        if (set != 0) {
            get(limits, members[i].value, &most, sizeof(most));
        }
        put(record, members[i].record, &most, sizeof(most));
    }
}

static Agentgateway__V1__QuotaUse *map_use(struct arena *arena, const struct quota_use *use)
{
    Agentgateway__V1__QuotaUse *used = wire_new(arena, &agentgateway__v1__quota_use__descriptor);
    for (size_t i = 0; used != NULL && i < ARRAY_LENGTH(members); i++) {
        int64_t amount = 0;
        get(use, members[i].use, &amount, sizeof(amount));
        put(used, members[i].used, &amount, sizeof(amount));
    }
    return used;
}

static bool is_of_each(const char *owner)
{
    return str_equal(str_of(owner), STR("*"));
}

_Static_assert(QUOTA_NEVER_CHANGED == -1, "a quota that is not there has version 0");

static uint64_t version_of(int64_t changed_at)
{
    return (uint64_t)(changed_at + 1);
}

/* As a list has it; the workspace's name is the call's. */
static Agentgateway__V1__Quota *map_standing(
    const struct map_context *context, const struct quota_standing *standing)
{
    struct arena *arena = context->arena;
    const struct quota_record *record = &standing->quota;
    Agentgateway__V1__Quota *quota = wire_new(arena, &agentgateway__v1__quota__descriptor);
    if (quota == NULL) {
        return NULL;
    }
    quota->owner = CONST_CAST(char *, record->owner);
    quota->changed_by = CONST_CAST(char *, record->changed_by);
    quota->changed_at =
        record->changed_at == QUOTA_NEVER_CHANGED ? NULL : map_time(arena, record->changed_at);
    quota->version = version_of(record->changed_at);
    quota->limits = map_limits(arena, record);
    quota->used = is_of_each(record->owner) ? NULL : map_use(arena, &standing->used);
    return quota->limits == NULL ? NULL : quota;
}

PAGE_MAP(standing)

/* ---- one ---- */

/* The quota in force for the owner; changed_at QUOTA_NEVER_CHANGED: there is none. */
static enum err_code find(
    struct api_call *api, const char *owner, struct quota_record *ret_record, struct err_info *err)
{
    static const struct quota_record none = { .owner = "",
                                              .sandboxes = QUOTA_NONE,
                                              .cpu_millis = QUOTA_NONE,
                                              .memory_bytes = QUOTA_NONE,
                                              .disk_bytes = QUOTA_NONE,
                                              .changed_by = "",
                                              .changed_at = QUOTA_NEVER_CHANGED };
    enum err_code code = store_quota_get(
        api->work->conn, api->workspace_id, str_of(owner), api->arena, ret_record, err);
    if (code == ERR_NOT_FOUND) {
        *ret_record = none;
        ret_record->owner = owner;
        return ERR_OK;
    }
    return code;
}

static enum err_code reply_quota(
    struct api_call *api, const char *owner, ProtobufCMessage **ret_reply, struct err_info *err)
{
    struct quota_standing standing = { .cursor = "" };
    const struct map_context context = map_context_of(api);
    TRY(find(api, owner, &standing.quota, err));
    TRY(store_quota_used(
        api->work->conn, api->workspace_id, str_of(owner), api->arena, &standing.used, err));
    bool is_own = str_equal(str_of(standing.quota.owner), str_of(owner));
    standing.quota.owner = owner;
    Agentgateway__V1__Quota *quota = map_standing(&context, &standing);
    if (quota == NULL) {
        return API_OUT_OF_MEMORY(err);
    }
    quota->workspace = CONST_CAST(char *, api->workspace);
    quota->is_of_all = !is_own;
    quota->version = is_own ? quota->version : 0;
    *ret_reply = &quota->base;
    return ERR_OK;
}

API_HANDLER(get_quota)
{
    const Agentgateway__V1__GetQuotaRequest *request =
        (const Agentgateway__V1__GetQuotaRequest *)message;
    return reply_quota(api, request->owner, ret_reply, err);
}

API_HANDLER(list_quotas)
{
    struct page page;
    struct store_list list;
    TRY(page_open(api, message, &page, err));
    const struct quota_page wanted = { .after = page.cursor, .limit = page.size + 1 };
    TRY(store_quota_list(api->work->conn, api->workspace_id, &wanted, api->arena, &list, err));
    Agentgateway__V1__ListQuotasResponse *reply =
        wire_new(api->arena, &agentgateway__v1__list_quotas_response__descriptor);
    if (reply == NULL) {
        return API_OUT_OF_MEMORY(err);
    }
    const struct page_rows rows = {
        .records = list.records,
        .count = list.count,
        .record_bytes = sizeof(struct quota_standing),
        .map = map_any_standing,
        .cursor_offset = offsetof(struct quota_standing, cursor),
    };
    const struct page_reply filled = { (void ***)&reply->quotas,
                                       &reply->n_quotas,
                                       &reply->next_page_token };
    TRY(page_fill(api, message, &page, &rows, &filled, err));
    for (size_t i = 0; i < reply->n_quotas; i++) {
        reply->quotas[i]->workspace = CONST_CAST(char *, api->workspace);
    }
    *ret_reply = &reply->base;
    return ERR_OK;
}

/* ---- changes ---- */

/* What a workspace may have is not for those in it to say. */
static enum err_code check_change(struct api_call *api, const char *owner, struct err_info *err)
{
    api->target = arena_printf(api->arena, "quota/%s", owner);
    if (api->target == NULL) {
        return API_OUT_OF_MEMORY(err);
    }
    if (strlen(owner) > OWNER_BYTES) {
        return ERR_SET(err, ERR_INVALID, "owner: at most %d bytes", OWNER_BYTES);
    }
    if (owner[0] == '\0' && !api->principal->is_platform_admin) {
        return ERR_SET(
            err,
            ERR_DENIED,
            "owner: the quota of a workspace as a whole is for platform admins to change");
    }
    return ERR_OK;
}

/* The owner's own quota as it stands. expected: NULL, or the version it must have. */
static enum err_code find_own(
    struct api_call *api,
    const char *owner,
    const uint64_t *expected,
    struct quota_record *ret_record,
    struct err_info *err)
{
    TRY(find(api, owner, ret_record, err));
    if (!str_equal(str_of(ret_record->owner), str_of(owner))) {
        ret_record->changed_at = QUOTA_NEVER_CHANGED; /* that of "*" */
    }
    uint64_t version = version_of(ret_record->changed_at);
    if (expected == NULL || *expected == version) {
        return ERR_OK;
    }
    return ERR_SET(
        err, ERR_CONFLICT, "expected_version: the quota is at %" PRIu64 "; read it again", version);
}

API_HANDLER(set_quota)
{
    const Agentgateway__V1__SetQuotaRequest *request =
        (const Agentgateway__V1__SetQuotaRequest *)message;
    struct sql_conn *conn = api->work->conn;
    struct quota_record old;
    bool has_expected = request->_expected_version_case
        == AGENTGATEWAY__V1__SET_QUOTA_REQUEST___EXPECTED_VERSION_EXPECTED_VERSION;
    const uint64_t *expected = has_expected ? &request->expected_version : NULL;
    TRY(check_change(api, request->owner, err));
    TRY(find_own(api, request->owner, expected, &old, err));
    int64_t now = api->work->now.value;
    struct quota_record record = {
        .owner = request->owner,
        .changed_by = api->principal->subject,
        .changed_at = now > old.changed_at ? now : old.changed_at + 1,
    };
    read_limits(request->limits, &record);
    TRY(store_quota_put(conn, api->workspace_id, &record, old.changed_at, err));
    return reply_quota(api, request->owner, ret_reply, err);
}

API_HANDLER(delete_quota)
{
    const Agentgateway__V1__DeleteQuotaRequest *request =
        (const Agentgateway__V1__DeleteQuotaRequest *)message;
    struct sql_conn *conn = api->work->conn;
    struct quota_record old;
    bool has_expected = request->_expected_version_case
        == AGENTGATEWAY__V1__DELETE_QUOTA_REQUEST___EXPECTED_VERSION_EXPECTED_VERSION;
    const uint64_t *expected = has_expected ? &request->expected_version : NULL;
    TRY(check_change(api, request->owner, err));
    TRY(find_own(api, request->owner, expected, &old, err));
    if (old.changed_at == QUOTA_NEVER_CHANGED) {
        return ERR_SET(err, ERR_NOT_FOUND, "owner: \"%.255s\" has no quota", request->owner);
    }
    TRY(store_quota_remove(conn, api->workspace_id, str_of(request->owner), old.changed_at, err));
    return reply_quota(api, request->owner, ret_reply, err);
}
