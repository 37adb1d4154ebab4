/* Label selectors: what they match, and what is refused where. */
#include "cmd/server/domain/selector.h"
#include "tests/support/test.h"

#include <stdio.h>

/* The labels zone=eu, tier=gold, empty= */
static struct str_view look_up(const void *labels, struct str_view key)
{
    (void)labels;
    return str_equal(key, STR("zone")) ? STR("eu")
        : str_equal(key, STR("tier"))  ? STR("gold")
        : str_equal(key, STR("empty")) ? STR("")
                                       : STR_NONE;
}

struct example {
    const char *text;
    bool matches;
};

static const struct example examples[] = {
    { "", true },
    { "   ", true },
    { "zone=eu", true },
    { "zone==eu", true },
    { "zone = eu", true },
    { "zone=us", false },
    { "zone!=us", true },
    { "zone!=eu", false },
    { "nothere!=eu", true },
    { "zone", true },
    { "nothere", false },
    { "!nothere", true },
    { "!zone", false },
    { "zone in (eu)", true },
    { "zone in (us,eu)", true },
    { "zone in ( us , eu )", true },
    { "zone in(eu)", true },
    { "zone in (us)", false },
    { "zone notin (us,asia)", true },
    { "zone notin (eu)", false },
    { "nothere in (eu)", false },
    { "nothere notin (eu)", true },
    { "empty=", true },
    { "empty in ()", true },
    { "zone=", false },
    { "zone=eu,tier=gold", true },
    { "zone=eu, tier in (gold), !nothere", true },
    { "zone=eu,tier=iron", false },
    { "example.com/name notin (a)", true },
    { "inner!=x", true }, /* a key that begins like a keyword */
    { "notin", false },
    { "in", false },
};

static void test_matches(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(examples); i++) {
        AUTO_ARENA struct arena *arena = arena_create(1 << 20);
        struct err_info err = ERR_INFO_INIT;
        struct selector *selector = NULL;
        enum err_code code = selector_parse(str_of(examples[i].text), arena, &selector, &err);
        if (code != ERR_OK || selector_matches(selector, look_up, NULL) != examples[i].matches) {
            print_error("\"%s\": %s %s\n", examples[i].text, err_name(code), err.text);
            fail();
        }
    }
}

static const char *const refused[] = {
    "=eu",
    "zone=eu,,tier",
    "zone=eu tier=gold",
    ",",
    "zone in eu",
    "zone in (eu",
    "zone in (eu)x",
    "!",
    "zone=eu&",
    "zone=\"",
    "(zone)",
    "zone in (eu;us)",
    "zone=eu;",
    "!!zone",
    "zone!",
};

static void test_refuses_and_names_the_place(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(refused); i++) {
        AUTO_ARENA struct arena *arena = arena_create(1 << 20);
        struct err_info err = ERR_INFO_INIT;
        struct selector *selector = NULL;
        enum err_code code = selector_parse(str_of(refused[i]), arena, &selector, &err);
        if (code != ERR_INVALID) {
            print_error("\"%s\": %s\n", refused[i], err_name(code));
        }
        assert_int_equal(code, ERR_INVALID);
        assert_non_null(strstr(err.text, "label_selector: "));
        assert_non_null(strstr(err.text, "at character "));
        assert_null(selector);
    }
}

static enum err_code parse_repeated(
    const char *head, const char *item, size_t count, const char *tail)
{
    AUTO_ARENA struct arena *arena = arena_create(1 << 20);
    char text[2048];
    struct selector *selector = NULL;
    struct err_info err = ERR_INFO_INIT;
    size_t length = (size_t)snprintf(text, sizeof(text), "%s", head);
    for (size_t i = 0; i < count; i++) {
        length += (size_t)snprintf(
            text + length, sizeof(text) - length, "%s%s%zu", i == 0 ? "" : ",", item, i);
    }
    (void)snprintf(text + length, sizeof(text) - length, "%s", tail);
    return selector_parse(str_of(text), arena, &selector, &err);
}

static void test_bounds(void **state)
{
    (void)state;
    assert_ok(parse_repeated("", "k", 32, ""));
    assert_code(ERR_INVALID, parse_repeated("", "k", 33, ""));
    assert_ok(parse_repeated("k in (", "v", 32, ")"));
    assert_code(ERR_INVALID, parse_repeated("k in (", "v", 33, ")"));
}

static void test_a_small_arena_is_no_crash(void **state)
{
    (void)state;
    AUTO_ARENA struct arena *arena = arena_create(64);
    struct err_info err = ERR_INFO_INIT;
    struct selector *selector = NULL;
    assert_code(ERR_NOMEM, selector_parse(STR("a=b"), arena, &selector, &err));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_matches),
        cmocka_unit_test(test_refuses_and_names_the_place),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_a_small_arena_is_no_crash),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
