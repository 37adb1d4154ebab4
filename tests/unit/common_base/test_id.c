#include "common/base/id.h"
#include "common/base/map.h"
#include "tests/support/test.h"

static void test_form(void **state)
{
    (void)state;
    char id[ID_TEXT_BYTES];
    struct wall_us now = { INT64_C(1795319160250000) };
    assert_ptr_equal(id_create("cmd", now, id), id);
    assert_int_equal(strlen(id), 3 + 1 + 26);
    assert_memory_equal(id, "cmd_", 4);
    assert_int_equal(strspn(id + 4, "0123456789abcdefghjkmnpqrstvwxyz"), 26);
    id_create("a_long_prefix", now, id);
    assert_memory_equal(id, "a_long_p_", 9);
    assert_int_equal(strlen(id), 9 + 26);
}

static void test_sorts_by_time(void **state)
{
    (void)state;
    char earlier[ID_TEXT_BYTES];
    char later[ID_TEXT_BYTES];
    for (int64_t ms = 1; ms < INT64_C(1) << 47; ms *= 3) {
        id_create("x", (struct wall_us){ ms * US_PER_MS }, earlier);
        id_create("x", (struct wall_us){ (ms + 1) * US_PER_MS }, later);
        assert_true(strcmp(earlier, later) < 0);
    }
    /* also within a millisecond, and over its end */
    for (int64_t us = INT64_C(1795319160250000); us < INT64_C(1795319160252000); us++) {
        id_create("x", (struct wall_us){ us }, earlier);
        id_create("x", (struct wall_us){ us + 1 }, later);
        assert_true(strcmp(earlier, later) < 0);
    }
}

static void test_unique(void **state)
{
    (void)state;
    struct map *map = map_create();
    for (int i = 0; i < 2000; i++) {
        char id[ID_TEXT_BYTES];
        id_create("x", (struct wall_us){ 0 }, id);
        assert_null(map_put(map, str_of(id), map));
    }
    map_destroy(map, NULL);
}

static void test_a_source_counts_and_draws_anew(void **state)
{
    (void)state;
    struct wall_us now = { 0 };
    struct id_source source = ID_SOURCE_INIT;
    struct id_source other = ID_SOURCE_INIT;
    struct map *map = map_create();
    char id[ID_TEXT_BYTES];
    for (int i = 0; i < 2000; i++) {
        id_source_next(&source, "req", now, id);
        assert_int_equal(strlen(id), 4 + 26);
        assert_memory_equal(id, "req_0000000000", 14);
        assert_null(map_put(map, str_of(id), map));
        id_source_next(&other, "req", now, id);
        assert_null(map_put(map, str_of(id), map));
    }
    uint64_t drawn = source.drawn;
    source.count = UINT32_MAX; /* the last of this draw */
    id_source_next(&source, "req", now, id);
    assert_null(map_put(map, str_of(id), map));
    assert_int_equal(source.drawn, drawn);
    id_source_next(&source, "req", now, id);
    assert_null(map_put(map, str_of(id), map));
    assert_int_not_equal(source.drawn, drawn);
    map_destroy(map, NULL);
}

static void test_random_below_covers_its_range(void **state)
{
    (void)state;
    unsigned counts[5] = { 0 };
    for (int i = 0; i < 5000; i++) {
        uint64_t value = id_random_below(5);
        assert_true(value < 5);
        counts[value]++;
    }
    for (int i = 0; i < 5; i++) {
        assert_true(counts[i] > 700); /* 1000 expected, 28 is one standard deviation */
    }
    assert_int_equal(id_random_below(1), 0);
    assert_true(id_random_below(UINT64_MAX) < UINT64_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_form),
        cmocka_unit_test(test_sorts_by_time),
        cmocka_unit_test(test_unique),
        cmocka_unit_test(test_a_source_counts_and_draws_anew),
        cmocka_unit_test(test_random_below_covers_its_range),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
