/* Devices; an agent's host is its first. Inside the caller's transaction. */
#ifndef SERVER_STORE_DEVICE_H
#define SERVER_STORE_DEVICE_H

#include "cmd/server/store/row.h"

struct device_record {
    int64_t workspace_id;
    int64_t id;
    int64_t agent_id;
    const char *agent_name;
    const char *name;
    const char *kind;
    const char *labels; /* JSON object */
    const char *facts;  /* JSON object */
    int64_t created_at;
    int64_t last_seen_at;
    const char *workspace;
};

struct device_filter {
    int64_t agent_id; /* 0: any */
    int64_t after_id;
    int64_t limit;
};

/* Makes the device of that agent and name, or renews its facts. */
enum err_code store_device_put(
    struct sql_conn *conn,
    const struct device_record *record,
    struct wall_us now,
    struct err_info *err) MUST_CHECK;
enum err_code store_device_get(
    struct sql_conn *conn,
    int64_t workspace_id,
    int64_t id,
    struct arena *arena,
    struct device_record *ret_record,
    struct err_info *err) MUST_CHECK;
/* struct device_record, by id. */
enum err_code store_device_list(
    struct sql_conn *conn,
    int64_t workspace_id,
    const struct device_filter *filter,
    struct arena *arena,
    struct store_list *ret_list,
    struct err_info *err) MUST_CHECK;

#endif
