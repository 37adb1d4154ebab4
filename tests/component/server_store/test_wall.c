/*
 * The wall between workspaces: row-level security on PostgreSQL, composite foreign keys on both
 * engines. The tables are taken from the catalogue, so that a new one cannot be forgotten.
 */
#include "common/base/buf.h"
#include "tests/component/server_store/fixture.h"

#include <stdio.h>

static const struct sql_statement TABLES = {
    "wall_tables",
    "SELECT CAST(c.relname AS text), CASE WHEN c.relrowsecurity THEN 1 ELSE 0 END, "
    "CASE WHEN c.relforcerowsecurity THEN 1 ELSE 0 END, "
    "(SELECT COUNT(*) FROM pg_policy p WHERE p.polrelid = c.oid), "
    "(SELECT COUNT(*) FROM pg_constraint k JOIN pg_attribute a ON a.attrelid = c.oid "
    "AND a.attnum = k.conkey[1] WHERE k.conrelid = c.oid AND k.contype = 'f' "
    "AND a.attname = 'workspace_id') "
    "FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
    "WHERE n.nspname = 'public' AND c.relkind IN ('r', 'p') AND EXISTS (SELECT 1 FROM pg_attribute a "
    "WHERE a.attrelid = c.oid AND a.attname = 'workspace_id' AND NOT a.attisdropped) "
    "ORDER BY 1",
    "SELECT m.name, 1, 1, 1, (SELECT COUNT(*) FROM pragma_foreign_key_list(m.name) f "
    "WHERE f.\"from\" = 'workspace_id') FROM sqlite_schema m WHERE m.type = 'table' "
    "AND EXISTS (SELECT 1 FROM pragma_table_info(m.name) i WHERE i.name = 'workspace_id') "
    "ORDER BY 1",
};

/* Tables without workspace_id; anything new must be added here on purpose. */
static const struct sql_statement OTHERS = {
    "wall_others",
    "SELECT CAST(c.relname AS text) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
    "WHERE n.nspname = 'public' AND c.relkind IN ('r', 'p') AND NOT EXISTS (SELECT 1 FROM "
    "pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'workspace_id') ORDER BY 1",
    "SELECT m.name FROM sqlite_schema m WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite_%' AND "
    "NOT EXISTS (SELECT 1 FROM pragma_table_info(m.name) i WHERE i.name = 'workspace_id') "
    "ORDER BY 1",
};

/* The tables whose rows get their workspace from a join instead of a foreign key (see the
 * migration). */
static bool is_sample(const char *table)
{
    return strncmp(table, "sample", 6) == 0;
}

static bool is_partition(const char *table)
{
    return is_sample(table) && strcmp(table, "sample") != 0;
}

enum {
    TABLES_MAX = 64
};

struct tables {
    char names[TABLES_MAX][64];
    size_t count;
};

static void read_tables(struct place *place, struct tables *tables)
{
    struct err_info err = ERR_INFO_INIT;
    struct sql_rows *rows = NULL;
    place_begin(place, SQL_ALL_WORKSPACES);
    assert_ok_err(err, sql_query(place->conn, &TABLES, SQL_NO_ARGS, &rows, &err));
    while (sql_rows_next(rows, &err) == ERR_OK) {
        char *name = tables->names[tables->count++];
        assert_ok(str_copy(sql_text(rows, 0), name, 64));
        bool walled = sql_int(rows, 1) == 1 && sql_int(rows, 2) == 1 && sql_int(rows, 3) >= 1;
        if (!walled) {
            print_error("%s: no forced row-level security with a policy\n", name);
        }
        assert_true(walled);
        if (sql_int(rows, 4) == 0 && !is_sample(name)) {
            print_error("%s: no foreign key that begins with workspace_id\n", name);
            fail();
        }
    }
    sql_rows_close(rows);
    place_commit(place);
}

static void test_every_tenant_table_stands_behind_the_wall(void **state)
{
    struct place *place = place_of(state);
    struct tables tables = { .count = 0 };
    read_tables(place, &tables);
    assert_true(tables.count >= 12);
}

