#include "cmd/cli/grammar/command.h"

#include "common/base/cleanup.h"

enum {
    NEAREST_MAX = 3
};

const struct cli_command *cli_path_end(const struct cli_path *path)
{
    return path->steps[path->depth - 1];
}

void cli_path_write(const struct cli_path *path, char separator, struct buf *buf)
{
    for (size_t i = 0; i < path->depth; i++) {
        if (i > 0) {
            buf_append_char(buf, separator);
        }
        buf_append_str(buf, str_of(path->steps[i]->name));
    }
}

const struct cli_command *cli_command_find(const struct cli_command *group, struct str_view name)
{
    for (size_t i = 0; i < group->command_count; i++) {
        const struct cli_command *command = group->commands[i];
        if (str_equal(name, str_of(command->name))
            || (command->alias != NULL && str_equal(name, str_of(command->alias)))) {
            return command;
        }
    }
    return NULL;
}

const struct cli_option *cli_option_find(
    const struct cli_grammar *grammar, const struct cli_command *command, struct str_view name)
{
    for (size_t i = 0; i < command->option_count; i++) {
        if (str_equal(name, str_of(command->options[i].name))) {
            return &command->options[i];
        }
    }
    for (size_t i = 0; i < grammar->global_count; i++) {
        if (str_equal(name, str_of(grammar->globals[i].name))) {
            return &grammar->globals[i];
        }
    }
    return NULL;
}

const struct cli_option *cli_option_find_letter(
    const struct cli_grammar *grammar, const struct cli_command *command, char letter)
{
    for (size_t i = 0; i < command->option_count; i++) {
        if (command->options[i].letter == letter) {
            return &command->options[i];
        }
    }
    for (size_t i = 0; i < grammar->global_count; i++) {
        if (grammar->globals[i].letter == letter) {
            return &grammar->globals[i];
        }
    }
    return NULL;
}

struct nearest {
    const char *name;
    unsigned distance;
};

static void nearest_offer(struct nearest *nearest, struct str_view wanted, const char *name)
{
    struct str_view offered = str_of(name);
    unsigned distance = str_distance(wanted, offered);
    if (wanted.len >= 3 && str_has_prefix(offered, wanted)) {
        distance = 1;
    }
    if (distance < nearest->distance && distance < offered.len) {
        nearest->name = name;
        nearest->distance = distance;
    }
}

const char *cli_command_nearest(const struct cli_command *group, struct str_view name)
{
    struct nearest nearest = { NULL, NEAREST_MAX + 1 };
    for (size_t i = 0; i < group->command_count; i++) {
        if (!group->commands[i]->hidden) {
            nearest_offer(&nearest, name, group->commands[i]->name);
        }
    }
    return nearest.name;
}

const char *cli_option_nearest(
    const struct cli_grammar *grammar, const struct cli_command *command, struct str_view name)
{
    struct nearest nearest = { NULL, NEAREST_MAX + 1 };
    for (size_t i = 0; i < command->option_count; i++) {
        if ((command->options[i].flags & CLI_HIDDEN) == 0) {
            nearest_offer(&nearest, name, command->options[i].name);
        }
    }
    for (size_t i = 0; i < grammar->global_count; i++) {
        if ((grammar->globals[i].flags & CLI_HIDDEN) == 0) {
            nearest_offer(&nearest, name, grammar->globals[i].name);
        }
    }
    return nearest.name;
}

/* Walks without recursion: one index per level. */
void cli_visit(const struct cli_grammar *grammar, cli_visit_fn fn, void *context)
{
    struct cli_path path = { .steps = { grammar->root }, .depth = 1 };
    size_t next[CLI_DEPTH_MAX] = { 0 };
    fn(context, &path);
    while (path.depth > 0) {
        size_t level = path.depth - 1;
        const struct cli_command *group = path.steps[level];
        if (next[level] >= group->command_count || path.depth == CLI_DEPTH_MAX) {
            path.depth--;
            continue;
        }
        const struct cli_command *child = group->commands[next[level]++];
        if (child->hidden) {
            continue;
        }
        path.steps[path.depth] = child;
        next[path.depth] = 0;
        path.depth++;
        fn(context, &path);
    }
}

void cli_usage_write(const struct cli_path *path, struct buf *buf)
{
    const struct cli_command *command = cli_path_end(path);
    cli_path_write(path, ' ', buf);
    if (command->run == NULL) {
        buf_append_str(buf, STR(" COMMAND"));
    }
    for (size_t i = 0; i < command->argument_count; i++) {
        const struct cli_argument *argument = &command->arguments[i];
        bool optional = (argument->flags & CLI_OPTIONAL) != 0;
        buf_printf(
            buf,
            " %s%s%s%s",
            optional ? "[" : "",
            argument->name,
            (argument->flags & CLI_REPEAT) != 0 ? "..." : "",
            optional ? "]" : "");
    }
    for (size_t i = 0; i < command->option_count; i++) {
        const struct cli_option *option = &command->options[i];
        if ((option->flags & CLI_REQUIRED) != 0) {
            buf_printf(buf, " --%s %s", option->name, option->argument);
        }
    }
    buf_append_str(buf, STR(" [OPTIONS]"));
}

void cli_option_write(const struct cli_option *option, struct buf *buf)
{
    if (option->letter != 0) {
        buf_printf(buf, "-%c, ", option->letter);
    } else {
        buf_append_str(buf, STR("    "));
    }
    buf_printf(buf, "--%s", option->name);
    if (option->argument != NULL) {
        buf_printf(buf, " %s", option->argument);
    }
}

void cli_option_help_write(const struct cli_option *option, struct buf *buf)
{
    buf_append_str(buf, str_of(option->help));
    if (option->choices != NULL) {
        buf_append_str(buf, STR(": "));
        for (size_t i = 0; option->choices[i] != NULL; i++) {
            buf_printf(buf, "%s%s", i > 0 ? ", " : "", option->choices[i]);
        }
    }
    if (option->fallback != NULL) {
        buf_printf(buf, " (default %s)", option->fallback);
    }
    if (option->env != NULL) {
        buf_printf(buf, " [$%s]", option->env);
    }
    if ((option->flags & CLI_REPEAT) != 0) {
        buf_append_str(buf, STR("; may be repeated"));
    }
}
