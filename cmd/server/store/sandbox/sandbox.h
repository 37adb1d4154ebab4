/*
 * Sandboxes, their policies by revision and forward tokens. Inside the caller's transaction;
 * records live in its arena.
 */
#ifndef SERVER_STORE_SANDBOX_SANDBOX_H
#define SERVER_STORE_SANDBOX_SANDBOX_H

#include "cmd/server/domain/phase.h"
#include "cmd/server/store/row.h"

struct sandbox_record {
    int64_t workspace_id;
    const char *id;
    const char *name;
    int64_t agent_id;        /* 0: none yet */
    int64_t phase;           /* enum phase */
    const char *labels;      /* JSON object */
    const char *annotations; /* JSON object */
    struct str_view spec;    /* packed openshell.v1.SandboxSpec */
    int64_t cpu_millis;      /* what placement counts */
    int64_t memory_bytes;
    int64_t disk_bytes;
    const char *reason;
    const char *message;
    int64_t exit_code; /* -1: none */
    const char *instance_id;
    int64_t report_sequence; /* of the newest report taken in */
    int64_t policy_version;  /* the newest revision */
    int64_t policy_loaded;   /* the one the agent says is in force */
    const char *created_by;
    int64_t created_at;
    int64_t changed_at;
    int64_t deleting_at;
    int64_t revision;
    const char *agent_name;
    int64_t agent_seen_at;
    const char *workspace;
};

/* What a list is chosen by. */
struct sandbox_head {
    int64_t workspace_id;
    const char *id;
    const char *name;
    const char *labels; /* JSON object */
    int64_t spec_bytes;
};

struct sandbox_head_filter {
    int64_t after_workspace;
    struct str_view after_name;
    int64_t limit;
};

struct sandbox_life_filter {
    int64_t agent_id;
    struct str_view after_id; /* "": from the first */
    int64_t limit;
};

struct sandbox_overdue_filter {
    struct wall_us seen_before;
    struct wall_us created_before;
    int64_t limit;
};

/* What an agent's sandboxes were promised. */
struct sandbox_load {
    int64_t agent_id;
    int64_t count;
    int64_t cpu_millis;
    int64_t memory_bytes;
    int64_t disk_bytes;
};

/* Values are those of openshell.v1.PolicyStatus. */
enum sandbox_policy_status {
    SANDBOX_POLICY_PENDING = 1,
    SANDBOX_POLICY_LOADED,
    SANDBOX_POLICY_FAILED,
    SANDBOX_POLICY_SUPERSEDED
};

struct sandbox_policy_record {
    const char *sandbox_id;
    int64_t version;
    int64_t status;         /* enum sandbox_policy_status */
    struct str_view policy; /* packed openshell.sandbox.v1.SandboxPolicy */
    const char *hash;
    const char *load_error;
    const char *annotations; /* JSON object */
    const char *created_by;
    int64_t created_at;
    int64_t loaded_at;
};

struct sandbox_policy_filter {
    struct str_view sandbox_id;
    int64_t version; /* get */
    int64_t offset;  /* list */
    int64_t limit;
};

/* ERR_EXISTS: the name is taken in this workspace. */
enum err_code store_sandbox_add(
    struct sql_conn *conn, const struct sandbox_record *record, struct err_info *err) MUST_CHECK;
/* ERR_NOT_FOUND with a text. */
enum err_code store_sandbox_by_name(
    struct sql_conn *conn,
    int64_t workspace_id,
    struct str_view name,
    struct arena *arena,
    struct sandbox_record *ret_record,
    struct err_info *err) MUST_CHECK;
enum err_code store_sandbox_get(
    struct sql_conn *conn,
    int64_t workspace_id,
    struct str_view id,
    struct arena *arena,
    struct sandbox_record *ret_record,
    struct err_info *err) MUST_CHECK;
/* struct sandbox_head, by workspace and name; SQL_ALL_WORKSPACES: of all of them. */
enum err_code store_sandbox_head_list(
    struct sql_conn *conn,
    int64_t workspace_id,
    const struct sandbox_head_filter *filter,
    struct arena *arena,
    struct store_list *ret_list,
    struct err_info *err) MUST_CHECK;
/* struct sandbox_record of those heads that are still there, by workspace and name: the caller
 * bounds what it asks for at once. */
enum err_code store_sandbox_set(
    struct sql_conn *conn,
    const struct sandbox_head *const *heads,
    size_t count,
    struct arena *arena,
    struct store_list *ret_list,
    struct err_info *err) MUST_CHECK;
