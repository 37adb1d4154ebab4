#include "common/base/id.h"
#include "common/base/map.h"
#include "common/base/mem.h"
#include "tests/support/test.h"

static void test_put_find_remove(void **state)
{
    (void)state;
    int one = 1;
    int two = 2;
    struct map *map = map_create();
    assert_null(map_find(map, STR("a")));
    assert_null(map_put(map, STR("a"), &one));
    assert_ptr_equal(map_find(map, STR("a")), &one);
    assert_null(map_find(map, STR("aa")));
    assert_ptr_equal(map_put(map, STR("a"), &two), &one);
    assert_int_equal(map_count(map), 1);
    assert_ptr_equal(map_remove(map, STR("a")), &two);
    assert_null(map_remove(map, STR("a")));
    assert_null(map_find(map, STR("a")));
    assert_int_equal(map_count(map), 0);
    assert_null(map_put(map, STR("a"), &one));
    assert_ptr_equal(map_find(map, STR("a")), &one);
    map_destroy(map, NULL);
}

static void test_keys_are_bytes(void **state)
{
    (void)state;
    int values[3] = { 0 };
    struct map *map = map_create();
    assert_null(map_put(map, STR_NONE, &values[0]));
    assert_null(map_put(map, str_from("\0", 1), &values[1]));
    assert_null(map_put(map, str_from("\0\0", 2), &values[2]));
    assert_ptr_equal(map_find(map, str_from("", 0)), &values[0]);
    assert_ptr_equal(map_find(map, str_from("\0", 1)), &values[1]);
    assert_ptr_equal(map_find(map, str_from("\0\0", 2)), &values[2]);
    map_destroy(map, NULL);
}

/* Random puts and removes over few keys, compared with an array after each. */
static void test_agrees_with_an_array(void **state)
{
    (void)state;

    enum {
        KEYS = 300,
        ROUNDS = 20000
    };

    static const char marks[KEYS];
    const void *expected[KEYS] = { NULL };
    size_t live = 0;
    struct map *map = map_create();
    for (int round = 0; round < ROUNDS; round++) {
        int64_t key = (int64_t)id_random_below(KEYS);
        const void *before = expected[key];
        if (id_random_below(2) == 0) {
            void *value = (void *)(uintptr_t)&marks[id_random_below(KEYS)];
            assert_ptr_equal(map_put(map, map_key_of(&key), value), before);
            expected[key] = value;
            live += before == NULL ? 1 : 0;
        } else {
            assert_ptr_equal(map_remove(map, map_key_of(&key)), before);
            expected[key] = NULL;
            live -= before == NULL ? 0 : 1;
        }
        assert_int_equal(map_count(map), live);
    }
    for (int64_t key = 0; key < KEYS; key++) {
        assert_ptr_equal(map_find(map, map_key_of(&key)), expected[key]);
    }
    map_destroy(map, NULL);
}

static void test_walk_may_remove_the_current_key(void **state)
{
    (void)state;
    int value = 0;
    struct map *map = map_create();
    for (int64_t i = 0; i < 100; i++) {
        assert_null(map_put(map, map_key_of(&i), &value));
    }
    size_t cursor = 0;
    size_t seen = 0;
    struct str_view key;
    void *found = NULL;
    while (map_next(map, &cursor, &key, &found)) {
        assert_int_equal(key.len, sizeof(int64_t));
        if (seen % 2 == 0) {
            assert_ptr_equal(map_remove(map, key), &value);
        }
        seen++;
    }
    assert_int_equal(seen, 100);
    assert_int_equal(map_count(map), 50);
    map_destroy(map, NULL);
}

static void test_destroy_frees_the_values_left(void **state)
{
    (void)state;
    struct map *map = map_create();
    for (int64_t i = 0; i < 40; i++) {
        assert_null(map_put(map, map_key_of(&i), mem_strdup("value")));
    }
    int64_t gone = 7;
    mem_free(map_remove(map, map_key_of(&gone)));
    map_destroy(map, mem_free);
    map_destroy(NULL, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_put_find_remove),
        cmocka_unit_test(test_keys_are_bytes),
        cmocka_unit_test(test_agrees_with_an_array),
        cmocka_unit_test(test_walk_may_remove_the_current_key),
        cmocka_unit_test(test_destroy_frees_the_values_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
