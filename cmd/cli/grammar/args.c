#include "cmd/cli/grammar/args.h"

#include "common/base/log.h"

#include <stdlib.h>

enum {
    WORDS_MAX = 1040,
    VALUES_MAX = 512
};

struct value {
    const struct cli_option *option;
    const char *text; /* NULL: a flag that is set */
    int64_t number;
    bool is_typed; /* on the line, not by a variable */
};

struct args {
    const struct cli_grammar *grammar;
    struct cli_path path;
    bool wants_help;
    const char *words[WORDS_MAX];
    size_t word_count;
    struct value values[VALUES_MAX];
    size_t value_count;
};

/* The state of reading one line. */
struct reader {
    struct args *args;
    const struct args_source *source;
    int next;
    bool options_ended;
    struct err_info *err;
};

/* ---- values ---- */

static enum err_code check_range(
    const struct cli_option *option, int64_t number, const char *text, struct err_info *err)
{
    if (option->max == 0 || (number >= option->min && number <= option->max)) {
        return ERR_OK;
    }
    char low[32];
    char high[32];
    if (option->type == CLI_DURATION) {
        str_format_duration_us(option->min, low, sizeof(low));
        str_format_duration_us(option->max, high, sizeof(high));
        return ERR_SET(
            err, ERR_INVALID, "--%s: %s is not between %s and %s", option->name, text, low, high);
    }
    return ERR_SET(
        err,
        ERR_INVALID,
        "--%s: %s is not between %lld and %lld",
        option->name,
        text,
        (long long)option->min,
        (long long)option->max);
}

static enum err_code parse_choice(
    const struct cli_option *option, const char *text, struct err_info *err)
{
    AUTO_BUF struct buf list = BUF_INIT(ERR_TEXT_BYTES / 2);
    for (size_t i = 0; option->choices[i] != NULL; i++) {
        if (strcmp(option->choices[i], text) == 0) {
            return ERR_OK;
        }
        buf_printf(&list, "%s%s", i > 0 ? ", " : "", option->choices[i]);
    }
    return ERR_SET(
        err, ERR_INVALID, "--%s: \"%s\" is not one of %s", option->name, text, buf_text(&list));
}

static enum err_code parse_time(struct value *value, struct err_info *err)
{
    struct str_view text = str_of(value->text);
    struct wall_us time;
    int64_t ago_us = 0;
    if (str_equal(text, STR("now")) || time_parse(text, &time) == ERR_OK
        || str_parse_duration_us(text, &ago_us) == ERR_OK) {
        return ERR_OK;
    }
    return ERR_SET(
        err,
        ERR_INVALID,
        "--%s: \"%s\" is neither a time (2026-11-22T04:00:00Z), a duration before now (1h) nor now",
        value->option->name,
        value->text);
}

static enum err_code parse_number(struct value *value, struct err_info *err)
{
    const struct cli_option *option = value->option;
    struct str_view text = str_of(value->text);
    uint64_t bytes = 0;
    enum err_code code = ERR_OK;
    const char *form = "";
    if (option->type == CLI_INT) {
        code = str_parse_int64(text, INT64_MIN, INT64_MAX, &value->number);
        form = "a whole number";
    } else if (option->type == CLI_DURATION) {
        code = str_parse_duration_us(text, &value->number);
        form = "a duration (250ms, 10s, 5m, 24h, 7d)";
    } else {
        code = str_parse_size_bytes(text, &bytes);
        value->number = (int64_t)(bytes > INT64_MAX ? INT64_MAX : bytes);
        form = "a size (512, 64KiB, 10MiB, 2GiB)";
    }
    if (code != ERR_OK) {
        return ERR_SET(err, ERR_INVALID, "--%s: \"%s\" is not %s", option->name, value->text, form);
    }
    return check_range(option, value->number, value->text, err);
}

static enum err_code parse_pair(const struct value *value, struct err_info *err)
{
    const char *equals = strchr(value->text, '=');
    if (equals == NULL || equals == value->text) {
        return ERR_SET(
            err, ERR_INVALID, "--%s: \"%s\" is not KEY=VALUE", value->option->name, value->text);
    }
    return ERR_OK;
}

static enum err_code parse_text(const struct value *value, struct err_info *err)
{
    struct str_view text = str_of(value->text);
    if (!str_is_utf8(text, NULL)) {
        return ERR_SET(err, ERR_INVALID, "--%s: the value is not UTF-8", value->option->name);
    }
    return check_range(value->option, (int64_t)text.len, "the length", err);
}

