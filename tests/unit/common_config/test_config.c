#include "common/base/cleanup.h"
#include "common/config/config.h"
#include "tests/support/test.h"

static const char *const modes[] = { "all", "server", "agent", NULL };

static const struct config_option options[] = {
    { .name = "config",
      .letter = 'c',
      .type = CONFIG_PATH,
      .argument = "FILE",
      .section = "General",
      .help = "Configuration file" },
    { .name = "help",
      .letter = 'h',
      .type = CONFIG_BOOL,
      .flags = CONFIG_FLAG_ONLY,
      .fallback = "false",
      .section = "General",
      .help = "Show this text" },
    { .name = "mode",
      .type = CONFIG_CHOICE,
      .fallback = "all",
      .choices = modes,
      .section = "General",
      .help = "What to run" },
    { .name = "listen-agents",
      .letter = 'l',
      .type = CONFIG_TEXT,
      .fallback = "0.0.0.0:8443",
      .min = 1,
      .max = 32,
      .argument = "ADDRESS",
      .section = "Network",
      .help = "Where agents connect" },
    { .name = "http.listen",
      .type = CONFIG_TEXT,
      .fallback = "127.0.0.1:9090",
      .argument = "ADDRESS",
      .section = "Network",
      .help = "Metrics and health" },
    { .name = "http.max-connections",
      .type = CONFIG_INT,
      .fallback = "64",
      .min = 1,
      .max = 1000,
      .section = "Network",
      .help = "Connections at once" },
    { .name = "http.tls.strict",
      .type = CONFIG_BOOL,
      .fallback = "true",
      .section = "Network",
      .help = "Refuse old protocol versions" },
    { .name = "names",
      .type = CONFIG_LIST,
      .argument = "NAME",
      .section = "Network",
      .help = "Names of the server" },
    { .name = "heartbeat",
      .type = CONFIG_DURATION,
      .flags = CONFIG_RELOADABLE,
      .fallback = "10s",
      .min = 1000000,
      .max = 60000000,
      .section = "General",
      .help = "Time between signs of life" },
    { .name = "max-message",
      .type = CONFIG_SIZE,
      .fallback = "4MiB",
      .min = 1024,
      .max = 64 << 20,
      .section = "Network",
      .help = "Largest message" },
    { .name = "api-key",
      .type = CONFIG_TEXT,
      .flags = CONFIG_SECRET,
      .min = 4,
      .max = 64,
      .section = "General",
      .help = "Key of the interface" },
    { .name = "offset", .type = CONFIG_INT, .section = "General", .help = "Any number" },
};

#define COUNT ARRAY_LENGTH(options)

#define AUTO_CONFIG AUTO(free_config)

static void free_config(struct config **config)
{
    config_destroy(*config);
}

/* Words of one line cut at spaces. */
static enum err_code load_line(struct config *config, const char *line, struct err_info *err)
{
    static char storage[512];
    static char program[] = "belay";
    char *argv[32] = { program };
    int argc = 1;
    assert_ok(str_copy(str_of(line), storage, sizeof(storage)));
    char *rest = storage;
    char *word = NULL;
    while ((word = strsep(&rest, " ")) != NULL && argc < 32) {
        argv[argc++] = word;
    }
    return config_load_args(config, argc, argv, err);
}

static void refuse_line(const char *line, const char *expected)
{
    struct err_info err = ERR_INFO_INIT;
    AUTO_CONFIG struct config *config = config_create(options, COUNT);
    assert_code(ERR_INVALID, load_line(config, line, &err));
    if (strstr(err.text, expected) == NULL) {
        fail_msg("%s: \"%s\" lacks \"%s\"", line, err.text, expected);
    }
}

static void test_defaults(void **state)
{
    (void)state;
    AUTO_CONFIG struct config *config = config_create(options, COUNT);
    assert_null(config_text(config, "config"));
    assert_string_equal(config_text(config, "mode"), "all");
    assert_true(config_bool(config, "http.tls.strict"));
    assert_false(config_bool(config, "help"));
    assert_int_equal(config_int(config, "heartbeat"), 10 * US_PER_SECOND);
    assert_int_equal(config_int(config, "max-message"), 4 << 20);
    assert_int_equal(config_int(config, "offset"), 0);
    assert_int_equal(config_list_count(config, "names"), 0);
    assert_null(config_list_item(config, "names", 0));
    assert_string_equal(config_origin(config, "mode"), "default");
    assert_false(config_is_set(config, "mode"));
    config_destroy(NULL);
}

