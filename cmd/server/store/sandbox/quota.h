/*
 * Most that may stand at the same time, of a workspace (owner "") and of each owner in it (a row of
 * the owner's own, else that of "*"). Inside the caller's transaction.
 */
#ifndef SERVER_STORE_SANDBOX_QUOTA_H
#define SERVER_STORE_SANDBOX_QUOTA_H

#include "cmd/server/store/row.h"

struct quota_record {
    const char *owner;
    int64_t sandboxes; /* -1: no limit */
    int64_t cpu_millis;
    int64_t memory_bytes;
    int64_t disk_bytes;
    const char *changed_by;
    int64_t changed_at;
};

struct quota_use {
    int64_t sandboxes;
    int64_t cpu_millis;
    int64_t memory_bytes;
    int64_t disk_bytes;
};

/* *ret_any: the workspace has quotas, and nobody else counts against them until the transaction
 * ends. */
enum err_code store_quota_lock(
    struct sql_conn *conn, int64_t workspace_id, bool *ret_any, struct err_info *err) MUST_CHECK;

/* The row that holds for the owner. ERR_NOT_FOUND with no text: none does. */
enum err_code store_quota_get(
    struct sql_conn *conn,
    int64_t workspace_id,
    struct str_view owner,
    struct arena *arena,
    struct quota_record *ret_record,
    struct err_info *err) MUST_CHECK;

/* What stands: of the owner, or of the workspace. */
enum err_code store_quota_used(
    struct sql_conn *conn,
    int64_t workspace_id,
    struct str_view owner,
    struct arena *arena,
    struct quota_use *ret_use,
    struct err_info *err) MUST_CHECK;

/* A quota with what stands of it ("*": nothing). */
struct quota_standing {
    struct quota_record quota;
    struct quota_use used;
    const char *cursor; /* where the next page starts */
};

struct quota_page {
    struct str_view after; /* cursor of the row before; "": from the first */
    int64_t limit;
};

/* Records are struct quota_standing, by owner. */
enum err_code store_quota_list(
    struct sql_conn *conn,
    int64_t workspace_id,
    const struct quota_page *page,
    struct arena *arena,
    struct store_list *ret_list,
    struct err_info *err) MUST_CHECK;

enum {
    QUOTA_NEVER_CHANGED = -1 /* changed_at of a quota that is not there */
};

/* As changed_at was read. ERR_BUSY: somebody else changed it since; run the transaction again. */
enum err_code store_quota_put(
    struct sql_conn *conn,
    int64_t workspace_id,
    const struct quota_record *record,
    int64_t read_changed_at,
    struct err_info *err) MUST_CHECK;
enum err_code store_quota_remove(
    struct sql_conn *conn,
    int64_t workspace_id,
    struct str_view owner,
    int64_t read_changed_at,
    struct err_info *err) MUST_CHECK;

#endif
