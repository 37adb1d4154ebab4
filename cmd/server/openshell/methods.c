/*
 * The method table of openshell.v1.OpenShell: one row per method of the contract, with the class,
 * scope and role that its proto file says. Rows without a handler are authorised like the others
 * and then answer UNIMPLEMENTED.
 */
#include "cmd/server/openshell/handlers.h"
#include "cmd/server/openshell/openshell.h"
#include "cmd/server/openshell/streams.h"

enum {
    SMALL = 4096,
    REQUEST_BYTES = 1024 * 1024
};

#define DEADLINE_US (INT64_C(60) * US_PER_SECOND)

#define PATH(method)   .path = "/openshell.v1.OpenShell/" method
#define TYPES(in, out) .input = &in##__descriptor, .output = &out##__descriptor

/* A read leaves no audit record; a write leaves one in its transaction, refusals included. */
#define POLICY(...)            \
    &(const struct api_method) \
    {                          \
        __VA_ARGS__            \
    }
#define READ(of, fn) POLICY(.rule = { .class = AUTH_OPERATOR, .scope = AUTH_##of }, .handle = (fn))
#define ADMIN_READ(of, fn)                                                                       \
    POLICY(.rule = { .class = AUTH_OPERATOR, .scope = AUTH_##of, .needs_platform_admin = true }, \
           .handle = (fn))
#define WRITE(of, fn)                                                                  \
    POLICY(.rule = { .class = AUTH_OPERATOR, .scope = AUTH_##of, .is_audited = true }, \
           .handle = (fn))
/* By an id, in requests without a workspace. */
#define READ_BY_ID(of, fn, by) \
    POLICY(.rule = { .class = AUTH_OPERATOR, .scope = AUTH_##of }, .handle = (fn), .whose = (by))
#define WRITE_BY_ID(of, fn, by)                                                        \
    POLICY(.rule = { .class = AUTH_OPERATOR, .scope = AUTH_##of, .is_audited = true }, \
           .handle = (fn),                                                             \
           .whose = (by))
#define ABSENT(of)       READ(of, openshell_unimplemented)
#define ADMIN_ABSENT(of) ADMIN_READ(of, openshell_unimplemented)
#define FOR_SANDBOXES    POLICY(.rule = { .class = AUTH_SANDBOX }, .handle = openshell_unimplemented)

#define UNARY(name, in, out, policy_row)                                                   \
    {                                                                                      \
        PATH(name), TYPES(in, out), .kind = RPC_UNARY, .max_request_bytes = REQUEST_BYTES, \
                                    .deadline_cap_us = DEADLINE_US, .unary = api_unary,    \
                                    .policy = (policy_row)                                 \
    }
#define WATCH(name, in, out, of, type, by)                                                      \
    {                                                                                           \
        PATH(name), TYPES(in, out),                                                             \
            .kind = RPC_SERVER_STREAM, .max_request_bytes = REQUEST_BYTES, .is_blocking = true, \
            .stream = &api_watch_ops,                                                           \
            .policy =                                                                           \
                POLICY(.rule = { .class = AUTH_OPERATOR, .scope = AUTH_##of },                  \
                       .watch = (type),                                                         \
                       .whose = (by))                                                           \
    }
/* Bidirectional ones have the start in their first message; its bound is that of every request. */
#define RELAY(name, in, out, stream_kind, of, ops, by)                                             \
    {                                                                                              \
        PATH(name), TYPES(in, out),                                                                \
            .kind = (stream_kind), .max_request_bytes = REQUEST_BYTES, .is_blocking = true,        \
            .stream = (ops),                                                                       \
            .policy =                                                                              \
                POLICY(.rule = { .class = AUTH_OPERATOR, .scope = AUTH_##of, .is_audited = true }, \
                       .whose = (by))                                                              \
    }
#define STREAM(name, in, out, stream_kind, policy_row)                                           \
    {                                                                                            \
        PATH(name), TYPES(in, out), .kind = (stream_kind), .max_request_bytes = REQUEST_BYTES,   \
                                    .is_blocking = true, .stream = &openshell_unimplemented_ops, \
                                    .policy = (policy_row)                                       \
    }

static const struct auth_rule public_rule = { .class = AUTH_PUBLIC };

/* clang-format off */
static const struct rpc_method rows[] = {
    { PATH("Health"), TYPES(openshell__v1__health_request, openshell__v1__health_response), .kind = RPC_UNARY, .max_request_bytes = SMALL, .deadline_cap_us = DEADLINE_US, .unary = openshell_health, .policy = &public_rule },
    UNARY("GetCurrentUser", openshell__v1__get_current_user_request, openshell__v1__get_current_user_response, READ(SCOPE_NONE, openshell_get_current_user)),
    UNARY("GetGatewayInfo", openshell__v1__get_gateway_info_request, openshell__v1__get_gateway_info_response, ADMIN_READ(CONFIG_READ, openshell_get_gateway_info)),
    UNARY("CreateSandbox", openshell__v1__create_sandbox_request, openshell__v1__sandbox_response, WRITE(SANDBOX_WRITE, openshell_create_sandbox)),
    UNARY("GetSandbox", openshell__v1__get_sandbox_request, openshell__v1__sandbox_response, READ(SANDBOX_READ, openshell_get_sandbox)),
    UNARY("ListSandboxes", openshell__v1__list_sandboxes_request, openshell__v1__list_sandboxes_response, READ(SANDBOX_READ, openshell_list_sandboxes)),
    UNARY("ListSandboxProviders", openshell__v1__list_sandbox_providers_request, openshell__v1__list_sandbox_providers_response, ABSENT(SANDBOX_READ)),
    UNARY("AttachSandboxProvider", openshell__v1__attach_sandbox_provider_request, openshell__v1__attach_sandbox_provider_response, ABSENT(SANDBOX_WRITE)),
    UNARY("DetachSandboxProvider", openshell__v1__detach_sandbox_provider_request, openshell__v1__detach_sandbox_provider_response, ABSENT(SANDBOX_WRITE)),
    UNARY("DeleteSandbox", openshell__v1__delete_sandbox_request, openshell__v1__delete_sandbox_response, WRITE(SANDBOX_WRITE, openshell_delete_sandbox)),
    UNARY("StopSandbox", openshell__v1__stop_sandbox_request, openshell__v1__sandbox_response, WRITE(SANDBOX_WRITE, openshell_stop_sandbox)),
    UNARY("StartSandbox", openshell__v1__start_sandbox_request, openshell__v1__sandbox_response, WRITE(SANDBOX_WRITE, openshell_start_sandbox)),
    UNARY("CreateSshSession", openshell__v1__create_ssh_session_request, openshell__v1__create_ssh_session_response, WRITE_BY_ID(SANDBOX_WRITE, openshell_create_ssh_session, openshell_whose_session)),
    UNARY("ExposeService", openshell__v1__expose_service_request, openshell__v1__service_endpoint_response, ABSENT(SANDBOX_WRITE)),
    UNARY("GetService", openshell__v1__get_service_request, openshell__v1__service_endpoint_response, ABSENT(SANDBOX_READ)),
    UNARY("ListServices", openshell__v1__list_services_request, openshell__v1__list_services_response, ABSENT(SANDBOX_READ)),
    UNARY("DeleteService", openshell__v1__delete_service_request, openshell__v1__delete_service_response, ABSENT(SANDBOX_WRITE)),
    UNARY("RevokeSshSession", openshell__v1__revoke_ssh_session_request, openshell__v1__revoke_ssh_session_response, WRITE_BY_ID(SANDBOX_WRITE, openshell_revoke_ssh_session, openshell_whose_token)),
    RELAY("ExecSandbox", openshell__v1__exec_sandbox_request, openshell__v1__exec_sandbox_event, RPC_SERVER_STREAM, SANDBOX_WRITE, &openshell_exec_ops, openshell_whose_exec),
    RELAY("ForwardTcp", openshell__v1__tcp_forward_frame, openshell__v1__tcp_forward_frame, RPC_BIDI, SANDBOX_WRITE, &openshell_forward_ops, openshell_whose_forward),
    RELAY("ExecSandboxInteractive", openshell__v1__exec_sandbox_input, openshell__v1__exec_sandbox_event, RPC_BIDI, SANDBOX_WRITE, &openshell_interactive_ops, openshell_whose_interactive),
    UNARY("CreateProvider", openshell__v1__create_provider_request, openshell__v1__provider_response, ABSENT(PROVIDER_WRITE)),
    UNARY("GetProvider", openshell__v1__get_provider_request, openshell__v1__provider_response, ABSENT(PROVIDER_READ)),
    UNARY("ListProviders", openshell__v1__list_providers_request, openshell__v1__list_providers_response, ABSENT(PROVIDER_READ)),
    UNARY("ListProviderProfiles", openshell__v1__list_provider_profiles_request, openshell__v1__list_provider_profiles_response, ABSENT(PROVIDER_READ)),
    UNARY("GetProviderProfile", openshell__v1__get_provider_profile_request, openshell__v1__provider_profile_response, ABSENT(PROVIDER_READ)),
    UNARY("ImportProviderProfiles", openshell__v1__import_provider_profiles_request, openshell__v1__import_provider_profiles_response, ABSENT(PROVIDER_WRITE)),
    UNARY("UpdateProviderProfiles", openshell__v1__update_provider_profiles_request, openshell__v1__update_provider_profiles_response, ABSENT(PROVIDER_WRITE)),
    UNARY("LintProviderProfiles", openshell__v1__lint_provider_profiles_request, openshell__v1__lint_provider_profiles_response, ABSENT(PROVIDER_READ)),
    UNARY("UpdateProvider", openshell__v1__update_provider_request, openshell__v1__provider_response, ABSENT(PROVIDER_WRITE)),
    UNARY("GetProviderRefreshStatus", openshell__v1__get_provider_refresh_status_request, openshell__v1__get_provider_refresh_status_response, ABSENT(PROVIDER_READ)),
    UNARY("ConfigureProviderRefresh", openshell__v1__configure_provider_refresh_request, openshell__v1__configure_provider_refresh_response, ABSENT(PROVIDER_WRITE)),
    UNARY("RotateProviderCredential", openshell__v1__rotate_provider_credential_request, openshell__v1__rotate_provider_credential_response, ABSENT(PROVIDER_WRITE)),
    UNARY("DeleteProviderRefresh", openshell__v1__delete_provider_refresh_request, openshell__v1__delete_provider_refresh_response, ABSENT(PROVIDER_WRITE)),
    UNARY("DeleteProvider", openshell__v1__delete_provider_request, openshell__v1__delete_provider_response, ABSENT(PROVIDER_WRITE)),
    UNARY("DeleteProviderProfile", openshell__v1__delete_provider_profile_request, openshell__v1__delete_provider_profile_response, ABSENT(PROVIDER_WRITE)),
    UNARY("GetSandboxConfig", openshell__sandbox__v1__get_sandbox_config_request, openshell__sandbox__v1__get_sandbox_config_response, READ_BY_ID(CONFIG_READ, openshell_get_sandbox_config, openshell_whose_config)),
    UNARY("GetGatewayConfig", openshell__sandbox__v1__get_gateway_config_request, openshell__sandbox__v1__get_gateway_config_response, READ(CONFIG_READ, openshell_get_gateway_config)),
    UNARY("UpdateConfig", openshell__v1__update_config_request, openshell__v1__update_config_response, WRITE(CONFIG_WRITE, openshell_update_config)),
    UNARY("GetSandboxPolicyStatus", openshell__v1__get_sandbox_policy_status_request, openshell__v1__get_sandbox_policy_status_response, READ(SANDBOX_READ, openshell_get_policy_status)),
    UNARY("ListSandboxPolicies", openshell__v1__list_sandbox_policies_request, openshell__v1__list_sandbox_policies_response, READ(SANDBOX_READ, openshell_list_policies)),
    UNARY("ReportPolicyStatus", openshell__v1__report_policy_status_request, openshell__v1__report_policy_status_response, FOR_SANDBOXES),
    UNARY("GetSandboxProviderEnvironment", openshell__v1__get_sandbox_provider_environment_request, openshell__v1__get_sandbox_provider_environment_response, FOR_SANDBOXES),
    UNARY("GetSandboxLogs", openshell__v1__get_sandbox_logs_request, openshell__v1__get_sandbox_logs_response, READ(SANDBOX_READ, openshell_get_sandbox_logs)),
    STREAM("PushSandboxLogs", openshell__v1__push_sandbox_logs_request, openshell__v1__push_sandbox_logs_response, RPC_CLIENT_STREAM, FOR_SANDBOXES),
    STREAM("ConnectSupervisor", openshell__v1__supervisor_message, openshell__v1__gateway_message, RPC_BIDI, FOR_SANDBOXES),
    UNARY("ReportMainProcessExit", openshell__v1__report_main_process_exit_request, openshell__v1__report_main_process_exit_response, FOR_SANDBOXES),
    STREAM("RelayStream", openshell__v1__relay_frame, openshell__v1__relay_frame, RPC_BIDI, FOR_SANDBOXES),
    WATCH("WatchSandbox", openshell__v1__watch_sandbox_request, openshell__v1__sandbox_stream_event, SANDBOX_READ, &openshell_watch_type, openshell_whose_watch),
    UNARY("SubmitPolicyAnalysis", openshell__v1__submit_policy_analysis_request, openshell__v1__submit_policy_analysis_response, FOR_SANDBOXES),
    UNARY("GetDraftPolicy", openshell__v1__get_draft_policy_request, openshell__v1__get_draft_policy_response, ABSENT(CONFIG_READ)),
    UNARY("ApproveDraftChunk", openshell__v1__approve_draft_chunk_request, openshell__v1__approve_draft_chunk_response, ABSENT(CONFIG_WRITE)),
    UNARY("RejectDraftChunk", openshell__v1__reject_draft_chunk_request, openshell__v1__reject_draft_chunk_response, ABSENT(CONFIG_WRITE)),
    UNARY("ApproveAllDraftChunks", openshell__v1__approve_all_draft_chunks_request, openshell__v1__approve_all_draft_chunks_response, ABSENT(CONFIG_WRITE)),
    UNARY("EditDraftChunk", openshell__v1__edit_draft_chunk_request, openshell__v1__edit_draft_chunk_response, ABSENT(CONFIG_WRITE)),
    UNARY("UndoDraftChunk", openshell__v1__undo_draft_chunk_request, openshell__v1__undo_draft_chunk_response, ABSENT(CONFIG_WRITE)),
    UNARY("ClearDraftChunks", openshell__v1__clear_draft_chunks_request, openshell__v1__clear_draft_chunks_response, ABSENT(CONFIG_WRITE)),
    UNARY("GetDraftHistory", openshell__v1__get_draft_history_request, openshell__v1__get_draft_history_response, ABSENT(CONFIG_READ)),
    UNARY("IssueSandboxToken", openshell__v1__issue_sandbox_token_request, openshell__v1__issue_sandbox_token_response, FOR_SANDBOXES),
    UNARY("RefreshSandboxToken", openshell__v1__refresh_sandbox_token_request, openshell__v1__refresh_sandbox_token_response, FOR_SANDBOXES),
    UNARY("CreateWorkspace", openshell__v1__create_workspace_request, openshell__v1__create_workspace_response, ADMIN_ABSENT(WORKSPACE_WRITE)),
    UNARY("GetWorkspace", openshell__v1__get_workspace_request, openshell__v1__get_workspace_response, ABSENT(WORKSPACE_READ)),
    UNARY("ListWorkspaces", openshell__v1__list_workspaces_request, openshell__v1__list_workspaces_response, ABSENT(WORKSPACE_READ)),
    UNARY("DeleteWorkspace", openshell__v1__delete_workspace_request, openshell__v1__delete_workspace_response, ADMIN_ABSENT(WORKSPACE_WRITE)),
    UNARY("AddWorkspaceMember", openshell__v1__add_workspace_member_request, openshell__v1__add_workspace_member_response, ABSENT(WORKSPACE_WRITE)),
    UNARY("RemoveWorkspaceMember", openshell__v1__remove_workspace_member_request, openshell__v1__remove_workspace_member_response, ABSENT(WORKSPACE_WRITE)),
    UNARY("ListWorkspaceMembers", openshell__v1__list_workspace_members_request, openshell__v1__list_workspace_members_response, ABSENT(WORKSPACE_READ)),
};

/* clang-format on */

struct rpc_table openshell_methods(void)
{
    return (struct rpc_table){ .rows = rows, .count = ARRAY_LENGTH(rows) };
}
