/* Orders of relays that are over, until the next transaction takes them along. */
#include "cmd/server/relay/spent_orders.h"
#include "common/base/str.h"
#include "tests/support/test.h"

#include <stdio.h>

enum {
    NOW_US = 1000000000,
    LATER_US = NOW_US + 10000000
};

static void add(struct spent_orders *orders, int number, int64_t workspace_id, int64_t until_us)
{
    struct spent_order order = { .workspace_id = workspace_id, .until = { until_us } };
    (void)snprintf(order.id, sizeof(order.id), "rly_%04d", number);
    spent_orders_add(orders, &order);
}

static size_t take(struct spent_orders *orders, int64_t workspace_id, struct spent_order *ret_taken)
{
    return spent_orders_take(orders, workspace_id, (struct mono_us){ NOW_US }, ret_taken);
}

static void test_taken_once_by_their_workspace_in_order(void **state)
{
    (void)state;
    struct spent_orders orders = { .count = 0 };
    struct spent_order taken[SPENT_ORDERS_OF_A_TURN];
    add(&orders, 2, 1, LATER_US);
    add(&orders, 3, 7, LATER_US);
    add(&orders, 1, 1, LATER_US);
    assert_int_equal(take(&orders, 8, taken), 0);
    assert_int_equal(take(&orders, 1, taken), 2);
    assert_string_equal(taken[0].id, "rly_0001");
    assert_string_equal(taken[1].id, "rly_0002");
    assert_int_equal(take(&orders, 1, taken), 0);
    assert_int_equal(take(&orders, 7, taken), 1);
    assert_int_equal(taken[0].workspace_id, 7);
}

static void test_what_expires_is_left_to_whoever_expires_it(void **state)
{
    (void)state;
    struct spent_orders orders = { .count = 0 };
    struct spent_order taken[SPENT_ORDERS_OF_A_TURN];
    add(&orders, 1, 1, NOW_US - 1);
    add(&orders, 2, 1, NOW_US + 1000);
    add(&orders, 3, 1, LATER_US);
    assert_int_equal(take(&orders, 1, taken), 1);
    assert_string_equal(taken[0].id, "rly_0003");
    assert_int_equal(orders.count, 0);
}

static void test_the_oldest_are_forgotten_and_the_rest_goes_in_turns(void **state)
{
    (void)state;
    struct spent_orders orders = { .count = 0 };
    struct spent_order taken[SPENT_ORDERS_OF_A_TURN];
    bool is_seen[SPENT_ORDERS_MAX + 3] = { false };
    size_t total = 0;
    size_t count = 0;
    for (int i = 0; i < SPENT_ORDERS_MAX + 3; i++) {
        add(&orders, i, 1, LATER_US);
    }
    while ((count = take(&orders, 1, taken)) > 0) {
        for (size_t i = 0; i < count; i++) {
            uint64_t number = 0;
            assert_ok(str_parse_uint64(str_of(taken[i].id + 4), SPENT_ORDERS_MAX + 2, &number));
            is_seen[number] = true;
        }
        total += count;
    }
    assert_int_equal(total, SPENT_ORDERS_MAX);
    for (int i = 0; i < SPENT_ORDERS_MAX + 3; i++) {
        assert_int_equal(is_seen[i], i >= 3);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_taken_once_by_their_workspace_in_order),
        cmocka_unit_test(test_what_expires_is_left_to_whoever_expires_it),
        cmocka_unit_test(test_the_oldest_are_forgotten_and_the_rest_goes_in_turns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