static void test_no_table_is_outside_by_accident(void **state)
{
    struct place *place = place_of(state);
    static const char *const known[] = { "belay_schema", "server_meta", "workspace" };
    struct err_info err = ERR_INFO_INIT;
    AUTO_ROWS struct sql_rows *rows = NULL;
    place_begin(place, SQL_ALL_WORKSPACES);
    assert_ok_err(err, sql_query(place->conn, &OTHERS, SQL_NO_ARGS, &rows, &err));
    while (sql_rows_next(rows, &err) == ERR_OK) {
        char name[64];
        assert_ok(str_copy(sql_text(rows, 0), name, sizeof(name)));
        bool found = false;
        for (size_t i = 0; i < ARRAY_LENGTH(known); i++) {
            found = found || strcmp(known[i], name) == 0;
        }
        if (!found) {
            print_error("%s: a table without workspace_id\n", name);
        }
        assert_true(found);
    }
}

/* Copies a template: @a becomes an agent's id, @b a literal of bytes. */
static const char *expand(
    const struct place *place, const char *template, int64_t agent_id, struct buf *out)
{
    buf_clear(out);
    for (const char *at = template; *at != '\0'; at++) {
        if (*at != '@') {
            buf_append_char(out, *at);
        } else if (*++at == 'a') {
            buf_printf(out, "%lld", (long long)agent_id);
        } else {
            buf_append_str(out, place->dir != NULL ? STR("x'61'") : STR("'a'"));
        }
    }
    assert_true(buf_ok(out));
    return buf_text(out);
}

/* One row of the workspace `other` in every tenant table. */
static const char filling[] =
    "INSERT INTO challenge VALUES (@b, 7, @a, @b, 1);"
    "INSERT INTO session VALUES (7, @a, @b, 1, 1, 2);"
    "INSERT INTO device VALUES (7, 900, @a, 'host', 'host', '{}', '{}', 1, 1);"
    "INSERT INTO command (workspace_id, id, agent_id, sequence, state, kind, payload, actor, "
    "signature, created_at, expires_at) VALUES (7, 'cmd_x', @a, 1, 1, 'drain', @b, 'a', @b, 1, 2);"
    "INSERT INTO series (workspace_id, id, agent_id, metric, device, instance, unit) "
    "VALUES (7, 900, @a, 'm', '', '', '');"
    "INSERT INTO sample VALUES (7, 900, 1, 1.5);"
    "INSERT INTO upload (workspace_id, agent_id, stream, sequence, captured_at, received_at, "
    "payload) VALUES (7, @a, 1, 1, 1, 1, @b);"
    "INSERT INTO event (workspace_id, agent_id, time_us, received_at, severity, kind, device, "
    "text, attributes) VALUES (7, @a, 1, 1, 1, 'k', '', '', '{}');"
    "INSERT INTO api_key (workspace_id, id, name, hash, scopes, created_by, created_at, "
    "expires_at) VALUES (7, 'key_x', 'n', @b, '*', 'a', 1, 2);"
    "INSERT INTO sandbox (workspace_id, id, name, agent_id, phase, labels, annotations, spec, "
    "cpu_millis, memory_bytes, disk_bytes, policy_version, created_by, created_at, changed_at) "
    "VALUES (7, 'sbx_x', 'x', @a, 2, '{}', '{}', @b, 1, 1, 1, 1, 'a', 1, 1);"
    "INSERT INTO sandbox_policy (workspace_id, sandbox_id, version, status, policy, hash, "
    "annotations, created_by, created_at) VALUES (7, 'sbx_x', 1, 1, @b, 'h', '{}', 'a', 1);"
    "INSERT INTO sandbox_forward VALUES (7, 'sbx_x', @b, 'a', 1, 2);"
    "INSERT INTO sandbox_usage VALUES (7, 'sbx_x', 'b', 1, @a, 'a', 1, 2, 0, 0, 0, 0, 0, 0, 0, 0, "
    "0, 0);"
    "INSERT INTO relay VALUES (7, 'rly_x', @a, @b, 2, '', 0);"
    "INSERT INTO sandbox_connection VALUES (7, 'sbx_x', 'rly_x', @b, 2);"
    "INSERT INTO sandbox_account VALUES (7, 'sbx_x', 'x', @a, 'a', '{}', 1);"
    "INSERT INTO quota VALUES (7, '', 1, 1, 1, 1, 'a', 1);"
    "INSERT INTO sandbox_figures VALUES (7, 'sbx_x', 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1);"
    "INSERT INTO sandbox_watch VALUES (7, 1);"
    "INSERT INTO audit VALUES (7, 1, 1, 'a', 'b', 'c', 'allowed', '', '', '', '{}', @b)";

