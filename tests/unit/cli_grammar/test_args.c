#include "cmd/cli/grammar/args.h"
#include "common/base/cleanup.h"
#include "tests/support/test.h"

/* A small table of the test's own: one group, one command with every type of option. */
static enum err_code run_nothing(struct cli *cli)
{
    (void)cli;
    return ERR_OK;
}

static const char *const COLORS[] = { "red", "green", NULL };
static const struct cli_option GLOBALS[] = {
    { .name = "output",
      .letter = 'o',
      .type = CLI_CHOICE,
      .argument = "FORMAT",
      .env = "T_OUTPUT",
      .fallback = "red",
      .choices = COLORS,
      .help = "h" },
    { .name = "quiet", .letter = 'q', .type = CLI_FLAG, .help = "h" },
};
static const struct cli_option OPTIONS[] = {
    { .name = "count",
      .letter = 'c',
      .type = CLI_INT,
      .argument = "N",
      .fallback = "7",
      .min = 0,
      .max = 9,
      .help = "h" },
    { .name = "wait",
      .type = CLI_DURATION,
      .argument = "T",
      .min = US_PER_SECOND,
      .max = US_PER_HOUR,
      .help = "h" },
    { .name = "size", .type = CLI_SIZE, .argument = "S", .help = "h" },
    { .name = "since", .type = CLI_TIME, .argument = "T", .help = "h" },
    { .name = "label",
      .letter = 'l',
      .type = CLI_PAIR,
      .flags = CLI_REPEAT,
      .argument = "K=V",
      .help = "h" },
    { .name = "name",
      .type = CLI_TEXT,
      .argument = "NAME",
      .min = 1,
      .max = 4,
      .env = "T_NAME",
      .help = "h" },
};
static const struct cli_argument ARGUMENTS[] = {
    { .name = "THING", .help = "which" },
    { .name = "MORE", .flags = CLI_OPTIONAL | CLI_REPEAT, .help = "others" },
};
static const struct cli_option STRICT_OPTIONS[] = {
    { .name = "key", .type = CLI_TEXT, .flags = CLI_REQUIRED, .argument = "K", .help = "h" },
};
static const struct cli_argument STRICT_ARGUMENTS[] = {
    { .name = "COLOR", .choices = COLORS, .help = "which" },
};
static const struct cli_command SHOW = { .name = "show",
                                         .alias = "sh",
                                         .summary = "s",
                                         CLI_LIST(option, OPTIONS),
                                         CLI_LIST(argument, ARGUMENTS),
                                         .run = run_nothing };
static const struct cli_command STRICT = { .name = "strict",
                                           .summary = "s",
                                           CLI_LIST(option, STRICT_OPTIONS),
                                           CLI_LIST(argument, STRICT_ARGUMENTS),
                                           .run = run_nothing };
static const struct cli_command *const MEMBERS[] = { &SHOW, &STRICT };
static const struct cli_command THING = { .name = "thing",
                                          .summary = "s",
                                          CLI_LIST(command, MEMBERS) };
static const struct cli_command *const GROUPS[] = { &THING };
static const struct cli_command ROOT = { .name = "t", .summary = "s", CLI_LIST(command, GROUPS) };
static const struct cli_grammar GRAMMAR = {
    .program = "t", .version = "1", .root = &ROOT, CLI_LIST(global, GLOBALS)
};

struct fixture {
    struct arena *arena;
    struct args *args;
    struct err_info err;
    const char *output; /* of the environment */
};

static const char *env_of(void *context, const char *name)
{
    const struct fixture *fixture = context;
    return strcmp(name, "T_OUTPUT") == 0 ? fixture->output : NULL;
}

/* Splits a line at single spaces and parses it. */
static enum err_code parse(struct fixture *fixture, const char *line)
{
    char *argv[64] = { arena_strdup(fixture->arena, "t") };
    int argc = 1;
    struct str_view rest = str_of(line);
    struct str_view word = STR_NONE;
    for (bool more = rest.len > 0; more;) {
        more = str_cut(rest, ' ', &word, &rest);
        argv[argc++] = arena_str_dup(fixture->arena, more ? word : rest);
    }
    struct args_source source = { .argc = argc, .argv = argv, .env = env_of, .context = fixture };
    fixture->err = (struct err_info)ERR_INFO_INIT;
    return args_parse(&GRAMMAR, &source, fixture->arena, &fixture->args, &fixture->err);
}

