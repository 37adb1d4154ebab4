#include "common/base/sm.h"
#include "tests/support/test.h"

enum door_state {
    DOOR_CLOSED,
    DOOR_OPEN,
    DOOR_LOCKED,
    DOOR_STATE_COUNT
};

static const struct sm_state door_states[DOOR_STATE_COUNT] = {
    [DOOR_CLOSED] = { "closed", SM_BIT(DOOR_OPEN) | SM_BIT(DOOR_LOCKED), 0 },
    [DOOR_OPEN] = { "open", SM_BIT(DOOR_CLOSED), 5 * US_PER_SECOND },
    [DOOR_LOCKED] = { "locked", SM_BIT(DOOR_CLOSED), 0 },
};

static const struct sm_type door_type = { "door", door_states, DOOR_STATE_COUNT };

static void test_moves_along_the_table(void **state)
{
    (void)state;
    struct sm sm;
    sm_init(&sm, &door_type, DOOR_CLOSED, (struct mono_us){ 100 });
    assert_string_equal(sm_name(&sm), "closed");
    assert_int_equal(sm_deadline(&sm).value, INT64_MAX);
    assert_true(sm_can(&sm, DOOR_OPEN));
    sm_move(&sm, DOOR_OPEN, (struct mono_us){ 200 });
    assert_int_equal(sm.state, DOOR_OPEN);
    assert_int_equal(sm_deadline(&sm).value, 200 + 5 * US_PER_SECOND);
    assert_false(sm_can(&sm, DOOR_LOCKED));
    assert_false(sm_can(&sm, DOOR_OPEN));
    assert_false(sm_can(&sm, DOOR_STATE_COUNT));
    assert_false(sm_can(&sm, 1000));
}

static void move_open_to(void *context)
{
    struct sm sm;
    sm_init(&sm, &door_type, DOOR_OPEN, (struct mono_us){ 0 });
    sm_move(&sm, *(unsigned *)context, (struct mono_us){ 1 });
}

static void test_illegal_move_aborts_and_says_which(void **state)
{
    (void)state;
    char text[1024];
    unsigned to = DOOR_LOCKED;
    assert_true(test_aborts(move_open_to, &to, text, sizeof(text)));
    assert_non_null(strstr(text, "\"event\":\"illegal_transition\""));
    assert_non_null(strstr(text, "\"machine\":\"door\",\"from\":\"open\",\"to\":\"locked\""));
    to = 77;
    assert_true(test_aborts(move_open_to, &to, text, sizeof(text)));
    to = DOOR_CLOSED;
    assert_false(test_aborts(move_open_to, &to, text, sizeof(text)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_moves_along_the_table),
        cmocka_unit_test(test_illegal_move_aborts_and_says_which),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
