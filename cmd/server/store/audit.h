/*
 * Audit records: one chain per workspace. Each record's hash covers the record and the hash before
 * it, so that a gap or an edit shows. Written in the transaction of its effect; the workspace row
 * is locked from then to the commit, so write it last.
 */
#ifndef SERVER_STORE_AUDIT_H
#define SERVER_STORE_AUDIT_H

#include "cmd/server/store/row.h"

struct audit_entry { /* what the caller knows */
    int64_t workspace_id;
    const char *actor;    /* "user:local/0", "key:key_...", "agent:7", "unknown" */
    const char *action;   /* "agentgateway.v1.AgentAdminService/ConfirmAgent", "agent.registered" */
    const char *target;   /* "agent/7"; cut at 1 KiB, like the reason */
    const char *decision; /* "allowed", "denied", "failed" */
    const char *reason;
    const char *request_id;
    const char *source;
};

struct audit_record {
    int64_t sequence;
    const char *workspace;
    int64_t time_us;
    const char *actor;
    const char *action;
    const char *target;
    const char *decision;
    const char *reason;
    const char *request_id;
    const char *source;
    const char *record; /* OCSF JSON */
    struct str_view hash;
};

struct audit_filter {
    int64_t start;
    int64_t end;
    struct str_view actor_prefix;
    struct str_view action_prefix;
    int64_t before; /* list: sequence, 0: the newest */
    int64_t after;  /* newer: sequence */
    int64_t limit;
};

enum err_code store_audit_add(
    struct sql_conn *conn,
    const struct audit_entry *entry,
    struct wall_us now,
    struct err_info *err) MUST_CHECK;
/* struct audit_record, newest first. */
enum err_code store_audit_list(
    struct sql_conn *conn,
    int64_t workspace_id,
    const struct audit_filter *filter,
    struct arena *arena,
    struct store_list *ret_list,
    struct err_info *err) MUST_CHECK;
/* struct audit_record, in order: those after filter->after, whatever their time, actor, action. */
enum err_code store_audit_newer(
    struct sql_conn *conn,
    int64_t workspace_id,
    const struct audit_filter *filter,
    struct arena *arena,
    struct store_list *ret_list,
    struct err_info *err) MUST_CHECK;

/* Hash of a record given the one before it (STR_NONE or empty for the first). */
void audit_hash(
    struct str_view previous, int64_t sequence, struct str_view record, uint8_t out[32]);

#endif