static int setup(void **state)
{
    struct fixture *fixture = mem_alloc(sizeof(*fixture));
    fixture->arena = arena_create(1 << 24);
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    arena_destroy(fixture->arena);
    mem_free(fixture);
    return 0;
}

static void test_options_stand_anywhere(void **state)
{
    struct fixture *f = *state;
    assert_ok_err(f->err, parse(f, "-o green thing show a --count 3 b -q c"));
    assert_ptr_equal(args_command(f->args), &SHOW);
    assert_int_equal(args_word_count(f->args), 3);
    assert_string_equal(args_word(f->args, 1), "b");
    assert_null(args_word(f->args, 3));
    assert_string_equal(args_text(f->args, "output"), "green");
    assert_int_equal(args_number(f->args, "count"), 3);
    assert_true(args_flag(f->args, "quiet"));
}

static void test_forms_of_values(void **state)
{
    struct fixture *f = *state;
    assert_ok_err(f->err, parse(f, "thing sh x --count=4 -ogreen --wait 90s --size 2KiB -q"));
    assert_int_equal(args_number(f->args, "count"), 4);
    assert_int_equal(args_number(f->args, "wait"), 90 * US_PER_SECOND);
    assert_int_equal(args_number(f->args, "size"), 2048);
    assert_ok_err(f->err, parse(f, "thing show -qc5 x"));
    assert_int_equal(args_number(f->args, "count"), 5);
    assert_ok_err(f->err, parse(f, "thing show -- --count"));
    assert_string_equal(args_word(f->args, 0), "--count");
    assert_ok_err(f->err, parse(f, "thing show -"));
    assert_string_equal(args_word(f->args, 0), "-");
}

static void test_defaults_environment_and_repeats(void **state)
{
    struct fixture *f = *state;
    assert_ok_err(f->err, parse(f, "thing show x -l a=1 --label b=2"));
    assert_int_equal(args_number(f->args, "count"), 7);
    assert_false(args_is_set(f->args, "count"));
    assert_int_equal(args_count(f->args, "label"), 2);
    assert_string_equal(args_item(f->args, "label", 1), "b=2");
    assert_null(args_item(f->args, "label", 2));
    assert_string_equal(args_text(f->args, "output"), "red");
    f->output = "green";
    assert_ok_err(f->err, parse(f, "thing show x"));
    assert_string_equal(args_text(f->args, "output"), "green");
    assert_ok_err(f->err, parse(f, "thing show x -o red"));
    assert_string_equal(args_text(f->args, "output"), "red");
    f->output = "blue";
    assert_code(ERR_INVALID, parse(f, "thing show x"));
    assert_non_null(strstr(f->err.text, "T_OUTPUT"));
}

static void test_times(void **state)
{
    struct fixture *f = *state;
    struct wall_us now = { 1000 * US_PER_HOUR };
    struct wall_us time = { 0 };
    assert_ok_err(f->err, parse(f, "thing show x --since 2h"));
    assert_true(args_time(f->args, "since", now, &time));
    assert_true(time.value == 998 * US_PER_HOUR);
    assert_ok_err(f->err, parse(f, "thing show x --since 2026-01-01T00:00:00Z"));
    assert_true(args_time(f->args, "since", now, &time));
    assert_true(time.value == INT64_C(1767225600) * US_PER_SECOND);
    assert_ok_err(f->err, parse(f, "thing show x --since now"));
    assert_true(args_time(f->args, "since", now, &time) && time.value == now.value);
    assert_ok_err(f->err, parse(f, "thing show x"));
    assert_false(args_time(f->args, "since", now, &time));
}

