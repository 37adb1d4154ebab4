#include "common/base/join.h"
#include "tests/support/test.h"

#define TOKEN "blt_0123456789abcdefghijABCDEFGHIJ-_0123456789a"
#define PIN   "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

static void refuse(const char *text, const char *why)
{
    struct join_string join;
    struct err_info err = ERR_INFO_INIT;
    assert_code(ERR_INVALID, join_parse(str_of(text), &join, &err));
    if (strstr(err.text, why) == NULL) {
        fail_msg("%s: \"%s\" does not say \"%s\"", text, err.text, why);
    }
    assert_null(strstr(err.text, "blt_0123"));
}

static void test_network_form(void **state)
{
    (void)state;
    struct join_string join;
    assert_ok(join_parse(
        STR(" belay://edge.example.com:8443/?token=" TOKEN "&ca=" PIN "\n"), &join, NULL));
    assert_string_equal(join.target, "edge.example.com:8443");
    assert_string_equal(join.token, TOKEN);
    assert_true(join.has_pin);
    assert_int_equal(join.ca_pin[1], 0x11);
    assert_ok(join_parse(STR("belay://[2001:db8::1]:1/?ca=" PIN "&token=" TOKEN), &join, NULL));
    assert_string_equal(join.target, "[2001:db8::1]:1");
}

static void test_local_forms_need_no_pin(void **state)
{
    (void)state;
    struct join_string join;
    assert_ok(join_parse(STR("belay+unix:///run/belay/agents.sock?token=" TOKEN), &join, NULL));
    assert_string_equal(join.target, "unix:/run/belay/agents.sock");
    assert_false(join.has_pin);
    assert_ok(join_parse(STR("belay://127.0.0.1:80/?token=" TOKEN), &join, NULL));
    assert_ok(join_parse(STR("belay://localhost:80?token=" TOKEN), &join, NULL));
    assert_ok(join_parse(STR("belay://[::1]:80?token=" TOKEN), &join, NULL));
    refuse("belay://127.evil.example:80/?token=" TOKEN, "no ca=");
    refuse("belay://10.0.0.1:80/?token=" TOKEN, "no ca=");
    refuse("belay://localhost.example:80/?token=" TOKEN, "no ca=");
}

static void test_damaged_forms(void **state)
{
    (void)state;
    refuse("", "must start with");
    refuse("https://host:1/?token=" TOKEN "&ca=" PIN, "must start with");
    refuse("http://host:1/?token=" TOKEN, "must start with");
    refuse("belay://host:1/", "token=");
    refuse("belay://host/?token=" TOKEN "&ca=" PIN, "HOST:PORT");
    refuse("belay://host:0/?token=" TOKEN "&ca=" PIN, "HOST:PORT");
    refuse("belay://host:65536/?token=" TOKEN "&ca=" PIN, "HOST:PORT");
    refuse("belay://user@host:1/?token=" TOKEN "&ca=" PIN, "HOST:PORT");
    refuse("belay://host:1/path?token=" TOKEN "&ca=" PIN, "HOST:PORT");
    refuse("belay://:1/?token=" TOKEN "&ca=" PIN, "HOST:PORT");
    refuse("belay://host:1/?token=short&ca=" PIN, "20 to 512");
    refuse("belay://host:1/?token=" TOKEN "&ca=0011", "64 hex");
    refuse("belay://host:1/?token=" TOKEN "&ca=" PIN "&x=1", "only token and ca");
    refuse("belay://host:1/?token=" TOKEN "&token=" TOKEN, "twice");
    refuse("belay://host:1/?ca=" PIN "&ca=" PIN, "twice");
    refuse("belay://host:1/?ca=" PIN, "no token");
    refuse("belay://host:1/?token", "without '='");
    refuse("belay+unix://run/x?token=" TOKEN, "absolute");
    refuse("belay+unix:///a b?token=" TOKEN, "absolute");
}

static void test_format_and_back(void **state)
{
    (void)state;
    const char *const texts[] = { "belay://host:8443/?token=" TOKEN "&ca=" PIN,
                                  "belay+unix:///run/a.sock?token=" TOKEN,
                                  "belay://127.0.0.1:1/?token=" TOKEN };
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct join_string join;
        AUTO_BUF struct buf buf = BUF_INIT(JOIN_TEXT_MAX);
        assert_ok(join_parse(str_of(texts[i]), &join, NULL));
        assert_ok(join_format(&join, &buf, NULL));
        assert_string_equal(buf_text(&buf), texts[i]);
    }
    struct join_string bad = { .target = "host:1", .token = TOKEN };
    AUTO_BUF struct buf buf = BUF_INIT(JOIN_TEXT_MAX);
    assert_code(ERR_INVALID, join_format(&bad, &buf, NULL));
    assert_int_equal(buf.len, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_network_form),
        cmocka_unit_test(test_local_forms_need_no_pin),
        cmocka_unit_test(test_damaged_forms),
        cmocka_unit_test(test_format_and_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
