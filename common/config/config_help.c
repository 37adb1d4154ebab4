/* What people read about options: --help, the reference page, the man page, and `config show`.
 * Pure. */
#include "common/config/config_private.h"

#include <stdio.h>

enum {
    HELP_COLUMN = 34,
    HELP_WIDTH = 96
};

/* Visits options section by section, in the order in which the sections first appear. */
struct section_walk {
    const struct config_option *options;
    size_t count;
    size_t at;     /* first option of the current section */
    size_t member; /* next candidate within it */
};

static bool same_section(const struct config_option *a, const struct config_option *b)
{
    return str_equal(str_of(a->section), str_of(b->section));
}

static bool is_first_of_section(const struct section_walk *walk, size_t index)
{
    for (size_t i = 0; i < index; i++) {
        if (same_section(&walk->options[i], &walk->options[index])) {
            return false;
        }
    }
    return true;
}

/* The next option, NULL at the end; ret_heading is true for the first of a section. */
static const struct config_option *walk_next(struct section_walk *walk, bool *ret_heading)
{
    while (walk->at < walk->count) {
        for (; walk->member < walk->count; walk->member++) {
            if (same_section(&walk->options[walk->at], &walk->options[walk->member])) {
                *ret_heading = walk->member == walk->at;
                return &walk->options[walk->member++];
            }
        }
        do {
            walk->at++;
        } while (walk->at < walk->count && !is_first_of_section(walk, walk->at));
        walk->member = walk->at;
    }
    return NULL;
}

static const char *section_name(const struct config_option *option)
{
    return option->section == NULL ? "Options" : option->section;
}

/* A secret has no flag: it is shown by its variable. */
static void append_spelling(const struct config_option *option, struct buf *buf)
{
    char name[CONFIG_NAME_BYTES];
    const char *argument = config_argument(option);
    if ((option->flags & CONFIG_SECRET) != 0) {
        buf_printf(
            buf, "%s=%s", config_env_name(option, name), argument == NULL ? "BOOL" : argument);
        return;
    }
    if (option->letter != 0) {
        buf_printf(buf, "-%c, ", option->letter);
    }
    bool on = option->type == CONFIG_BOOL && option->fallback != NULL
        && strcmp(option->fallback, "true") == 0;
    buf_printf(buf, "--%s%s", on ? "[no-]" : "", option->name);
    if (argument != NULL) {
        buf_printf(buf, " %s", argument);
    }
}

static void append_description(const struct config_option *option, struct buf *buf)
{
    buf_append_str(buf, str_of(option->help));
    if (option->choices != NULL) {
        char expected[CONFIG_EXPECTATION_BYTES];
        buf_printf(buf, ": %s", config_expectation(option, expected));
    }
    if (option->type == CONFIG_LIST) {
        buf_append_str(buf, STR("; may be repeated"));
    }
    bool off = option->type == CONFIG_BOOL && option->fallback != NULL
        && strcmp(option->fallback, "false") == 0;
    if (option->fallback != NULL && option->fallback[0] != '\0' && !off
        && (option->flags & CONFIG_SECRET) == 0) {
        buf_printf(buf, " (default: %s)", option->fallback);
    }
}

static void indent_to(struct buf *buf, size_t line_start, size_t column)
{
    while (buf_ok(buf) && buf->len - line_start < column) {
        buf_append_char(buf, ' ');
    }
}

/* Words of text from HELP_COLUMN on, broken before HELP_WIDTH. */
static void append_wrapped(struct buf *buf, size_t line_start, struct str_view text)
{
    bool first = true;
    for (bool more = text.len > 0; more;) {
        struct str_view word = STR_NONE;
        struct str_view rest = STR_NONE;
        more = str_cut(text, ' ', &word, &rest);
        word = more ? word : text;
        text = rest;
        if (!first && buf->len - line_start + 1 + word.len > HELP_WIDTH) {
            buf_append_char(buf, '\n');
            line_start = buf->len;
            indent_to(buf, line_start, HELP_COLUMN);
            first = true;
        }
        if (!first) {
            buf_append_char(buf, ' ');
        }
        buf_append_str(buf, word);
        first = false;
    }
    buf_append_char(buf, '\n');
}

static void help_option(const struct config_option *option, struct buf *buf)
{
    size_t line_start = buf->len;
    bool lettered = option->letter != 0 && (option->flags & CONFIG_SECRET) == 0;
    buf_append_str(buf, lettered ? STR("  ") : STR("      "));
    append_spelling(option, buf);
    if (buf->len - line_start + 2 > HELP_COLUMN) {
        buf_append_char(buf, '\n');
        line_start = buf->len;
    }
    indent_to(buf, line_start, HELP_COLUMN);
    AUTO_BUF struct buf text = BUF_INIT(CONFIG_TEXT_MAX_BYTES);
    append_description(option, &text);
    append_wrapped(buf, line_start, buf_view(&text));
}

