/* Series, samples, retention and events: the same on both engines. */
#include "cmd/server/store/event.h"
#include "cmd/server/store/telemetry.h"
#include "tests/component/server_store/fixture.h"

#define TEXT(literal)                  \
    {                                  \
        (literal), sizeof(literal) - 1 \
    }

static const struct series_name names[] = {
    { TEXT("host.cpu.busy"), TEXT(""), TEXT(""), TEXT("ratio") },
    { TEXT("host.disk.read"), TEXT(""), TEXT("sda"), TEXT("bytes") },
    { TEXT("host.disk.read"), TEXT(""), TEXT("sda"), TEXT("bytes") }, /* twice in one batch */
    { TEXT("host.disk.read"), TEXT("camera"), TEXT("sda"), TEXT("bytes") },
};

static void put_names(struct place *place, int64_t agent_id, int64_t ids[4])
{
    struct err_info err = ERR_INFO_INIT;
    const struct series_request request = {
        WORKSPACE_DEFAULT, agent_id, names, ARRAY_LENGTH(names)
    };
    assert_ok_err(err, store_series_put(place->conn, &request, ids, &err));
}

static void put_sample(struct place *place, int64_t series_id, int64_t time_us, double value)
{
    struct err_info err = ERR_INFO_INIT;
    const int64_t workspace = WORKSPACE_DEFAULT;
    const int64_t only = 1;
    const struct sample_columns columns = { 1, &workspace, &series_id, &time_us, &value };
    const struct sample_runs runs = {
        1, &workspace, &series_id, &only, &only, 1, &time_us, &value
    };
    struct sample_habit habit = { .wary = 0 };
    assert_ok_err(err, store_sample_put(place->conn, &runs, &habit, &err));
    assert_ok_err(err, store_series_latest(place->conn, &columns, PLACE_NOW, &err));
}

static size_t count_samples(struct place *place, int64_t series_id, int64_t start, int64_t end)
{
    struct err_info err = ERR_INFO_INIT;
    struct store_list list;
    const struct sample_range range = {
        .series_id = series_id, .start_us = start, .end_us = end, .limit = 1000
    };
    assert_ok_err(
        err, store_sample_raw(place->conn, WORKSPACE_DEFAULT, &range, place->arena, &list, &err));
    const struct sample_row *rows = list.records;
    for (size_t i = 1; i < list.count; i++) {
        assert_true(rows[i].time_us > rows[i - 1].time_us);
    }
    return list.count;
}

static void test_a_series_is_made_once(void **state)
{
    struct place *place = place_of(state);
    int64_t first[4];
    int64_t again[4];
    int64_t agent = place_add_agent(place, WORKSPACE_DEFAULT, "edge", 1);
    place_begin(place, WORKSPACE_DEFAULT);
    put_names(place, agent, first);
    put_names(place, agent, again);
    place_commit(place);
    assert_memory_equal(first, again, sizeof(first));
    assert_int_equal(first[1], first[2]);
    assert_int_not_equal(first[1], first[3]);
    assert_int_not_equal(first[0], first[1]);
}

static void test_a_sample_stands_once(void **state)
{
    struct place *place = place_of(state);
    struct err_info err = ERR_INFO_INIT;
    int64_t ids[4];
    double value = 0;
    const int64_t now = PLACE_NOW.value;
    int64_t agent = place_add_agent(place, WORKSPACE_DEFAULT, "edge", 1);
    place_begin(place, WORKSPACE_DEFAULT);
    put_names(place, agent, ids);
    put_sample(place, ids[0], now, 1.5);
    put_sample(place, ids[0], now, 2.5); /* the first stays */
    put_sample(place, ids[0], now + 1, 3.5);
    put_sample(place, ids[0], 0, 4.5); /* an agent whose clock begins anew */
    put_sample(place, ids[0], WALL_US_MAX, 5.5);
    assert_int_equal(count_samples(place, ids[0], now, now + 2), 2);
    assert_int_equal(count_samples(place, ids[0], now, now + 1), 1); /* the end is outside */
    assert_int_equal(count_samples(place, ids[0], 0, INT64_MAX), 4);
    assert_ok(store_sample_at(place->conn, WORKSPACE_DEFAULT, ids[0], now, &value, &err));
    assert_true(value == 1.5);
    assert_code(
        ERR_NOT_FOUND,
        store_sample_at(place->conn, WORKSPACE_DEFAULT, ids[0], now + 7, &value, &err));
    place_commit(place);
}

