#include "common/base/cleanup.h"
#include "common/config/config.h"
#include "tests/support/test.h"

static const struct config_option options[] = {
    { .name = "listen-agents", .type = CONFIG_TEXT, .help = "x" },
    { .name = "country", .type = CONFIG_TEXT, .help = "x" },
    { .name = "count", .type = CONFIG_INT, .min = 0, .max = 100, .help = "x" },
    { .name = "on", .type = CONFIG_BOOL, .help = "x" },
    { .name = "names", .type = CONFIG_LIST, .help = "x" },
    { .name = "http.listen", .type = CONFIG_TEXT, .help = "x" },
    { .name = "http.tls.key-file", .type = CONFIG_PATH, .help = "x" },
    { .name = "wait", .type = CONFIG_DURATION, .help = "x" },
    { .name = "once", .type = CONFIG_BOOL, .flags = CONFIG_FLAG_ONLY, .help = "x" },
    { .name = "password",
      .type = CONFIG_TEXT,
      .flags = CONFIG_SECRET,
      .min = 8,
      .max = 64,
      .help = "x" },
};

static void free_config(struct config **config)
{
    config_destroy(*config);
}

#define AUTO_CONFIG AUTO(free_config)

static struct config *create(void)
{
    return config_create(options, ARRAY_LENGTH(options));
}

static void accept(struct config *config, const char *text)
{
    struct err_info err = ERR_INFO_INIT;
    assert_ok_err(err, config_load_yaml(config, "t.yaml", str_of(text), &err));
}

static void refuse(const char *text, const char *expected)
{
    struct err_info err = ERR_INFO_INIT;
    AUTO_CONFIG struct config *config = create();
    assert_code(ERR_INVALID, config_load_yaml(config, "t.yaml", str_of(text), &err));
    if (strncmp(err.text, expected, strlen(expected)) != 0) {
        fail_msg("%s: \"%s\" does not begin with \"%s\"", text, err.text, expected);
    }
    assert_code(ERR_INVALID, config_load_yaml(config, "t.yaml", str_of(text), NULL));
}

static void test_nested_and_flat_keys(void **state)
{
    (void)state;
    AUTO_CONFIG struct config *config = create();
    accept(
        config,
        "# comment\n"
        "listen_agents: 0.0.0.0:1\n"
        "http:\n"
        "  listen: \"[::1]:2\"\n"
        "  tls:\n"
        "    key_file: /k\n"
        "names:\n  - a\n  - 'b, c'\n"
        "count: 7\non: true\nwait: 250ms\n");
    assert_string_equal(config_text(config, "listen-agents"), "0.0.0.0:1");
    assert_string_equal(config_text(config, "http.listen"), "[::1]:2");
    assert_string_equal(config_text(config, "http.tls.key-file"), "/k");
    assert_int_equal(config_list_count(config, "names"), 2);
    assert_string_equal(config_list_item(config, "names", 1), "b, c");
    assert_int_equal(config_int(config, "count"), 7);
    assert_true(config_bool(config, "on"));
    assert_int_equal(config_int(config, "wait"), 250000);
    assert_string_equal(config_origin(config, "http.tls.key-file"), "file t.yaml:6:15");
}

static void test_json_is_a_subset(void **state)
{
    (void)state;
    AUTO_CONFIG struct config *config = create();
    accept(
        config,
        "{\"http\": {\"listen\": \"a\", \"tls\": {}}, \"names\": [], \"count\": 1, \"on\": false}");
    assert_string_equal(config_text(config, "http.listen"), "a");
    assert_true(config_is_set(config, "names"));
    assert_int_equal(config_list_count(config, "names"), 0);
    assert_true(config_is_set(config, "on"));
}

static void test_empty_documents_set_nothing(void **state)
{
    (void)state;
    static const char *const empty[] = { "",           "\n", "# only a comment\n",  "---\n",
                                         "---\n...\n", "{}", "%YAML 1.1\n---\n{}\n" };
    for (size_t i = 0; i < ARRAY_LENGTH(empty); i++) {
        AUTO_CONFIG struct config *config = create();
        accept(config, empty[i]);
        assert_false(config_is_set(config, "count"));
    }
}

