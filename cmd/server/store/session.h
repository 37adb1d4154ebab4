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
    bool has_waiting; /* store_session_glimpse: commands or relays that stream was not sent */
};

struct challenge_record {
    int64_t workspace_id;
    int64_t agent_id;
    struct str_view api_key_hash;
    int64_t expires_at;
};

/* A challenge that was used, and its agent as it is: nobody else changes it before the transaction
 * ends. */
struct challenge_taken {
    int64_t workspace_id;
    int64_t agent_id;
    struct str_view api_key_hash;
    int64_t expires_at;
    int64_t agent_state; /* enum agent_state */
    struct str_view identity_key;
    int64_t session_epoch;
    int64_t telemetry_sequence;
    int64_t events_sequence;
    bool is_offered_key; /* api_key_hash is that of the key that was offered for the old one */
};

struct session_sent { /* to an agent, on its control stream */
    int64_t command_sequence;
    int64_t stream;
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
/* As store_session_by_token, with has_waiting and without names: of commands after this sequence,
 * and of relays that went to no or to another stream. */
enum err_code store_session_glimpse(
    struct sql_conn *conn,
    const uint8_t token_hash[32],
    struct wall_us now,
    const struct session_sent *sent,
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
/* Deletes and returns; ERR_NOT_FOUND: unknown or used. The caller checks expiry and state. */
enum err_code store_challenge_take(
    struct sql_conn *conn,
    const uint8_t hash[32],
    struct arena *arena,
    struct challenge_taken *ret_taken,
    struct err_info *err) MUST_CHECK;
enum err_code store_challenge_expire(
    struct sql_conn *conn, struct wall_us now, struct err_info *err) MUST_CHECK;

#endif
