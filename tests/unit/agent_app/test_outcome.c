/* What the commands of belay-agent say when they fail. */
#include "cmd/agent/agent.h"
#include "cmd/agent/outcome.h"
#include "tests/support/test.h"

static void say(void *context)
{
    assert_int_equal(AGENT_EXIT_NO_PERMISSION, outcome_fail(ERR_DENIED, context));
}

/* A server's own words may be among them. */
static void test_an_error_is_one_line_that_a_terminal_cannot_act_on(void **state)
{
    char said[512];
    struct err_info err = ERR_INFO_INIT;
    (void)state;
    (void)ERR_SET(
        &err,
        ERR_DENIED,
        "the server: \033[2Jno\n\xc2\x9b"
        "1m\xe2\x80\xaetxt");
    test_capture_stderr(say, &err, said, sizeof(said));
    assert_string_equal(said, "belay-agent: the server: \\x1b[2Jno\\n\\u{9b}1m\\u{202e}txt\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_error_is_one_line_that_a_terminal_cannot_act_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
