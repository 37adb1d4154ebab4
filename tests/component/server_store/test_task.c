/* Periodic work that servers on one database share: once when it is due, by whoever comes first. */
#include "cmd/server/store/task.h"
#include "tests/component/server_store/fixture.h"

static bool take(struct sql_conn *conn, int64_t every_us, int64_t at_us)
{
    struct err_info err = ERR_INFO_INIT;
    struct wall_us now = { PLACE_NOW.value + at_us };
    bool mine = true;
    assert_ok_err(err, store_task_take(conn, "sweep", every_us, now, &mine, &err));
    return mine;
}

static bool take_and_commit(struct place *place, int64_t every_us, int64_t at_us)
{
    place_begin(place, SQL_ALL_WORKSPACES);
    bool mine = take(place->conn, every_us, at_us);
    place_commit(place);
    return mine;
}

static void test_due_once_each_interval(void **state)
{
    struct place *place = place_of(state);
    assert_true(take_and_commit(place, 100, 0));
    assert_false(take_and_commit(place, 100, 0));
    assert_false(take_and_commit(place, 100, 99));
    assert_true(take_and_commit(place, 100, 100));
    assert_false(take_and_commit(place, 100, 199));
    assert_true(take_and_commit(place, 0, 199)); /* a further portion */
    assert_true(take_and_commit(place, 100, 5)); /* the clock that noted 199 was wrong */
    assert_false(take_and_commit(place, 100, 6));
}

static void test_what_was_rolled_back_is_due(void **state)
{
    struct place *place = place_of(state);
    place_begin(place, SQL_ALL_WORKSPACES);
    assert_true(take(place->conn, 100, 0));
    sql_rollback(place->conn);
    assert_true(take_and_commit(place, 100, 1));
}

static void test_nobody_waits_for_the_one_at_it(void **state)
{
    struct place *place = place_of(state);
    struct err_info err = ERR_INFO_INIT;
    struct sql_conn *other = place_connect(place);
    place_begin(place, SQL_ALL_WORKSPACES);
    assert_true(take(place->conn, 100, 0));
    assert_ok_err(err, sql_begin(other, SQL_ALL_WORKSPACES, &err));
    assert_false(take(other, 100, 0));
    assert_ok_err(err, sql_commit(other, &err));
    sql_rollback(place->conn); /* as when its server dies */
    assert_ok_err(err, sql_begin(other, SQL_ALL_WORKSPACES, &err));
    assert_true(take(other, 100, 0));
    assert_ok_err(err, sql_commit(other, &err));
    sql_close(other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        PLACE_BOTH(test_due_once_each_interval),
        PLACE_BOTH(test_what_was_rolled_back_is_due),
        cmocka_unit_test_setup_teardown(
            test_nobody_waits_for_the_one_at_it, place_setup_postgres, place_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
