/* Reports of usage by pages, and quotas that two change at once: the same on both engines. */
#include "cmd/server/store/sandbox/quota.h"
#include "cmd/server/store/sandbox/usage.h"
#include "tests/component/server_store/fixture.h"

#include <stdio.h>

enum {
    SANDBOXES = 5
};

static void fill(struct place *place)
{
    char text[1024];
    int64_t agent = place_add_agent(place, WORKSPACE_DEFAULT, "edge", 1);
    for (int i = 0; i < SANDBOXES; i++) {
        (void)snprintf(
            text,
            sizeof(text),
            "INSERT INTO sandbox_account VALUES (1, 'sbx_%d', 'n', %lld, 'o', '{\"a.b/c\":\"%d\"}', 0);"
            "INSERT INTO sandbox_usage VALUES (1, 'sbx_%d', 'b', 1, %lld, 'o', 0, 3600000000, %d, "
            "9223372036854775807, 0, 0, 0, 0, 0, 0, 0, 0);"
            "INSERT INTO sandbox_usage VALUES (1, 'sbx_%d', 'b', 2, %lld, 'o', 0, 3600000001, %d, "
            "9223372036854775807, 0, 0, 0, 0, 0, 0, 0, 0)",
            i,
            (long long)agent,
            i % 2,
            i,
            (long long)agent,
            i,
            i,
            (long long)agent,
            100 * i);
        place_script(place, text);
    }
}

static struct usage_filter filter_by(enum usage_group group)
{
    return (struct usage_filter){ .until_us = INT64_MAX,
                                  .group = group,
                                  .label_key = STR("a.b/c"),
                                  .sandbox = STR(""),
                                  .owner = STR(""),
                                  .cursor = STR(""),
                                  .limit = 100 };
}

static struct store_list report(struct place *place, const struct usage_filter *filter)
{
    struct err_info err = ERR_INFO_INIT;
    struct store_list list = { .count = 0 };
    place_begin(place, WORKSPACE_DEFAULT);
    assert_ok_err(
        err, store_usage_report(place->conn, WORKSPACE_DEFAULT, filter, place->arena, &list, &err));
    place_commit(place);
    return list;
}

static void test_pages_of_a_report_are_the_report(void **state)
{
    struct place *place = place_of(state);
    struct usage_filter filter = filter_by(USAGE_BY_SANDBOX);
    filter.is_hourly = true;
    fill(place);
    struct store_list all = report(place, &filter);
    const struct usage_sum *whole = all.records;
    assert_int_equal(all.count, 2 * SANDBOXES);
    filter.limit = 1;
    for (size_t i = 0; i < all.count; i++) {
        struct store_list one = report(place, &filter);
        const struct usage_sum *sum = one.records;
        assert_int_equal(one.count, 1);
        assert_string_equal(sum->sandbox_id, whole[i].sandbox_id);
        assert_int_equal(sum->hour_us, i < SANDBOXES ? 0 : INT64_C(3600000000));
        assert_int_equal(sum->cpu_us, whole[i].cpu_us);
        filter.cursor = str_of(sum->cursor);
    }
    assert_int_equal(report(place, &filter).count, 0);
}

static void test_sums_by_label_end_at_the_largest_number(void **state)
{
    struct place *place = place_of(state);
    const struct usage_filter filter = filter_by(USAGE_BY_LABEL);
    fill(place);
    struct store_list list = report(place, &filter);
    const struct usage_sum *sums = list.records;
    assert_int_equal(list.count, 2);
    assert_string_equal(sums[0].label_value, "0");
    assert_int_equal(sums[0].sandboxes, 3);
    assert_int_equal(sums[0].cpu_us, 606);
    assert_int_equal(sums[1].cpu_us, 404);
    assert_true(sums[1].memory_byte_seconds == INT64_MAX);
}

static void test_a_cursor_of_something_else_is_refused(void **state)
{
    struct place *place = place_of(state);
    struct usage_filter filter = filter_by(USAGE_BY_OWNER);
    static const char *const wrong[] = {
        "x", "1", "1:", "1:2", ":1:k", "1:-1:k", "-1:1:k", "a:b:c"
    };
    place_begin(place, WORKSPACE_DEFAULT);
    for (size_t i = 0; i < ARRAY_LENGTH(wrong); i++) {
        struct err_info err = ERR_INFO_INIT;
        struct store_list list;
        filter.cursor = str_of(wrong[i]);
        assert_code(
            ERR_INVALID,
            store_usage_report(place->conn, WORKSPACE_DEFAULT, &filter, place->arena, &list, &err));
    }
    place_commit(place);
}

static enum err_code put(struct place *place, int64_t changed_at, int64_t read_changed_at)
{
    struct err_info err = ERR_INFO_INIT;
    const struct quota_record record = { .owner = "o",
                                         .sandboxes = changed_at,
                                         .cpu_millis = -1,
                                         .memory_bytes = -1,
                                         .disk_bytes = -1,
                                         .changed_by = "me",
                                         .changed_at = changed_at };
    return store_quota_put(place->conn, WORKSPACE_DEFAULT, &record, read_changed_at, &err);
}

static void test_a_quota_changes_as_it_was_read(void **state)
{
    struct place *place = place_of(state);
    struct err_info err = ERR_INFO_INIT;
    struct quota_record record;
    place_begin(place, WORKSPACE_DEFAULT);
    assert_ok(put(place, 10, QUOTA_NEVER_CHANGED));
    assert_code(ERR_BUSY, put(place, 11, QUOTA_NEVER_CHANGED));
    assert_code(ERR_BUSY, put(place, 11, 9));
    assert_ok(put(place, 12, 10));
    assert_code(ERR_BUSY, store_quota_remove(place->conn, WORKSPACE_DEFAULT, STR("o"), 10, &err));
    assert_ok(
        store_quota_get(place->conn, WORKSPACE_DEFAULT, STR("o"), place->arena, &record, &err));
    assert_int_equal(record.sandboxes, 12);
    assert_ok(store_quota_remove(place->conn, WORKSPACE_DEFAULT, STR("o"), 12, &err));
    place_commit(place);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        PLACE_BOTH(test_pages_of_a_report_are_the_report),
        PLACE_BOTH(test_sums_by_label_end_at_the_largest_number),
        PLACE_BOTH(test_a_cursor_of_something_else_is_refused),
        PLACE_BOTH(test_a_quota_changes_as_it_was_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