static void test_scalars_mean_what_the_option_says(void **state)
{
    (void)state;
    AUTO_CONFIG struct config *config = create();
    accept(
        config,
        "country: NO\nlisten_agents: 012\ncount: \"12\"\nhttp: {listen: 1e3}\npassword: 'null null'\n");
    assert_string_equal(config_text(config, "country"), "NO");
    assert_string_equal(config_text(config, "listen-agents"), "012");
    assert_string_equal(config_text(config, "http.listen"), "1e3");
    assert_int_equal(config_int(config, "count"), 12);
    accept(config, "country: \"null\"");
    assert_string_equal(config_text(config, "country"), "null");
}

static void test_errors_name_file_line_and_column(void **state)
{
    (void)state;
    refuse(
        "count: 1\nlisten_agnets: x\n",
        "t.yaml:2:1: unknown key \"listen_agnets\"; did you mean \"listen_agents\"?");
    refuse(
        "listen-agents: x\n",
        "t.yaml:1:1: unknown key \"listen-agents\"; did you mean \"listen_agents\"?");
    refuse("http:\n  lisen: x\n", "t.yaml:2:3: unknown key \"lisen\"; did you mean \"listen\"?");
    refuse("htpt: {}\n", "t.yaml:1:1: unknown key \"htpt\"");
    refuse("http: {tsl: {}}\n", "t.yaml:1:8: unknown key \"tsl\"");
    refuse("http.listen: x\n", "t.yaml:1:1: unknown key \"http.listen\"");
    refuse("completely_else: x\n", "t.yaml:1:1: unknown key \"completely_else\"");
    refuse("\"\": x\n", "t.yaml:1:1: unknown key \"\"");
    refuse("\"count\\0x\": 1\n", "t.yaml:1:1: unknown key");
    refuse("count: 101\n", "t.yaml:1:8: count: expects a whole number from 0 to 100, not \"101\"");
    refuse("count: 010\n", "t.yaml:1:8: count: expects");
    refuse("count: 0x1f\n", "t.yaml:1:8: count: expects");
    refuse("on: TRUE\n", "t.yaml:1:5: on: expects true or false, not \"TRUE\"");
    refuse("wait: 10\n", "t.yaml:1:7: wait: expects a duration");
    refuse("country: \"a\\0b\"\n", "t.yaml:1:10: country: expects text without control characters");
    refuse("password: hunter2\n", "t.yaml:1:11: password: expects text of 8 to 64 bytes");
    refuse("once: true\n", "t.yaml:1:1: once: only the flag --once is known");
}

static void test_duplicates_are_refused(void **state)
{
    (void)state;
    refuse("count: 1\ncount: 2\n", "t.yaml:2:1: count: given twice");
    refuse("{\"count\":1, \"c\\u006funt\":2}", "t.yaml:1:13: count: given twice");
    refuse("http: {listen: a}\nhttp: {tls: {}}\n", "t.yaml:2:1: http: given twice");
    refuse("http: {listen: a, listen: b}\n", "t.yaml:1:19: http.listen: given twice");
}

static void test_yaml_surprises_are_refused(void **state)
{
    (void)state;
    refuse("count: &a 1\n", "t.yaml:1:8: anchors (&name) are not allowed");
    refuse("country: &a x\nlisten_agents: *a\n", "t.yaml:1:10: anchors");
    refuse("country: *a\n", "t.yaml:1:10: aliases (*name) are not allowed");
    refuse("count: !!int 1\n", "t.yaml:1:8: tags (!name) are not allowed");
    refuse("count: ! 1\n", "t.yaml:1:8: tags");
    refuse("!!map {count: 1}\n", "t.yaml:1:1: tags");
    refuse("http: !x {}\n", "t.yaml:1:7: tags");
    refuse("names: &n [a]\n", "t.yaml:1:8: anchors");
    refuse("names: [&n a]\n", "t.yaml:1:9: anchors");
    refuse("&k count: 1\n", "t.yaml:1:1: anchors");
    refuse("<<: {count: 1}\n", "t.yaml:1:1: unknown key \"<<\"");
    refuse("%TAG ! tag:x,2000:\n---\ncount: 1\n", "t.yaml:1:1: %TAG is not allowed");
    refuse("count: 1\n---\ncount: 2\n", "t.yaml:2:1: only one document is allowed");
    refuse("count:\n", "t.yaml:1:7: count: has no value");
    refuse("count: ~\n", "t.yaml:1:8: count: has no value");
    refuse("country: Null\n", "t.yaml:1:10: country: has no value");
    refuse("names: [a, ~]\n", "t.yaml:1:12: names: has no value");
    refuse("? [a]\n: b\n", "t.yaml:1:3: a key is one word");
}