static void test_many_samples_in_one_call(void **state)
{
    struct place *place = place_of(state);
    struct err_info err = ERR_INFO_INIT;

    enum {
        COUNT = 3000
    };

    int64_t ids[4];
    int64_t *times_us = mem_alloc_array(COUNT, sizeof(*times_us));
    double *values = mem_alloc_array(COUNT, sizeof(*values));
    int64_t agent = place_add_agent(place, WORKSPACE_DEFAULT, "edge", 1);
    place_begin(place, SQL_ALL_WORKSPACES);
    put_names(place, agent, ids);
    for (size_t i = 0; i < COUNT; i++) {
        times_us[i] = PLACE_NOW.value + (int64_t)(i / 2); /* each twice */
        values[i] = (double)i;
    }
    const int64_t workspaces[] = { WORKSPACE_DEFAULT, WORKSPACE_DEFAULT };
    const int64_t firsts[] = { 1, COUNT - 99 };
    const int64_t lasts[] = { COUNT - 100, COUNT };
    const struct sample_runs runs = { 2, workspaces, ids, firsts, lasts, COUNT, times_us, values };
    struct sample_habit habit = { .wary = 0 };
    assert_ok_err(err, store_sample_put(place->conn, &runs, &habit, &err));
    assert_int_equal(count_samples(place, ids[0], PLACE_NOW.value, PLACE_NOW.value + 500), 500);
    assert_int_equal(
        count_samples(place, ids[0], PLACE_NOW.value + 1000, PLACE_NOW.value + COUNT),
        COUNT / 2 - 50 - 1000);
    assert_int_equal(count_samples(place, ids[1], PLACE_NOW.value, PLACE_NOW.value + COUNT), 50);
    assert_int_equal(habit.wary > 0, sql_engine_of(place->conn) == SQL_POSTGRES);
    const struct sample_runs none = { .count = 0 };
    assert_ok_err(err, store_sample_put(place->conn, &none, &habit, &err));
    place_commit(place);
    mem_free(times_us);
    mem_free(values);
}

static void test_steps_aggregate(void **state)
{
    struct place *place = place_of(state);
    struct err_info err = ERR_INFO_INIT;
    struct store_list list;
    int64_t ids[4];
    const int64_t start = PLACE_NOW.value + 7; /* steps count from the start that was asked for */
    int64_t agent = place_add_agent(place, WORKSPACE_DEFAULT, "edge", 1);
    place_begin(place, WORKSPACE_DEFAULT);
    put_names(place, agent, ids);
    put_sample(place, ids[0], start - 1, 1000);
    put_sample(place, ids[0], start, 1);
    put_sample(place, ids[0], start + 9, -3);
    put_sample(place, ids[0], start + 10, 5);
    put_sample(place, ids[0], start + 35, 7);
    put_sample(place, ids[0], start + 40, 1000);
    const struct sample_range range = {
        .series_id = ids[0],
        .start_us = start,
        .end_us = start + 40,
        .step_us = 10,
        .limit = 100,
    };
    assert_ok_err(
        err, store_sample_steps(place->conn, WORKSPACE_DEFAULT, &range, place->arena, &list, &err));
    const struct sample_step *steps = list.records;
    assert_int_equal(list.count, 3); /* steps without samples are left out */
    assert_int_equal(steps[0].start_us, start);
    assert_int_equal(steps[0].count, 2);
    assert_true(steps[0].sum == -2 && steps[0].min == -3 && steps[0].max == 1);
    assert_int_equal(steps[0].last_us, start + 9);
    assert_int_equal(steps[1].start_us, start + 10);
    assert_int_equal(steps[2].start_us, start + 30);
    place_commit(place);
}

