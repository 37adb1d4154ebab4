/* The schema and every statement of the store, on both engines. */
#include "common/base/map.h"
#include "common/sql/migrate.h"
#include "tests/component/server_store/fixture.h"

/* store_open prepares every statement of every file; here that there are as many as the files say.
 */
static void test_every_statement_prepares(void **state)
{
    struct place *place = place_of(state);
    struct map *names = map_create();
    size_t total = 0;
    size_t count = 0;
    for (size_t file = 0; store_statements(file, &count) != NULL; file++) {
        const struct sql_statement *const *statements = store_statements(file, &count);
        struct err_info err = ERR_INFO_INIT;
        assert_ok_err(err, sql_prepare_all(place->conn, statements, count, &err));
        for (size_t i = 0; i < count; i++) {
            assert_true(statements[i]->postgres != NULL || statements[i]->sqlite != NULL);
            assert_null(map_put(names, str_of(statements[i]->name), names));
            total++;
        }
    }
    assert_true(total > 60);
    map_destroy(names, NULL);
}

static void test_migrations_are_at_the_programs_version(void **state)
{
    struct place *place = place_of(state);
    struct err_info err = ERR_INFO_INIT;
    struct sql_migration_status status;
    size_t count = 0;
    const struct sql_migration *migrations = store_migrations(sql_engine_of(place->conn), &count);
    assert_ok_err(err, sql_migrate_check(place->conn, migrations, count, &err));
    assert_ok_err(err, sql_migrate_status(place->conn, migrations, count, &status, &err));
    assert_int_equal(status.applied, (int)count);
    assert_int_equal(status.known, (int)count);
    assert_true(status.checksum_ok);
    assert_ok_err(err, sql_migrate_up(place->conn, migrations, count, NULL, NULL, &err));
}

static void test_both_engines_have_the_same_versions(void **state)
{
    (void)state;
    size_t postgres = 0;
    size_t sqlite = 0;
    const struct sql_migration *first = store_migrations(SQL_POSTGRES, &postgres);
    const struct sql_migration *second = store_migrations(SQL_SQLITE, &sqlite);
    assert_int_equal(postgres, sqlite);
    for (size_t i = 0; i < postgres; i++) {
        assert_int_equal(first[i].version, second[i].version);
        assert_string_equal(first[i].name, second[i].name);
    }
}

static void test_a_newer_schema_is_refused(void **state)
{
    struct place *place = place_of(state);
    struct err_info err = ERR_INFO_INIT;
    size_t count = 0;
    const struct sql_migration *migrations = store_migrations(sql_engine_of(place->conn), &count);
    struct sql_migration *more = mem_alloc_array(count + 1, sizeof(*more));
    memcpy(more, migrations, count * sizeof(*more));
    more[count] = (struct sql_migration){
        (int)count + 1, "future", "ff", "CREATE TABLE future (id integer)"
    };
    assert_ok_err(err, sql_migrate_up(place->conn, more, count + 1, NULL, NULL, &err));
    assert_code(ERR_PRECONDITION, sql_migrate_check(place->conn, migrations, count, &err));
    assert_non_null(strstr(err.text, "upgrade the program"));
    assert_code(ERR_PRECONDITION, sql_migrate_up(place->conn, migrations, count, NULL, NULL, &err));
    mem_free(more);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        PLACE_BOTH(test_every_statement_prepares),
        PLACE_BOTH(test_migrations_are_at_the_programs_version),
        PLACE_BOTH(test_a_newer_schema_is_refused),
        cmocka_unit_test(test_both_engines_have_the_same_versions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
