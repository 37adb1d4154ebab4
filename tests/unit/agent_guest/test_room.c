#include "cmd/agent/guest/room.h"
#include "tests/support/test.h"

#include <string.h>

static const struct room big = { 10, 4000, 1 << 30, 1 << 30 };

static void test_each_part_is_checked_and_named(void **unused)
{
    (void)unused;

    static const struct {
        struct room wanted;
        const char *text; /* NULL: it is there */
    } rows[] = {
        { { 10, 4000, 1 << 30, 1 << 30 }, NULL },
        { { 0, 0, 0, 0 }, NULL },
        { { 11, 1, 1, 1 }, "sandboxes: 11 asked for, and this agent has 10 left" },
        { { 1, 4001, 1, 1 },
          "processor: 4001 thousandths asked for, and this agent has 4000 left" },
        { { 1, 1, (1 << 30) + 1, 1 }, "memory: 1073741825 bytes asked for" },
        { { 1, 1, 1, (1 << 30) + 1 }, "disk: 1073741825 bytes asked for" },
        { { 11, 4001, 1, 1 }, "sandboxes:" },
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct err_info err = ERR_INFO_INIT;
        if (rows[i].text == NULL) {
            assert_ok(room_check(&big, &rows[i].wanted, &err));
        } else {
            assert_code(ERR_LIMIT, room_check(&big, &rows[i].wanted, &err));
            assert_ptr_equal(strstr(err.text, rows[i].text), err.text);
        }
    }
}

static void test_sums_stay_in_their_bounds(void **unused)
{
    (void)unused;
    struct room room = big;
    const struct room more = { UINT64_MAX, 1, 2, 3 };
    room_add(&room, &more);
    assert_true(room.sandboxes == UINT64_MAX);
    assert_int_equal(room.cpu_millis, 4001);
    assert_int_equal(room.memory_bytes, (1 << 30) + 2);
    assert_int_equal(room.disk_bytes, (1 << 30) + 3);
    room = big;
    const struct room less = { 11, 1, 1 << 30, 1 };
    room_subtract(&room, &less);
    assert_int_equal(room.sandboxes, 0);
    assert_int_equal(room.cpu_millis, 3999);
    assert_int_equal(room.memory_bytes, 0);
    assert_int_equal(room.disk_bytes, (1 << 30) - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_part_is_checked_and_named),
        cmocka_unit_test(test_sums_stay_in_their_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