static void test_shapes_are_checked(void **state)
{
    (void)state;
    refuse("[count]\n", "t.yaml:1:1: expects a mapping of options");
    refuse("count\n", "t.yaml:1:1: expects a mapping of options");
    refuse("count: [1]\n", "t.yaml:1:8: count: expects one value");
    refuse("count: {a: 1}\n", "t.yaml:1:8: count: expects one value");
    refuse("names: a\n", "t.yaml:1:8: names: expects a list");
    refuse("names: {a: 1}\n", "t.yaml:1:8: names: expects a list");
    refuse("names: [[a]]\n", "t.yaml:1:9: names: a list holds texts");
    refuse("http: x\n", "t.yaml:1:7: http: expects a mapping of options");
    refuse("http: [listen]\n", "t.yaml:1:7: http: expects a mapping of options");
    refuse("http:\n", "t.yaml:1:6: http: expects a mapping of options");
    refuse("count: 1\n bad\n", "t.yaml:");
    refuse("{count: 1", "t.yaml:");
    refuse("count: \"\\q\"\n", "t.yaml:1:");
    refuse("country: \xff\xfe\n", "t.yaml:");
    refuse("\tcount: 1\n", "t.yaml:1:1: not YAML:");
}

static void test_depth_is_bounded(void **state)
{
    (void)state;
    /* 40 levels: one option deep enough that only the depth can be what is wrong. */
    static const struct config_option deep[] = {
        { .name = "a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a",
          .type = CONFIG_INT,
          .help = "x" },
    };
    AUTO_BUF struct buf text = BUF_INIT(4096);
    for (int i = 0; i < 34; i++) {
        buf_append_str(&text, STR("{a: "));
    }
    struct err_info err = ERR_INFO_INIT;
    AUTO_CONFIG struct config *config = config_create(deep, 1);
    assert_code(ERR_INVALID, config_load_yaml(config, "t", buf_view(&text), &err));
    assert_non_null(strstr(err.text, "nested deeper than 32"));
}

static void test_sizes_are_bounded(void **state)
{
    (void)state;
    struct err_info err = ERR_INFO_INIT;
    AUTO_CONFIG struct config *config = create();
    AUTO_BUF struct buf text = BUF_INIT(4 << 20);
    while (text.len <= 1 << 20) {
        buf_append_str(&text, STR("# a comment that goes on and on and on and on and on and on\n"));
    }
    assert_code(ERR_LIMIT, config_load_yaml(config, "t", buf_view(&text), &err));
    buf_clear(&text);
    buf_append_str(&text, STR("names: ["));
    for (int i = 0; i < 1025; i++) {
        buf_append_str(&text, STR("a,"));
    }
    buf_append_str(&text, STR("]"));
    assert_code(ERR_INVALID, config_load_yaml(config, "t", buf_view(&text), &err));
    assert_non_null(strstr(err.text, "more than 1024 items"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nested_and_flat_keys),
        cmocka_unit_test(test_json_is_a_subset),
        cmocka_unit_test(test_empty_documents_set_nothing),
        cmocka_unit_test(test_scalars_mean_what_the_option_says),
        cmocka_unit_test(test_errors_name_file_line_and_column),
        cmocka_unit_test(test_duplicates_are_refused),
        cmocka_unit_test(test_yaml_surprises_are_refused),
        cmocka_unit_test(test_shapes_are_checked),
        cmocka_unit_test(test_depth_is_bounded),
        cmocka_unit_test(test_sizes_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
