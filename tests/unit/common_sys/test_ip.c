#include "common/base/cleanup.h"
#include "common/sys/ip.h"
#include "tests/support/test.h"

static void test_addresses_are_read_in_one_form_each(void **unused)
{
    static const char *const good[][2] = {
        { "10.1.2.3", "10.1.2.3" },
        { "::1", "::1" },
        { "2001:DB8::0:1", "2001:db8::1" },
        { "::ffff:10.0.0.1", "10.0.0.1" },
        { "0:0:0:0:0:ffff:7f00:1", "127.0.0.1" },
    };
    static const char *const wrong[] = { "",           "10.1.2",     "10.1.2.256", "010.1.2.3",
                                         "0x7f.0.0.1", "2130706433", "10.1.2.3 ",  "fe80::1%eth0",
                                         "1::2::3",    "[::1]",      "10.1.2.3.",  "::ffff:1.2.3" };
    char text[IP_TEXT_BYTES];
    struct ip_address address;
    (void)unused;
    for (size_t i = 0; i < ARRAY_LENGTH(good); i++) {
        assert_true(ip_parse(str_of(good[i][0]), &address));
        assert_string_equal(ip_format(&address, text), good[i][1]);
    }
    for (size_t i = 0; i < ARRAY_LENGTH(wrong); i++) {
        assert_false(ip_parse(str_of(wrong[i]), &address));
    }
}

static void test_ranges(void **unused)
{
    static const char *const wrong[] = { "10.0.0.1/8", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/-1",
                                         "fd00::1/8",  "::/129",      "x/8",       "/8" };
    struct ip_range range;
    struct ip_address address;
    (void)unused;
    assert_ok(ip_range_parse(STR("10.16.0.0/12"), &range));
    assert_true(ip_parse(STR("10.31.255.255"), &address));
    assert_true(ip_is_in(&address, &range));
    assert_true(ip_parse(STR("10.32.0.0"), &address));
    assert_false(ip_is_in(&address, &range));
    assert_true(ip_parse(STR("a10::"), &address));
    assert_false(ip_is_in(&address, &range));
    assert_ok(ip_range_parse(STR("10.77.0.1"), &range));
    assert_int_equal(range.bits, 32);
    assert_ok(ip_range_parse(STR("0.0.0.0/0"), &range));
    assert_true(ip_parse(STR("203.0.113.9"), &address));
    assert_true(ip_is_in(&address, &range));
    for (size_t i = 0; i < ARRAY_LENGTH(wrong); i++) {
        assert_code(ERR_INVALID, ip_range_parse(str_of(wrong[i]), &range));
    }
}

static void test_what_kind_of_place_an_address_is(void **unused)
{
    static const struct {
        const char *text;
        enum ip_kind kind;
    } rows[] = {
        { "93.184.216.34", IP_PUBLIC },
        { "2606:2800:220:1::1", IP_PUBLIC },
        { "0.0.0.0", IP_NEVER },
        { "0.1.2.3", IP_NEVER },
        { "127.0.0.1", IP_NEVER },
        { "127.255.255.254", IP_NEVER },
        { "169.254.169.254", IP_NEVER },
        { "100.100.100.200", IP_NEVER },
        { "168.63.129.16", IP_NEVER },
        { "224.0.0.1", IP_NEVER },
        { "255.255.255.255", IP_NEVER },
        { "10.0.0.1", IP_PRIVATE },
        { "172.31.0.1", IP_PRIVATE },
        { "172.32.0.1", IP_PUBLIC },
        { "192.168.1.1", IP_PRIVATE },
        { "100.64.0.1", IP_PRIVATE },
        { "100.128.0.1", IP_PUBLIC },
        { "198.19.255.255", IP_PRIVATE },
        { "203.0.113.9", IP_PRIVATE },
        { "::", IP_NEVER },
        { "::1", IP_NEVER },
        { "fe80::1", IP_NEVER },
        { "ff02::1", IP_NEVER },
        { "fd00:ec2::254", IP_NEVER },
        { "fd12:3456::1", IP_PRIVATE },
        { "fec0::1", IP_PRIVATE },
        { "2001:db8::1", IP_PRIVATE },
        { "::ffff:127.0.0.1", IP_NEVER },
        { "::ffff:10.0.0.1", IP_PRIVATE },
        { "::127.0.0.1", IP_NEVER },
        { "::ffff:0:127.0.0.1", IP_NEVER },
        { "64:ff9b::127.0.0.1", IP_NEVER },
        { "64:ff9b::169.254.169.254", IP_NEVER },
        { "64:ff9b::10.0.0.1", IP_PRIVATE },
        { "64:ff9b::93.184.216.34", IP_PUBLIC },
        { "64:ff9b:1::93.184.216.34", IP_PRIVATE },
        { "64:ff9b:1::127.0.0.1", IP_NEVER },
        { "2002:7f00:1::", IP_NEVER },
        { "2002:0a00:1::", IP_PRIVATE },
        { "2002:5db8:d822::1", IP_PUBLIC },
        { "2001:0:7f00:1::", IP_NEVER },
        { "2001:0:5db8:d822:0:0:80ff:fffe", IP_NEVER }, /* its client: 127.0.0.1 */
        { "2606:2800:220:1:0:5efe:127.0.0.1", IP_NEVER },
        { "2606:2800:220:1:200:5efe:10.0.0.1", IP_PRIVATE },
    };

    (void)unused;
    for (size_t i = 0; i < ARRAY_LENGTH(rows); i++) {
        struct ip_address address;
        const char *name = NULL;
        assert_true(ip_parse(str_of(rows[i].text), &address));
        enum ip_kind kind = ip_kind(&address, &name);
        if (kind != rows[i].kind) {
            print_error("%s: %s\n", rows[i].text, name);
        }
        assert_int_equal(kind, rows[i].kind);
    }
}

static void test_sockets_and_back(void **unused)
{
    static const char *const texts[] = { "10.1.2.3", "2001:db8::7" };
    (void)unused;
    for (size_t i = 0; i < ARRAY_LENGTH(texts); i++) {
        struct sockaddr_storage socket;
        struct ip_address address;
        struct ip_address again;
        unsigned port = 0;
        assert_true(ip_parse(str_of(texts[i]), &address));
        assert_true(ip_to_socket(&address, 443, &socket) <= sizeof(socket));
        assert_true(ip_from_socket((const struct sockaddr *)&socket, &again, &port));
        assert_true(ip_equal(&address, &again));
        assert_int_equal(port, 443);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_addresses_are_read_in_one_form_each),
        cmocka_unit_test(test_ranges),
        cmocka_unit_test(test_what_kind_of_place_an_address_is),
        cmocka_unit_test(test_sockets_and_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