static void test_the_latest_value_never_goes_back(void **state)
{
    struct place *place = place_of(state);
    struct err_info err = ERR_INFO_INIT;
    struct store_list list;
    int64_t ids[4];
    int64_t agent = place_add_agent(place, WORKSPACE_DEFAULT, "edge", 1);
    place_begin(place, WORKSPACE_DEFAULT);
    put_names(place, agent, ids);
    put_sample(place, ids[0], PLACE_NOW.value, 2);
    put_sample(place, ids[0], PLACE_NOW.value - 5, 1); /* came late */
    struct series_filter filter = { .metric = STR("host."), .limit = 10 };
    assert_ok(
        store_series_list(place->conn, WORKSPACE_DEFAULT, &filter, place->arena, &list, &err));
    const struct series_record *records = list.records;
    assert_int_equal(list.count, 3);
    assert_int_equal(records[0].last_time, PLACE_NOW.value);
    assert_true(records[0].last_value == 2);
    filter = (struct series_filter){ .metric = STR("host.disk.read"), .limit = 10 };
    assert_ok(
        store_series_match(place->conn, WORKSPACE_DEFAULT, &filter, place->arena, &list, &err));
    assert_int_equal(list.count, 2);
    filter.device = STR("");
    assert_ok(
        store_series_match(place->conn, WORKSPACE_DEFAULT, &filter, place->arena, &list, &err));
    assert_int_equal(list.count, 1);
    filter = (struct series_filter){ .metric = STR("host."),
                                     .metric_is_prefix = true,
                                     .received_after = PLACE_NOW.value - 1,
                                     .limit = 10 };
    assert_ok(
        store_series_newer(place->conn, WORKSPACE_DEFAULT, &filter, place->arena, &list, &err));
    assert_int_equal(list.count, 1);
    place_commit(place);
}

static const struct sql_statement PARTITIONS = {
    "partitions_of_test",
    "SELECT COUNT(*) FROM pg_inherits WHERE inhparent = CAST('sample' AS regclass)",
    NULL,
};
static const struct sql_statement REST = { "rest_of_test",
                                           "SELECT COUNT(*) FROM sample_rest",
                                           NULL };

static int64_t count_of(struct place *place, const struct sql_statement *statement)
{
    struct err_info err = ERR_INFO_INIT;
    AUTO_ROWS struct sql_rows *rows = NULL;
    assert_ok_err(err, sql_query(place->conn, statement, SQL_NO_ARGS, &rows, &err));
    assert_ok_err(err, sql_rows_next(rows, &err));
    return sql_int(rows, 0);
}

static void make_partitions(struct place *place, int64_t from, int64_t days)
{
    struct err_info err = ERR_INFO_INIT;
    const struct wall_us start = { from };
    bool all = false;
    assert_ok_err(err, store_sample_partitions(place->conn, start, days, &all, &err));
    assert_true(all);
}

static void test_partitions_are_made_ahead(void **state)
{
    struct place *place = place_of(state);
    int64_t ids[4];
    const int64_t now = PLACE_NOW.value;
    int64_t agent = place_add_agent(place, WORKSPACE_DEFAULT, "edge", 1);
    place_begin(place, SQL_ALL_WORKSPACES);
    put_names(place, agent, ids);
    put_sample(place, ids[0], now - 20 * US_PER_DAY, 1); /* no partition of its own yet */
    assert_int_equal(count_of(place, &REST), 1);
    make_partitions(place, now - 2 * US_PER_DAY, 10);
    assert_int_equal(count_of(place, &PARTITIONS), 11);
    make_partitions(place, now - 2 * US_PER_DAY, 10); /* again: nothing new */
    make_partitions(place, now - US_PER_DAY, 10);     /* a day later: one more */
    assert_int_equal(count_of(place, &PARTITIONS), 12);
    make_partitions(place, now - 20 * US_PER_DAY, 1); /* rows stand in the rest: it stays so */
    assert_int_equal(count_of(place, &PARTITIONS), 12);
    put_sample(place, ids[0], now, 2);
    put_sample(place, ids[0], now + US_PER_DAY, 3);
    assert_int_equal(count_of(place, &REST), 1);
    assert_int_equal(count_samples(place, ids[0], 0, INT64_MAX), 3);
    place_commit(place);
}

static void retain(struct place *place, int64_t before)
{
    struct err_info err = ERR_INFO_INIT;
    const struct wall_us limit = { before };
    int64_t cursor = 0;
    int rounds = 0;
    do {
        assert_ok_err(err, store_sample_retain(place->conn, limit, 2, &cursor, &err));
    } while (cursor != 0 && ++rounds < 100);
    assert_int_equal(cursor, 0);
}

