#include "cmd/server/store/access.h"

#include "access.sql.h"
#include "credential.sql.h"

#include <stdlib.h>

static const struct store_column workspace_columns[] = {
    STORE_COLUMN(workspace_record, id, STORE_INT),
    STORE_COLUMN(workspace_record, name, STORE_TEXT),
};
static const struct store_type workspace_type = STORE_TYPE(workspace_record, workspace_columns);

static const struct store_column key_columns[] = {
    STORE_COLUMN(api_key_record, workspace_id, STORE_INT),
    STORE_COLUMN(api_key_record, id, STORE_TEXT),
    STORE_COLUMN(api_key_record, name, STORE_TEXT),
    STORE_COLUMN(api_key_record, scopes, STORE_TEXT),
    STORE_COLUMN(api_key_record, created_by, STORE_TEXT),
    STORE_COLUMN(api_key_record, created_at, STORE_INT),
    STORE_COLUMN(api_key_record, expires_at, STORE_INT),
    STORE_COLUMN(api_key_record, revoked_at, STORE_INT),
    STORE_COLUMN(api_key_record, last_used_at, STORE_INT),
    STORE_COLUMN(api_key_record, workspace, STORE_TEXT),
};
static const struct store_type key_type = STORE_TYPE(api_key_record, key_columns);

enum err_code store_workspace_find(
    struct sql_conn *conn,
    struct str_view name,
    struct arena *arena,
    struct workspace_record *ret_record,
    struct err_info *err)
{
    return store_select_one(
        STORE_ASK(conn, &SQL_WORKSPACE_BY_NAME, SQL_ARGS(SQL_VIEW(name))),
        &workspace_type,
        arena,
        ret_record,
        err);
}

enum err_code store_workspace_of_sandbox(
    struct sql_conn *conn,
    struct str_view sandbox_id,
    struct arena *arena,
    struct workspace_record *ret_record,
    struct err_info *err)
{
    return store_select_one(
        STORE_ASK(conn, &SQL_WORKSPACE_OF_SANDBOX, SQL_ARGS(SQL_VIEW(sandbox_id))),
        &workspace_type,
        arena,
        ret_record,
        err);
}

enum err_code store_workspace_of_forward(
    struct sql_conn *conn,
    const uint8_t token_hash[32],
    struct arena *arena,
    struct workspace_record *ret_record,
    struct err_info *err)
{
    return store_select_one(
        STORE_ASK(conn, &SQL_WORKSPACE_OF_FORWARD, SQL_ARGS(SQL_BLOB(token_hash, 32))),
        &workspace_type,
        arena,
        ret_record,
        err);
}

enum err_code store_workspace_name(
    struct sql_conn *conn, int64_t id, char *ret_name, size_t size, struct err_info *err)
{
    AUTO_ROWS struct sql_rows *rows = NULL;
    TRY(sql_query(conn, &SQL_WORKSPACE_NAME, SQL_ARGS(SQL_INT(id)), &rows, err));
    TRY(sql_rows_next(rows, err));
    return str_copy(sql_text(rows, 0), ret_name, size);
}

enum err_code store_api_key_add(
    struct sql_conn *conn,
    const struct api_key_record *record,
    const uint8_t hash[32],
    struct err_info *err)
{
    return sql_exec(
        conn,
        &SQL_API_KEY_INSERT,
        SQL_ARGS(
            SQL_INT(record->workspace_id),
            SQL_TEXT(record->id),
            SQL_TEXT(record->name),
            SQL_BLOB(hash, 32),
            SQL_TEXT(record->scopes),
            SQL_TEXT(record->created_by),
            SQL_INT(record->created_at),
            SQL_INT(record->expires_at)),
        NULL,
        err);
}

enum err_code store_api_key_get(
    struct sql_conn *conn,
    int64_t workspace_id,
    struct str_view id,
    struct arena *arena,
    struct api_key_record *ret_record,
    struct err_info *err)
{
    enum err_code code = store_select_one(
        STORE_ASK(conn, &SQL_API_KEY_BY_ID, SQL_ARGS(SQL_INT(workspace_id), SQL_VIEW(id))),
        &key_type,
        arena,
        ret_record,
        err);
    return code == ERR_NOT_FOUND ? ERR_SET(err, ERR_NOT_FOUND, "no such API key") : code;
}

enum err_code store_api_key_list(
    struct sql_conn *conn,
    int64_t workspace_id,
    const struct api_key_page *page,
    struct arena *arena,
    struct store_list *ret_list,
    struct err_info *err)
{
    return store_select(
        STORE_ASK(
            conn,
            &SQL_API_KEY_LIST,
            SQL_ARGS(SQL_INT(workspace_id), SQL_VIEW(page->before), SQL_INT(page->limit))),
        &key_type,
        arena,
        ret_list,
        err);
}