static void test_flags_in_every_form(void **state)
{
    (void)state;
    struct err_info err = ERR_INFO_INIT;
    AUTO_CONFIG struct config *config = config_create(options, COUNT);
    assert_ok_err(
        err,
        load_line(
            config,
            "serve --listen-agents [::]:1 --http.listen=:2 -c/etc/x --no-http.tls.strict -h --names a "
            "--names=b,c --offset -5 - -- --mode x",
            &err));
    assert_string_equal(config_text(config, "listen-agents"), "[::]:1");
    assert_string_equal(config_text(config, "http.listen"), ":2");
    assert_string_equal(config_text(config, "config"), "/etc/x");
    assert_false(config_bool(config, "http.tls.strict"));
    assert_true(config_bool(config, "help"));
    assert_int_equal(config_list_count(config, "names"), 2);
    assert_string_equal(config_list_item(config, "names", 0), "a");
    assert_string_equal(config_list_item(config, "names", 1), "b,c");
    assert_null(config_list_item(config, "names", 2));
    assert_int_equal(config_int(config, "offset"), -5);
    assert_int_equal(config_word_count(config), 4);
    assert_string_equal(config_word(config, 0), "serve");
    assert_string_equal(config_word(config, 1), "-");
    assert_string_equal(config_word(config, 2), "--mode");
    assert_string_equal(config_word(config, 3), "x");
    assert_null(config_word(config, 4));
    assert_string_equal(config_origin(config, "http.listen"), "flag --http.listen");
    assert_true(config_is_set(config, "http.listen"));
}

static void test_wrong_flags_are_named(void **state)
{
    (void)state;
    refuse_line("--lsiten-agents x", "did you mean \"--listen-agents\"?");
    refuse_line("--xyzzy", "unknown option \"xyzzy\"");
    refuse_line("--no-mode", "unknown option");
    refuse_line("--no-help=true", "unknown option");
    refuse_line("-z", "unknown option \"-z\"");
    refuse_line("-hh", "unknown option");
    refuse_line("--mode", "needs a value");
    refuse_line("--mode --help", "--name=VALUE");
    refuse_line("--mode both", "--mode: expects one of all, server, agent, not \"both\"");
    refuse_line("--help=maybe", "true or false");
    refuse_line("--listen-agents=", "1 to 32 bytes");
    refuse_line("--http.max-connections 0", "a whole number from 1 to 1000, not \"0\"");
    refuse_line("--http.max-connections 010", "a whole number");
    refuse_line("--http.max-connections 0x10", "a whole number");
    refuse_line("--http.max-connections 1e2", "a whole number");
    refuse_line("--offset 9223372036854775808", "a whole number");
    refuse_line("--heartbeat 10", "a duration such as 250ms, 10s or 5m from 1s to 1m, not \"10\"");
    refuse_line("--heartbeat 2m", "from 1s to 1m");
    refuse_line("--heartbeat -1s", "a duration");
    refuse_line("--max-message 65MiB", "from 1KiB to 64MiB");
    refuse_line("--max-message 1mib", "a size");
    refuse_line("--names a\x01", "control characters");
    refuse_line("--names \xff", "control characters");
}

static void test_secrets_are_refused_on_the_command_line(void **state)
{
    (void)state;
    struct err_info err = ERR_INFO_INIT;
    AUTO_CONFIG struct config *config = config_create(options, COUNT);
    assert_code(ERR_INVALID, load_line(config, "--api-key=hunter2", &err));
    assert_non_null(strstr(err.text, "BELAY_API_KEY"));
    assert_non_null(strstr(err.text, "api_key"));
    assert_null(strstr(err.text, "hunter2"));
    assert_null(config_text(config, "api-key"));
}

static enum err_code load_variable(
    struct config *config, const char *variable, struct err_info *err)
{
    AUTO_FREE char *copy = mem_strdup(variable);
    char other[] = "BELAY_SERVICE_HOST=10.0.0.1";
    char *list[] = { other, copy, NULL };
    return config_load_env(config, list, err);
}

