#include "cmd/cli/grammar/docs.h"
#include "common/base/cleanup.h"

enum {
    TEXT_BYTES_MAX = 8192
};

/* Text in a table cell or paragraph: what Markdown would read as markup is escaped. */
static void put_text(struct str_view text, struct buf *buf)
{
    for (size_t i = 0; i < text.len; i++) {
        if (strchr("|<>*_", text.ptr[i]) != NULL) {
            buf_append_char(buf, '\\');
        }
        buf_append_char(buf, text.ptr[i]);
    }
}

static void put_row(const char *left, struct str_view right, struct buf *buf)
{
    buf_printf(buf, "| `%s` | ", left);
    put_text(right, buf);
    buf_append_str(buf, STR(" |\n"));
}

static void put_options(const struct cli_option *options, size_t count, struct buf *buf)
{
    buf_append_str(buf, STR("\n| option | |\n| --- | --- |\n"));
    for (size_t i = 0; i < count; i++) {
        if ((options[i].flags & CLI_HIDDEN) != 0) {
            continue;
        }
        AUTO_BUF struct buf left = BUF_INIT(256);
        AUTO_BUF struct buf right = BUF_INIT(TEXT_BYTES_MAX);
        cli_option_write(&options[i], &left);
        cli_option_help_write(&options[i], &right);
        struct str_view name = str_trim(buf_view(&left));
        put_row(name.ptr, buf_view(&right), buf);
    }
}

static void put_notes(
    const char *title, const struct cli_note *notes, size_t count, struct buf *buf)
{
    buf_printf(buf, "\n| %s | |\n| --- | --- |\n", title);
    for (size_t i = 0; i < count; i++) {
        put_row(notes[i].name, str_of(notes[i].text), buf);
    }
}

static void put_examples(const struct cli_command *command, struct buf *buf)
{
    buf_append_str(buf, STR("\n```sh\n"));
    for (size_t i = 0; i < command->example_count; i++) {
        buf_printf(buf, "# %s\n%s\n", command->examples[i].text, command->examples[i].line);
    }
    buf_append_str(buf, STR("```\n"));
}

static void put_command(void *context, const struct cli_path *path)
{
    struct buf *buf = context;
    const struct cli_command *command = cli_path_end(path);
    if (path->depth == 1) {
        return;
    }
    buf_printf(buf, "\n%s ", path->depth == 2 ? "##" : "###");
    cli_path_write(path, ' ', buf);
    buf_append_str(buf, STR("\n\n"));
    put_text(str_of(command->summary), buf);
    buf_append_str(buf, STR(".\n"));
    if (command->description != NULL) {
        buf_append_char(buf, '\n');
        put_text(str_of(command->description), buf);
        buf_append_char(buf, '\n');
    }
    if (command->run == NULL) {
        return;
    }
    buf_append_str(buf, STR("\n```\n"));
    cli_usage_write(path, buf);
    buf_append_str(buf, STR("\n```\n"));
    if (command->alias != NULL) {
        buf_printf(buf, "\nAlso: `%s`.\n", command->alias);
    }
    if (command->argument_count > 0) {
        buf_append_str(buf, STR("\n| argument | |\n| --- | --- |\n"));
    }
    for (size_t i = 0; i < command->argument_count; i++) {
        put_row(command->arguments[i].name, str_of(command->arguments[i].help), buf);
    }
    if (command->option_count > 0) {
        put_options(command->options, command->option_count, buf);
    }
    if (command->example_count > 0) {
        put_examples(command, buf);
    }
}

void docs_markdown(const struct cli_grammar *grammar, struct buf *buf)
{
    buf_printf(
        buf,
        "# The command line `%s`\n\n"
        "<!-- Made by `%s reference` from the command table; a test compares the two. -->\n\n",
        grammar->program,
        grammar->program);
    put_text(str_of(grammar->root->summary), buf);
    buf_append_str(buf, STR(".\n\n"));
    put_text(str_of(grammar->root->description), buf);
    buf_append_str(buf, STR("\n\n## Everywhere\n"));
    put_options(grammar->globals, grammar->global_count, buf);
    put_notes("exit status", grammar->exits, grammar->exit_count, buf);
    put_notes("file or variable", grammar->files, grammar->file_count, buf);
    cli_visit(grammar, put_command, buf);
}
