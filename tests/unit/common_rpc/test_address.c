#include "common/base/cleanup.h"
#include "common/rpc/door/address.h"
#include "tests/support/test.h"

static void test_accepted(void **state)
{
    (void)state;

    static const struct {
        const char *text;
        const char *host;
        uint16_t port;
    } rows[] = {
        { "127.0.0.1:0", "127.0.0.1", 0 },
        { "localhost:65535", "localhost", 65535 },
        { "[::1]:443", "::1", 443 },
        { "[fe80::1%eth0]:1", "fe80::1%eth0", 1 },
    };

    for (size_t i = 0; i < ARRAY_LENGTH(rows); i++) {
        char host[ADDRESS_HOST_BYTES];
        uint16_t port = 7;
        assert_ok(address_parse(str_of(rows[i].text), host, &port));
        assert_string_equal(host, rows[i].host);
        assert_int_equal(port, rows[i].port);
    }
}

static void test_refused(void **state)
{
    (void)state;
    static const char *const rows[] = { "",       ":",       ":1",         "host",   "host:",
                                        "host:x", "host:-1", "::1",        "[]:1",   "[:1",
                                        "::1:80", "a:b:1",   "host:65536", "host: 1" };
    char host[ADDRESS_HOST_BYTES] = "kept";
    uint16_t port = 7;
    for (size_t i = 0; i < ARRAY_LENGTH(rows); i++) {
        assert_code(ERR_INVALID, address_parse(str_of(rows[i]), host, &port));
    }
    char text[300];
    memset(text, 'a', sizeof(text));
    memcpy(text + 256, ":1", 2);
    assert_code(ERR_INVALID, address_parse(str_from(text, 258), host, &port));
    assert_code(ERR_INVALID, address_parse(str_from("a\0b:1", 5), host, &port));
    assert_code(ERR_INVALID, address_parse(STR_NONE, host, &port));
    assert_string_equal(host, "kept");
    assert_int_equal(port, 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_accepted),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
