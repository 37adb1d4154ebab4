/*
 * Loans: enrollments of agents that an agent of another workspace runs with part of its room. Every
 * function runs inside the caller's transaction, which sees all workspaces (SQL_ALL_WORKSPACES);
 * records live in its arena.
 */
#ifndef SERVER_STORE_ENROLLMENT_LOAN_H
#define SERVER_STORE_ENROLLMENT_LOAN_H

#include "cmd/server/store/row.h"

struct loan_record {
    const char *id; /* of the enrollment */
    int64_t lender_id;
    const char *lender;
    int64_t lender_state;  /* enum agent_state */
    const char *workspace; /* the lender's */
    int64_t to_workspace_id;
    const char *to_workspace;
    int64_t agent_id; /* in the borrowing workspace; 0: not registered yet */
    const char *name; /* its; "" */
    int64_t last_seen_at;
    int64_t state; /* enum enrollment_state; of a revoked agent ENROLLMENT_REVOKED */
    const char *created_by;
    int64_t created_at;
    int64_t expires_at; /* of the token */
};

struct loan_filter {
    int64_t lender_id; /* 0: any */
    bool with_ended;   /* those that were reclaimed too */
    struct str_view after;
    int64_t limit;
};

/* Makes a loan of an enrollment that the transaction has added. */
enum err_code store_loan_add(
    struct sql_conn *conn,
    int64_t to_workspace_id,
    const char *id,
    int64_t lender_id,
    struct err_info *err) MUST_CHECK;
enum err_code store_loan_get(
    struct sql_conn *conn,
    int64_t lender_workspace_id,
    struct str_view id,
    struct arena *arena,
    struct loan_record *ret_record,
    struct err_info *err) MUST_CHECK;

/* struct loan_record, newest first. */
enum err_code store_loan_list(
    struct sql_conn *conn,
    int64_t lender_workspace_id,
    const struct loan_filter *filter,
    struct arena *arena,
    struct store_list *ret_list,
    struct err_info *err) MUST_CHECK;

/* Whether an agent exists by a loan: it cannot lend in turn. */
enum err_code store_loan_is_guest(
    struct sql_conn *conn,
    int64_t workspace_id,
    int64_t agent_id,
    bool *ret_is_guest,
    struct err_info *err) MUST_CHECK;

/* Its enrollment is over; so it may be already. The agent is revoked apart from it. */
enum err_code store_loan_end(
    struct sql_conn *conn, const struct loan_record *record, struct err_info *err) MUST_CHECK;

#endif
