#include "common/base/list.h"
#include "tests/support/test.h"

struct item {
    int number;
    struct list link;
};

static int number_of(struct list *node)
{
    return LIST_ENTRY(node, struct item, link)->number;
}

static void test_order(void **state)
{
    (void)state;
    struct list head = LIST_INIT(head);
    struct item items[3] = { { .number = 0 }, { .number = 1 }, { .number = 2 } };
    assert_true(list_is_empty(&head));
    assert_null(list_pop(&head));
    list_append(&head, &items[1].link);
    list_append(&head, &items[2].link);
    list_prepend(&head, &items[0].link);
    int expected = 0;
    LIST_FOR_EACH(node, &head)
    {
        assert_int_equal(number_of(node), expected++);
    }
    assert_int_equal(expected, 3);
    assert_int_equal(number_of(list_pop(&head)), 0);
    assert_int_equal(number_of(list_pop(&head)), 1);
    assert_int_equal(number_of(list_pop(&head)), 2);
    assert_true(list_is_empty(&head));
}

static void test_removal_inside_the_walk_and_twice(void **state)
{
    (void)state;
    struct list head = LIST_INIT(head);
    struct item items[5] = { 0 };
    for (int i = 0; i < 5; i++) {
        items[i].number = i;
        list_append(&head, &items[i].link);
    }
    LIST_FOR_EACH(node, &head)
    {
        if (number_of(node) % 2 == 0) {
            list_remove(node);
            list_remove(node);
        }
    }
    assert_int_equal(number_of(list_pop(&head)), 1);
    assert_int_equal(number_of(list_pop(&head)), 3);
    assert_null(list_pop(&head));
    struct item never = { 0 };
    list_remove(&never.link); /* zeroed: it was in no list */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_removal_inside_the_walk_and_twice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
