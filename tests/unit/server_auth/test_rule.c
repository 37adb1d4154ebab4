/* Scopes: names, masks, and what an unknown one gives. */
#include "cmd/server/auth/rule.h"
#include "common/base/cleanup.h"
#include "tests/support/test.h"

static void test_every_scope_has_a_name_of_its_own(void **state)
{
    (void)state;
    for (int i = 1; i < AUTH_SCOPE_COUNT; i++) {
        uint32_t mask = 0;
        const char *name = auth_scope_name((enum auth_scope)i);
        assert_non_null(strchr(name, ':'));
        assert_ok(auth_scope_parse(str_of(name), &mask));
        assert_int_equal(mask, AUTH_SCOPE_BIT(i));
    }
}

static void test_star_is_everything(void **state)
{
    (void)state;
    uint32_t mask = 0;
    assert_ok(auth_scope_parse(STR("*"), &mask));
    assert_int_equal(mask, AUTH_SCOPES_ALL);
    assert_int_equal(auth_scopes_of(STR("*")), AUTH_SCOPES_ALL);
}

static void test_unknown_names_are_refused(void **state)
{
    (void)state;
    static const char *const names[] = { "",           " ",           "agent",      "agent:",
                                         "agent:READ", "agent:read ", "Agent:read", "**" };
    for (size_t i = 0; i < ARRAY_LENGTH(names); i++) {
        uint32_t mask = 77;
        assert_code(ERR_INVALID, auth_scope_parse(str_of(names[i]), &mask));
        assert_int_equal(mask, 77);
    }
}

static void test_a_list_leaves_out_what_is_unknown(void **state)
{
    (void)state;
    const uint32_t none = AUTH_SCOPE_BIT(AUTH_SCOPE_NONE);
    assert_int_equal(auth_scopes_of(STR("")), none);
    assert_int_equal(auth_scopes_of(STR("future:scope")), none);
    assert_int_equal(
        auth_scopes_of(STR("agent:read future:scope  command:write")),
        none | AUTH_SCOPE_BIT(AUTH_AGENT_READ) | AUTH_SCOPE_BIT(AUTH_COMMAND_WRITE));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_scope_has_a_name_of_its_own),
        cmocka_unit_test(test_star_is_everything),
        cmocka_unit_test(test_unknown_names_are_refused),
        cmocka_unit_test(test_a_list_leaves_out_what_is_unknown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
