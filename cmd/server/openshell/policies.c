/* Policies of sandboxes: in force, revisions, changes whole or by merge operations. */
#include "cmd/server/openshell/handlers.h"
#include "cmd/server/openshell/map.h"
#include "cmd/server/sandbox/policy.h"
#include "common/wire/wire.h"

enum {
    LIST_DEFAULT = 100,
    LIST_MAX = 1000,
    POLICY_BYTES = 256 * 1024,
    JSON_BYTES = 64 * 1024
};

typedef Openshell__Sandbox__V1__SandboxPolicy sandbox_policy_type;

static enum err_code find(
    struct api_call *api, const char *name, struct sandbox_record *ret_record, struct err_info *err)
{
    return store_sandbox_by_name(
        api->work->conn, api->workspace_id, str_of(name), api->arena, ret_record, err);
}

static enum err_code find_revision(
    struct api_call *api,
    const char *sandbox_id,
    int64_t version,
    struct sandbox_policy_record *ret_record,
    struct err_info *err)
{
    const struct sandbox_policy_filter filter = { .sandbox_id = str_of(sandbox_id),
                                                  .version = version };
    return store_sandbox_policy_get(
        api->work->conn, api->workspace_id, &filter, api->arena, ret_record, err);
}

/* What the next revision is built upon, and what a reader sees: one that failed is neither. */
static enum err_code find_standing(
    struct api_call *api,
    const char *sandbox_id,
    struct sandbox_policy_record *ret_record,
    struct err_info *err)
{
    return store_sandbox_policy_standing(
        api->work->conn, api->workspace_id, str_of(sandbox_id), api->arena, ret_record, err);
}

OPENSHELL_HANDLER(get_sandbox_config)
{
    const Openshell__Sandbox__V1__GetSandboxConfigRequest *request =
        (const Openshell__Sandbox__V1__GetSandboxConfigRequest *)message;
    const struct map_context context = map_context_of(api);
    struct sandbox_record record;
    struct sandbox_policy_record revision;
    TRY(store_sandbox_get(
        api->work->conn, api->workspace_id, str_of(request->sandbox_id), api->arena, &record, err));
    TRY(find_standing(api, record.id, &revision, err));
    Openshell__Sandbox__V1__GetSandboxConfigResponse *reply =
        wire_new(api->arena, &openshell__sandbox__v1__get_sandbox_config_response__descriptor);
    if (reply == NULL) {
        return API_OUT_OF_MEMORY(err);
    }
    reply->policy = map_policy(&context, revision.policy);
    reply->version = (uint32_t)revision.version;
    reply->policy_hash = CONST_CAST(char *, revision.hash);
    reply->config_revision = (uint64_t)revision.version;
    reply->policy_source = OPENSHELL__SANDBOX__V1__POLICY_SOURCE__POLICY_SOURCE_SANDBOX;
    reply->workspace = CONST_CAST(char *, record.workspace);
    *ret_reply = &reply->base;
    return reply->policy == NULL ? API_OUT_OF_MEMORY(err) : ERR_OK;
}

OPENSHELL_HANDLER(get_policy_status)
{
    const Openshell__V1__GetSandboxPolicyStatusRequest *request =
        (const Openshell__V1__GetSandboxPolicyStatusRequest *)message;
    const struct map_context context = map_context_of(api);
    struct sandbox_record record;
    struct sandbox_policy_record revision;
    if (request->global) {
        return ERR_SET(err, ERR_NOT_FOUND, "no global policy is set");
    }
    TRY(find(api, request->name, &record, err));
    TRY(find_revision(api, record.id, request->version, &revision, err));
    Openshell__V1__GetSandboxPolicyStatusResponse *reply =
        wire_new(api->arena, &openshell__v1__get_sandbox_policy_status_response__descriptor);
    if (reply == NULL) {
        return API_OUT_OF_MEMORY(err);
    }
    reply->revision = map_policy_revision(&context, &revision);
    reply->active_version = (uint32_t)record.policy_loaded;
    *ret_reply = &reply->base;
    return reply->revision == NULL ? API_OUT_OF_MEMORY(err) : ERR_OK;
}

OPENSHELL_HANDLER(list_policies)
{
    const Openshell__V1__ListSandboxPoliciesRequest *request =
        (const Openshell__V1__ListSandboxPoliciesRequest *)message;
    const struct map_context context = map_context_of(api);
    struct sandbox_record record;
    struct store_list list;
    struct sandbox_policy_filter filter = {
        .offset = request->offset,
        .limit = request->limit == 0    ? LIST_DEFAULT
            : request->limit > LIST_MAX ? LIST_MAX
                                        : (int64_t)request->limit,
    };
    Openshell__V1__ListSandboxPoliciesResponse *reply =
        wire_new(api->arena, &openshell__v1__list_sandbox_policies_response__descriptor);
    if (reply == NULL) {
        return API_OUT_OF_MEMORY(err);
    }
    *ret_reply = &reply->base;
    if (request->global) {
        return ERR_OK; /* there is no global policy, so it has no revisions */
    }
    TRY(find(api, request->name, &record, err));
    filter.sandbox_id = str_of(record.id);
    TRY(store_sandbox_policy_list(
        api->work->conn, api->workspace_id, &filter, api->arena, &list, err));
    reply->revisions = arena_alloc(api->arena, (list.count + 1) * sizeof(void *));
    const struct sandbox_policy_record *records = list.records;
    for (size_t i = 0; reply->revisions != NULL && i < list.count; i++) {
        reply->revisions[i] = map_policy_revision(&context, &records[i]);
        if (reply->revisions[i] == NULL) {
            return API_OUT_OF_MEMORY(err);
        }
    }
    reply->n_revisions = list.count;
    return reply->revisions == NULL ? API_OUT_OF_MEMORY(err) : ERR_OK;
}

