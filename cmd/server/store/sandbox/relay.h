/* Relays that agents are asked to open. Inside the caller's transaction. */
#ifndef SERVER_STORE_SANDBOX_RELAY_H
#define SERVER_STORE_SANDBOX_RELAY_H

#include "cmd/server/store/row.h"

struct relay_record {
    const char *id;
    struct str_view packed; /* ControlRelayOpen, signed */
    int64_t expires_at;
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
};

/* struct relay_record, oldest first, at most 64. */
enum err_code store_relay_waiting(
    struct sql_conn *conn,
    int64_t workspace_id,
    const struct relay_filter *filter,
    struct arena *arena,
    struct store_list *ret_list,
    struct err_info *err) MUST_CHECK;
enum err_code store_relay_expire(struct sql_conn *conn, struct wall_us now, struct err_info *err)
    MUST_CHECK;

#endif
