/*
 * The operators' pipeline behind the gate: workspace, transaction, handler, audit record, commit. A
 * handler maps the request to store calls and the rows back; it runs inside the transaction and may
 * run again when the transaction lost a race.
 */
#ifndef SERVER_API_API_H
#define SERVER_API_API_H

#include "cmd/server/auth/principal.h"
#include "cmd/server/core/work.h"
#include "cmd/server/store/access.h"
#include "common/rpc/server.h"

#include "proto/agentgateway/v1/admin.pb-c.h"

struct api_call {
    struct rpc_call *call;
    struct service *service;
    const struct principal *principal;
    struct work *work; /* the transaction */
    struct arena *arena;
    int64_t workspace_id; /* SQL_ALL_WORKSPACES: the request says all_workspaces */
    const char *workspace;
    const char *target; /* set by handlers that change something: "agent/7" */
};

typedef enum err_code (*api_fn)(
    struct api_call *api,
    const ProtobufCMessage *request,
    ProtobufCMessage **ret_reply,
    struct err_info *err);

/* Where what a request names is, looked for in all workspaces. ERR_NOT_FOUND: nowhere. */
typedef enum err_code (*api_whose_fn)(
    struct work *work,
    const ProtobufCMessage *request,
    struct workspace_record *ret_workspace,
    struct err_info *err);

/* Policy of a row: the rule must come first (auth/rule.h). */
struct api_method {
    struct auth_rule rule;
    api_whose_fn whose; /* NULL, but for requests by id that have no field for a workspace */
    api_fn handle;      /* unary */
    const struct api_watch_type *watch; /* server streams */
    bool takes_notes;                   /* a read that writes as well; of a watch, its beginning */
    /* unary, of platform admins alone: its transaction sees all workspaces, whichever the request
     * names */
    bool is_over_workspaces;
};

/* The rows of AgentAdminService. */
struct rpc_table api_methods(void);

/* rpc handler of every unary row. */
enum err_code api_unary(
    struct rpc_call *call,
    const ProtobufCMessage *request,
    ProtobufCMessage **ret_reply,
    struct err_info *err);

/*
 * The workspace a request names, as the caller may use it: an API key's own or nothing; for the
 * local operator any. Another's is ERR_NOT_FOUND, as if it did not exist. all_workspaces is for
 * platform admins. Where the method says whose it is, platform admins are led to that workspace,
 * and to their own when there is no such thing. Blocks on the database.
 */
enum err_code api_resolve_workspace(
    struct api_call *api,
    struct worker *worker,
    const ProtobufCMessage *request,
    struct err_info *err) MUST_CHECK;

/* Text of a string field by name, STR_NONE when the message has none. */
struct str_view api_text_field(const ProtobufCMessage *message, const char *name);

/* Id of the agent a request names ("": 0, meaning any). ERR_NOT_FOUND. */
enum err_code api_agent_id(
    struct api_call *api, const char *id_or_name, int64_t *ret_id, struct err_info *err) MUST_CHECK;

#define API_OUT_OF_MEMORY(err) ERR_SET((err), ERR_LIMIT, "the answer is too large")

#endif
