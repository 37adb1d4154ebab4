#include "cmd/agent/link/challenge.h"
#include "tests/support/test.h"

static void test_only_our_own_tag_is_signed(void **state)
{
    (void)state;
    char challenge[CHALLENGE_BYTES] = { 0 };
    challenge_tag("srv_1", 42, (uint8_t *)challenge);
    struct str_view view = str_from(challenge, sizeof(challenge));
    assert_true(challenge_is_ours(view, "srv_1", 42));
    assert_false(challenge_is_ours(view, "srv_1", 43));
    assert_false(challenge_is_ours(view, "srv_", 142));
    assert_false(challenge_is_ours(view, "srv_2", 42));
    challenge[CHALLENGE_TAG_BYTES] = 9; /* the nonce is the server's */
    assert_true(challenge_is_ours(view, "srv_1", 42));
    challenge[31] ^= 1;
    assert_false(challenge_is_ours(view, "srv_1", 42));
    challenge[31] ^= 1;
    view.len = 63;
    assert_false(challenge_is_ours(view, "srv_1", 42));
    view.len = 0;
    assert_false(challenge_is_ours(view, "srv_1", 42));
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_only_our_own_tag_is_signed) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
