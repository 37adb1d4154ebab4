/*
 * What sandboxes used, by interval, and whose they are or were: both outlive the sandbox, since the
 * bill is written later. The view usage_hour adds up. Inside the caller's transaction.
 */
#ifndef SERVER_STORE_SANDBOX_USAGE_H
#define SERVER_STORE_SANDBOX_USAGE_H

#include "cmd/server/store/sandbox/sandbox.h"

struct usage_record {
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

/* Whose a sandbox is or was: asked for with the first two, answered with the others. */
struct usage_account {
    const char *sandbox_id;
    int64_t agent_id;  /* whose sandbox it must be */
    const char *owner; /* NULL: that agent never had such a sandbox */
    int64_t created_at;
};

/* Answers all of them; on PostgreSQL with one statement. ERR_LIMIT: the arena is full. */
enum err_code store_usage_accounts(
    struct sql_conn *conn,
    int64_t workspace_id,
    struct usage_account *accounts,
    size_t count,
    struct arena *arena,
    struct err_info *err) MUST_CHECK;

/*
 * A row that stands already (workspace, sandbox, boot id, sequence) stays as it is; of two in
 * records the first one counts. On PostgreSQL one statement.
 */
enum err_code store_usage_add_all(
    struct sql_conn *conn,
    int64_t workspace_id,
    const struct usage_record *records,
    size_t count,
    struct err_info *err) MUST_CHECK;

enum usage_group { /* as the contract numbers them */
    USAGE_BY_SANDBOX = 1,
    USAGE_BY_OWNER = 2,
    USAGE_BY_WORKSPACE = 3,
    USAGE_BY_LABEL = 4
};

/* A row counts where it ended. Texts are never NULL; "" is no filter. */
struct usage_filter {
    int64_t after_us;
    int64_t until_us; /* included */
    enum usage_group group;
    bool is_hourly;
    struct str_view label_key;
    struct str_view sandbox; /* name or id */
    struct str_view owner;
    struct str_view cursor; /* of the row before the page; "": from the first */
    int64_t limit;
};

/* Sums of a group; what its kind does not have is "" or 0. */
struct usage_sum {
    const char *workspace;
    const char *sandbox_id;
    const char *sandbox_name;
    const char *owner;
    const char *label_value;
    int64_t hour_us;
    int64_t until_us;
    int64_t sandboxes;
    int64_t running_us;
    int64_t cpu_us;
    int64_t memory_byte_seconds;
    int64_t disk_byte_seconds;
    int64_t memory_peak_bytes;
    int64_t processes_peak;
    int64_t read_bytes;
    int64_t written_bytes;
    int64_t sent_bytes;
    int64_t received_bytes;
    const char *cursor;
};

/* Records are struct usage_sum, by hour, workspace and key. ERR_INVALID: the cursor is none. */
enum err_code store_usage_report(
    struct sql_conn *conn,
    int64_t workspace_id, /* SQL_ALL_WORKSPACES: all */
    const struct usage_filter *filter,
    struct arena *arena,
    struct store_list *ret_list,
    struct err_info *err) MUST_CHECK;

/* A portion of what ended before; *ret_more: there is more. */
enum err_code store_usage_remove(
    struct sql_conn *conn, struct wall_us before, bool *ret_more, struct err_info *err) MUST_CHECK;

#endif