/* Rows of `other` that name an agent of `default`. */
static const char *const crossing[] = {
    "INSERT INTO challenge VALUES (@b, 7, @a, @b, 1)",
    "INSERT INTO session VALUES (7, @a, @b, 1, 1, 2)",
    "INSERT INTO device VALUES (7, 901, @a, 'x', 'host', '{}', '{}', 1, 1)",
    "INSERT INTO command (workspace_id, id, agent_id, sequence, state, kind, payload, actor, "
    "signature, created_at, expires_at) VALUES (7, 'cmd_y', @a, 1, 1, 'drain', @b, 'a', @b, 1, 2)",
    "INSERT INTO series (workspace_id, id, agent_id, metric, device, instance, unit) "
    "VALUES (7, 901, @a, 'm', '', '', '')",
    "INSERT INTO event (workspace_id, agent_id, time_us, received_at, severity, kind, device, "
    "text, attributes) VALUES (7, @a, 1, 1, 1, 'k', '', '', '{}')",
    "INSERT INTO upload (workspace_id, agent_id, stream, sequence, captured_at, received_at, "
    "payload) VALUES (7, @a, 1, 1, 1, 1, @b)",
    "INSERT INTO sandbox (workspace_id, id, name, agent_id, phase, labels, annotations, spec, "
    "cpu_millis, memory_bytes, disk_bytes, policy_version, created_by, created_at, changed_at) "
    "VALUES (7, 'sbx_y', 'y', @a, 2, '{}', '{}', @b, 1, 1, 1, 1, 'a', 1, 1)",
    "INSERT INTO sandbox_usage VALUES (7, 'sbx_y', 'b', 1, @a, 'a', 1, 2, 0, 0, 0, 0, 0, 0, 0, 0, "
    "0, 0)",
    "INSERT INTO relay VALUES (7, 'rly_y', @a, @b, 2, '', 0)",
    "INSERT INTO sandbox_account VALUES (7, 'sbx_y', 'x', @a, 'a', '{}', 1)",
    "INSERT INTO sandbox_figures VALUES (7, 'sbx_mine', 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1)",
    "UPDATE enrollment SET agent_id = @a WHERE workspace_id = 7",
    "UPDATE agent SET enrollment_id = 'enr_mine' WHERE workspace_id = 7",
};

static void fill_other(struct place *place)
{
    AUTO_BUF struct buf text = BUF_INIT(8192);
    int64_t agent = place_add_agent(place, PLACE_OTHER, "theirs", 9);
    place_script(place, expand(place, filling, agent, &text));
}

/* PostgreSQL: fails unless the block's condition holds. */
static void check_block(struct sql_conn *conn, const char *table, const char *block)
{
    struct err_info err = ERR_INFO_INIT;
    AUTO_BUF struct buf text = BUF_INIT(1024);
    buf_printf(&text, "DO $$ DECLARE n bigint; BEGIN %s END $$", block);
    enum err_code code = sql_exec_script(conn, buf_text(&text), &err);
    if (code != ERR_OK) {
        print_error("%s: %s: %s\n", table, block, err.text);
    }
    assert_int_equal(code, ERR_OK);
}

static void check_invisible(struct sql_conn *conn, const char *table)
{
    char block[512];
    (void)snprintf(
        block,
        sizeof(block),
        "IF EXISTS (SELECT 1 FROM %s WHERE workspace_id = 7) THEN RAISE EXCEPTION 'seen'; END IF; "
        "UPDATE %s SET workspace_id = workspace_id; GET DIAGNOSTICS n = ROW_COUNT; "
        "IF n > 0 THEN RAISE EXCEPTION 'updated'; END IF; "
        "DELETE FROM %s; GET DIAGNOSTICS n = ROW_COUNT; "
        "IF n > 0 THEN RAISE EXCEPTION 'deleted'; END IF;",
        table,
        table,
        table);
    check_block(conn, table, block);
}