static enum err_code parse_value(struct value *value, struct err_info *err)
{
    switch (value->option->type) {
    case CLI_FLAG:
        return ERR_OK;
    case CLI_TEXT:
    case CLI_FILE:
        return parse_text(value, err);
    case CLI_INT:
    case CLI_DURATION:
    case CLI_SIZE:
        return parse_number(value, err);
    case CLI_TIME:
        return parse_time(value, err);
    case CLI_CHOICE:
        return parse_choice(value->option, value->text, err);
    case CLI_PAIR:
        return parse_pair(value, err);
    }
    return ERR_SET(err, ERR_INTERNAL, "--%s has no type", value->option->name);
}

static const struct value *value_find(const struct args *args, const struct cli_option *option)
{
    for (size_t i = args->value_count; i > 0; i--) {
        if (args->values[i - 1].option == option) {
            return &args->values[i - 1];
        }
    }
    return NULL;
}

static enum err_code value_add(
    struct args *args,
    const struct cli_option *option,
    const char *text,
    bool is_typed,
    struct err_info *err)
{
    if (args->value_count == VALUES_MAX) {
        return ERR_SET(err, ERR_INVALID, "more than %d options", VALUES_MAX);
    }
    struct value value = { .option = option, .text = text, .is_typed = is_typed };
    TRY(parse_value(&value, err));
    args->values[args->value_count++] = value;
    return ERR_OK;
}

/* ---- the line ---- */

static enum err_code unknown_option(struct reader *reader, struct str_view name)
{
    const struct args *args = reader->args;
    const char *near = cli_option_nearest(args->grammar, args_command(args), name);
    if (near != NULL) {
        return ERR_SET(
            reader->err,
            ERR_INVALID,
            "unknown option --%.*s: did you mean --%s?",
            STR_ARG(name),
            near);
    }
    return ERR_SET(reader->err, ERR_INVALID, "unknown option --%.*s", STR_ARG(name));
}

/* The value after an option: what followed '=' or the letter, else the next word of the line. */
static enum err_code take_option(
    struct reader *reader, const struct cli_option *option, const char *attached)
{
    if (option->type == CLI_FLAG) {
        if (attached != NULL) {
            return ERR_SET(reader->err, ERR_INVALID, "--%s takes no value", option->name);
        }
        return value_add(reader->args, option, NULL, true, reader->err);
    }
    if (attached == NULL && reader->next < reader->source->argc) {
        attached = reader->source->argv[reader->next++];
    }
    if (attached == NULL) {
        return ERR_SET(
            reader->err, ERR_INVALID, "--%s needs a value: %s", option->name, option->argument);
    }
    return value_add(reader->args, option, attached, true, reader->err);
}

static enum err_code read_long(struct reader *reader, const char *word)
{
    struct str_view name = str_of(word);
    struct str_view rest = STR_NONE;
    const char *attached = NULL;
    if (str_cut(str_of(word), '=', &name, &rest)) {
        attached = rest.ptr;
    }
    if (str_equal(name, STR("help"))) {
        reader->args->wants_help = true;
        return ERR_OK;
    }
    const struct cli_option *option =
        cli_option_find(reader->args->grammar, args_command(reader->args), name);
    if (option == NULL) {
        return unknown_option(reader, name);
    }
    return take_option(reader, option, attached);
}

/* "-o json", "-ojson", "-vh". */
static enum err_code read_letters(struct reader *reader, const char *letters)
{
    for (const char *letter = letters; *letter != 0; letter++) {
        if (*letter == 'h') {
            reader->args->wants_help = true;
            continue;
        }
        const struct cli_option *option =
            cli_option_find_letter(reader->args->grammar, args_command(reader->args), *letter);
        if (option == NULL) {
            return ERR_SET(reader->err, ERR_INVALID, "unknown option -%c", *letter);
        }
        if (option->type != CLI_FLAG) {
            const char *attached = letter[1] == 0 ? NULL : letter + 1;
            return take_option(reader, option, attached);
        }
        TRY(take_option(reader, option, NULL));
    }
    return ERR_OK;
}

static enum err_code unknown_command(struct reader *reader, struct str_view name)
{
    struct args *args = reader->args;
    AUTO_BUF struct buf path = BUF_INIT(256);
    cli_path_write(&args->path, ' ', &path);
    const char *near = cli_command_nearest(args_command(args), name);
    if (near != NULL) {
        return ERR_SET(
            reader->err,
            ERR_INVALID,
            "unknown command \"%s %.*s\": did you mean \"%s %s\"?",
            buf_text(&path),
            STR_ARG(name),
            buf_text(&path),
            near);
    }
    return ERR_SET(
        reader->err, ERR_INVALID, "unknown command \"%s %.*s\"", buf_text(&path), STR_ARG(name));
}

