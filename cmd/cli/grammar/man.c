#include "cmd/cli/grammar/docs.h"
#include "common/base/cleanup.h"

enum {
    TEXT_BYTES_MAX = 8192
};

/* Running text: backslashes, hyphens and quotes are escaped, a control character at a line's start
 * too. */
static void put_text(struct str_view text, struct buf *buf)
{
    bool line_start = true;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        if (line_start && (c == '.' || c == '\'')) {
            buf_append_str(buf, STR("\\&"));
        }
        line_start = c == '\n';
        if (c == '\\') {
            buf_append_str(buf, STR("\\e"));
        } else if (c == '-') {
            buf_append_str(buf, STR("\\-"));
        } else if (c == '"') {
            buf_append_str(buf, STR("\\(dq"));
        } else if (c == '\'') {
            buf_append_str(buf, STR("\\(aq"));
        } else if (c == '~') {
            buf_append_str(buf, STR("\\(ti"));
        } else if (c == '\n' && i + 1 < text.len && text.ptr[i + 1] == '\n') {
            buf_append_str(buf, STR("\n.PP"));
        } else {
            buf_append_char(buf, c);
        }
    }
}

static void put_tag(struct str_view tag, struct str_view text, struct buf *buf)
{
    buf_append_str(buf, STR(".TP\n\\fB"));
    put_text(tag, buf);
    buf_append_str(buf, STR("\\fR\n"));
    put_text(text, buf);
    buf_append_char(buf, '\n');
}

static void put_options(const struct cli_option *options, size_t count, struct buf *buf)
{
    for (size_t i = 0; i < count; i++) {
        if ((options[i].flags & CLI_HIDDEN) != 0) {
            continue;
        }
        AUTO_BUF struct buf left = BUF_INIT(256);
        AUTO_BUF struct buf right = BUF_INIT(TEXT_BYTES_MAX);
        cli_option_write(&options[i], &left);
        cli_option_help_write(&options[i], &right);
        put_tag(str_trim(buf_view(&left)), buf_view(&right), buf);
    }
}

static void put_examples(const struct cli_command *command, struct buf *buf)
{
    for (size_t i = 0; i < command->example_count; i++) {
        put_tag(str_of(command->examples[i].line), str_of(command->examples[i].text), buf);
    }
}

static void put_notes(const struct cli_note *notes, size_t count, struct buf *buf)
{
    for (size_t i = 0; i < count; i++) {
        put_tag(str_of(notes[i].name), str_of(notes[i].text), buf);
    }
}

static void put_usage(const struct cli_path *path, struct buf *buf)
{
    AUTO_BUF struct buf usage = BUF_INIT(1024);
    cli_usage_write(path, &usage);
    buf_append_str(buf, STR("\\fB"));
    put_text(buf_view(&usage), buf);
    buf_append_str(buf, STR("\\fR\n"));
}

static void put_description(const struct cli_command *command, struct buf *buf)
{
    put_text(str_of(command->summary), buf);
    buf_append_str(buf, STR(".\n"));
    if (command->description != NULL) {
        buf_append_str(buf, STR(".PP\n"));
        put_text(str_of(command->description), buf);
        buf_append_char(buf, '\n');
    }
}

/* A member of a group, as a subsection of the group's page. */
static void put_member(const struct cli_path *path, struct buf *buf)
{
    const struct cli_command *command = cli_path_end(path);
    AUTO_BUF struct buf name = BUF_INIT(256);
    cli_path_write(path, ' ', &name);
    buf_append_str(buf, STR(".SS \""));
    put_text(buf_view(&name), buf);
    buf_append_str(buf, STR("\"\n"));
    put_usage(path, buf);
    buf_append_str(buf, STR(".PP\n"));
    put_description(command, buf);
    for (size_t i = 0; i < command->argument_count; i++) {
        put_tag(str_of(command->arguments[i].name), str_of(command->arguments[i].help), buf);
    }
    put_options(command->options, command->option_count, buf);
    if (command->example_count > 0) {
        buf_append_str(buf, STR(".PP\nExamples:\n"));
        put_examples(command, buf);
    }
}

