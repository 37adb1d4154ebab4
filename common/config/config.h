/*
 * One option table gives flags, environment, YAML, --help, the reference page, `config check` and
 * `config show`. Precedence: flag, environment, file, default. Immutable after loading; any thread.
 */
#ifndef COMMON_CONFIG_CONFIG_H
#define COMMON_CONFIG_CONFIG_H

#include "common/base/buf.h"

#include <stdio.h>

enum config_type {
    CONFIG_TEXT,
    CONFIG_PATH,
    CONFIG_BOOL,
    CONFIG_INT,      /* min..max */
    CONFIG_DURATION, /* "10s"; min..max in microseconds */
    CONFIG_SIZE,     /* "64MiB"; min..max in bytes */
    CONFIG_CHOICE,   /* one of choices */
    CONFIG_LIST      /* texts; flag and YAML repeat or list; environment: comma separated */
};

enum config_flags {
    CONFIG_SECRET = 1, /* never shown; refused on the command line, where others can read it: give a
                          file or the environment */
    CONFIG_RELOADABLE = 2, /* SIGHUP takes the new value */
    CONFIG_FLAG_ONLY = 4   /* not in files and environment (--config, --mode may come from all) */
};

struct config_option {
    const char *name; /* "listen-agents": flag --listen-agents, BELAY_LISTEN_AGENTS, YAML
                         listen_agents or nested by '.' */
    char letter;      /* short flag or 0 */
    enum config_type type;
    unsigned flags;
    const char *fallback;       /* default, in the option's text form; NULL: unset */
    int64_t min, max;           /* of numbers, durations, sizes; of text: length */
    const char *const *choices; /* NULL-terminated */
    const char *argument;       /* placeholder in --help: "ADDRESS" */
    const char *section;        /* heading in --help and the reference */
    const char *help;           /* one sentence, no full stop */
};

struct config;

struct config *config_create(const struct config_option *options, size_t count);
void config_destroy(struct config *config);

/*
 * Flags: "--name value", "--name=value", "--no-name" for booleans, "-x value", "--" ends. Words
 * that are not options are kept (config_word). ERR_INVALID: one line with the nearest name.
 */
enum err_code config_load_args(
    struct config *config, int argc, char *const *argv, struct err_info *err) MUST_CHECK;
enum err_code config_load_env(
    struct config *config,
    char *const *environ_list,
    struct err_info *err) MUST_CHECK; /* BELAY_* */

/* YAML (JSON is a subset). Errors: "file:line:col: text". Unknown keys, duplicates, anchors, tags,
 * several documents, depth over 32 are refused. */
enum err_code config_load_file(struct config *config, const char *path, struct err_info *err)
    MUST_CHECK;
enum err_code config_load_yaml(
    struct config *config, const char *name, struct str_view text, struct err_info *err) MUST_CHECK;

size_t config_word_count(const struct config *config);
const char *config_word(const struct config *config, size_t index);

/* By name; an unknown name or a wrong type aborts. Text that is unset is NULL; others then read 0.
 */
bool config_is_set(const struct config *config, const char *name); /* by anything but the default */
const char *config_text(const struct config *config, const char *name);
bool config_bool(const struct config *config, const char *name);
int64_t config_int(
    const struct config *config, const char *name); /* int, duration (us), size (bytes) */
size_t config_list_count(const struct config *config, const char *name);
const char *config_list_item(const struct config *config, const char *name, size_t index);

/* "flag --listen", "environment BELAY_LISTEN", "file /etc/belay.yaml:3:9", "default". */
const char *config_origin(const struct config *config, const char *name);

/* Usage text of --help, the option part. */
void config_help(const struct config_option *options, size_t count, struct buf *buf);
/* Markdown table per section: the reference page. */
void config_reference(const struct config_option *options, size_t count, struct buf *buf);
/* Roff for the man page's OPTIONS section. */
void config_man(const struct config_option *options, size_t count, struct buf *buf);
/* name, value, origin per line (json: an array of objects); secrets as "(set)". */
void config_show(const struct config *config, bool json, struct buf *buf);

#endif
