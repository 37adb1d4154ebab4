#include "cmd/server/api/api.h"

#include "cmd/server/auth/gate.h"
#include "cmd/server/store/access.h"
#include "cmd/server/store/agent.h"
#include "common/sys/fault.h"
#include "common/wire/wire.h"

struct str_view api_text_field(const ProtobufCMessage *message, const char *name)
{
    const ProtobufCFieldDescriptor *field =
        protobuf_c_message_descriptor_get_field_by_name(message->descriptor, name);
    if (field == NULL || field->type != PROTOBUF_C_TYPE_STRING
        || field->label == PROTOBUF_C_LABEL_REPEATED) {
        return STR_NONE;
    }
    const char *text = *(const char *const *)(const void *)((const char *)message + field->offset);
    return str_of(text == NULL ? "" : text);
}

struct lookup {
    struct str_view name;
    struct workspace_record record;
};

static enum err_code find_workspace(struct work *work, void *context, struct err_info *err)
{
    struct lookup *lookup = context;
    return store_workspace_find(work->conn, lookup->name, work->arena, &lookup->record, err);
}

static bool flag_field(const ProtobufCMessage *message, const char *name)
{
    const ProtobufCFieldDescriptor *field =
        protobuf_c_message_descriptor_get_field_by_name(message->descriptor, name);
    return field != NULL && field->type == PROTOBUF_C_TYPE_BOOL
        && *(const protobuf_c_boolean *)(const void *)((const char *)message + field->offset);
}

static enum err_code resolve_all_workspaces(
    struct api_call *api, struct str_view named, struct err_info *err)
{
    if (!api->principal->is_platform_admin) {
        return ERR_SET(err, ERR_DENIED, "platform admin role required");
    }
    if (named.len > 0) {
        return ERR_SET(err, ERR_INVALID, "all_workspaces: excludes workspace");
    }
    api->workspace_id = SQL_ALL_WORKSPACES;
    return ERR_OK;
}

/* The contract of sandboxes has clients look for these words; elsewhere it is as none. */
static enum err_code refuse_workspace(
    const struct api_call *api, struct str_view name, struct err_info *err)
{
    enum {
        NAME_CHARS = 63,
        SUBJECT_CHARS = 128
    };

    int length = (int)(name.len > NAME_CHARS ? NAME_CHARS : name.len);
    if (!str_has_prefix(str_of(rpc_call_method(api->call)->path), STR("/openshell."))) {
        return ERR_SET(err, ERR_NOT_FOUND, "workspace: no such workspace");
    }
    return ERR_SET(
        err,
        ERR_DENIED,
        "not a member of workspace '%.*s'; a platform admin may run: openshell workspace member add "
        "--workspace '%.*s' --subject '%.*s' --role user",
        length,
        name.ptr,
        length,
        name.ptr,
        SUBJECT_CHARS,
        api->principal->subject);
}

struct whose {
    api_whose_fn find;
    const ProtobufCMessage *request;
    struct workspace_record record;
};

static enum err_code find_whose(struct work *work, void *context, struct err_info *err)
{
    struct whose *whose = context;
    return whose->find(work, whose->request, &whose->record, err);
}

static enum err_code follow_id(
    struct api_call *api,
    struct worker *worker,
    const ProtobufCMessage *request,
    struct err_info *err)
{
    const struct api_method *method = rpc_call_method(api->call)->policy;
    struct whose whose = { method->whose, request, { .id = 0 } };
    if (method->whose == NULL || !api->principal->is_platform_admin) {
        return ERR_OK;
    }
    enum err_code code = work_read(worker, api->arena, SQL_ALL_WORKSPACES, find_whose, &whose, err);
    if (code == ERR_OK) {
        api->workspace_id = whose.record.id;
        api->workspace = whose.record.name;
    }
    return code == ERR_NOT_FOUND ? ERR_OK : code; /* the handler says so */
}

