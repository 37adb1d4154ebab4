/* YAML documents as JSON: what is read, and what is refused and where. */
#include "common/base/cleanup.h"
#include "common/config/yaml_json.h"
#include "tests/support/test.h"

enum {
    OUT_BYTES = 4096
};

static void test_values(void **unused)
{
    static const struct {
        const char *yaml;
        const char *json;
    } ROWS[] = {
        { "a: 1\nb: [x, 2.5, true]\n", "{\"a\":1,\"b\":[\"x\",2.5,true]}" },
        { "{\"a\": {\"b\": \"1\"}}", "{\"a\":{\"b\":\"1\"}}" },
        { "a: NO\nb: 012\nc: 0x1f\nd: 1_000\n",
          "{\"a\":\"NO\",\"b\":\"012\",\"c\":\"0x1f\",\"d\":\"1_000\"}" },
        { "a:\nb: ~\nc: null\nd: ''\n", "{\"a\":null,\"b\":null,\"c\":null,\"d\":\"\"}" },
        { "a: -0.5e+3\nb: 1.\nc: -\n", NULL },
        { "a: -0.5e+3\nb: 1.\nc: '-'\n", "{\"a\":-0.5e+3,\"b\":\"1.\",\"c\":\"-\"}" },
        { "- {a: b}\n- []\n- {}\n", "[{\"a\":\"b\"},[],{}]" },
        { "text: |\n  one\n  two \"2\"\n", "{\"text\":\"one\\ntwo \\\"2\\\"\\n\"}" },
        { "*.example.com", NULL },
        { "host: '*.example.com'\npath: /**\n", "{\"host\":\"*.example.com\",\"path\":\"/**\"}" },
    };

    (void)unused;
    for (size_t i = 0; i < ARRAY_LENGTH(ROWS); i++) {
        struct err_info err = ERR_INFO_INIT;
        AUTO_BUF struct buf out = BUF_INIT(OUT_BYTES);
        enum err_code code = yaml_to_json("f", str_of(ROWS[i].yaml), &out, &err);
        if (ROWS[i].json == NULL) {
            assert_code(ERR_INVALID, code);
        } else {
            assert_ok_err(err, code);
            assert_string_equal(ROWS[i].json, buf_text(&out));
        }
    }
}

static void test_refusals(void **unused)
{
    static const struct {
        const char *yaml;
        const char *text; /* in the error */
    } ROWS[] = {
        { "", "f: it is empty" },
        { "a: 1\na: 2\n", "f:2:1: the key \"a\" comes twice" },
        { "a: &x 1\n", "f:1:4: anchors" },
        { "a: !!str 1\n", "f:1:4: anchors" },
        { "a: 1\n---\nb: 2\n", "one document" },
        { "a: [1\n", "f:" },
        { "[1]: 2\n", "f:1:1: a key must be a word" },
        { "a: \x01\n", "f:" },
    };

    (void)unused;
    for (size_t i = 0; i < ARRAY_LENGTH(ROWS); i++) {
        struct err_info err = ERR_INFO_INIT;
        AUTO_BUF struct buf out = BUF_INIT(OUT_BYTES);
        assert_code(ERR_INVALID, yaml_to_json("f", str_of(ROWS[i].yaml), &out, &err));
        assert_non_null(strstr(err.text, ROWS[i].text));
    }
}

static void test_depth_and_size_are_bounded(void **unused)
{
    struct err_info err = ERR_INFO_INIT;
    AUTO_BUF struct buf deep = BUF_INIT(OUT_BYTES);
    AUTO_BUF struct buf out = BUF_INIT(OUT_BYTES);
    AUTO_BUF struct buf small = BUF_INIT(8);
    (void)unused;
    for (int i = 0; i < 33; i++) {
        buf_append_char(&deep, '[');
    }
    assert_code(ERR_INVALID, yaml_to_json("f", buf_view(&deep), &out, &err));
    assert_non_null(strstr(err.text, "nested too deeply"));
    assert_code(ERR_LIMIT, yaml_to_json("f", STR("a: 0123456789"), &small, &err));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_depth_and_size_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
