#include "common/base/cleanup.h"
#include "common/sys/host.h"
#include "tests/support/test.h"

static void test_a_name_has_one_form(void **unused)
{
    static const char *const rows[][2] = {
        { "Example.COM", "example.com" },
        { "example.com.", "example.com" },
        { "xn--bcher-kva.example", "xn--bcher-kva.example" },
        { "a_b.c-d", "a_b.c-d" },
        { "93.184.216.34", "93.184.216.34" },
        { "[2001:DB8::1]", "2001:db8::1" },
        { "[::ffff:127.0.0.1]", "127.0.0.1" },
        { "1password.com", "1password.com" },
    };
    (void)unused;
    for (size_t i = 0; i < ARRAY_LENGTH(rows); i++) {
        struct host host;
        const char *wrong = host_parse(str_of(rows[i][0]), &host);
        assert_null(wrong);
        assert_string_equal(host.name, rows[i][1]);
    }
}

static void test_what_can_be_read_in_two_ways_is_no_host(void **unused)
{
    static const char *const rows[] = {
        "",
        ".",
        "..",
        "a..b",
        ".a",
        "a.b..",
        "2130706433",   /* 127.0.0.1 to inet_aton */
        "017700000001", /* the same in octal */
        "0x7f000001",   /* and in hexadecimal */
        "0x7f.1",       /* and mixed */
        "127.1",        /* and short */
        "0177.0.0.1",   /* and in parts */
        "127.0.0.01",
        "127.0.0.1.", /* a name to some, an address to others */
        "1.2.3.4.5",
        "host.0x1f",
        "::1", /* without brackets */
        "[::1",
        "[127.0.0.1]",
        "[fe80::1%25eth0]",
        "b\xc3\xbc"
        "cher.example",
        "exa mple.com",
        "example.com/",
        "user@example.com",
        "example.com%00.evil.com",
        "*.example.com",
        "\xef\xbc\x91.example", /* a digit of full width */
    };
    (void)unused;
    for (size_t i = 0; i < ARRAY_LENGTH(rows); i++) {
        struct host host;
        const char *wrong = host_parse(str_of(rows[i]), &host);
        if (wrong == NULL) {
            print_error("taken: %s\n", rows[i]);
        }
        assert_non_null(wrong);
    }
    char name[300];
    struct host host;
    memset(name, 'a', sizeof(name));
    assert_non_null(host_parse(str_from(name, 64), &host));
    for (size_t i = 31; i < sizeof(name); i += 32) {
        name[i] = '.';
    }
    assert_null(host_parse(str_from(name, 253), &host));
    assert_non_null(host_parse(str_from(name, 260), &host));
}

static void test_authorities(void **unused)
{
    static const char *const wrong[] = { "example.com",
                                         "example.com:",
                                         "example.com:0",
                                         "example.com:65536",
                                         "example.com:+80",
                                         "example.com:080800",
                                         ":80",
                                         "example.com:80:80",
                                         "[::1]80",
                                         "example.com: 80",
                                         "u@example.com:80",
                                         "::1:80" };
    struct host host;
    unsigned port = 0;
    (void)unused;
    assert_null(host_parse_authority(STR("Example.com:8443"), 0, &host, &port));
    assert_int_equal(port, 8443);
    assert_null(host_parse_authority(STR("[2001:db8::1]:443"), 0, &host, &port));
    assert_int_equal(port, 443);
    assert_true(host.is_address);
    assert_null(host_parse_authority(STR("[2001:db8::1]"), 80, &host, &port));
    assert_int_equal(port, 80);
    for (size_t i = 0; i < ARRAY_LENGTH(wrong); i++) {
        if (host_parse_authority(str_of(wrong[i]), 0, &host, &port) == NULL) {
            print_error("taken: %s\n", wrong[i]);
            fail();
        }
    }
}

static void test_patterns_match_at_the_borders_of_labels(void **unused)
{
    static const struct {
        const char *pattern;
        const char *host;
        bool matches;
    } rows[] = {
        { "example.com", "EXAMPLE.com.", true },
        { "example.com", "www.example.com", false },
        { "example.com", "example.com.evil.org", false },
        { "example.com", "notexample.com", false },
        { "*.example.com", "www.example.com", true },
        { "*.example.com", "a.b.example.com", false },
        { "*.example.com", "example.com", false },
        { "*.example.com", "notexample.com", false },
        { "*.example.com", "www.example.com.evil.org", false },
        { "**.example.com", "a.b.example.com", true },
        { "**.example.com", "a.example.com", true },
        { "**.example.com", "example.com", false },
        { "10.0.0.5", "10.0.0.5", true },
        { "10.0.0.5", "[::ffff:10.0.0.5]", true },
        { "2001:db8::1", "[2001:DB8:0::1]", true },
        { "[2001:db8::1]", "[2001:db8::2]", false },
    };

    (void)unused;
    for (size_t i = 0; i < ARRAY_LENGTH(rows); i++) {
        struct host_pattern pattern;
        struct host host;
        assert_null(host_pattern_parse(str_of(rows[i].pattern), &pattern));
        assert_null(host_parse(str_of(rows[i].host), &host));
        if (host_matches(&host, &pattern) != rows[i].matches) {
            print_error("%s, %s\n", rows[i].pattern, rows[i].host);
            fail();
        }
    }
    static const char *const wrong[] = { "*",    "**",        "*.",        "a.*.b",
                                         "*a.b", "*.1.2.3.4", "**.**.com", "" };
    for (size_t i = 0; i < ARRAY_LENGTH(wrong); i++) {
        struct host_pattern pattern;
        assert_non_null(host_pattern_parse(str_of(wrong[i]), &pattern));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_name_has_one_form),
        cmocka_unit_test(test_what_can_be_read_in_two_ways_is_no_host),
        cmocka_unit_test(test_authorities),
        cmocka_unit_test(test_patterns_match_at_the_borders_of_labels),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
