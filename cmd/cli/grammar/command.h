/*
 * The command table: what a command line may say. One tree of const rows (commands, their
 * arguments, options and examples) from which the parser, --help, the man pages, the reference page
 * and the shells' completions are made. Everything here is static storage; any thread.
 */
#ifndef CMD_CLI_GRAMMAR_COMMAND_H
#define CMD_CLI_GRAMMAR_COMMAND_H

#include "common/base/buf.h"

struct cli;

enum cli_type {
    CLI_FLAG,     /* no value */
    CLI_TEXT,     /* min..max characters when max is set */
    CLI_FILE,     /* a path */
    CLI_INT,      /* min..max */
    CLI_DURATION, /* "10s"; min..max in microseconds when max is set */
    CLI_SIZE,     /* "64MiB"; min..max in bytes when max is set */
    CLI_TIME,     /* RFC 3339, "now", or a duration before now */
    CLI_CHOICE,   /* one of choices */
    CLI_PAIR      /* "key=value" */
};

enum cli_flags {
    CLI_REPEAT = 1,   /* may be given several times */
    CLI_HIDDEN = 2,   /* works, but is in no help */
    CLI_REQUIRED = 4, /* of options */
    CLI_OPTIONAL = 8  /* of arguments; required ones come first */
};

/* What a shell may offer for an argument or option. */
enum cli_complete {
    CLI_COMPLETE_NONE,
    CLI_COMPLETE_FILE,
    CLI_COMPLETE_GATEWAY,
    CLI_COMPLETE_AGENT,
    CLI_COMPLETE_ENROLLMENT,
    CLI_COMPLETE_METRIC,
    CLI_COMPLETE_COMMAND_ID,
    CLI_COMPLETE_APIKEY,
    CLI_COMPLETE_SANDBOX,
    CLI_COMPLETE_LOAN,
    CLI_COMPLETE_COUNT
};

struct cli_option {
    const char *name; /* "output": --output */
    char letter;      /* 0: none */
    enum cli_type type;
    unsigned flags;
    const char *argument;       /* placeholder: "FORMAT"; NULL for flags */
    const char *env;            /* variable that stands in; NULL: none */
    const char *fallback;       /* default in text form; NULL: unset */
    const char *const *choices; /* NULL-terminated */
    int64_t min;
    int64_t max;
    enum cli_complete complete;
    const char *help; /* one sentence without a full stop */
};

struct cli_argument {
    const char *name; /* "AGENT" */
    unsigned flags;
    enum cli_complete complete;
    const char *const *choices; /* NULL-terminated; NULL: free */
    const char *help;
};

struct cli_example {
    const char *line; /* what to type */
    const char *text; /* what it does */
};

struct cli_command {
    const char *name;
    const char *alias;                         /* a second name; NULL: none */
    const char *summary;                       /* one line without a full stop */
    const char *description;                   /* paragraphs separated by empty lines; NULL: none */
    const struct cli_command *const *commands; /* of a group */
    size_t command_count;
    const struct cli_argument *arguments;
    size_t argument_count;
    const struct cli_option *options;
    size_t option_count;
    const struct cli_example *examples;
    size_t example_count;
    bool hidden;
    enum err_code (*run)(struct cli *cli); /* NULL: a group */
};

/* Fills `.options` and `.option_count` (or arguments, commands, examples) from an array. */
#define CLI_LIST(member, array) .member##s = (array), .member##_count = ARRAY_LENGTH(array)

/* A row of a list that only documents: exit codes, files, variables. */
struct cli_note {
    const char *name;
    const char *text;
};

struct cli_grammar {
    const char *program;
    const char *version;
    const struct cli_command *root;
    const struct cli_option *globals; /* taken by every command */
    size_t global_count;
    const struct cli_note *exits;
    size_t exit_count;
    const struct cli_note *files;
    size_t file_count;
};

enum {
    CLI_DEPTH_MAX = 4
};

/* A command and the way to it from the root (path[0]). */
struct cli_path {
    const struct cli_command *steps[CLI_DEPTH_MAX];
    size_t depth;
};

const struct cli_command *cli_path_end(const struct cli_path *path);

/* "belay agent list", with the separator between the names. */
void cli_path_write(const struct cli_path *path, char separator, struct buf *buf);

const struct cli_command *cli_command_find(const struct cli_command *group, struct str_view name);

/* The option of that name (or letter) a command takes, its own before the global ones; NULL: none.
 */
const struct cli_option *cli_option_find(
    const struct cli_grammar *grammar, const struct cli_command *command, struct str_view name);
const struct cli_option *cli_option_find_letter(
    const struct cli_grammar *grammar, const struct cli_command *command, char letter);

/* The nearest visible name within a distance worth a hint; NULL: none. */
const char *cli_command_nearest(const struct cli_command *group, struct str_view name);
const char *cli_option_nearest(
    const struct cli_grammar *grammar, const struct cli_command *command, struct str_view name);

typedef void (*cli_visit_fn)(void *context, const struct cli_path *path);

/* Every visible command in table order, groups before their members, the root first. */
void cli_visit(const struct cli_grammar *grammar, cli_visit_fn fn, void *context);

/* "belay agent label [options] NAME LABEL..." */
void cli_usage_write(const struct cli_path *path, struct buf *buf);

/* "-o, --output FORMAT" or "    --follow". */
void cli_option_write(const struct cli_option *option, struct buf *buf);

/* Help with what the table adds: choices, default, variable. */
void cli_option_help_write(const struct cli_option *option, struct buf *buf);

#endif
