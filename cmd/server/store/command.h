/* Commands: durable rows with a sequence per agent. Inside the caller's transaction. */
#ifndef SERVER_STORE_COMMAND_H
#define SERVER_STORE_COMMAND_H

#include "cmd/server/store/row.h"

/* Values are those of agentgateway.v1.CommandState. */
enum command_state {
    COMMAND_QUEUED = 1,
    COMMAND_SENT,
    COMMAND_SUCCEEDED,
    COMMAND_FAILED,
    COMMAND_EXPIRED,
    COMMAND_CANCELLED
};

struct command_record {
    int64_t workspace_id;
    const char *id;
    int64_t agent_id;
    const char *agent_name;
    int64_t sequence;
    int64_t state; /* enum command_state */
    const char *kind;
    struct str_view payload; /* packed AgentCommand; of a finished sandbox_create "" */
    const char *actor;
    struct str_view signature;
    int64_t created_at;
    int64_t expires_at;
    int64_t sent_at;
    int64_t finished_at;
    int64_t code;
    const char *error_message;
    struct str_view result;
    const char *idempotency_key; /* "": none */
    int64_t revision;
    const char *workspace;
    const char *sandbox_id; /* the one it is about; "": none */
};

struct command_filter {
    int64_t agent_id;       /* list: 0: any */
    int64_t state;          /* list: 0: any */
    struct str_view before; /* list: id ("": the newest) */
    int64_t after_sequence; /* open */
    struct wall_us now;     /* open: what has expired by then is left out */
    int64_t limit;
};

struct command_open_filter {
    int64_t agent_id;
    const char *kind;
    const char *sandbox_id; /* "": any */
    struct wall_us now;
};

struct command_ack {
    const char *id;
    int64_t workspace_id;
    int64_t agent_id;
    bool succeeded;
    int64_t code;
    const char *error_message;
    struct str_view result;
};

/* ERR_EXISTS: the idempotency key stands already. */
enum err_code store_command_add(
    struct sql_conn *conn, const struct command_record *record, struct err_info *err) MUST_CHECK;
enum err_code store_command_get(
    struct sql_conn *conn,
    int64_t workspace_id,
    struct str_view id,
    struct arena *arena,
    struct command_record *ret_record,
    struct err_info *err) MUST_CHECK;
enum err_code store_command_by_idempotency_key(
    struct sql_conn *conn,
    int64_t workspace_id,
    struct str_view key,
    struct arena *arena,
    struct command_record *ret_record,
    struct err_info *err) MUST_CHECK;
/* struct command_record, newest first. */
enum err_code store_command_list(
    struct sql_conn *conn,
    int64_t workspace_id,
    const struct command_filter *filter,
    struct arena *arena,
    struct store_list *ret_list,
    struct err_info *err) MUST_CHECK;
/* struct command_record, by sequence: what filter->agent_id has yet to get or to acknowledge. */
enum err_code store_command_open(
    struct sql_conn *conn,
    int64_t workspace_id,
    const struct command_filter *filter,
    struct arena *arena,
    struct store_list *ret_list,
    struct err_info *err) MUST_CHECK;
/* Rows of one column, the agents for which a command was not sent yet; the caller closes them. */
enum err_code store_command_waiting(
    struct sql_conn *conn, struct wall_us now, struct sql_rows **ret_rows, struct err_info *err)
    MUST_CHECK;
enum err_code store_command_sent(
    struct sql_conn *conn,
    int64_t workspace_id,
    struct str_view id,
    struct wall_us now,
    struct err_info *err) MUST_CHECK;
/* The first acknowledgement wins; ret_changed tells whether this was it. A late one of an expired
 * command counts. */
enum err_code store_command_finish(
    struct sql_conn *conn,
    const struct command_ack *ack,
    struct wall_us now,
    bool *ret_changed,
    struct err_info *err) MUST_CHECK;
/* ERR_PRECONDITION: sent or finished already. */
enum err_code store_command_cancel(
    struct sql_conn *conn,
    int64_t workspace_id,
    struct str_view id,
    struct wall_us now,
    struct err_info *err) MUST_CHECK;
enum err_code store_command_expire(
    struct sql_conn *conn, struct wall_us now, int64_t *ret_count, struct err_info *err) MUST_CHECK;
/* Orders under way: neither acknowledged nor expired. */
enum err_code store_command_open_count(
    struct sql_conn *conn,
    int64_t workspace_id,
    const struct command_open_filter *filter,
    int64_t *ret_count,
    struct err_info *err) MUST_CHECK;
/* A portion of those that finished before; *ret_more: there is more. An acknowledgement that comes
 * after it changes nothing, and no sequence is given twice. */
enum err_code store_command_remove(
    struct sql_conn *conn, struct wall_us before, bool *ret_more, struct err_info *err) MUST_CHECK;

#endif