static enum err_code read_word(struct reader *reader, const char *word)
{
    struct args *args = reader->args;
    const struct cli_command *command = args_command(args);
    if (command->run == NULL && args->path.depth == 1 && strcmp(word, "help") == 0) {
        args->wants_help = true; /* "belay help agent list" */
        return ERR_OK;
    }
    if (command->run == NULL) {
        const struct cli_command *child = cli_command_find(command, str_of(word));
        if (child == NULL || args->path.depth == CLI_DEPTH_MAX) {
            return unknown_command(reader, str_of(word));
        }
        args->path.steps[args->path.depth++] = child;
        return ERR_OK;
    }
    if (!str_is_utf8(str_of(word), NULL)) {
        return ERR_SET(reader->err, ERR_INVALID, "an argument is not UTF-8");
    }
    if (args->word_count == WORDS_MAX) {
        return ERR_SET(reader->err, ERR_INVALID, "more than %d arguments", WORDS_MAX);
    }
    args->words[args->word_count++] = word;
    return ERR_OK;
}

static enum err_code read_line(struct reader *reader)
{
    while (reader->next < reader->source->argc) {
        const char *word = reader->source->argv[reader->next++];
        if (reader->options_ended || word[0] != '-' || word[1] == 0) {
            TRY(read_word(reader, word));
        } else if (strcmp(word, "--") == 0) {
            reader->options_ended = true;
        } else if (word[1] == '-') {
            TRY(read_long(reader, word + 2));
        } else {
            TRY(read_letters(reader, word + 1));
        }
    }
    return ERR_OK;
}

/* ---- after the line ---- */

static enum err_code check_choice_words(const struct args *args, struct err_info *err)
{
    const struct cli_command *command = args_command(args);
    for (size_t i = 0; i < command->argument_count && i < args->word_count; i++) {
        const struct cli_argument *argument = &command->arguments[i];
        bool known = argument->choices == NULL;
        AUTO_BUF struct buf list = BUF_INIT(256);
        for (size_t c = 0; !known && argument->choices[c] != NULL; c++) {
            known = strcmp(argument->choices[c], args->words[i]) == 0;
            buf_printf(&list, "%s%s", c > 0 ? ", " : "", argument->choices[c]);
        }
        if (!known) {
            return ERR_SET(
                err,
                ERR_INVALID,
                "%s: \"%s\" is not one of %s",
                argument->name,
                args->words[i],
                buf_text(&list));
        }
    }
    return ERR_OK;
}

static enum err_code check_words(const struct args *args, struct err_info *err)
{
    const struct cli_command *command = args_command(args);
    if (command->run == NULL) {
        AUTO_BUF struct buf path = BUF_INIT(256);
        cli_path_write(&args->path, ' ', &path);
        return ERR_SET(err, ERR_INVALID, "\"%s\" needs a command", buf_text(&path));
    }
    bool unbounded = false;
    for (size_t i = 0; i < command->argument_count; i++) {
        const struct cli_argument *argument = &command->arguments[i];
        unbounded = unbounded || (argument->flags & CLI_REPEAT) != 0;
        if (i >= args->word_count && (argument->flags & CLI_OPTIONAL) == 0) {
            return ERR_SET(err, ERR_INVALID, "%s is missing: %s", argument->name, argument->help);
        }
    }
    if (!unbounded && args->word_count > command->argument_count) {
        return ERR_SET(
            err,
            ERR_INVALID,
            "\"%s\" is one argument too many",
            args->words[command->argument_count]);
    }
    return check_choice_words(args, err);
}

static enum err_code check_option(
    struct args *args,
    const struct args_source *source,
    const struct cli_option *option,
    struct err_info *err)
{
    size_t count = 0;
    for (size_t i = 0; i < args->value_count; i++) {
        count += args->values[i].option == option;
    }
    if (count > 1 && option->type != CLI_FLAG && (option->flags & CLI_REPEAT) == 0) {
        return ERR_SET(err, ERR_INVALID, "--%s is given %zu times", option->name, count);
    }
    const char *text = NULL;
    if (count == 0 && option->env != NULL && source->env != NULL) {
        text = source->env(source->context, option->env);
    }
    if (text != NULL && *text != 0 && value_add(args, option, text, false, err) != ERR_OK) {
        err_prefix(err, "environment %s", option->env);
        return ERR_INVALID;
    }
    if (count == 0 && (text == NULL || *text == 0) && (option->flags & CLI_REQUIRED) != 0) {
        return ERR_SET(err, ERR_INVALID, "--%s %s is missing", option->name, option->argument);
    }
    return ERR_OK;
}