enum err_code store_api_key_revoke(
    struct sql_conn *conn,
    int64_t workspace_id,
    struct str_view id,
    struct wall_us now,
    struct err_info *err)
{
    int64_t changed = 0;
    TRY(sql_exec(
        conn,
        &SQL_API_KEY_REVOKE,
        SQL_ARGS(SQL_INT(workspace_id), SQL_VIEW(id), SQL_TIME(now)),
        &changed,
        err));
    return changed == 1 ? ERR_OK : ERR_SET(err, ERR_PRECONDITION, "the API key is revoked already");
}

/* Either statement has the same columns first. */
static enum err_code find_credential(
    struct sql_conn *conn,
    const struct sql_statement *statement,
    const struct sql_value args[2],
    struct credential_record *ret_record,
    struct sql_rows **ret_rows,
    struct err_info *err)
{
    if (!sql_is_lookup(conn)) {
        return ERR_SET(err, ERR_INTERNAL, "%s: only in a look-up of its own", statement->name);
    }
    TRY(sql_query(conn, statement, args, 2, ret_rows, err));
    TRY(sql_rows_next(*ret_rows, err));
    *ret_record = (struct credential_record){
        .workspace_id = sql_int(*ret_rows, 0),
        .expires_at = sql_int(*ret_rows, 1),
    };
    return ERR_OK;
}

enum err_code store_credential_session(
    struct sql_conn *conn,
    const uint8_t token_hash[32],
    struct wall_us now,
    struct credential_record *ret_record,
    struct sql_rows **ret_rows,
    struct err_info *err)
{
    const struct sql_value args[] = { SQL_BLOB(token_hash, 32), SQL_TIME(now) };
    TRY(find_credential(conn, &SQL_CREDENTIAL_SESSION, args, ret_record, ret_rows, err));
    ret_record->agent_id = sql_int(*ret_rows, 2);
    ret_record->epoch = sql_int(*ret_rows, 3);
    return ERR_OK;
}

enum err_code store_credential_key(
    struct sql_conn *conn,
    const uint8_t hash[32],
    struct wall_us now,
    struct credential_record *ret_record,
    struct sql_rows **ret_rows,
    struct err_info *err)
{
    const struct sql_value args[] = { SQL_BLOB(hash, 32), SQL_TIME(now) };
    TRY(find_credential(conn, &SQL_CREDENTIAL_KEY, args, ret_record, ret_rows, err));
    ret_record->key_id = sql_text(*ret_rows, 2);
    ret_record->scopes = sql_text(*ret_rows, 3);
    return ERR_OK;
}

static int compare_uses(const void *a, const void *b)
{
    const struct api_key_use *const *left = a;
    const struct api_key_use *const *right = b;
    return str_compare((*left)->id, (*right)->id);
}

/* By their ids, so that two servers that write the same keys do not meet crosswise. */
enum err_code store_api_key_used(
    struct sql_conn *conn, const struct api_key_use *uses, size_t count, struct err_info *err)
{
    AUTO_FREE const struct api_key_use **sorted = mem_alloc_array(count, sizeof(void *));
    for (size_t i = 0; i < count; i++) {
        sorted[i] = &uses[i];
    }
    qsort(sorted, count, sizeof(void *), compare_uses);
    for (size_t i = 0; i < count; i++) {
        TRY(sql_exec(
            conn,
            &SQL_API_KEY_USED,
            SQL_ARGS(
                SQL_INT(sorted[i]->workspace_id), SQL_VIEW(sorted[i]->id), SQL_TIME(sorted[i]->at)),
            NULL,
            err));
    }
    return ERR_OK;
}

enum err_code store_meta_get(
    struct sql_conn *conn,
    const char *name,
    struct arena *arena,
    struct str_view *ret_value,
    struct err_info *err)
{
    AUTO_ROWS struct sql_rows *rows = NULL;
    TRY(sql_query(conn, &SQL_META_GET, SQL_ARGS(SQL_TEXT(name)), &rows, err));
    TRY(sql_rows_next(rows, err));
    struct str_view value = sql_blob(rows, 0);
    value.ptr = arena_dup(arena, value.ptr, value.len);
    if (value.ptr == NULL) {
        return ERR_SET(err, ERR_NOMEM, "out of memory");
    }
    *ret_value = value;
    return ERR_OK;
}

enum err_code store_meta_put(
    struct sql_conn *conn, const char *name, struct str_view value, struct err_info *err)
{
    return sql_exec(
        conn, &SQL_META_PUT, SQL_ARGS(SQL_TEXT(name), SQL_BLOB(value.ptr, value.len)), NULL, err);
}

enum err_code store_role_passes_wall(struct sql_conn *conn, bool *ret_passes, struct err_info *err)
{
    AUTO_ROWS struct sql_rows *rows = NULL;
    TRY(sql_query(conn, &SQL_ROLE_PASSES_WALL, SQL_NO_ARGS, &rows, err));
    TRY(sql_rows_next(rows, err));
    *ret_passes = sql_int(rows, 0) != 0;
    return ERR_OK;
}