static void test_environment(void **state)
{
    (void)state;
    struct err_info err = ERR_INFO_INIT;
    AUTO_CONFIG struct config *config = config_create(options, COUNT);
    assert_ok_err(err, load_variable(config, "BELAY_HTTP_MAX_CONNECTIONS=7", &err));
    assert_int_equal(config_int(config, "http.max-connections"), 7);
    assert_string_equal(
        config_origin(config, "http.max-connections"), "environment BELAY_HTTP_MAX_CONNECTIONS");
    assert_ok_err(err, load_variable(config, "BELAY_NAMES=a, b,c", &err));
    assert_int_equal(config_list_count(config, "names"), 3);
    assert_string_equal(config_list_item(config, "names", 1), "b");
    assert_ok_err(err, load_variable(config, "BELAY_MODE=", &err));
    assert_false(config_is_set(config, "mode"));
    assert_ok_err(err, load_variable(config, "BELAY_HELP=true", &err));
    assert_false(config_bool(config, "help"));
    assert_ok_err(err, load_variable(config, "BELAY_API_KEY=hunter2", &err));
    assert_string_equal(config_text(config, "api-key"), "hunter2");
    assert_ok(config_load_env(config, NULL, &err));

    assert_code(ERR_INVALID, load_variable(config, "BELAY_NAMES=a,,b", &err));
    assert_non_null(strstr(err.text, "BELAY_NAMES: an empty item"));
    assert_code(ERR_INVALID, load_variable(config, "BELAY_API_KEY=abc", &err));
    assert_string_equal(err.text, "BELAY_API_KEY: expects text of 4 to 64 bytes");
}

static void test_precedence_does_not_depend_on_the_order_of_loading(void **state)
{
    (void)state;
    for (int order = 0; order < 2; order++) {
        AUTO_CONFIG struct config *config = config_create(options, COUNT);
        struct str_view yaml =
            STR("mode: server\nnames: [f]\nhttp: {listen: f, max_connections: 3}\n");
        if (order == 0) {
            assert_ok(load_line(config, "--http.listen flag --names x", NULL));
            assert_ok(load_variable(config, "BELAY_MODE=agent", NULL));
            assert_ok(config_load_yaml(config, "t", yaml, NULL));
        } else {
            assert_ok(config_load_yaml(config, "t", yaml, NULL));
            assert_ok(load_variable(config, "BELAY_MODE=agent", NULL));
            assert_ok(load_line(config, "--http.listen flag --names x", NULL));
        }
        assert_string_equal(config_text(config, "http.listen"), "flag");
        assert_string_equal(config_text(config, "mode"), "agent");
        assert_int_equal(config_int(config, "http.max-connections"), 3);
        assert_int_equal(config_list_count(config, "names"), 1);
        assert_string_equal(config_list_item(config, "names", 0), "x");
        assert_string_equal(config_origin(config, "http.max-connections"), "file t:3:36");
    }
}

static void test_hidden_value_is_checked_too(void **state)
{
    (void)state;
    struct err_info err = ERR_INFO_INIT;
    AUTO_CONFIG struct config *config = config_create(options, COUNT);
    assert_ok(load_line(config, "--mode server", NULL));
    assert_code(ERR_INVALID, load_variable(config, "BELAY_MODE=sever", &err));
    assert_string_equal(config_text(config, "mode"), "server");
}

static void test_list_has_a_bound(void **state)
{
    (void)state;
    AUTO_CONFIG struct config *config = config_create(options, COUNT);
    AUTO_BUF struct buf text = BUF_INIT(65536);
    buf_append_str(&text, STR("BELAY_NAMES=a"));
    for (int i = 0; i < 1024; i++) {
        buf_append_str(&text, STR(",a"));
    }
    assert_code(ERR_LIMIT, load_variable(config, buf_text(&text), NULL));
    text.len -= 2;
    text.data[text.len] = '\0';
    assert_ok(load_variable(config, buf_text(&text), NULL));
    assert_int_equal(config_list_count(config, "names"), 1024);
    static char flag[] = "--names=x";
    char *argv[1030] = { flag };
    for (int i = 1; i < 1030; i++) {
        argv[i] = flag;
    }
    assert_code(ERR_LIMIT, config_load_args(config, 1030, argv, NULL));
}

static void test_show_hides_secrets_and_names_origins(void **state)
{
    (void)state;
    AUTO_CONFIG struct config *config = config_create(options, COUNT);
    assert_ok(load_variable(config, "BELAY_API_KEY=hunter2", NULL));
    assert_ok(load_line(config, "--names a --names b_\"c -h --listen-agents=x", NULL));
    AUTO_BUF struct buf text = BUF_INIT(65536);
    config_show(config, false, &text);
    assert_null(strstr(buf_text(&text), "hunter2"));
    assert_non_null(strstr(buf_text(&text), "(set)"));
    assert_non_null(strstr(buf_text(&text), "a,\"b_\\\"c\""));
    assert_non_null(strstr(
        buf_text(&text),
        "api-key               (set)                     environment BELAY_API_KEY\n"));
    AUTO_BUF struct buf json = BUF_INIT(65536);
    config_show(config, true, &json);
    const char *shown = buf_text(&json);
    assert_null(strstr(shown, "hunter2"));
    assert_non_null(strstr(shown, "{\"name\":\"config\",\"value\":null,\"origin\":\"default\"}"));
    assert_non_null(strstr(
        shown, "{\"name\":\"names\",\"value\":[\"a\",\"b_\\\"c\"],\"origin\":\"flag --names\"}"));
    assert_non_null(strstr(shown, "{\"name\":\"http.max-connections\",\"value\":64,"));
    assert_non_null(strstr(shown, "{\"name\":\"help\",\"value\":true,"));
    assert_non_null(strstr(shown, "{\"name\":\"heartbeat\",\"value\":\"10s\","));
    assert_non_null(strstr(shown, "{\"name\":\"api-key\",\"value\":\"(set)\","));
}

