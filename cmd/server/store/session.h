/* Sessions and challenges of agents. Inside the caller's transaction. */
#ifndef SERVER_STORE_SESSION_H
#define SERVER_STORE_SESSION_H

#include "cmd/server/store/row.h"

enum {
    CHALLENGES_PER_AGENT = 4
};

struct session_record {
    int64_t workspace_id;
    int64_t agent_id;
    int64_t epoch;
    int64_t expires_at;
    int64_t stream; /* the control stream that said hello last, on whichever server */
    const char *agent_name;
    const char *workspace;
};

struct challenge_record {
    int64_t workspace_id;
    int64_t agent_id;
    struct str_view api_key_hash;
    int64_t expires_at;
};

/* Replaces the agent's session, if it has one. */
enum err_code store_session_put(
    struct sql_conn *conn,
    const struct session_record *record,
    const uint8_t token_hash[32],
    struct wall_us now,
    struct err_info *err) MUST_CHECK;
/* Live sessions of confirmed agents only; else ERR_NOT_FOUND. */
enum err_code store_session_by_token(
    struct sql_conn *conn,
    const uint8_t token_hash[32],
    struct wall_us now,
    struct arena *arena,
    struct session_record *ret_record,
    struct err_info *err) MUST_CHECK;
/* The session and every open challenge. */
enum err_code store_session_remove(
    struct sql_conn *conn, int64_t workspace_id, int64_t agent_id, struct err_info *err) MUST_CHECK;

/* Keeps the newest CHALLENGES_PER_AGENT. On PostgreSQL the commit of a transaction that adds one
 * does not wait for the disk: a challenge that is lost with the machine is asked for again. */
enum err_code store_challenge_add(
    struct sql_conn *conn,
    const uint8_t hash[32],
    const struct challenge_record *record,
    struct wall_us now,
    struct err_info *err) MUST_CHECK;
/* Deletes and returns; ERR_NOT_FOUND: unknown or used. The caller checks the expiry. */
enum err_code store_challenge_take(
    struct sql_conn *conn,
    const uint8_t hash[32],
    struct arena *arena,
    struct challenge_record *ret_record,
    struct err_info *err) MUST_CHECK;
enum err_code store_challenge_expire(
    struct sql_conn *conn, struct wall_us now, struct err_info *err) MUST_CHECK;

#endif