static void expect_error(struct fixture *f, const char *line, const char *text)
{
    assert_code(ERR_INVALID, parse(f, line));
    if (strstr(f->err.text, text) == NULL) {
        print_error("%s: \"%s\" lacks \"%s\"\n", line, f->err.text, text);
    }
    assert_non_null(strstr(f->err.text, text));
    assert_non_null(f->args);
}

static void test_what_is_wrong_is_named(void **state)
{
    struct fixture *f = *state;
    expect_error(f, "", "needs a command");
    expect_error(f, "thing", "\"t thing\" needs a command");
    expect_error(f, "thng", "did you mean \"t thing\"");
    expect_error(f, "thing shwo x", "did you mean \"t thing show\"");
    expect_error(f, "zzzzzzzz", "unknown command \"t zzzzzzzz\"");
    expect_error(f, "thing show", "THING is missing: which");
    expect_error(f, "thing show x --conut 3", "did you mean --count");
    expect_error(f, "thing show x --count", "--count needs a value: N");
    expect_error(f, "thing show x --count 10", "10 is not between 0 and 9");
    expect_error(f, "thing show x --count ten", "\"ten\" is not a whole number");
    expect_error(f, "thing show x --count 1 --count 2", "given 2 times");
    expect_error(f, "thing show x --wait 5", "not a duration");
    expect_error(f, "thing show x --wait 2h", "2h is not between 1s and 1h");
    expect_error(f, "thing show x --size big", "not a size");
    expect_error(f, "thing show x --since yesterday", "neither a time");
    expect_error(f, "thing show x --label a", "not KEY=VALUE");
    expect_error(f, "thing show x --label =a", "not KEY=VALUE");
    expect_error(f, "thing show x --name 12345", "the length is not between 1 and 4");
    expect_error(f, "thing show x -o blue", "\"blue\" is not one of red, green");
    expect_error(f, "thing show x -z", "unknown option -z");
    expect_error(f, "thing show x --quiet=1", "takes no value");
    expect_error(f, "thing strict red", "--key K is missing");
    expect_error(f, "thing strict blue --key k", "COLOR: \"blue\" is not one of red, green");
    expect_error(f, "thing strict red green --key k", "\"green\" is one argument too many");
    expect_error(f, "thing show x\xff", "not UTF-8");
    expect_error(f, "thing show x --name \xff", "not UTF-8");
}

static void test_help_needs_nothing_else(void **state)
{
    struct fixture *f = *state;
    assert_ok_err(f->err, parse(f, "--help"));
    assert_true(args_wants_help(f->args));
    assert_ptr_equal(args_command(f->args), &ROOT);
    assert_ok_err(f->err, parse(f, "thing strict -h"));
    assert_true(args_wants_help(f->args) && args_command(f->args) == &STRICT);
    assert_ok_err(f->err, parse(f, "help thing show"));
    assert_true(args_wants_help(f->args) && args_command(f->args) == &SHOW);
}

static void test_too_many_words_and_options(void **state)
{
    struct fixture *f = *state;
    char *argv[1100];
    for (size_t i = 0; i < ARRAY_LENGTH(argv); i++) {
        argv[i] = arena_strdup(f->arena, i == 1 ? "thing" : i == 2 ? "show" : "x");
    }
    struct args_source source = { .argc = (int)ARRAY_LENGTH(argv), .argv = argv };
    assert_code(ERR_INVALID, args_parse(&GRAMMAR, &source, f->arena, &f->args, &f->err));
    for (size_t i = 3; i < ARRAY_LENGTH(argv); i++) {
        argv[i] = arena_strdup(f->arena, "-q");
    }
    assert_code(ERR_INVALID, args_parse(&GRAMMAR, &source, f->arena, &f->args, &f->err));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_options_stand_anywhere, setup, teardown),
        cmocka_unit_test_setup_teardown(test_forms_of_values, setup, teardown),
        cmocka_unit_test_setup_teardown(test_defaults_environment_and_repeats, setup, teardown),
        cmocka_unit_test_setup_teardown(test_times, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_is_wrong_is_named, setup, teardown),
        cmocka_unit_test_setup_teardown(test_help_needs_nothing_else, setup, teardown),
        cmocka_unit_test_setup_teardown(test_too_many_words_and_options, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
