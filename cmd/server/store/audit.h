/*
 * Audit records: one chain per workspace (common/crypto/audit_chain.h), in which a gap or an edit
 * shows. Written in the transaction of its effect.
 *
 * On SQLite, which has one writer, a record gets its place in the chain with it. On PostgreSQL it
 * arrives without one (its sequence is negative, and in no list), and gets it a moment later, many
 * records at once, from whoever comes first: the server that wrote it, a list, or another server. A
 * place given with the effect would keep the chain, and so every other call of the workspace, until
 * the commit is on the disk. What follows from something has the later place: it arrived later.
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

enum {
    STORE_AUDIT_UNPLACED_MAX = 64
};

/* Gives all records of the workspace that have arrived their places; on a database that takes no
 * writes they wait. PostgreSQL: locks the chain until the commit. */
enum err_code store_audit_place(struct sql_conn *conn, int64_t workspace_id, struct err_info *err)
    MUST_CHECK;
/* Workspaces with records that wait for a place: some of them. Over all workspaces. */
enum err_code store_audit_unplaced(
    struct sql_conn *conn,
    int64_t workspace_ids[STORE_AUDIT_UNPLACED_MAX],
    size_t *ret_count,
    struct err_info *err) MUST_CHECK;

/* struct audit_record, newest first, of those that have a place. */
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

#endif