/* struct sandbox_load of the agents (agent_id 0: all) that hold something, by their ids. */
enum err_code store_sandbox_loads(
    struct sql_conn *conn,
    int64_t workspace_id,
    int64_t agent_id,
    struct arena *arena,
    struct store_list *ret_list,
    struct err_info *err) MUST_CHECK;
/* Writes what may change (phase, reason, message, exit code, instance, sequence, policy versions,
 * times) and raises the revision. ERR_BUSY: another transaction changed it since it was read. */
enum err_code store_sandbox_update(
    struct sql_conn *conn, struct sandbox_record *record, struct err_info *err) MUST_CHECK;
enum err_code store_sandbox_remove(
    struct sql_conn *conn, int64_t workspace_id, struct str_view id, struct err_info *err)
    MUST_CHECK;

/*
 * A sandbox's life: its record without spec, labels and annotations (STR_NONE, ""), which may be of
 * a megabyte each and which reports, orders and the clock have nothing to do with.
 */
/* ERR_NOT_FOUND with a text. */
enum err_code store_sandbox_life(
    struct sql_conn *conn,
    int64_t workspace_id,
    struct str_view id,
    struct arena *arena,
    struct sandbox_record *ret_record,
    struct err_info *err) MUST_CHECK;
/* struct sandbox_record of an agent, by id. */
enum err_code store_sandbox_life_list(
    struct sql_conn *conn,
    int64_t workspace_id,
    const struct sandbox_life_filter *filter,
    struct arena *arena,
    struct store_list *ret_list,
    struct err_info *err) MUST_CHECK;
/* struct sandbox_record of any workspace, by workspace and id: PROVISIONING or READY while the
 * agent was last seen before seen_before, or made before created_before and never reported. */
enum err_code store_sandbox_life_overdue(
    struct sql_conn *conn,
    const struct sandbox_overdue_filter *filter,
    struct arena *arena,
    struct store_list *ret_list,
    struct err_info *err) MUST_CHECK;

enum err_code store_sandbox_policy_add(
    struct sql_conn *conn,
    int64_t workspace_id,
    const struct sandbox_policy_record *record,
    struct err_info *err) MUST_CHECK;
/* filter->version 0: the newest. ERR_NOT_FOUND with a text. */
enum err_code store_sandbox_policy_get(
    struct sql_conn *conn,
    int64_t workspace_id,
    const struct sandbox_policy_filter *filter,
    struct arena *arena,
    struct sandbox_policy_record *ret_record,
    struct err_info *err) MUST_CHECK;
/* What stands: the newest that has not failed to load; where all have, the newest. ERR_NOT_FOUND
 * with a text. */
enum err_code store_sandbox_policy_standing(
    struct sql_conn *conn,
    int64_t workspace_id,
    struct str_view sandbox_id,
    struct arena *arena,
    struct sandbox_policy_record *ret_record,
    struct err_info *err) MUST_CHECK;
/* struct sandbox_policy_record, newest first. */
enum err_code store_sandbox_policy_list(
    struct sql_conn *conn,
    int64_t workspace_id,
    const struct sandbox_policy_filter *filter,
    struct arena *arena,
    struct store_list *ret_list,
    struct err_info *err) MUST_CHECK;
/* A revision was loaded (error ""), those before it are superseded; or it could not be. *ret_new:
 * that was not known yet. */
enum err_code store_sandbox_policy_settle(
    struct sql_conn *conn,
    int64_t workspace_id,
    const struct sandbox_policy_record *record,
    struct wall_us now,
    bool *ret_new,
    struct err_info *err) MUST_CHECK;

struct sandbox_forward_record {
    const char *sandbox_id;
    const char *created_by;
    int64_t created_at;
    int64_t expires_at;
};

enum err_code store_sandbox_forward_add(
    struct sql_conn *conn,
    int64_t workspace_id,
    const struct sandbox_forward_record *record,
    const uint8_t token_hash[32],
    struct err_info *err) MUST_CHECK;

struct sandbox_forward_filter {
    const uint8_t *token_hash; /* 32 bytes */
    struct wall_us now;
};

/* ERR_NOT_FOUND: no such token, or it has expired. */
enum err_code store_sandbox_forward_find(
    struct sql_conn *conn,
    int64_t workspace_id,
    const struct sandbox_forward_filter *filter,
    struct arena *arena,
    struct sandbox_forward_record *ret_record,
    struct err_info *err) MUST_CHECK;
enum err_code store_sandbox_forward_remove(
    struct sql_conn *conn,
    int64_t workspace_id,
    const uint8_t token_hash[32],
    bool *ret_removed,
    struct err_info *err) MUST_CHECK;
enum err_code store_sandbox_forward_expire(
    struct sql_conn *conn, struct wall_us now, struct err_info *err) MUST_CHECK;

#endif
