/* Enrollment tokens. Every function runs inside the caller's transaction; records live in its
 * arena. */
#ifndef SERVER_STORE_ENROLLMENT_ENROLLMENT_H
#define SERVER_STORE_ENROLLMENT_ENROLLMENT_H

#include "cmd/server/store/row.h"

/* Values are those of agentgateway.v1.EnrollmentState. */
enum enrollment_state {
    ENROLLMENT_PENDING = 1,
    ENROLLMENT_AWAITING_CONFIRMATION,
    ENROLLMENT_CONFIRMED,
    ENROLLMENT_EXPIRED,
    ENROLLMENT_CANCELLED,
    ENROLLMENT_REVOKED
};

struct enrollment_record {
    int64_t workspace_id;
    const char *id;
    int64_t state;      /* enum enrollment_state */
    const char *labels; /* JSON object */
    bool auto_confirm;
    const char *created_by;
    int64_t created_at;
    int64_t expires_at;
    int64_t agent_id; /* 0: none yet */
    const char *agent_name;
    struct str_view identity_key;
    const char *workspace;
};

struct enrollment_filter {
    int64_t state;         /* 0: any */
    struct str_view after; /* id of the page before's last ("": the first page) */
    int64_t limit;
};

struct enrollment_move {
    struct str_view id;
    enum enrollment_state from;
    enum enrollment_state to;
    int64_t agent_id; /* 0: as it is */
};

enum err_code store_enrollment_add(
    struct sql_conn *conn,
    const struct enrollment_record *record,
    const uint8_t token_hash[32],
    struct err_info *err) MUST_CHECK;
enum err_code store_enrollment_by_token(
    struct sql_conn *conn,
    const uint8_t token_hash[32],
    struct arena *arena,
    struct enrollment_record *ret_record,
    struct err_info *err) MUST_CHECK;

/*
 * A token that nobody has used, whatever its time: no other transaction takes it before this one
 * ends. ERR_NOT_FOUND: there is none, or it is used; store_enrollment_by_token tells which.
 * agent_id is one that is free for its agent; names and keys are not filled in.
 */
enum err_code store_enrollment_take(
    struct sql_conn *conn,
    const uint8_t token_hash[32],
    struct arena *arena,
    struct enrollment_record *ret_record,
    struct err_info *err) MUST_CHECK;
/* What this transaction has taken gets a new state and record->agent_id, an agent that was added
 * before (sql_exec_later). */
enum err_code store_enrollment_settle(
    struct sql_conn *conn,
    const struct enrollment_record *record,
    enum enrollment_state state,
    struct err_info *err) MUST_CHECK;
enum err_code store_enrollment_get(
    struct sql_conn *conn,
    int64_t workspace_id,
    struct str_view id,
    struct arena *arena,
    struct enrollment_record *ret_record,
    struct err_info *err) MUST_CHECK;

/* struct enrollment_record, newest first. */
enum err_code store_enrollment_list(
    struct sql_conn *conn,
    int64_t workspace_id,
    const struct enrollment_filter *filter,
    struct arena *arena,
    struct store_list *ret_list,
    struct err_info *err) MUST_CHECK;

/* Optimistic move; ERR_CONFLICT when it is no longer in state `from`. */
enum err_code store_enrollment_move(
    struct sql_conn *conn,
    int64_t workspace_id,
    const struct enrollment_move *move,
    struct err_info *err) MUST_CHECK;
enum err_code store_enrollment_expire(
    struct sql_conn *conn, struct wall_us now, struct err_info *err) MUST_CHECK;

#endif