enum err_code api_resolve_workspace(
    struct api_call *api,
    struct worker *worker,
    const ProtobufCMessage *request,
    struct err_info *err)
{
    const struct principal *principal = api->principal;
    struct lookup lookup = { .name = api_text_field(request, "workspace") };
    bool own = lookup.name.len == 0 || str_equal(lookup.name, str_of(principal->workspace));
    api->workspace_id = principal->workspace_id;
    api->workspace = principal->workspace;
    if (flag_field(request, "all_workspaces")) {
        return resolve_all_workspaces(api, lookup.name, err);
    }
    if (own) {
        return follow_id(api, worker, request, err);
    }
    if (!principal->is_platform_admin) {
        return refuse_workspace(api, lookup.name, err); /* whether there is one or not */
    }
    enum err_code code =
        work_read(worker, api->arena, SQL_ALL_WORKSPACES, find_workspace, &lookup, err);
    if (code == ERR_NOT_FOUND) {
        return ERR_SET(err, ERR_NOT_FOUND, "workspace: no such workspace");
    }
    TRY(code);
    api->workspace_id = lookup.record.id;
    api->workspace = lookup.record.name;
    return ERR_OK;
}

enum err_code api_agent_id(
    struct api_call *api, const char *id_or_name, int64_t *ret_id, struct err_info *err)
{
    struct agent_record agent = { .id = 0 };
    if (id_or_name[0] != '\0') {
        TRY(store_agent_find(
            api->work->conn, api->workspace_id, str_of(id_or_name), api->arena, &agent, err));
    }
    *ret_id = agent.id;
    return ERR_OK;
}

struct unary {
    struct api_call *api;
    const struct api_method *method;
    const ProtobufCMessage *request;
    ProtobufCMessage *reply;
};

static enum err_code audit_allowed(struct api_call *api, struct err_info *err)
{
    const struct audit_entry entry = {
        .workspace_id = api->workspace_id,
        .actor = api->principal->subject,
        .action = rpc_call_method(api->call)->path + 1,
        .target = api->target,
        .decision = "allowed",
        .reason = "",
        .request_id = rpc_call_id(api->call),
        .source = api->principal->source,
    };
    return work_audit(api->work, &entry, err);
}

static enum err_code run_unary(struct work *work, void *context, struct err_info *err)
{
    struct unary *unary = context;
    unary->api->work = work;
    unary->api->target = "";
    TRY(unary->method->handle(unary->api, unary->request, &unary->reply, err));
    return unary->method->rule.is_audited ? audit_allowed(unary->api, err) : ERR_OK;
}

enum err_code api_unary(
    struct rpc_call *call,
    const ProtobufCMessage *request,
    ProtobufCMessage **ret_reply,
    struct err_info *err)
{
    struct worker *worker = rpc_call_worker(call);
    struct api_call api = {
        .call = call,
        .service = rpc_call_service(call),
        .principal = principal_of(call),
        .arena = rpc_call_arena(call),
        .target = "",
    };
    struct unary unary = { &api, rpc_call_method(call)->policy, request, NULL };
    enum err_code code = api_resolve_workspace(&api, worker, request, err);
    if (code == ERR_OK) {
        bool writes = unary.method->rule.is_audited || unary.method->takes_notes;
        int64_t wall = unary.method->is_over_workspaces ? SQL_ALL_WORKSPACES : api.workspace_id;
        code = (writes ? work_run : work_read)(worker, api.arena, wall, run_unary, &unary, err);
    }
    if (code == ERR_OK) {
        FAULT_POINT("server.call.stored");
        *ret_reply = unary.reply;
        return ERR_OK;
    }
    if (unary.method->rule.is_audited && gate_is_refusal(code)) {
        struct err_info why = *err;
        const struct gate_refusal refusal = { api.principal, api.target, code, why.text };
        TRY(gate_audit_refusal(call, &refusal, err));
        *err = why;
    }
    return code;
}
