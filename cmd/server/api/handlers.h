/* Handlers of AgentAdminService, one file per resource (api_fn each). */
#ifndef SERVER_API_HANDLERS_H
#define SERVER_API_HANDLERS_H

#include "cmd/server/api/api.h"

#define API_HANDLER(name)                \
    enum err_code api_##name(            \
        struct api_call *api,            \
        const ProtobufCMessage *message, \
        ProtobufCMessage **ret_reply,    \
        struct err_info *err)

API_HANDLER(create_enrollment_token);
API_HANDLER(list_enrollment_tokens);
API_HANDLER(revoke_enrollment_token);
API_HANDLER(confirm_agent);
API_HANDLER(list_agents);
API_HANDLER(get_agent);
API_HANDLER(update_agent);
API_HANDLER(evict_agent);
API_HANDLER(revoke_agent);
API_HANDLER(rotate_agent_key);
API_HANDLER(lend_agent);
API_HANDLER(list_loans);
API_HANDLER(reclaim_agent);
API_HANDLER(list_devices);
API_HANDLER(get_device);
API_HANDLER(send_command);
API_HANDLER(get_command);
API_HANDLER(list_commands);
API_HANDLER(cancel_command);
API_HANDLER(list_metrics);
API_HANDLER(query_telemetry);
API_HANDLER(list_events);
API_HANDLER(create_api_key);
API_HANDLER(list_api_keys);
API_HANDLER(revoke_api_key);
API_HANDLER(list_audit_records);
API_HANDLER(get_usage);
API_HANDLER(list_sandbox_figures);
API_HANDLER(get_quota);
API_HANDLER(list_quotas);
API_HANDLER(set_quota);
API_HANDLER(delete_quota);
API_HANDLER(get_server_info);

#endif
