/* Workspaces, API keys, what proofs stand for, and the server's own facts. Inside the caller's
 * transaction or look-up. */
#ifndef SERVER_STORE_ACCESS_H
#define SERVER_STORE_ACCESS_H

#include "cmd/server/store/row.h"

#define WORKSPACE_SYSTEM  INT64_C(0) /* audit of what belongs to no tenant */
#define WORKSPACE_DEFAULT INT64_C(1)

struct workspace_record {
    int64_t id;
    const char *name;
};

struct api_key_record {
    int64_t workspace_id;
    const char *id;
    const char *name;
    const char *scopes; /* separated by spaces */
    const char *created_by;
    int64_t created_at;
    int64_t expires_at;
    int64_t revoked_at; /* 0: not */
    int64_t last_used_at;
    const char *workspace;
};

struct api_key_page {
    struct str_view before; /* id of the page before's last ("": the first page) */
    int64_t limit;
};

enum err_code store_workspace_find(
    struct sql_conn *conn,
    struct str_view name,
    struct arena *arena,
    struct workspace_record *ret_record,
    struct err_info *err) MUST_CHECK;

/* Where a sandbox is, and a forward by its token, behind no wall (SQL_ALL_WORKSPACES).
 * ERR_NOT_FOUND: nowhere. */
enum err_code store_workspace_of_sandbox(
    struct sql_conn *conn,
    struct str_view sandbox_id,
    struct arena *arena,
    struct workspace_record *ret_record,
    struct err_info *err) MUST_CHECK;
enum err_code store_workspace_of_forward(
    struct sql_conn *conn,
    const uint8_t token_hash[32],
    struct arena *arena,
    struct workspace_record *ret_record,
    struct err_info *err) MUST_CHECK;

/* Needs no wall: the names of workspaces are behind none. ERR_LIMIT: does not fit. */
enum err_code store_workspace_name(
    struct sql_conn *conn, int64_t id, char *ret_name, size_t size, struct err_info *err)
    MUST_CHECK;

enum err_code store_api_key_add(
    struct sql_conn *conn,
    const struct api_key_record *record,
    const uint8_t hash[32],
    struct err_info *err) MUST_CHECK;
enum err_code store_api_key_get(
    struct sql_conn *conn,
    int64_t workspace_id,
    struct str_view id,
    struct arena *arena,
    struct api_key_record *ret_record,
    struct err_info *err) MUST_CHECK;
/* struct api_key_record, newest first. */
enum err_code store_api_key_list(
    struct sql_conn *conn,
    int64_t workspace_id,
    const struct api_key_page *page,
    struct arena *arena,
    struct store_list *ret_list,
    struct err_info *err) MUST_CHECK;
/* ERR_PRECONDITION: revoked already. */
enum err_code store_api_key_revoke(
    struct sql_conn *conn,
    int64_t workspace_id,
    struct str_view id,
    struct wall_us now,
    struct err_info *err) MUST_CHECK;

/*
 * What the hash of a proof stands for: a session of an agent or an API key. Only in a look-up that
 * begins with SQL_OWN_WALL, as it is asked before anybody's workspace is known; anywhere else the
 * query would lift the wall of the transaction around it, and is ERR_INTERNAL. One query, and
 * nothing is copied: texts stay valid until ret_rows is closed, which is the caller's to do.
 */
struct credential_record {
    int64_t workspace_id;
    int64_t expires_at;
    int64_t agent_id;       /* of a session */
    int64_t epoch;          /* of a session */
    struct str_view key_id; /* of a key */
    struct str_view scopes; /* of a key: separated by spaces */
};

/* Live sessions of confirmed agents only; else ERR_NOT_FOUND. */
enum err_code store_credential_session(
    struct sql_conn *conn,
    const uint8_t token_hash[32],
    struct wall_us now,
    struct credential_record *ret_record,
    struct sql_rows **ret_rows,
    struct err_info *err) MUST_CHECK;

/* Only a key in force; else ERR_NOT_FOUND. */
enum err_code store_credential_key(
    struct sql_conn *conn,
    const uint8_t hash[32],
    struct wall_us now,
    struct credential_record *ret_record,
    struct sql_rows **ret_rows,
    struct err_info *err) MUST_CHECK;

struct api_key_use {
    int64_t workspace_id;
    struct str_view id;
    struct wall_us at;
};

/* An older use than is known changes nothing; nor does one of a key that is gone. */
enum err_code store_api_key_used(
    struct sql_conn *conn, const struct api_key_use *uses, size_t count, struct err_info *err)
    MUST_CHECK;

/* A fact of the whole installation (server id); put keeps the first value. ERR_NOT_FOUND. */
enum err_code store_meta_get(
    struct sql_conn *conn,
    const char *name,
    struct arena *arena,
    struct str_view *ret_value,
    struct err_info *err) MUST_CHECK;
enum err_code store_meta_put(
    struct sql_conn *conn, const char *name, struct str_view value, struct err_info *err)
    MUST_CHECK;

/* In a transaction. true: row-level security does not hold for the role of this connection. */
enum err_code store_role_passes_wall(struct sql_conn *conn, bool *ret_passes, struct err_info *err)
    MUST_CHECK;

#endif
