/* Headers of the PROXY protocol, version 2, and the networks that they are taken from. */
#include "common/base/cleanup.h"
#include "common/rpc/door/proxy_header.h"
#include "tests/support/test.h"

enum {
    IPV4 = 0x11,
    IPV6 = 0x21,
    PROXY = 0x21,
    LOCAL = 0x20,
};

struct bytes {
    uint8_t data[2048];
    size_t len;
};

static const uint8_t signature[12] = "\r\n\r\n\0\r\nQUIT\n";
static const uint8_t ipv4[12] = { 192, 0, 2, 7, 10, 0, 0, 1, 0x12, 0x67, 0x01, 0xbb };
static const uint8_t ipv6[36] = {
    0x20, 0x01, 0x0d, 0xb8, [15] = 9, [31] = 1, [32] = 0x12, [33] = 0x67, [35] = 5
};

static struct bytes header(uint8_t command, uint8_t family, const void *body, size_t bytes)
{
    struct bytes out = { .len = PROXY_HEADER_HEAD_BYTES + bytes };
    memcpy(out.data, signature, sizeof(signature));
    out.data[12] = command;
    out.data[13] = family;
    out.data[14] = (uint8_t)(bytes >> 8);
    out.data[15] = (uint8_t)bytes;
    if (bytes > 0) {
        memcpy(out.data + PROXY_HEADER_HEAD_BYTES, body, bytes);
    }
    return out;
}

static enum err_code parse(const struct bytes *bytes, struct proxy_header *ret_header)
{
    return proxy_header_parse(bytes->data, bytes->len, ret_header);
}

static void test_clients(void **state)
{
    (void)state;
    struct proxy_header got;
    struct bytes one = header(PROXY, IPV4, ipv4, sizeof(ipv4));
    assert_ok(parse(&one, &got));
    assert_false(got.is_local);
    assert_true(network_is_ipv4(got.address));
    assert_memory_equal(got.address + NETWORK_IPV4_AT, ipv4, 4);
    assert_int_equal(got.port, 0x1267);
    one = header(PROXY, IPV6, ipv6, sizeof(ipv6));
    assert_ok(parse(&one, &got));
    assert_memory_equal(got.address, ipv6, 16);
    assert_int_equal(got.port, 0x1267);
    one = header(LOCAL, 0, NULL, 0);
    assert_ok(parse(&one, &got));
    assert_true(got.is_local);
    one = header(LOCAL, IPV4, ipv4, sizeof(ipv4));
    assert_ok(parse(&one, &got));
    assert_true(got.is_local);
    assert_int_equal(got.port, 0);
}

static void test_fields_fill_the_length(void **state)
{
    (void)state;
    static const uint8_t fields[] = { 0x03, 0, 4, 1, 2, 3, 4, 0x04, 0, 0 };
    uint8_t body[sizeof(ipv4) + sizeof(fields)];
    struct proxy_header got;
    memcpy(body, ipv4, sizeof(ipv4));
    memcpy(body + sizeof(ipv4), fields, sizeof(fields));
    for (size_t cut = 0; cut <= sizeof(fields); cut++) {
        struct bytes one = header(PROXY, IPV4, body, sizeof(body) - cut);
        bool is_whole = cut == 0 || cut == 3 || cut == sizeof(fields);
        assert_code(is_whole ? ERR_OK : ERR_INVALID, parse(&one, &got));
    }
}

static void test_refused(void **state)
{
    (void)state;
    const struct bytes rows[] = {
        header(PROXY, 0x00, NULL, 0),                /* unspecified */
        header(PROXY, 0x12, ipv4, sizeof(ipv4)),     /* UDP */
        header(PROXY, 0x31, ipv6, sizeof(ipv6)),     /* Unix */
        header(PROXY, IPV4, ipv4, sizeof(ipv4) - 1), /* short */
        header(PROXY, IPV6, ipv6, sizeof(ipv4)),     /* the other family's length */
        header(0x22, IPV4, ipv4, sizeof(ipv4)),      /* unknown command */
        header(0x11, IPV4, ipv4, sizeof(ipv4)),      /* version 1 */
        header(0x31, IPV4, ipv4, sizeof(ipv4)),      /* version 3 */
    };
    struct proxy_header got = { .port = 7 };
    for (size_t i = 0; i < ARRAY_LENGTH(rows); i++) {
        assert_code(ERR_INVALID, parse(&rows[i], &got));
    }
    assert_int_equal(got.port, 7);
    struct bytes one = header(PROXY, IPV4, ipv4, sizeof(ipv4));
    for (one.len = 0; one.len < PROXY_HEADER_HEAD_BYTES + sizeof(ipv4); one.len++) {
        assert_code(ERR_INVALID, parse(&one, &got));
    }
    one.len++;
    assert_code(ERR_INVALID, parse(&one, &got));
}

