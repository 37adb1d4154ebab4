/* Forwards as they are written: what is read, and what is refused with its reason. */
#include "cmd/cli/session/forward_spec.h"
#include "common/base/cleanup.h"
#include "tests/support/test.h"

static void test_forms(void **unused)
{
    static const struct {
        const char *text;
        const char *local;
        unsigned remote;
        bool is_loopback;
    } ROWS[] = {
        { "8080:80", "127.0.0.1:8080", 80, true },
        { "127.0.0.1:8080:80", "127.0.0.1:8080", 80, true },
        { "localhost:8080:80", "127.0.0.1:8080", 80, true },
        { "127.9.9.9:1:65535", "127.9.9.9:1", 65535, true },
        { "[::1]:8080:80", "[::1]:8080", 80, true },
        { "0.0.0.0:8080:80", "0.0.0.0:8080", 80, false },
        { "[::]:0:80", "[::]:0", 80, false },
        { ":80", "127.0.0.1:0", 80, true },
        { "0:80", "127.0.0.1:0", 80, true },
        { "80", "127.0.0.1:80", 80, true },
    };

    (void)unused;
    for (size_t i = 0; i < ARRAY_LENGTH(ROWS); i++) {
        struct forward_spec spec;
        struct err_info err = ERR_INFO_INIT;
        char local[FORWARD_ADDRESS_BYTES];
        assert_ok_err(err, forward_spec_parse(str_of(ROWS[i].text), &spec, &err));
        assert_string_equal(ROWS[i].local, forward_address_write(&spec.local, local));
        assert_int_equal(ROWS[i].remote, spec.remote);
        assert_int_equal(ROWS[i].is_loopback, spec.is_loopback);
    }
}

static void test_refusals(void **unused)
{
    static const char *const ROWS[] = {
        "",          ":",     "a:b",         "80:",      "80:0",   "65536:80",
        "80:65536",  "-1:80", "::1:8080:80", "host:1:2", "[]:1:2", "[127.0.0.1]:1:2",
        "1.2.3:1:2", ":::80", "80:80:80:80", " 80:80",   "8 0:80",
    };
    (void)unused;
    for (size_t i = 0; i < ARRAY_LENGTH(ROWS); i++) {
        struct forward_spec spec;
        struct err_info err = ERR_INFO_INIT;
        assert_code(ERR_INVALID, forward_spec_parse(str_of(ROWS[i]), &spec, &err));
        assert_int_not_equal(0, err.text[0]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forms),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