static void check_there(struct sql_conn *conn, const char *table)
{
    char block[512];
    (void)snprintf(
        block,
        sizeof(block),
        "IF NOT EXISTS (SELECT 1 FROM %s WHERE workspace_id = 7) THEN "
        "RAISE EXCEPTION 'fill_other adds no row here'; END IF;",
        table);
    check_block(conn, table, block);
}

static void test_rows_of_another_workspace_are_invisible(void **state)
{
    struct place *place = place_of(state);
    struct tables tables = { .count = 0 };
    fill_other(place);
    read_tables(place, &tables);
    for (size_t i = 0; i < tables.count; i++) {
        const char *table = tables.names[i];
        if (!is_partition(table)) {
            place_begin(place, PLACE_OTHER);
            check_there(place->conn, table);
            place_commit(place);
        }
        place_begin(place, WORKSPACE_DEFAULT);
        check_invisible(place->conn, table);
        place_commit(place);
    }
}

static void test_nothing_is_visible_without_a_workspace(void **state)
{
    struct place *place = place_of(state);
    struct tables tables = { .count = 0 };
    struct err_info err = ERR_INFO_INIT;
    fill_other(place);
    read_tables(place, &tables);
    for (int round = 0; round < 2; round++) {
        /* Outside a transaction of ours: the setting is not there, then empty. */
        struct sql_conn *fresh = place_connect(place);
        if (round == 1) {
            assert_ok_err(
                err,
                sql_exec_script(fresh, "SELECT set_config('app.workspace_id', '', false)", &err));
        }
        for (size_t i = 0; i < tables.count; i++) {
            check_invisible(fresh, tables.names[i]);
        }
        sql_close(fresh);
    }
}

/* An insert of another workspace's row, by one who works for `default`. */
static void test_a_row_for_another_workspace_is_refused(void **state)
{
    struct place *place = place_of(state);
    struct err_info err = ERR_INFO_INIT;
    static const char *const inserts[] = {
        "INSERT INTO api_key (workspace_id, id, name, hash, scopes, created_by, created_at, "
        "expires_at) VALUES (7, 'key_y', 'n', 'y', '*', 'a', 1, 2)",
        "INSERT INTO audit VALUES (7, 9, 1, 'a', 'b', 'c', 'allowed', '', '', '', '{}', 'h')",
        "INSERT INTO sample VALUES (7, 900, 2, 1.5)",
        "INSERT INTO enrollment (workspace_id, id, token_hash, state, labels, auto_confirm, "
        "created_by, created_at, expires_at) VALUES (7, 'e', 'y', 1, '{}', 0, 'a', 1, 2)",
    };
    fill_other(place);
    for (size_t i = 0; i < ARRAY_LENGTH(inserts); i++) {
        place_begin(place, WORKSPACE_DEFAULT);
        assert_code(ERR_DENIED, sql_exec_script(place->conn, inserts[i], &err));
        assert_null(strstr(err.text, "INSERT"));
        sql_rollback(place->conn);
    }
}

/* By the server itself, which sees every workspace: the foreign keys still hold on both engines. */
static void test_a_row_that_crosses_is_refused_by_the_foreign_key(void **state)
{
    struct place *place = place_of(state);
    struct err_info err = ERR_INFO_INIT;
    AUTO_BUF struct buf text = BUF_INIT(8192);
    int64_t mine = place_add_agent(place, WORKSPACE_DEFAULT, "mine", 3);
    (void)place_add_agent(place, PLACE_OTHER, "theirs", 9);
    for (size_t i = 0; i < ARRAY_LENGTH(crossing); i++) {
        place_begin(place, SQL_ALL_WORKSPACES);
        enum err_code code =
            sql_exec_script(place->conn, expand(place, crossing[i], mine, &text), &err);
        if (code != ERR_PRECONDITION) {
            print_error("%s: %s %s\n", crossing[i], err_name(code), err.text);
        }
        assert_int_equal(code, ERR_PRECONDITION);
        sql_rollback(place->conn);
    }
}