static enum err_code check_options(
    struct args *args, const struct args_source *source, struct err_info *err)
{
    const struct cli_command *command = args_command(args);
    for (size_t i = 0; i < args->value_count; i++) {
        const struct cli_option *option = args->values[i].option;
        if (cli_option_find(args->grammar, command, str_of(option->name)) != option) {
            return ERR_SET(err, ERR_INVALID, "--%s stands before its command", option->name);
        }
    }
    for (size_t i = 0; i < command->option_count; i++) {
        TRY(check_option(args, source, &command->options[i], err));
    }
    for (size_t i = 0; i < args->grammar->global_count; i++) {
        TRY(check_option(args, source, &args->grammar->globals[i], err));
    }
    return ERR_OK;
}

enum err_code args_parse(
    const struct cli_grammar *grammar,
    const struct args_source *source,
    struct arena *arena,
    struct args **ret_args,
    struct err_info *err)
{
    struct args *args = arena_alloc(arena, sizeof(*args));
    if (args == NULL) {
        return ERR_SET(err, ERR_NOMEM, "no memory for the command line");
    }
    args->grammar = grammar;
    args->path.steps[0] = grammar->root;
    args->path.depth = 1;
    *ret_args = args;
    struct reader reader = { .args = args, .source = source, .next = 1, .err = err };
    TRY(read_line(&reader));
    if (args->wants_help) {
        return ERR_OK;
    }
    TRY(check_words(args, err));
    return check_options(args, source, err);
}

/* ---- reading ---- */

const struct cli_path *args_path(const struct args *args)
{
    return &args->path;
}

const struct cli_command *args_command(const struct args *args)
{
    return cli_path_end(&args->path);
}

bool args_wants_help(const struct args *args)
{
    return args->wants_help;
}

size_t args_word_count(const struct args *args)
{
    return args->word_count;
}

const char *args_word(const struct args *args, size_t index)
{
    return index < args->word_count ? args->words[index] : NULL;
}

static const struct cli_option *option_get(const struct args *args, const char *name)
{
    const struct cli_option *option =
        cli_option_find(args->grammar, args_command(args), str_of(name));
    if (option == NULL) {
        log_error("option_not_in_table", LOG_STR("name", name));
        abort();
    }
    return option;
}

bool args_is_set(const struct args *args, const char *name)
{
    return value_find(args, option_get(args, name)) != NULL;
}

bool args_is_typed(const struct args *args, const char *name)
{
    const struct value *value = value_find(args, option_get(args, name));
    return value != NULL && value->is_typed;
}

bool args_flag(const struct args *args, const char *name)
{
    return args_is_set(args, name);
}

const char *args_text(const struct args *args, const char *name)
{
    const struct cli_option *option = option_get(args, name);
    const struct value *value = value_find(args, option);
    return value != NULL ? value->text : option->fallback;
}

int64_t args_number(const struct args *args, const char *name)
{
    const struct cli_option *option = option_get(args, name);
    const struct value *value = value_find(args, option);
    if (value != NULL) {
        return value->number;
    }
    struct value fallback = { .option = option, .text = option->fallback };
    if (option->fallback == NULL || parse_value(&fallback, NULL) != ERR_OK) {
        return 0;
    }
    return fallback.number;
}

size_t args_count(const struct args *args, const char *name)
{
    const struct cli_option *option = option_get(args, name);
    size_t count = 0;
    for (size_t i = 0; i < args->value_count; i++) {
        count += args->values[i].option == option;
    }
    return count;
}

const char *args_item(const struct args *args, const char *name, size_t index)
{
    const struct cli_option *option = option_get(args, name);
    for (size_t i = 0; i < args->value_count; i++) {
        if (args->values[i].option == option && index-- == 0) {
            return args->values[i].text;
        }
    }
    return NULL;
}

bool args_time(
    const struct args *args, const char *name, struct wall_us now, struct wall_us *ret_time)
{
    const char *text = args_text(args, name);
    int64_t ago_us = 0;
    if (text == NULL) {
        return false;
    }
    if (str_parse_duration_us(str_of(text), &ago_us) == ERR_OK) {
        ret_time->value = ago_us < now.value ? now.value - ago_us : 0;
        return true;
    }
    struct wall_us time = now;
    bool known = strcmp(text, "now") == 0 || time_parse(str_of(text), &time) == ERR_OK;
    *ret_time = time;
    return known;
}
