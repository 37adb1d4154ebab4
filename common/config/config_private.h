/*
 * What the files of this folder share: the values behind struct config, and the one way to set one.
 * Sources rank as they are listed; a lower one never replaces the value of a higher one, whatever
 * the order of loading.
 */
#ifndef COMMON_CONFIG_CONFIG_PRIVATE_H
#define COMMON_CONFIG_CONFIG_PRIVATE_H

#include "common/base/cleanup.h"
#include "common/config/config.h"

enum config_source {
    CONFIG_FROM_DEFAULT,
    CONFIG_FROM_FILE,
    CONFIG_FROM_ENV,
    CONFIG_FROM_FLAG
};

enum {
    CONFIG_NAME_BYTES = 80,        /* any spelling of an option's name */
    CONFIG_TEXT_MAX_BYTES = 65536, /* one value */
    CONFIG_ITEM_MAX = 1024,        /* items of one list */
    CONFIG_FILE_MAX_BYTES = 1 << 20,
    CONFIG_DEPTH_MAX = 32,
    CONFIG_EXPECTATION_BYTES = 256
};

struct config_value {
    enum config_source source;
    char **items; /* texts; a scalar has one, an unset option none */
    size_t count;
    int64_t number; /* of booleans, integers, durations, sizes */
    char *origin;
};

struct config {
    const struct config_option *options;
    size_t count;
    struct config_value *values; /* one per option */
    const char **words;          /* borrowed from argv */
    size_t word_count;
};

/* Where a value comes from: who is blamed in an error, and what config_origin answers. */
struct config_place {
    enum config_source source;
    const char *label;  /* "--listen", "BELAY_LISTEN", "belay.yaml:3:9: listen" */
    const char *origin; /* "flag --listen" */
    bool append;        /* to the items that this source has given already (a repeated flag) */
};

/* Checks every item and stores them if no higher source has set the option. */
enum err_code config_set(
    struct config *config,
    const struct config_option *option,
    const struct str_view *items,
    size_t count,
    const struct config_place *place,
    struct err_info *err) MUST_CHECK;

/* As config_set for one text; the text of a list is cut at commas. */
enum err_code config_set_text(
    struct config *config,
    const struct config_option *option,
    struct str_view text,
    const struct config_place *place,
    struct err_info *err) MUST_CHECK;

const struct config_option *config_find(const struct config *config, struct str_view name);

/* Spellings of an option: "BELAY_HTTP_LISTEN" and "http.listen_all"; both return out. */
char *config_env_name(const struct config_option *option, char out[CONFIG_NAME_BYTES]);
char *config_key_name(const struct config_option *option, char out[CONFIG_NAME_BYTES]);

/* Placeholder of the value in help: option->argument or one for the type; NULL for booleans. */
const char *config_argument(const struct config_option *option);

/* What the option takes: "a whole number from 1 to 10"; returns out. */
char *config_expectation(const struct config_option *option, char out[CONFIG_EXPECTATION_BYTES]);

/* Nearest of the names offered so far; start with { .text = what was written }. */
struct config_hint {
    struct str_view text;
    char best[CONFIG_NAME_BYTES];
    unsigned distance; /* 0 means none yet */
};

void config_hint_offer(struct config_hint *hint, struct str_view name);
/* "; did you mean \"listen\"?" or ""; returns out. */
char *config_hint_text(
    const struct config_hint *hint, const char *prefix, char out[CONFIG_EXPECTATION_BYTES]);

#endif