static enum err_code check_request(
    const Openshell__V1__UpdateConfigRequest *request, struct err_info *err)
{
    bool is_merge = request->n_merge_operations > 0;
    if (request->global || request->setting_key[0] != '\0' || request->delete_setting) {
        return ERR_SET(
            err,
            ERR_UNSUPPORTED,
            "settings and global policies are not served by this server: name a sandbox and give "
            "its policy");
    }
    if ((request->policy != NULL) == is_merge) {
        return ERR_SET(
            err, ERR_INVALID, "policy: either a whole policy or merge_operations is required");
    }
    return ERR_OK;
}

/* The policy as it shall be: the one given, or the one that stands with the operations applied.
 */
static enum err_code next_policy(
    struct api_call *api,
    const Openshell__V1__UpdateConfigRequest *request,
    const struct sandbox_policy_record *standing,
    sandbox_policy_type **ret_policy,
    struct err_info *err)
{
    const struct map_context context = map_context_of(api);
    const sandbox_policy_type *before = map_policy(&context, standing->policy);
    sandbox_policy_type *after = request->policy;
    if (after == NULL) {
        after = map_policy(&context, standing->policy);
    }
    if (before == NULL || after == NULL) {
        return API_OUT_OF_MEMORY(err);
    }
    TRY(policy_merge(
        api->arena, after, request->merge_operations, request->n_merge_operations, err));
    TRY(policy_check(after, err));
    TRY(policy_check_fixed(before, after, err));
    *ret_policy = after;
    return ERR_OK;
}

static enum err_code add_revision(
    struct api_call *api,
    struct sandbox_record *record,
    const sandbox_policy_type *policy,
    const struct sandbox_policy_record *said, /* hash and annotations */
    struct err_info *err)
{
    AUTO_BUF struct buf packed = BUF_INIT(POLICY_BYTES);
    TRY(wire_pack_within(&policy->base, "policy", &packed, err));
    const struct sandbox_policy_record revision = {
        .sandbox_id = record->id,
        .version = record->policy_version,
        .status = SANDBOX_POLICY_PENDING,
        .policy = buf_view(&packed),
        .hash = said->hash,
        .annotations = said->annotations,
        .created_by = api->principal->subject,
        .created_at = api->work->now.value,
    };
    work_wake(api->work, HUB_SANDBOXES, api->workspace_id);
    TRY(store_sandbox_update(api->work->conn, record, err));
    return store_sandbox_policy_add(api->work->conn, api->workspace_id, &revision, err);
}

static void write_annotations(const Openshell__V1__UpdateConfigRequest *request, struct buf *out)
{
    buf_append_char(out, '{');
    for (size_t i = 0; i < request->n_annotations; i++) {
        buf_printf(out, "%s", i > 0 ? "," : "");
        buf_append_json(out, str_of(request->annotations[i]->key));
        buf_append_char(out, ':');
        buf_append_json(out, str_of(request->annotations[i]->value));
    }
    buf_append_char(out, '}');
}

static enum err_code change_policy(
    struct api_call *api,
    const Openshell__V1__UpdateConfigRequest *request,
    struct sandbox_record *record,
    Openshell__V1__UpdateConfigResponse *reply,
    struct err_info *err)
{
    const struct lifecycle self = openshell_lifecycle(api);
    struct sandbox_policy_record standing;
    sandbox_policy_type *policy = NULL;
    char *hash = arena_alloc(api->arena, POLICY_HASH_TEXT_BYTES);
    AUTO_BUF struct buf annotations = BUF_INIT(JSON_BYTES);
    write_annotations(request, &annotations);
    if (hash == NULL || !buf_ok(&annotations)) {
        return ERR_SET(err, ERR_INVALID, "annotations: at most %d bytes", JSON_BYTES);
    }
    TRY(find_standing(api, record->id, &standing, err));
    TRY(next_policy(api, request, &standing, &policy, err));
    TRY(policy_hash(policy, hash, err));
    reply->version = (uint32_t)standing.version;
    if (!str_equal(str_of(hash), str_of(standing.hash))) {
        const struct sandbox_policy_record said = { .hash = hash,
                                                    .annotations = buf_text(&annotations) };
        record->policy_version++;
        TRY(lifecycle_send_policy(&self, record, policy, err));
        TRY(add_revision(api, record, policy, &said, err));
        reply->version = (uint32_t)record->policy_version;
    }
    reply->policy_hash = hash;
    return ERR_OK;
}

OPENSHELL_HANDLER(update_config)
{
    const Openshell__V1__UpdateConfigRequest *request =
        (const Openshell__V1__UpdateConfigRequest *)message;
    struct sandbox_record record;
    api->target = arena_printf(api->arena, "sandbox/%s", request->name);
    TRY(check_request(request, err));
    TRY(find(api, request->name, &record, err));
    if (request->expected_resource_version != 0
        && request->expected_resource_version != (uint64_t)record.revision) {
        return ERR_SET(
            err,
            ERR_CONFLICT,
            "expected_resource_version: the sandbox is at %lld; read it again",
            (long long)record.revision);
    }
    if (record.phase == PHASE_DELETING || record.phase == PHASE_ERROR) {
        return ERR_SET(
            err,
            ERR_PRECONDITION,
            "the sandbox's phase is %s: its policy cannot change",
            phase_name((enum phase)record.phase));
    }
    Openshell__V1__UpdateConfigResponse *reply =
        wire_new(api->arena, &openshell__v1__update_config_response__descriptor);
    if (reply == NULL) {
        return API_OUT_OF_MEMORY(err);
    }
    TRY(change_policy(api, request, &record, reply, err));
    *ret_reply = &reply->base;
    return ERR_OK;
}