static const struct sql_statement KEYS_COUNT = {
    "keys_count",
    "SELECT COUNT(*) FROM api_key",
    "SELECT COUNT(*) FROM api_key",
};
static const struct sql_statement KEY_STOLEN = {
    "key_stolen",
    "INSERT INTO api_key (workspace_id, id, name, hash, scopes, created_by, created_at, expires_at) "
    "VALUES (7, 'key_s', 'n', 's', '*', 'a', 1, 2) RETURNING 1",
    NULL,
};
static const struct sql_statement KEYS_REVOKED = {
    "keys_revoked",
    "UPDATE api_key SET revoked_at = 1 RETURNING 1",
    NULL,
};

static int64_t count_keys(struct sql_conn *conn)
{
    struct err_info err = ERR_INFO_INIT;
    AUTO_ROWS struct sql_rows *rows = NULL;
    assert_ok_err(err, sql_query(conn, &KEYS_COUNT, SQL_NO_ARGS, &rows, &err));
    assert_ok(sql_rows_next(rows, &err));
    return sql_int(rows, 0);
}

static void add_key(struct place *place, int64_t workspace_id, const char *id, uint8_t mark)
{
    struct err_info err = ERR_INFO_INIT;
    uint8_t hash[32];
    const struct api_key_record record = {
        .workspace_id = workspace_id,
        .id = id,
        .name = "n",
        .scopes = "agent:read device:read",
        .created_by = "user:local/0",
        .created_at = PLACE_NOW.value,
        .expires_at = PLACE_NOW.value + US_PER_HOUR,
    };
    place_begin(place, workspace_id);
    assert_ok_err(err, store_api_key_add(place->conn, &record, place_hash(mark, hash), &err));
    place_commit(place);
}

/* The key's workspace; 0: none has this hash. */
static int64_t workspace_of_key(struct sql_conn *conn, uint8_t mark)
{
    struct err_info err = ERR_INFO_INIT;
    struct credential_record record = { .workspace_id = 0 };
    struct sql_rows *rows = NULL;
    uint8_t hash[32];
    assert_ok_err(err, sql_begin_lookup(conn, SQL_OWN_WALL, &err));
    enum err_code code =
        store_credential_key(conn, place_hash(mark, hash), PLACE_NOW, &record, &rows, &err);
    assert_true(code == ERR_OK || code == ERR_NOT_FOUND);
    if (code == ERR_OK) {
        assert_code(ERR_NOT_FOUND, sql_rows_next(rows, &err)); /* one row and no other */
    }
    sql_rows_close(rows);
    sql_rollback(conn);
    return record.workspace_id;
}

/* A proof is looked up before it is known whose it is: its one row is seen, whoever's it is. */
static void test_a_credential_is_found_by_its_hash_alone(void **state)
{
    struct place *place = place_of(state);
    add_key(place, WORKSPACE_DEFAULT, "key_mine", 1);
    add_key(place, PLACE_OTHER, "key_theirs", 2);
    for (int round = 0; round < 8; round++) { /* PostgreSQL makes its lasting plan at the sixth */
        assert_int_equal(workspace_of_key(place->conn, 1), WORKSPACE_DEFAULT);
        assert_int_equal(workspace_of_key(place->conn, 2), PLACE_OTHER);
        assert_int_equal(workspace_of_key(place->conn, 3), 0);
    }
}

/* The wall that a look-up has lifted stands again behind it, found or not. */
static void test_a_lookup_leaves_the_wall_as_it_was(void **state)
{
    struct place *place = place_of(state);
    add_key(place, WORKSPACE_DEFAULT, "key_mine", 1);
    add_key(place, PLACE_OTHER, "key_theirs", 2);
    for (uint8_t mark = 1; mark <= 3; mark++) {
        (void)workspace_of_key(place->conn, mark);
        assert_int_equal(count_keys(place->conn), 0); /* outside a transaction: nothing */
        place_begin(place, WORKSPACE_DEFAULT);
        assert_int_equal(count_keys(place->conn), 1);
        place_commit(place);
    }
}