/* Read as it comes: what cannot become a header is seen at its first wrong byte. */
static void test_measured(void **state)
{
    (void)state;
    struct bytes one = header(PROXY, IPV4, ipv4, sizeof(ipv4));
    size_t wanted = 0;
    for (size_t have = 1; have <= one.len; have++) {
        assert_ok(proxy_header_measure(one.data, have, &wanted));
        assert_int_equal(
            wanted, have < PROXY_HEADER_HEAD_BYTES ? PROXY_HEADER_HEAD_BYTES : one.len);
    }
    for (size_t at = 0; at < sizeof(signature); at++) {
        struct bytes wrong = one;
        wrong.data[at] ^= 1;
        for (size_t have = 1; have <= PROXY_HEADER_HEAD_BYTES; have++) {
            assert_code(
                have <= at ? ERR_OK : ERR_INVALID, proxy_header_measure(wrong.data, have, &wanted));
        }
    }
    one.data[14] = 0x03;
    one.data[15] = 0xf0;
    assert_ok(proxy_header_measure(one.data, PROXY_HEADER_HEAD_BYTES, &wanted));
    assert_int_equal(wanted, PROXY_HEADER_BYTES_MAX);
    one.data[15] = 0xf1;
    assert_code(ERR_INVALID, proxy_header_measure(one.data, PROXY_HEADER_HEAD_BYTES, &wanted));
}

static bool has(const char *range, const char *address)
{
    struct err_info err = ERR_INFO_INIT;
    struct network network;
    struct network one;
    assert_ok_err(err, network_parse(str_of(range), &network, &err));
    assert_ok_err(err, network_parse(str_of(address), &one, &err));
    return network_has(&network, one.address);
}

static void test_networks(void **state)
{
    (void)state;
    assert_true(has("192.0.2.0/24", "192.0.2.255"));
    assert_false(has("192.0.2.0/24", "192.0.3.0"));
    assert_true(has("10.128.0.0/9", "10.255.1.1"));
    assert_false(has("10.128.0.0/9", "10.127.255.255"));
    assert_true(has("0.0.0.0/0", "203.0.113.1"));
    assert_false(has("0.0.0.0/0", "2001:db8::1"));
    assert_true(has("::/0", "203.0.113.1"));
    assert_true(has("192.0.2.1", "192.0.2.1"));
    assert_false(has("192.0.2.1", "192.0.2.2"));
    assert_true(has("2001:db8::/33", "2001:db8:7fff::1"));
    assert_false(has("2001:db8::/33", "2001:db8:8000::1"));
    assert_true(has("::ffff:192.0.2.0/120", "192.0.2.9"));
    static const char *const wrong[] = { "",
                                         "/",
                                         "192.0.2.1/",
                                         "192.0.2.0/33",
                                         "192.0.2/24",
                                         "192.0.2.1/24",
                                         "2001:db8::/129",
                                         "2001:db8::1/64",
                                         "host/24",
                                         " 192.0.2.1",
                                         "192.0.2.0/-1",
                                         "192.0.2.0/24/8" };
    for (size_t i = 0; i < ARRAY_LENGTH(wrong); i++) {
        struct err_info err = ERR_INFO_INIT;
        struct network network;
        assert_code(ERR_INVALID, network_parse(str_of(wrong[i]), &network, &err));
        assert_true(err.text[0] != '\0');
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_clients),  cmocka_unit_test(test_fields_fill_the_length),
        cmocka_unit_test(test_refused),  cmocka_unit_test(test_measured),
        cmocka_unit_test(test_networks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
