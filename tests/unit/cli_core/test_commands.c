/* The real command table, walked: every row is complete, and every example is a line it accepts. */
#include "cmd/cli/commands/commands.h"
#include "cmd/cli/grammar/docs.h"
#include "tests/support/test.h"

#include <ctype.h>

static void check_sentence(const char *text)
{
    assert_non_null(text);
    size_t length = strlen(text);
    assert_true(length > 0 && text[length - 1] != '.');
}

static void check_option(const struct cli_option *option)
{
    check_sentence(option->help);
    assert_true((option->type == CLI_FLAG) == (option->argument == NULL));
    assert_true((option->type == CLI_CHOICE) == (option->choices != NULL));
    assert_string_not_equal(option->name, "help");
    assert_int_not_equal(option->letter, 'h');
    for (const char *c = option->name; *c != 0; c++) {
        assert_true(islower((unsigned char)*c) || isdigit((unsigned char)*c) || *c == '-');
    }
}

static void check_options(const struct cli_command *command)
{
    const struct cli_grammar *grammar = commands_grammar();
    for (size_t i = 0; i < command->option_count; i++) {
        const struct cli_option *option = &command->options[i];
        check_option(option);
        assert_ptr_equal(cli_option_find(grammar, command, str_of(option->name)), option);
        if (option->letter != 0) {
            assert_ptr_equal(cli_option_find_letter(grammar, command, option->letter), option);
        }
        for (size_t g = 0; g < grammar->global_count; g++) {
            assert_string_not_equal(grammar->globals[g].name, option->name);
            assert_true(option->letter == 0 || grammar->globals[g].letter != option->letter);
        }
    }
}

static void check_arguments(const struct cli_command *command)
{
    bool optional = false;
    for (size_t i = 0; i < command->argument_count; i++) {
        const struct cli_argument *argument = &command->arguments[i];
        check_sentence(argument->help);
        assert_false(optional && (argument->flags & CLI_OPTIONAL) == 0);
        assert_true((argument->flags & CLI_REPEAT) == 0 || i + 1 == command->argument_count);
        optional = (argument->flags & CLI_OPTIONAL) != 0;
    }
}

static void check_command(void *context, const struct cli_path *path)
{
    const struct cli_command *command = cli_path_end(path);
    (*(size_t *)context)++;
    check_sentence(command->summary);
    assert_true((command->run == NULL) == (command->command_count > 0));
    check_options(command);
    check_arguments(command);
}

static void test_every_row_is_complete(void **state)
{
    (void)state;
    size_t count = 0;
    cli_visit(commands_grammar(), check_command, &count);
    assert_true(count > 45);
    for (size_t i = 0; i < commands_grammar()->global_count; i++) {
        check_option(&commands_grammar()->globals[i]);
    }
}

/* Up to a pipe or redirection; lines of other programs are not ours to check. */
static void check_example(void *context, const struct cli_path *path)
{
    const struct cli_command *command = cli_path_end(path);
    for (size_t i = 0; i < command->example_count; i++) {
        struct arena *arena = arena_create(1 << 22);
        struct str_view rest = str_of(command->examples[i].line);
        struct str_view word = STR_NONE;
        char *argv[32];
        int argc = 0;
        for (bool more = true; more;) {
            more = str_cut(rest, ' ', &word, &rest);
            word = more ? word : rest;
            more = more && !str_equal(word, STR("|")) && !str_equal(word, STR(">"));
            if (!str_equal(word, STR("|")) && !str_equal(word, STR(">"))) {
                argv[argc++] = arena_str_dup(arena, word);
            }
        }
        struct args_source source = { .argc = argc, .argv = argv };
        struct args *args = NULL;
        struct err_info err = ERR_INFO_INIT;
        if (strcmp(argv[0], "belay") == 0) {
            assert_ok_err(err, args_parse(commands_grammar(), &source, arena, &args, &err));
            (*(size_t *)context)++;
        }
        arena_destroy(arena);
    }
}

static void test_every_example_is_accepted(void **state)
{
    (void)state;
    size_t count = 0;
    cli_visit(commands_grammar(), check_example, &count);
    assert_true(count > 15);
}

static void check_help(void *context, const struct cli_path *path)
{
    (void)context;
    AUTO_BUF struct buf text = BUF_INIT(1 << 20);
    AUTO_BUF struct buf man = BUF_INIT(1 << 20);
    docs_help(commands_grammar(), path, 80, &text);
    docs_man(commands_grammar(), path, &man);
    assert_true(buf_ok(&text) && buf_ok(&man));
    assert_non_null(strstr(buf_text(&text), "Usage: belay"));
    struct str_view rest = buf_view(&text);
    struct str_view line = STR_NONE;
    bool examples = false;
    while (str_cut(rest, '\n', &line, &rest)) {
        examples = examples || str_has_prefix(line, STR("Examples:"));
        assert_true(examples || line.len <= 80 || str_has_prefix(line, STR("Usage:")));
        assert_true(line.len == 0 || line.ptr[line.len - 1] != ' ');
    }
}

static void test_help_fits_eighty_columns(void **state)
{
    (void)state;
    cli_visit(commands_grammar(), check_help, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_row_is_complete),
        cmocka_unit_test(test_every_example_is_accepted),
        cmocka_unit_test(test_help_fits_eighty_columns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