void config_help(const struct config_option *options, size_t count, struct buf *buf)
{
    struct section_walk walk = { options, count, 0, 0 };
    const struct config_option *option = NULL;
    bool heading = false;
    bool others = false;
    while ((option = walk_next(&walk, &heading)) != NULL) {
        if (heading) {
            buf_printf(buf, "%s%s:\n", option == options ? "" : "\n", section_name(option));
        }
        help_option(option, buf);
        others = others || (option->flags & CONFIG_FLAG_ONLY) == 0;
    }
    if (others) {
        buf_append_str(
            buf,
            STR("\nEvery option can also be set in the environment (--log-level is BELAY_LOG_LEVEL) "
                "and in the\nconfiguration file (log_level: debug). A flag wins over the environment, "
                "and that over the file.\n"));
    }
}

static const char *type_name(enum config_type type)
{
    static const char *const names[] = {
        [CONFIG_TEXT] = "text",   [CONFIG_PATH] = "path",         [CONFIG_BOOL] = "true or false",
        [CONFIG_INT] = "number",  [CONFIG_DURATION] = "duration", [CONFIG_SIZE] = "size",
        [CONFIG_CHOICE] = "word", [CONFIG_LIST] = "list",
    };
    _Static_assert(ARRAY_LENGTH(names) == CONFIG_LIST + 1, "every type has its name");
    return names[type];
}

/* A '|' would end a cell of a Markdown table. */
static void append_cell(struct buf *buf, const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text == '|') {
            buf_append_char(buf, '\\');
        }
        char c = *text;
        if (c == '\n') {
            c = ' ';
        }
        buf_append_char(buf, c);
    }
}

static void append_range_cell(const struct config_option *option, struct buf *buf)
{
    char expected[CONFIG_EXPECTATION_BYTES];
    bool bounded = option->min != 0 || option->max != 0 || option->choices != NULL;
    append_cell(buf, bounded ? config_expectation(option, expected) : type_name(option->type));
}

static void reference_row(const struct config_option *option, struct buf *buf)
{
    char name[CONFIG_NAME_BYTES];
    bool flag_only = (option->flags & CONFIG_FLAG_ONLY) != 0;
    buf_append_str(buf, STR("| "));
    if ((option->flags & CONFIG_SECRET) == 0) {
        buf_printf(buf, "`--%s`", option->name);
        if (option->letter != 0) {
            buf_printf(buf, " `-%c`", option->letter);
        }
    }
    buf_append_str(buf, STR(" | "));
    if (!flag_only) {
        buf_printf(buf, "`%s` | ", config_env_name(option, name));
        buf_printf(buf, "`%s` | ", config_key_name(option, name));
    } else {
        buf_append_str(buf, STR("| | "));
    }
    append_range_cell(option, buf);
    buf_append_str(buf, STR(" | "));
    if (option->fallback != NULL && (option->flags & CONFIG_SECRET) == 0) {
        buf_append_char(buf, '`');
        append_cell(buf, option->fallback);
        buf_append_char(buf, '`');
    }
    buf_append_str(buf, STR(" | "));
    append_cell(buf, option->help);
    buf_append_str(buf, (option->flags & CONFIG_SECRET) != 0 ? STR(" (secret)") : STR(""));
    buf_append_str(buf, (option->flags & CONFIG_RELOADABLE) != 0 ? STR(" (reloadable)") : STR(""));
    buf_append_str(buf, STR(" |\n"));
}

void config_reference(const struct config_option *options, size_t count, struct buf *buf)
{
    struct section_walk walk = { options, count, 0, 0 };
    const struct config_option *option = NULL;
    bool heading = false;
    while ((option = walk_next(&walk, &heading)) != NULL) {
        if (heading) {
            buf_printf(
                buf,
                "%s## %s\n\n| Flag | Environment | File | Takes | Default | Meaning |\n"
                "|---|---|---|---|---|---|\n",
                option == options ? "" : "\n",
                section_name(option));
        }
        reference_row(option, buf);
    }
}

/* Roff: '-' alone may be set as a hyphen, and a line must not begin with a control character. */
static void append_roff(struct buf *buf, struct str_view text)
{
    bool line_begins = true;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        if (line_begins && (c == '.' || c == '\'')) {
            buf_append_str(buf, STR("\\&"));
        }
        if (c == '-') {
            buf_append_str(buf, STR("\\-"));
        } else if (c == '\\') {
            buf_append_str(buf, STR("\\e"));
        } else {
            buf_append_char(buf, c);
        }
        line_begins = c == '\n';
    }
}

void config_man(const struct config_option *options, size_t count, struct buf *buf)
{
    struct section_walk walk = { options, count, 0, 0 };
    const struct config_option *option = NULL;
    bool heading = false;
    while ((option = walk_next(&walk, &heading)) != NULL) {
        AUTO_BUF struct buf text = BUF_INIT(CONFIG_TEXT_MAX_BYTES);
        if (heading) {
            buf_append_str(buf, STR(".SS "));
            append_roff(buf, str_of(section_name(option)));
            buf_append_char(buf, '\n');
        }
        buf_append_str(buf, STR(".TP\n.B "));
        append_spelling(option, &text);
        append_roff(buf, buf_view(&text));
        buf_append_char(buf, '\n');
        buf_clear(&text);
        append_description(option, &text);
        append_roff(buf, buf_view(&text));
        buf_append_str(buf, STR(".\n"));
    }
}
