#include "cmd/cli/term/yaml.h"
#include "tests/support/test.h"

static void expect(const char *json, const char *yaml)
{
    AUTO_BUF struct buf out = BUF_INIT(65536);
    struct err_info err = ERR_INFO_INIT;
    assert_ok_err(err, yaml_from_json(str_of(json), &out, &err));
    assert_string_equal(buf_text(&out), yaml);
}

static void test_objects_and_lists(void **state)
{
    (void)state;
    expect("{\"a\": 1, \"b\": {\"c\": true, \"d\": null}}", "a: 1\nb:\n  c: true\n  d: null\n");
    expect("{\"l\": [1, 2.5, -3e4]}", "l:\n  - 1\n  - 2.5\n  - -3e4\n");
    expect(
        "{\"l\":[{\"x\":\"p\",\"z\":\"q\"},{\"x\":\"r\"}]}", "l:\n  - x: p\n    z: q\n  - x: r\n");
    expect("[[1,2],[3]]", "- - 1\n  - 2\n- - 3\n");
    expect("{\"l\":[{\"m\":[{\"k\":\"v\"}]}]}", "l:\n  - m:\n      - k: v\n");
}

static void test_empty_containers_stay_on_their_line(void **state)
{
    (void)state;
    expect("{}", "{}\n");
    expect("[]", "[]\n");
    expect("{\"a\":{},\"b\":[],\"c\":[{},[]]}", "a: {}\nb: []\nc:\n  - {}\n  - []\n");
}

static void test_text_that_could_be_misread_is_quoted(void **state)
{
    (void)state;
    expect("{\"a\":\"plain words\"}", "a: plain words\n");
    expect("{\"a\":\"7\"}", "a: \"7\"\n");
    expect(
        "{\"a\":\"no\",\"b\":\"True\",\"c\":\"Null\",\"d\":\"\"}",
        "a: \"no\"\nb: \"True\"\nc: \"Null\"\nd: \"\"\n");
    expect("{\"a\":\"x: y\"}", "a: \"x: y\"\n");
    expect("{\"a\":\"- x\"}", "a: \"- x\"\n");
    expect("{\"a\":\"x #y\"}", "a: \"x #y\"\n");
    expect("{\"a\":\"two\\nlines\"}", "a: \"two\\nlines\"\n");
    expect("{\"a\":\"q\\\"q\"}", "a: \"q\\\"q\"\n");
    expect("{\"a\":\"trail \"}", "a: \"trail \"\n");
    expect("{\"a\":\"2026-11-22T04:00:00Z\"}", "a: \"2026-11-22T04:00:00Z\"\n");
    expect("{\"a.b/c\":\"v\",\"1\":\"v\"}", "a.b/c: v\n\"1\": v\n");
}

static void expect_broken(const char *json)
{
    AUTO_BUF struct buf out = BUF_INIT(65536);
    assert_code(ERR_CORRUPT, yaml_from_json(str_of(json), &out, NULL));
    assert_int_equal(out.len, 0);
}

static void test_malformed_input_is_refused(void **state)
{
    (void)state;
    expect_broken("");
    expect_broken("{");
    expect_broken("{\"a\"}");
    expect_broken("{\"a\":}");
    expect_broken("[1,]");
    expect_broken("[1 2]");
    expect_broken("\"open");
    expect_broken("{} {}");
    expect_broken("{a:1}");
}

static void test_depth_is_bounded(void **state)
{
    (void)state;
    AUTO_BUF struct buf json = BUF_INIT(4096);
    AUTO_BUF struct buf out = BUF_INIT(65536);
    for (size_t i = 0; i <= YAML_DEPTH_MAX; i++) {
        buf_append_char(&json, '[');
    }
    assert_code(ERR_LIMIT, yaml_from_json(buf_view(&json), &out, NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_objects_and_lists),
        cmocka_unit_test(test_empty_containers_stay_on_their_line),
        cmocka_unit_test(test_text_that_could_be_misread_is_quoted),
        cmocka_unit_test(test_malformed_input_is_refused),
        cmocka_unit_test(test_depth_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
