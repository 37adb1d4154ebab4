/* Relays that agents are asked to open. Inside the caller's transaction. */
#ifndef SERVER_STORE_SANDBOX_RELAY_H
#define SERVER_STORE_SANDBOX_RELAY_H

#include "cmd/server/store/row.h"

enum {
    RELAY_SMALL_BYTES =
        16 * 1024 /* an order up to this size comes with the list of those waiting */
};

struct relay_record {
    const char *id;
    struct str_view packed; /* ControlRelayOpen, signed; waiting: empty if it is larger */
    int64_t expires_at;
    const char *owner; /* address of the server that has the operator's stream; "": none */
};

enum err_code store_relay_add(
    struct sql_conn *conn,
    int64_t workspace_id,
    int64_t agent_id,
    const struct relay_record *record,
    struct err_info *err) MUST_CHECK;

struct relay_filter {
    int64_t agent_id;
    struct wall_us now; /* what has expired by then is left out */
    struct str_view id; /* get, sent, remove */
    int64_t stream;     /* waiting: what was noted as sent on it is left out */
};

/* ERR_NOT_FOUND with no text. */
enum err_code store_relay_get(
    struct sql_conn *conn,
    int64_t workspace_id,
    const struct relay_filter *filter,
    struct arena *arena,
    struct relay_record *ret_record,
    struct err_info *err) MUST_CHECK;

enum {
    RELAY_WAITING_MAX = 64
};

/* struct relay_record, oldest first, at most RELAY_WAITING_MAX; larger orders are read by
 * store_relay_get, one by one. */
enum err_code store_relay_waiting(
    struct sql_conn *conn,
    int64_t workspace_id,
    const struct relay_filter *filter,
    struct arena *arena,
    struct store_list *ret_list,
    struct err_info *err) MUST_CHECK;
/* Over before its time; nobody who comes for it finds it any more. */
enum err_code store_relay_remove(
    struct sql_conn *conn,
    int64_t workspace_id,
    const struct relay_filter *filter,
    struct err_info *err) MUST_CHECK;
/* Notes one as sent on filter->stream. */
enum err_code store_relay_sent(
    struct sql_conn *conn,
    int64_t workspace_id,
    const struct relay_filter *filter,
    struct err_info *err) MUST_CHECK;
/* And the connections that were not renewed. */
enum err_code store_relay_expire(struct sql_conn *conn, struct wall_us now, struct err_info *err)
    MUST_CHECK;

/* A forward under way, on whichever server. */
struct relay_connection {
    const char *sandbox_id;
    const char *relay_id;
    const uint8_t *token_hash; /* 32 bytes */
    struct wall_us until;      /* it counts until then */
};

struct relay_connection_counts {
    int64_t with_token;
    int64_t to_sandbox;
};

/* Those with like's token, and all of like's sandbox; nobody else counts or adds to them until the
 * transaction has ended. */
enum err_code store_relay_connections(
    struct sql_conn *conn,
    int64_t workspace_id,
    const struct relay_connection *like,
    struct wall_us now,
    struct relay_connection_counts *ret_counts,
    struct err_info *err) MUST_CHECK;
/* Adds or renews. */
enum err_code store_relay_connection_put(
    struct sql_conn *conn,
    int64_t workspace_id,
    const struct relay_connection *connection,
    struct err_info *err) MUST_CHECK;
enum err_code store_relay_connection_remove(
    struct sql_conn *conn,
    int64_t workspace_id,
    const struct relay_connection *connection,
    struct err_info *err) MUST_CHECK;

#endif
