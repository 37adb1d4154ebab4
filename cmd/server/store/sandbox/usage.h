/*
 * What sandboxes used, by interval, and whose they are or were: both outlive the sandbox, since the
 * bill is written later. The view usage_hour adds up. Inside the caller's transaction.
 */
#ifndef SERVER_STORE_SANDBOX_USAGE_H
#define SERVER_STORE_SANDBOX_USAGE_H

#include "cmd/server/store/sandbox/sandbox.h"

struct usage_account {
    const char *owner;
    int64_t created_at;
};

struct usage_record {
    int64_t workspace_id;
    const char *sandbox_id;
    const char *boot_id;
    int64_t sequence;
    int64_t agent_id;
    const char *owner;
    int64_t from_us;
    int64_t until_us;
    int64_t cpu_us;
    int64_t memory_byte_seconds;
    int64_t memory_peak_bytes;
    int64_t read_bytes;
    int64_t written_bytes;
    int64_t sent_bytes;
    int64_t received_bytes;
    int64_t disk_bytes;
    int64_t processes_peak;
    bool is_final;
};

/* With the sandbox's own row. */
enum err_code store_usage_account_add(
    struct sql_conn *conn, const struct sandbox_record *record, struct err_info *err) MUST_CHECK;

struct usage_account_filter {
    const char *sandbox_id;
    int64_t agent_id; /* whose sandbox it must be */
};

/* ERR_NOT_FOUND with no text. */
enum err_code store_usage_account_get(
    struct sql_conn *conn,
    int64_t workspace_id,
    const struct usage_account_filter *filter,
    struct arena *arena,
    struct usage_account *ret_account,
    struct err_info *err) MUST_CHECK;

/* A row that stands already (workspace, sandbox, boot id, sequence) stays as it is. */
enum err_code store_usage_add(
    struct sql_conn *conn, const struct usage_record *record, struct err_info *err) MUST_CHECK;

/* A portion of what ended before; *ret_more: there is more. */
enum err_code store_usage_remove(
    struct sql_conn *conn, struct wall_us before, bool *ret_more, struct err_info *err) MUST_CHECK;

#endif