static void test_help_is_aligned_and_grouped(void **state)
{
    (void)state;
    AUTO_BUF struct buf text = BUF_INIT(65536);
    config_help(options, COUNT, &text);
    static const char expected[] =
        "General:\n"
        "  -c, --config FILE               Configuration file\n"
        "  -h, --help                      Show this text\n"
        "      --mode WORD                 What to run: one of all, server, agent (default: all)\n"
        "      --heartbeat DURATION        Time between signs of life (default: 10s)\n"
        "      BELAY_API_KEY=TEXT          Key of the interface\n"
        "      --offset NUMBER             Any number\n"
        "\n"
        "Network:\n"
        "  -l, --listen-agents ADDRESS     Where agents connect (default: 0.0.0.0:8443)\n"
        "      --http.listen ADDRESS       Metrics and health (default: 127.0.0.1:9090)\n"
        "      --http.max-connections NUMBER\n"
        "                                  Connections at once (default: 64)\n"
        "      --[no-]http.tls.strict      Refuse old protocol versions (default: true)\n"
        "      --names NAME                Names of the server; may be repeated\n"
        "      --max-message SIZE          Largest message (default: 4MiB)\n"
        "\n"
        "Every option can also be set in the environment (--log-level is BELAY_LOG_LEVEL) and in the\n"
        "configuration file (log_level: debug). A flag wins over the environment, and that over the "
        "file.\n";
    assert_string_equal(buf_text(&text), expected);
}

static void test_help_wraps_long_texts(void **state)
{
    (void)state;
    static const struct config_option one[] = {
        { .name = "a",
          .type = CONFIG_BOOL,
          .flags = CONFIG_FLAG_ONLY,
          .help =
              "one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
              "fifteen sixteen" },
    };
    AUTO_BUF struct buf text = BUF_INIT(65536);
    config_help(one, 1, &text);
    struct str_view line = STR_NONE;
    struct str_view rest = buf_view(&text);
    int lines = 0;
    while (str_cut(rest, '\n', &line, &rest)) {
        assert_true(line.len <= 100);
        lines++;
    }
    assert_int_equal(lines, 3);
    assert_true(str_has_prefix(buf_view(&text), STR("Options:\n")));
}

static void test_reference_and_man_page(void **state)
{
    (void)state;
    AUTO_BUF struct buf text = BUF_INIT(65536);
    config_reference(options, COUNT, &text);
    assert_non_null(strstr(buf_text(&text), "## General\n\n| Flag | Environment | File |"));
    assert_non_null(strstr(
        buf_text(&text),
        "| `--http.max-connections` | `BELAY_HTTP_MAX_CONNECTIONS` | `http.max_connections` | a whole "
        "number from 1 to 1000 | `64` | Connections at once |\n"));
    assert_non_null(strstr(
        buf_text(&text),
        "|  | `BELAY_API_KEY` | `api_key` | text of 4 to 64 bytes |  | Key of the"));
    assert_non_null(strstr(buf_text(&text), "| `--help` `-h` | | | true or false |"));
    assert_non_null(strstr(buf_text(&text), "(reloadable)"));
    buf_clear(&text);
    config_man(options, COUNT, &text);
    assert_non_null(
        strstr(buf_text(&text), ".SS Network\n.TP\n.B \\-l, \\-\\-listen\\-agents ADDRESS\n"));
    assert_non_null(strstr(buf_text(&text), "Where agents connect (default: 0.0.0.0:8443).\n"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_flags_in_every_form),
        cmocka_unit_test(test_wrong_flags_are_named),
        cmocka_unit_test(test_secrets_are_refused_on_the_command_line),
        cmocka_unit_test(test_environment),
        cmocka_unit_test(test_precedence_does_not_depend_on_the_order_of_loading),
        cmocka_unit_test(test_hidden_value_is_checked_too),
        cmocka_unit_test(test_list_has_a_bound),
        cmocka_unit_test(test_show_hides_secrets_and_names_origins),
        cmocka_unit_test(test_help_is_aligned_and_grouped),
        cmocka_unit_test(test_help_wraps_long_texts),
        cmocka_unit_test(test_reference_and_man_page),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
