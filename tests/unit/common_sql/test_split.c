/* Where statements end: quotes, dollar quotes and comments hide semicolons. */
#include "common/base/cleanup.h"
#include "common/sql/split.h"
#include "tests/support/test.h"

struct split_case {
    const char *text;
    const char *statements[4]; /* ended by NULL */
};

static const struct split_case cases[] = {
    { "", { NULL } },
    { " ;; \n -- nothing; here\n /* nor; here */ ;", { NULL } },
    { "SELECT 1", { "SELECT 1", NULL } },
    { "SELECT 1; SELECT 2;", { "SELECT 1", "SELECT 2", NULL } },
    { "SELECT ';', 'it''s; '; b", { "SELECT ';', 'it''s; '", "b", NULL } },
    { "SELECT \"a;\"\"b;\"; b", { "SELECT \"a;\"\"b;\"", "b", NULL } },
    { "SELECT E'a\\';b'; b", { "SELECT E'a\\';b'", "b", NULL } },
    { "SELECT E'a'';\\';b'; b", { "SELECT E'a'';\\';b'", "b", NULL } },
    { "SELECT 'a\\'; b", { "SELECT 'a\\'", "b", NULL } },
    { "SELECT name'a\\'; b", { "SELECT name'a\\'", "b", NULL } },
    { "DO $$ a; b $$; c", { "DO $$ a; b $$", "c", NULL } },
    { "DO $x$ a; $$ ; $y$ $x$; c", { "DO $x$ a; $$ ; $y$ $x$", "c", NULL } },
    { "SELECT $1; SELECT $2", { "SELECT $1", "SELECT $2", NULL } },
    { "SELECT a$b$; c$b$; d", { "SELECT a$b$", "c$b$", "d", NULL } },
    { "a -- b; c\n d; e", { "a -- b; c\n d", "e", NULL } },
    { "a /* b; /* c; */ d; */ e; f", { "a /* b; /* c; */ d; */ e", "f", NULL } },
    { "SELECT 'never closed; b", { "SELECT 'never closed; b", NULL } },
    { "SELECT $$never closed; b", { "SELECT $$never closed; b", NULL } },
    { "SELECT /* never closed; b", { "SELECT /* never closed; b", NULL } },
    { "a'\\", { "a'\\", NULL } },
    { "E'\\", { "E'\\", NULL } },
    { "$", { "$", NULL } },
    { "-", { "-", NULL } },
};

static void test_split(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        struct str_view rest = str_of(cases[i].text);
        struct str_view statement = STR_NONE;
        const char *const *expected = cases[i].statements;
        for (; *expected != NULL; expected++) {
            assert_true(split_next_statement(&rest, &statement));
            if (!str_equal(statement, str_of(*expected))) {
                fail_msg("case %zu: got \"%.*s\"", i, STR_ARG(statement));
            }
        }
        assert_false(split_next_statement(&rest, &statement));
        assert_int_equal(rest.len, 0);
    }
}

/* Every cut of every case ends, stays inside the text and loses none but blanks between statements.
 */
static void test_every_prefix_ends(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        size_t length = strlen(cases[i].text);
        for (size_t cut = 0; cut <= length; cut++) {
            char *copy = mem_dup(cases[i].text, cut); /* exact size, so that an overrun is seen */
            struct str_view rest = str_from(copy, cut);
            struct str_view statement = STR_NONE;
            while (split_next_statement(&rest, &statement)) {
                assert_true(statement.len > 0 && statement.ptr + statement.len <= copy + cut);
            }
            mem_free(copy);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_split),
        cmocka_unit_test(test_every_prefix_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
