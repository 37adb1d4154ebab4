/* Options from the command line and from the environment. */
#include "common/config/config_private.h"

#include <stdio.h>

struct arg_reader {
    struct config *config;
    char *const *argv;
    int argc;
    int next; /* the word after the one being read */
    struct err_info *err;
};

static void add_word(struct config *config, const char *word)
{
    config->words = mem_realloc(config->words, (config->word_count + 1) * sizeof(*config->words));
    config->words[config->word_count++] = word;
}

static enum err_code set_from_flag(
    struct arg_reader *reader, const struct config_option *option, const char *text)
{
    char label[CONFIG_NAME_BYTES + 8];
    char origin[CONFIG_NAME_BYTES + 8];
    char variable[CONFIG_NAME_BYTES];
    char key[CONFIG_NAME_BYTES];
    (void)snprintf(label, sizeof(label), "--%s", option->name);
    (void)snprintf(origin, sizeof(origin), "flag --%s", option->name);
    if ((option->flags & CONFIG_SECRET) != 0) {
        return ERR_SET(
            reader->err,
            ERR_INVALID,
            "%s: a secret is not taken from the command line, where others can read it; set %s, or "
            "%s in the configuration file",
            label,
            config_env_name(option, variable),
            config_key_name(option, key));
    }
    struct config_place place = { CONFIG_FROM_FLAG, label, origin, option->type == CONFIG_LIST };
    struct str_view item = str_of(text);
    return config_set(reader->config, option, &item, 1, &place, reader->err);
}

/* The value of a flag that has none attached: true, or the next word. */
static enum err_code read_value(
    struct arg_reader *reader, const struct config_option *option, const char *shown)
{
    if (option->type == CONFIG_BOOL) {
        return set_from_flag(reader, option, "true");
    }
    const char *value = reader->next < reader->argc ? reader->argv[reader->next] : NULL;
    if (value == NULL || strncmp(value, "--", 2) == 0) {
        return ERR_SET(
            reader->err,
            ERR_INVALID,
            "%s: needs a value (%s)%s",
            shown,
            config_argument(option),
            value == NULL ? "" : "; write --name=VALUE for one that begins with --");
    }
    reader->next++;
    return set_from_flag(reader, option, value);
}

static enum err_code refuse_flag(struct arg_reader *reader, struct str_view name)
{
    struct config_hint hint = { .text = name };
    for (size_t i = 0; i < reader->config->count; i++) {
        if ((reader->config->options[i].flags & CONFIG_SECRET) == 0) {
            config_hint_offer(&hint, str_of(reader->config->options[i].name));
        }
    }
    char suffix[CONFIG_EXPECTATION_BYTES];
    AUTO_BUF struct buf shown = BUF_INIT(512);
    buf_append_json(&shown, name.len > 60 ? str_from(name.ptr, 60) : name);
    return ERR_SET(
        reader->err,
        ERR_INVALID,
        "unknown option %s%s",
        buf_text(&shown),
        config_hint_text(&hint, "--", suffix));
}

static enum err_code read_long(struct arg_reader *reader, const char *word)
{
    const char *equals = strchr(word, '=');
    struct str_view name =
        equals == NULL ? str_of(word + 2) : str_from(word + 2, (size_t)(equals - word) - 2);
    const struct config_option *option = config_find(reader->config, name);
    if (option != NULL && equals != NULL) {
        return set_from_flag(reader, option, equals + 1);
    }
    if (option != NULL) {
        return read_value(reader, option, word);
    }
    if (str_has_prefix(name, STR("no-")) && equals == NULL) {
        option = config_find(reader->config, str_from(name.ptr + 3, name.len - 3));
        if (option != NULL && option->type == CONFIG_BOOL) {
            return set_from_flag(reader, option, "false");
        }
    }
    return refuse_flag(reader, name);
}

static enum err_code read_short(struct arg_reader *reader, const char *word)
{
    for (size_t i = 0; i < reader->config->count; i++) {
        const struct config_option *option = &reader->config->options[i];
        if (option->letter != word[1]) {
            continue;
        }
        if (word[2] == '\0') {
            return read_value(reader, option, word);
        }
        if (option->type != CONFIG_BOOL) {
            return set_from_flag(reader, option, word + 2);
        }
    }
    return ERR_SET(reader->err, ERR_INVALID, "unknown option \"%.20s\"", word);
}

enum err_code config_load_args(
    struct config *config, int argc, char *const *argv, struct err_info *err)
{
    struct arg_reader reader = { config, argv, argc, 1, err };
    bool only_words = false;
    while (reader.next < argc) {
        const char *word = argv[reader.next++];
        if (only_words || word[0] != '-' || word[1] == '\0') {
            add_word(config, word);
        } else if (strcmp(word, "--") == 0) {
            only_words = true;
        } else if (word[1] == '-') {
            TRY(read_long(&reader, word));
        } else {
            TRY(read_short(&reader, word));
        }
    }
    return ERR_OK;
}

static const char *find_variable(char *const *environ_list, const char *name)
{
    size_t len = strlen(name);
    for (size_t i = 0; environ_list != NULL && environ_list[i] != NULL; i++) {
        if (strncmp(environ_list[i], name, len) == 0 && environ_list[i][len] == '=') {
            return environ_list[i] + len + 1;
        }
    }
    return NULL;
}

/*
 * Variables that no option asks for are left alone: a container platform adds its own (a service
 * called "belay" gives BELAY_SERVICE_HOST), and server and agent may share one environment. An
 * empty variable counts as unset, as in every template that passes `${X:-}` on.
 */
enum err_code config_load_env(
    struct config *config, char *const *environ_list, struct err_info *err)
{
    for (size_t i = 0; i < config->count; i++) {
        const struct config_option *option = &config->options[i];
        char name[CONFIG_NAME_BYTES];
        char origin[CONFIG_NAME_BYTES + 16];
        const char *text = find_variable(environ_list, config_env_name(option, name));
        if ((option->flags & CONFIG_FLAG_ONLY) != 0 || text == NULL || text[0] == '\0') {
            continue;
        }
        (void)snprintf(origin, sizeof(origin), "environment %s", name);
        const struct config_place place = { CONFIG_FROM_ENV, name, origin, false };
        TRY(config_set_text(config, option, str_of(text), &place, err));
    }
    return ERR_OK;
}
