#include "tests/component/server_store/fixture.h"

#include "common/sql/migrate.h"

#include <stdio.h>

#define OWNER "belay_test_owner"

static struct sql_conn *connect_raw(const char *url)
{
    struct err_info err = ERR_INFO_INIT;
    struct sql_conn *conn = NULL;
    const struct store_options options = { .url = url };
    assert_ok_err(err, store_connect(&options, &conn, &err));
    return conn;
}

static void script(struct sql_conn *conn, const char *text)
{
    struct err_info err = ERR_INFO_INIT;
    assert_ok_err(err, sql_exec_script(conn, text, &err));
}

static void fill(struct place *place)
{
    struct err_info err = ERR_INFO_INIT;
    struct sql_conn *conn = connect_raw(place->url);
    size_t count = 0;
    const struct sql_migration *migrations = store_migrations(sql_engine_of(conn), &count);
    assert_ok_err(err, sql_migrate_up(conn, migrations, count, NULL, NULL, &err));
    sql_close(conn);
    place->conn = place_connect(place);
    place->arena = arena_create(16 * 1024 * 1024);
    place_script(place, "INSERT INTO workspace (id, name, created_at) VALUES (7, 'other', 0)");
}

int place_setup_sqlite(void **state)
{
    struct place *place = mem_alloc(sizeof(*place));
    place->dir = test_dir_create();
    place->url = mem_printf("sqlite:%s/belay.db", place->dir);
    *state = place;
    fill(place);
    return 0;
}

/* The owner's URL of the same database: another user before the host. */
static char *url_of_owner(const char *url)
{
    const char *at = strchr(url, '@');
    assert_non_null(at);
    return mem_printf("postgresql://" OWNER "%s", at);
}

int place_setup_postgres(void **state)
{
    struct place *place = mem_alloc(sizeof(*place));
    *state = place;
    place->super_url = test_postgres_create();
    if (place->super_url == NULL) {
        return 0;
    }
    const char *name = strstr(place->super_url, "/t_");
    assert_non_null(name);
    char *hand_over = mem_printf("ALTER DATABASE %.18s OWNER TO " OWNER, name + 1);
    struct sql_conn *conn = connect_raw(place->super_url);
    script(
        conn,
        "DO $$ BEGIN CREATE ROLE " OWNER " LOGIN NOSUPERUSER; "
        "EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$");
    script(conn, hand_over);
    sql_close(conn);
    mem_free(hand_over);
    place->url = url_of_owner(place->super_url);
    fill(place);
    return 0;
}

int place_teardown(void **state)
{
    struct place *place = *state;
    sql_close(place->conn);
    arena_destroy(place->arena);
    test_postgres_drop(place->super_url);
    mem_free(place->url);
    if (place->dir != NULL) {
        test_dir_remove(place->dir);
    }
    mem_free(place);
    return 0;
}

struct place *place_of(void **state)
{
    struct place *place = *state;
    if (place->conn == NULL) {
        skip();
    }
    return place;
}

struct sql_conn *place_connect(const struct place *place)
{
    struct err_info err = ERR_INFO_INIT;
    struct sql_conn *conn = NULL;
    const struct store_options options = { .url = place->url };
    assert_ok_err(err, store_open(&options, &conn, &err));
    return conn;
}

void place_begin(struct place *place, int64_t workspace_id)
{
    struct err_info err = ERR_INFO_INIT;
    assert_ok_err(err, sql_begin(place->conn, workspace_id, &err));
}

void place_commit(struct place *place)
{
    struct err_info err = ERR_INFO_INIT;
    assert_ok_err(err, sql_commit(place->conn, &err));
}

const struct sql_statement PLACE_SAMPLES = { "samples_of_test",
                                             "SELECT COUNT(*) FROM sample",
                                             "SELECT COUNT(*) FROM sample" };
const struct sql_statement PLACE_UPLOADS = { "uploads_of_test",
                                             "SELECT COUNT(*) FROM upload",
                                             "SELECT COUNT(*) FROM upload" };

int64_t place_count(struct place *place, const struct sql_statement *statement)
{
    struct err_info err = ERR_INFO_INIT;
    struct sql_rows *rows = NULL;
    place_begin(place, SQL_ALL_WORKSPACES);
    assert_ok_err(err, sql_query(place->conn, statement, SQL_NO_ARGS, &rows, &err));
    assert_ok_err(err, sql_rows_next(rows, &err));
    int64_t count = sql_int(rows, 0);
    sql_rows_close(rows);
    place_commit(place);
    return count;
}

void place_script(struct place *place, const char *text)
{
    place_begin(place, SQL_ALL_WORKSPACES);
    script(place->conn, text);
    place_commit(place);
}

const uint8_t *place_hash(uint8_t mark, uint8_t out[32])
{
    memset(out, mark, 32);
    return out;
}

int64_t place_add_agent(struct place *place, int64_t workspace_id, const char *name, uint8_t mark)
{
    struct err_info err = ERR_INFO_INIT;
    uint8_t hash[32];
    char id[40];
    (void)snprintf(id, sizeof(id), "enr_%s", name);
    place_hash(mark, hash);
    const struct enrollment_record enrollment = {
        .workspace_id = workspace_id,
        .id = id,
        .state = ENROLLMENT_AWAITING_CONFIRMATION,
        .labels = "{}",
        .created_by = "user:local/0",
        .created_at = PLACE_NOW.value,
        .expires_at = PLACE_NOW.value + US_PER_HOUR,
    };
    struct agent_record agent = {
        .workspace_id = workspace_id,
        .name = name,
        .state = AGENT_AWAITING_CONFIRMATION,
        .labels = "{}",
        .identity_key = str_from((const char *)hash, 32),
        .encryption_key = str_from((const char *)hash, 32),
        .version = "1",
        .host = STR(""),
        .enrollment_id = id,
        .created_at = PLACE_NOW.value,
        .created_by = "user:local/0",
    };
    place_begin(place, workspace_id);
    assert_ok_err(err, store_enrollment_add(place->conn, &enrollment, hash, &err));
    assert_ok_err(err, store_agent_add(place->conn, &agent, &err));
    assert_ok_err(
        err, store_agent_confirm(place->conn, workspace_id, agent.id, hash, STR("sealed"), &err));
    const struct enrollment_move move = {
        .id = str_of(id),
        .from = ENROLLMENT_AWAITING_CONFIRMATION,
        .to = ENROLLMENT_CONFIRMED,
        .agent_id = agent.id,
    };
    assert_ok_err(err, store_enrollment_move(place->conn, workspace_id, &move, &err));
    place_commit(place);
    return agent.id;
}
