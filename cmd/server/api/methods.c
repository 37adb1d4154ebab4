/*
 * The method table of AgentAdminService: one row per method, with the scope it needs as a required
 * argument. A method without a row keeps the server from starting.
 */
#include "cmd/server/api/handlers.h"
#include "cmd/server/api/watch.h"

enum {
    REQUEST_BYTES = 1024 * 1024 + 64 * 1024
};

#define PATH(method) "/agentgateway.v1.AgentAdminService/" method

/* Reads: no audit record. Writes: an audit record in the same transaction, refusals included. */
#define READ(scope_name, fn)                                                           \
    &(const struct api_method)                                                         \
    {                                                                                  \
        .rule = { .class = AUTH_OPERATOR, .scope = AUTH_##scope_name }, .handle = (fn) \
    }
#define NOTED_READ(scope_name, fn)                                                           \
    &(const struct api_method)                                                               \
    {                                                                                        \
        .rule = { .class = AUTH_OPERATOR, .scope = AUTH_##scope_name }, .takes_notes = true, \
        .handle = (fn)                                                                       \
    }
#define WRITE(scope_name, fn)                                                               \
    &(const struct api_method)                                                              \
    {                                                                                       \
        .rule = { .class = AUTH_OPERATOR, .scope = AUTH_##scope_name, .is_audited = true }, \
        .handle = (fn)                                                                      \
    }
/* Between workspaces: platform admins alone, in a transaction that sees both. */
#define LOAN(audited, fn)                          \
    &(const struct api_method)                     \
    {                                              \
        .rule = { .class = AUTH_OPERATOR,          \
                  .scope = AUTH_AGENT_WRITE,       \
                  .is_audited = (audited),         \
                  .needs_platform_admin = true },  \
        .is_over_workspaces = true, .handle = (fn) \
    }
#define NOTED_WATCH(scope_name, type)                                                        \
    &(const struct api_method)                                                               \
    {                                                                                        \
        .rule = { .class = AUTH_OPERATOR, .scope = AUTH_##scope_name }, .takes_notes = true, \
        .watch = (type)                                                                      \
    }
#define WATCH(scope_name, type)                                                         \
    &(const struct api_method)                                                          \
    {                                                                                   \
        .rule = { .class = AUTH_OPERATOR, .scope = AUTH_##scope_name }, .watch = (type) \
    }

#define UNARY(name, in, out, policy_row)                                           \
    {                                                                              \
        .path = PATH(name), .input = &agentgateway__v1__##in##__descriptor,        \
        .output = &agentgateway__v1__##out##__descriptor, .kind = RPC_UNARY,       \
        .max_request_bytes = REQUEST_BYTES, .deadline_cap_us = 60 * US_PER_SECOND, \
        .unary = api_unary, .policy = (policy_row)                                 \
    }
#define STREAM(name, in, out, policy_row)                                                  \
    {                                                                                      \
        .path = PATH(name), .input = &agentgateway__v1__##in##__descriptor,                \
        .output = &agentgateway__v1__##out##__descriptor, .kind = RPC_SERVER_STREAM,       \
        .max_request_bytes = REQUEST_BYTES, .is_blocking = true, .stream = &api_watch_ops, \
        .policy = (policy_row)                                                             \
    }

/* clang-format off */
static const struct rpc_method rows[] = {
    UNARY("CreateEnrollmentToken", create_enrollment_token_request, create_enrollment_token_response, WRITE(AGENT_WRITE, api_create_enrollment_token)),
    UNARY("ListEnrollmentTokens", list_enrollment_tokens_request, list_enrollment_tokens_response, READ(AGENT_READ, api_list_enrollment_tokens)),
    UNARY("RevokeEnrollmentToken", revoke_enrollment_token_request, enrollment_token, WRITE(AGENT_WRITE, api_revoke_enrollment_token)),
    UNARY("ListAgents", list_agents_request, list_agents_response, READ(AGENT_READ, api_list_agents)),
    UNARY("GetAgent", get_agent_request, agent, READ(AGENT_READ, api_get_agent)),
    UNARY("ConfirmAgent", confirm_agent_request, confirm_agent_response, WRITE(AGENT_WRITE, api_confirm_agent)),
    UNARY("UpdateAgent", update_agent_request, agent, WRITE(AGENT_WRITE, api_update_agent)),
    UNARY("EvictAgent", evict_agent_request, agent, WRITE(AGENT_WRITE, api_evict_agent)),
    UNARY("RevokeAgent", revoke_agent_request, agent, WRITE(AGENT_WRITE, api_revoke_agent)),
    UNARY("RotateAgentKey", rotate_agent_key_request, command, WRITE(AGENT_WRITE, api_rotate_agent_key)),
    UNARY("LendAgent", lend_agent_request, loan_change, LOAN(true, api_lend_agent)),
    UNARY("ListLoans", list_loans_request, list_loans_response, LOAN(false, api_list_loans)),
    UNARY("ReclaimAgent", reclaim_agent_request, loan_change, LOAN(true, api_reclaim_agent)),
    UNARY("ListDevices", list_devices_request, list_devices_response, READ(DEVICE_READ, api_list_devices)),
    UNARY("GetDevice", get_device_request, device, READ(DEVICE_READ, api_get_device)),
    UNARY("SendCommand", send_command_request, command, WRITE(COMMAND_WRITE, api_send_command)),
    UNARY("GetCommand", get_command_request, command, READ(COMMAND_READ, api_get_command)),
    UNARY("ListCommands", list_commands_request, list_commands_response, READ(COMMAND_READ, api_list_commands)),
    UNARY("CancelCommand", cancel_command_request, command, WRITE(COMMAND_WRITE, api_cancel_command)),
    UNARY("ListMetrics", list_metrics_request, list_metrics_response, READ(TELEMETRY_READ, api_list_metrics)),
    UNARY("QueryTelemetry", query_telemetry_request, query_telemetry_response, READ(TELEMETRY_READ, api_query_telemetry)),
    UNARY("ListEvents", list_events_request, list_events_response, READ(TELEMETRY_READ, api_list_events)),
    UNARY("CreateApiKey", create_api_key_request, create_api_key_response, WRITE(ACCESS_WRITE, api_create_api_key)),
    UNARY("ListApiKeys", list_api_keys_request, list_api_keys_response, READ(ACCESS_READ, api_list_api_keys)),
    UNARY("RevokeApiKey", revoke_api_key_request, api_key, WRITE(ACCESS_WRITE, api_revoke_api_key)),
    UNARY("ListAuditRecords", list_audit_records_request, list_audit_records_response, NOTED_READ(AUDIT_READ, api_list_audit_records)),
    UNARY("GetUsage", get_usage_request, get_usage_response, READ(USAGE_READ, api_get_usage)),
    UNARY("ListSandboxFigures", list_sandbox_figures_request, list_sandbox_figures_response, NOTED_READ(SANDBOX_READ, api_list_sandbox_figures)),
    UNARY("GetQuota", get_quota_request, quota, READ(USAGE_READ, api_get_quota)),
    UNARY("ListQuotas", list_quotas_request, list_quotas_response, READ(USAGE_READ, api_list_quotas)),
    UNARY("SetQuota", set_quota_request, quota, WRITE(USAGE_WRITE, api_set_quota)),
    UNARY("DeleteQuota", delete_quota_request, quota, WRITE(USAGE_WRITE, api_delete_quota)),
    UNARY("GetServerInfo", get_server_info_request, server_info, READ(SCOPE_NONE, api_get_server_info)),
    STREAM("WatchAgents", watch_agents_request, agent_change, WATCH(AGENT_READ, &watch_agents_type)),
    STREAM("WatchCommand", watch_command_request, command, WATCH(COMMAND_READ, &watch_command_type)),
    STREAM("WatchTelemetry", watch_telemetry_request, telemetry_point, WATCH(TELEMETRY_READ, &watch_telemetry_type)),
    STREAM("WatchEvents", watch_events_request, event, WATCH(TELEMETRY_READ, &watch_events_type)),
    STREAM("WatchAuditRecords", watch_audit_records_request, audit_record, NOTED_WATCH(AUDIT_READ, &watch_audit_type)),
};

/* clang-format on */

struct rpc_table api_methods(void)
{
    return (struct rpc_table){ .rows = rows, .count = ARRAY_LENGTH(rows) };
}