static void put_members(const struct cli_path *path, struct buf *buf)
{
    const struct cli_command *group = cli_path_end(path);
    buf_append_str(buf, STR(".SH COMMANDS\n"));
    for (size_t i = 0; i < group->command_count; i++) {
        const struct cli_command *child = group->commands[i];
        if (child->hidden) {
            continue;
        }
        struct cli_path member = *path;
        member.steps[member.depth++] = child;
        if (path->depth == 1) {
            put_tag(str_of(child->name), str_of(child->summary), buf);
        } else {
            put_member(&member, buf);
        }
    }
}

static void put_arguments(const struct cli_command *command, struct buf *buf)
{
    if (command->argument_count > 0) {
        buf_append_str(buf, STR(".SH ARGUMENTS\n"));
    }
    for (size_t i = 0; i < command->argument_count; i++) {
        put_tag(str_of(command->arguments[i].name), str_of(command->arguments[i].help), buf);
    }
}

static void put_header(
    const struct cli_grammar *grammar, const struct cli_path *path, struct buf *buf)
{
    AUTO_BUF struct buf name = BUF_INIT(256);
    cli_path_write(path, '-', &name);
    buf_append_str(buf, STR(".TH \""));
    for (const char *c = buf_text(&name); *c != 0; c++) {
        if (*c == '-') {
            buf_append_char(buf, '\\');
        }
        buf_append_char(buf, *c >= 'a' && *c <= 'z' ? (char)(*c - 'a' + 'A') : *c);
    }
    buf_printf(buf, "\" 1 \"\" \"Belay %s\" \"Belay\"\n.SH NAME\n", grammar->version);
    put_text(buf_view(&name), buf);
    buf_append_str(buf, STR(" \\- "));
    put_text(str_of(cli_path_end(path)->summary), buf);
    buf_append_str(buf, STR("\n.SH SYNOPSIS\n"));
    put_usage(path, buf);
}

void docs_man(const struct cli_grammar *grammar, const struct cli_path *path, struct buf *buf)
{
    const struct cli_command *command = cli_path_end(path);
    put_header(grammar, path, buf);
    buf_append_str(buf, STR(".SH DESCRIPTION\n"));
    put_description(command, buf);
    put_arguments(command, buf);
    if (command->command_count > 0) {
        put_members(path, buf);
    }
    if (command->option_count > 0) {
        buf_append_str(buf, STR(".SH OPTIONS\n"));
        put_options(command->options, command->option_count, buf);
    }
    buf_append_str(buf, STR(".SH GLOBAL OPTIONS\n"));
    put_options(grammar->globals, grammar->global_count, buf);
    put_tag(STR("-h, --help"), STR("Show help"), buf);
    if (command->example_count > 0) {
        buf_append_str(buf, STR(".SH EXAMPLES\n"));
        put_examples(command, buf);
    }
    if (path->depth == 1) {
        buf_append_str(buf, STR(".SH FILES AND ENVIRONMENT\n"));
        put_notes(grammar->files, grammar->file_count, buf);
    }
    buf_append_str(buf, STR(".SH EXIT STATUS\n"));
    put_notes(grammar->exits, grammar->exit_count, buf);
    if (path->depth > 1) {
        buf_printf(buf, ".SH SEE ALSO\n.BR %s (1)\n", grammar->program);
    }
}

size_t docs_man_count(const struct cli_grammar *grammar)
{
    size_t count = 1;
    for (size_t i = 0; i < grammar->root->command_count; i++) {
        count += !grammar->root->commands[i]->hidden;
    }
    return count;
}

void docs_man_path(
    const struct cli_grammar *grammar,
    size_t index,
    struct cli_path *ret_path,
    struct buf *ret_name)
{
    *ret_path = (struct cli_path){ .steps = { grammar->root }, .depth = 1 };
    for (size_t i = 0; index > 0 && i < grammar->root->command_count; i++) {
        if (!grammar->root->commands[i]->hidden && --index == 0) {
            ret_path->steps[ret_path->depth++] = grammar->root->commands[i];
        }
    }
    cli_path_write(ret_path, '-', ret_name);
}