/* Through PgBouncer in transaction mode a look-up brings its wall and its timeouts along. */
static void test_a_lookup_of_a_pooled_session_leaves_nothing(void **state)
{
    struct place *place = place_of(state);
    struct err_info err = ERR_INFO_INIT;
    struct sql_conn *pooled = NULL;
    const struct store_options options = { .url = place->url, .no_prepared_statements = true };
    add_key(place, WORKSPACE_DEFAULT, "key_mine", 1);
    add_key(place, PLACE_OTHER, "key_theirs", 2);
    assert_ok_err(err, store_open(&options, &pooled, &err));
    assert_int_equal(workspace_of_key(pooled, 1), WORKSPACE_DEFAULT);
    assert_int_equal(workspace_of_key(pooled, 2), PLACE_OTHER);
    assert_int_equal(workspace_of_key(pooled, 3), 0);
    assert_int_equal(count_keys(pooled), 0);
    sql_close(pooled);
}

/* Only the query lifts it: a look-up as such sees and changes nothing of a tenant's. */
static void test_a_lookup_without_a_wall_sees_nothing(void **state)
{
    struct place *place = place_of(state);
    struct err_info err = ERR_INFO_INIT;
    struct sql_rows *rows = NULL;
    add_key(place, PLACE_OTHER, "key_theirs", 2);
    assert_ok_err(err, sql_begin_lookup(place->conn, SQL_OWN_WALL, &err));
    assert_int_equal(count_keys(place->conn), 0);
    sql_rollback(place->conn);
    assert_ok_err(err, sql_begin_lookup(place->conn, SQL_OWN_WALL, &err));
    assert_code(ERR_DENIED, sql_query(place->conn, &KEY_STOLEN, SQL_NO_ARGS, &rows, &err));
    sql_rollback(place->conn);
    assert_ok_err(err, sql_begin_lookup(place->conn, SQL_OWN_WALL, &err));
    assert_ok_err(err, sql_query(place->conn, &KEYS_REVOKED, SQL_NO_ARGS, &rows, &err));
    assert_code(ERR_NOT_FOUND, sql_rows_next(rows, &err));
    sql_rollback(place->conn);
    assert_int_equal(workspace_of_key(place->conn, 2), PLACE_OTHER);
}

/* Inside a transaction the query would lift the wall until its end: it is not sent. */
static void test_a_credential_is_not_looked_up_in_a_transaction(void **state)
{
    struct place *place = place_of(state);
    struct err_info err = ERR_INFO_INIT;
    struct credential_record record;
    struct sql_rows *rows = NULL;
    uint8_t hash[32];
    add_key(place, PLACE_OTHER, "key_theirs", 2);
    place_hash(2, hash);
    place_begin(place, WORKSPACE_DEFAULT);
    assert_code(
        ERR_INTERNAL, store_credential_key(place->conn, hash, PLACE_NOW, &record, &rows, &err));
    assert_code(
        ERR_INTERNAL, store_credential_session(place->conn, hash, PLACE_NOW, &record, &rows, &err));
    assert_int_equal(count_keys(place->conn), sql_engine_of(place->conn) == SQL_SQLITE ? 1 : 0);
    place_commit(place);
    assert_code(ERR_INVALID, sql_begin(place->conn, SQL_OWN_WALL, &err));
    assert_code(ERR_INVALID, sql_begin_read(place->conn, SQL_OWN_WALL, &err));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        PLACE_BOTH(test_every_tenant_table_stands_behind_the_wall),
        PLACE_BOTH(test_no_table_is_outside_by_accident),
        PLACE_BOTH(test_a_row_that_crosses_is_refused_by_the_foreign_key),
        PLACE_POSTGRES(test_rows_of_another_workspace_are_invisible),
        PLACE_POSTGRES(test_nothing_is_visible_without_a_workspace),
        PLACE_POSTGRES(test_a_row_for_another_workspace_is_refused),
        PLACE_BOTH(test_a_credential_is_found_by_its_hash_alone),
        PLACE_BOTH(test_a_credential_is_not_looked_up_in_a_transaction),
        PLACE_POSTGRES(test_a_lookup_leaves_the_wall_as_it_was),
        PLACE_POSTGRES(test_a_lookup_of_a_pooled_session_leaves_nothing),
        PLACE_POSTGRES(test_a_lookup_without_a_wall_sees_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