static void test_old_samples_go(void **state)
{
    struct place *place = place_of(state);
    int64_t ids[4];
    const int64_t now = PLACE_NOW.value;
    int64_t agent = place_add_agent(place, WORKSPACE_DEFAULT, "edge", 1);
    place_begin(place, SQL_ALL_WORKSPACES);
    make_partitions(place, now - 5 * US_PER_DAY, 8);
    put_names(place, agent, ids);
    for (int64_t day = -20; day <= 2; day++) {
        put_sample(place, ids[0], now + day * US_PER_DAY, 1);
        put_sample(place, ids[3], now + day * US_PER_DAY, 1);
    }
    retain(place, now - 3 * US_PER_DAY);
    assert_int_equal(count_samples(place, ids[0], 0, now - 3 * US_PER_DAY), 0);
    assert_int_equal(count_samples(place, ids[0], 0, INT64_MAX), 6);
    assert_int_equal(count_samples(place, ids[3], 0, INT64_MAX), 6);
    retain(place, now - 3 * US_PER_DAY);
    assert_int_equal(count_samples(place, ids[0], 0, INT64_MAX), 6);
    place_commit(place);
}

static void add_event(
    struct place *place, int64_t agent_id, int64_t time_us, int64_t severity, const char *kind)
{
    struct err_info err = ERR_INFO_INIT;
    const struct event_record record = {
        .agent_id = agent_id,
        .time_us = time_us,
        .received_at = time_us,
        .severity = severity,
        .kind = kind,
        .device = "",
        .text = "text \xf0\x9f\x90\x80",
        .attributes = "{}",
    };
    assert_ok_err(err, store_event_add(place->conn, WORKSPACE_DEFAULT, &record, &err));
}

static void test_events_are_listed_and_followed(void **state)
{
    struct place *place = place_of(state);
    struct err_info err = ERR_INFO_INIT;
    struct store_list list;
    int64_t last = 0;
    const int64_t now = PLACE_NOW.value;
    int64_t agent = place_add_agent(place, WORKSPACE_DEFAULT, "edge", 1);
    place_begin(place, SQL_ALL_WORKSPACES);
    assert_ok(store_event_last_id(place->conn, WORKSPACE_DEFAULT, &last, &err));
    assert_int_equal(last, 0);
    add_event(place, agent, now, 1, "spool.dropped");
    add_event(place, agent, now + 1, 4, "spool.corrupt");
    add_event(place, agent, now + 2, 4, "link.lost");
    struct event_filter filter = { .end = INT64_MAX, .limit = 10 };
    assert_ok(store_event_list(place->conn, WORKSPACE_DEFAULT, &filter, place->arena, &list, &err));
    const struct event_record *records = list.records;
    assert_int_equal(list.count, 3);
    assert_string_equal(records[0].kind, "link.lost");
    assert_string_equal(records[0].text, "text \xf0\x9f\x90\x80");
    filter = (struct event_filter){
        .end = now + 2, .min_severity = 2, .kind_prefix = STR("spool."), .limit = 10
    };
    assert_ok(store_event_list(place->conn, WORKSPACE_DEFAULT, &filter, place->arena, &list, &err));
    records = list.records;
    assert_int_equal(list.count, 1);
    filter = (struct event_filter){ .after_id = records[0].id, .limit = 10 };
    assert_ok(
        store_event_newer(place->conn, WORKSPACE_DEFAULT, &filter, place->arena, &list, &err));
    records = list.records;
    assert_int_equal(list.count, 1);
    assert_string_equal(records[0].kind, "link.lost");
    const struct wall_us before = { now + 2 };
    bool more = true;
    assert_ok(store_event_remove(place->conn, before, &more, &err));
    assert_false(more);
    filter = (struct event_filter){ .end = INT64_MAX, .limit = 10 };
    assert_ok(store_event_list(place->conn, WORKSPACE_DEFAULT, &filter, place->arena, &list, &err));
    assert_int_equal(list.count, 1);
    place_commit(place);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        PLACE_BOTH(test_a_series_is_made_once),
        PLACE_BOTH(test_a_sample_stands_once),
        PLACE_BOTH(test_many_samples_in_one_call),
        PLACE_BOTH(test_steps_aggregate),
        PLACE_BOTH(test_the_latest_value_never_goes_back),
        PLACE_BOTH(test_old_samples_go),
        PLACE_BOTH(test_events_are_listed_and_followed),
        cmocka_unit_test_setup_teardown(
            test_partitions_are_made_ahead, place_setup_postgres, place_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
