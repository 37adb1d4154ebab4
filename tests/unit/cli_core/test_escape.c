/* The keys of a session: what the program gets, and what ends it, in whatever pieces it is typed.
 */
#include "cmd/cli/session/escape.h"
#include "common/base/cleanup.h"
#include "tests/support/test.h"

enum {
    BYTES_MAX = 256
};

static const struct row {
    const char *typed;
    const char *sent;
    enum escape_action last;
} ROWS[] = {
    { "ls\r", "ls\r", ESCAPE_NONE },    { "~.", "", ESCAPE_END },
    { "ls\r~.", "ls\r", ESCAPE_END },   { "ls\n~.", "ls\n", ESCAPE_END },
    { "a~.", "a~.", ESCAPE_NONE },      { "~?", "", ESCAPE_HELP },
    { "~~.", "~.", ESCAPE_NONE },       { "~x", "~x", ESCAPE_NONE },
    { "~\r~.", "~\r", ESCAPE_END },     { "~~\r~.", "~\r", ESCAPE_END },
    { "\r\r~?~.", "\r\r", ESCAPE_END }, { "x\x03~.", "x\x03~.", ESCAPE_NONE },
};

/* In pieces of so many bytes; the last action, and nothing is taken after an end. */
static void check(const struct row *row, size_t piece)
{
    AUTO_BUF struct buf out = BUF_INIT(BYTES_MAX);
    struct escape escape = { .has_tilde = false };
    struct str_view rest = str_of(row->typed);
    enum escape_action last = ESCAPE_NONE;
    while (rest.len > 0 && last != ESCAPE_END) {
        struct str_view some = str_from(rest.ptr, rest.len < piece ? rest.len : piece);
        rest = str_from(rest.ptr + some.len, rest.len - some.len);
        while (some.len > 0 && last != ESCAPE_END) {
            enum escape_action action = escape_filter(&escape, &some, &out);
            last = action == ESCAPE_NONE ? last : action;
        }
    }
    assert_string_equal(row->sent, buf_text(&out));
    assert_int_equal(row->last, last);
}

static void test_keys(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < ARRAY_LENGTH(ROWS); i++) {
        for (size_t piece = 1; piece < 8; piece++) {
            check(&ROWS[i], piece);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
