/* The handlers of openshell.v1.OpenShell: request to one call of sandbox/ or store/, rows to reply.
 * Each is an api_fn. */
#ifndef SERVER_OPENSHELL_HANDLERS_H
#define SERVER_OPENSHELL_HANDLERS_H

#include "cmd/server/api/api.h"
#include "cmd/server/api/watch.h"
#include "cmd/server/sandbox/lifecycle.h"

#include "proto/openshell/v1/openshell.pb-c.h"

#define OPENSHELL_HANDLER(name)          \
    enum err_code openshell_##name(      \
        struct api_call *api,            \
        const ProtobufCMessage *message, \
        ProtobufCMessage **ret_reply,    \
        struct err_info *err)

OPENSHELL_HANDLER(get_current_user);
OPENSHELL_HANDLER(get_gateway_info);
OPENSHELL_HANDLER(get_gateway_config);
OPENSHELL_HANDLER(create_sandbox);
OPENSHELL_HANDLER(get_sandbox);
OPENSHELL_HANDLER(list_sandboxes);
OPENSHELL_HANDLER(delete_sandbox);
OPENSHELL_HANDLER(stop_sandbox);
OPENSHELL_HANDLER(start_sandbox);
OPENSHELL_HANDLER(get_sandbox_logs);
OPENSHELL_HANDLER(get_sandbox_config);
OPENSHELL_HANDLER(update_config);
OPENSHELL_HANDLER(get_policy_status);
OPENSHELL_HANDLER(list_policies);
OPENSHELL_HANDLER(create_ssh_session);
OPENSHELL_HANDLER(revoke_ssh_session);

/* What the contract has and this server does not: UNIMPLEMENTED. */
OPENSHELL_HANDLER(unimplemented);
extern const struct rpc_stream_ops openshell_unimplemented_ops;

/* Whose is what a request names (api_whose_fn). */
#define OPENSHELL_WHOSE(name)                   \
    enum err_code openshell_whose_##name(       \
        struct work *work,                      \
        const ProtobufCMessage *message,        \
        struct workspace_record *ret_workspace, \
        struct err_info *err)

OPENSHELL_WHOSE(watch);
OPENSHELL_WHOSE(config);
OPENSHELL_WHOSE(exec);
OPENSHELL_WHOSE(interactive); /* the message with the start */
OPENSHELL_WHOSE(forward);     /* the frame with init */
OPENSHELL_WHOSE(session);
OPENSHELL_WHOSE(token);

/* Needs no principal and no database. */
enum err_code openshell_health(
    struct rpc_call *call,
    const ProtobufCMessage *request,
    ProtobufCMessage **ret_reply,
    struct err_info *err);

extern const struct api_watch_type openshell_watch_type;

/* Whose sandboxes a call is about. */
static inline struct lifecycle openshell_lifecycle(const struct api_call *api)
{
    return (struct lifecycle){
        .work = api->work,
        .workspace_id = api->workspace_id,
        .workspace = api->workspace,
        .actor = api->principal->subject,
        .is_operator = true,
    };
}

#endif
