#include "common/config/config.h"

#include "common/config/config_private.h"

#include <stdio.h>
#include <stdlib.h>

static void die(const char *name, const char *text)
{
    (void)fprintf(stderr, "{\"level\":\"fatal\",\"event\":\"%s\",\"option\":\"%s\"}\n", text, name);
    abort();
}

static void value_clear(struct config_value *value)
{
    for (size_t i = 0; i < value->count; i++) {
        explicit_bzero(value->items[i], strlen(value->items[i])); /* it may be a secret */
        mem_free(value->items[i]);
    }
    mem_free(value->items);
    mem_free(value->origin);
    *value = (struct config_value){ 0 };
}

struct config *config_create(const struct config_option *options, size_t count)
{
    struct config *config = mem_alloc(sizeof(*config));
    config->options = options;
    config->count = count;
    config->values = mem_alloc_array(count, sizeof(*config->values));
    const struct config_place place = { CONFIG_FROM_DEFAULT, "default", "default", false };
    for (size_t i = 0; i < count; i++) {
        const char *fallback = options[i].fallback;
        if (strlen(options[i].name) + sizeof("BELAY_") > CONFIG_NAME_BYTES) {
            die(options[i].name, "option_name_too_long");
        }
        if (fallback != NULL
            && config_set_text(config, &options[i], str_of(fallback), &place, NULL) != ERR_OK) {
            die(options[i].name, "option_default_invalid");
        }
    }
    return config;
}

void config_destroy(struct config *config)
{
    if (config == NULL) {
        return;
    }
    for (size_t i = 0; i < config->count; i++) {
        value_clear(&config->values[i]);
    }
    mem_free(config->values);
    mem_free(config->words);
    mem_free(config);
}

const struct config_option *config_find(const struct config *config, struct str_view name)
{
    for (size_t i = 0; i < config->count; i++) {
        if (str_equal(str_of(config->options[i].name), name)) {
            return &config->options[i];
        }
    }
    return NULL;
}

static enum err_code store_items(
    struct config_value *value,
    const struct str_view *items,
    size_t count,
    const struct config_place *place)
{
    size_t kept = place->append && value->source == place->source ? value->count : 0;
    if (kept + count > CONFIG_ITEM_MAX) {
        return ERR_LIMIT;
    }
    if (kept == 0) {
        value_clear(value);
    }
    value->items = mem_realloc(value->items, (kept + count + 1) * sizeof(*value->items));
    for (size_t i = 0; i < count; i++) {
        value->items[kept + i] = mem_printf("%.*s", STR_ARG(items[i]));
    }
    value->count = kept + count;
    value->source = place->source;
    char *origin = mem_strdup(place->origin);
    mem_free(value->origin);
    value->origin = origin;
    return ERR_OK;
}

static bool bounded(const struct config_option *option)
{
    return option->min != 0 || option->max != 0;
}

static bool within(const struct config_option *option, int64_t number)
{
    return !bounded(option) || (number >= option->min && number <= option->max);
}

/* "012" means ten to some readers and twelve to others. */
static bool has_leading_zero(struct str_view text)
{
    if (text.len > 0 && text.ptr[0] == '-') {
        text = str_from(text.ptr + 1, text.len - 1);
    }
    return text.len > 1 && text.ptr[0] == '0' && text.ptr[1] >= '0' && text.ptr[1] <= '9';
}

static bool parse_bool(struct str_view text, int64_t *ret_number)
{
    static const struct {
        const char *text;
        int64_t number;
    } words[] = { { "true", 1 }, { "false", 0 }, { "yes", 1 },
                  { "no", 0 },   { "on", 1 },    { "off", 0 } };

    for (size_t i = 0; i < ARRAY_LENGTH(words); i++) {
        if (str_equal(text, str_of(words[i].text))) {
            *ret_number = words[i].number;
            return true;
        }
    }
    return false;
}

static bool is_plain_text(struct str_view text)
{
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        if ((c < 0x20 && c != '\t' && c != '\n') || c == 0x7f) {
            return false;
        }
    }
    return text.len <= CONFIG_TEXT_MAX_BYTES && str_is_utf8(text, NULL);
}

static bool is_choice(const struct config_option *option, struct str_view text)
{
    for (size_t i = 0; option->choices != NULL && option->choices[i] != NULL; i++) {
        if (str_equal(text, str_of(option->choices[i]))) {
            return true;
        }
    }
    return option->choices == NULL;
}

static bool parse_size(struct str_view text, int64_t *ret_number)
{
    uint64_t bytes = 0;
    if (str_parse_size_bytes(text, &bytes) != ERR_OK || bytes > INT64_MAX) {
        return false;
    }
    *ret_number = (int64_t)bytes;
    return true;
}

/* Whether text is a value of the option; numbers come out through ret_number. */
static bool parse_item(
    const struct config_option *option, struct str_view text, int64_t *ret_number)
{
    int64_t number = 0;
    bool valid = is_plain_text(text);
    switch (option->type) {
    case CONFIG_TEXT:
    case CONFIG_PATH:
    case CONFIG_LIST:
    case CONFIG_CHOICE:
        return valid && within(option, (int64_t)text.len) && is_choice(option, text);
    case CONFIG_BOOL:
        valid = valid && parse_bool(text, &number);
        break;
    case CONFIG_INT:
        valid = valid && !has_leading_zero(text)
            && str_parse_int64(text, INT64_MIN, INT64_MAX, &number) == ERR_OK
            && within(option, number);
        break;
    case CONFIG_DURATION:
        valid = valid && !has_leading_zero(text) && str_parse_duration_us(text, &number) == ERR_OK
            && within(option, number);
        break;
    case CONFIG_SIZE:
        valid =
            valid && !has_leading_zero(text) && parse_size(text, &number) && within(option, number);
        break;
    }
    *ret_number = number;
    return valid;
}

static enum err_code refuse_item(
    const struct config_option *option,
    struct str_view text,
    const struct config_place *place,
    struct err_info *err)
{
    char expected[CONFIG_EXPECTATION_BYTES];
    (void)config_expectation(option, expected);
    if ((option->flags & CONFIG_SECRET) != 0) {
        return ERR_SET(err, ERR_INVALID, "%s: expects %s", place->label, expected);
    }
    AUTO_BUF struct buf shown = BUF_INIT(512);
    buf_append_json(&shown, text.len > 60 ? str_from(text.ptr, 60) : text);
    return ERR_SET(
        err, ERR_INVALID, "%s: expects %s, not %s", place->label, expected, buf_text(&shown));
}

enum err_code config_set(
    struct config *config,
    const struct config_option *option,
    const struct str_view *items,
    size_t count,
    const struct config_place *place,
    struct err_info *err)
{
    struct config_value *value = &config->values[option - config->options];
    int64_t number = 0;
    for (size_t i = 0; i < count; i++) {
        if (!parse_item(option, items[i], &number)) {
            return refuse_item(option, items[i], place, err);
        }
    }
    if (place->source < value->source) {
        return ERR_OK; /* checked all the same: a wrong line must not wait for its day */
    }
    if (store_items(value, items, count, place) != ERR_OK) {
        return ERR_SET(err, ERR_LIMIT, "%s: more than %d items", place->label, CONFIG_ITEM_MAX);
    }
    value->number = number;
    return ERR_OK;
}

enum err_code config_set_text(
    struct config *config,
    const struct config_option *option,
    struct str_view text,
    const struct config_place *place,
    struct err_info *err)
{
    if (option->type != CONFIG_LIST) {
        return config_set(config, option, &text, 1, place, err);
    }
    AUTO_FREE struct str_view *items = mem_alloc_array(CONFIG_ITEM_MAX, sizeof(*items));
    size_t count = 0;
    struct str_view head = STR_NONE;
    struct str_view rest = text;
    for (bool more = text.len > 0; more; count++) {
        if (count == CONFIG_ITEM_MAX) {
            return ERR_SET(err, ERR_LIMIT, "%s: more than %d items", place->label, CONFIG_ITEM_MAX);
        }
        more = str_cut(rest, ',', &head, &rest);
        items[count] = str_trim(more ? head : rest);
        if (items[count].len == 0) {
            return ERR_SET(err, ERR_INVALID, "%s: an empty item between commas", place->label);
        }
    }
    return config_set(config, option, items, count, place, err);
}

size_t config_word_count(const struct config *config)
{
    return config->word_count;
}

const char *config_word(const struct config *config, size_t index)
{
    return index < config->word_count ? config->words[index] : NULL;
}

static const struct config_value *value_of(
    const struct config *config, const char *name, unsigned types)
{
    const struct config_option *option = config_find(config, str_of(name));
    if (option == NULL) {
        die(name, "option_unknown");
        return NULL;
    }
    if ((types & (1U << option->type)) == 0) {
        die(name, "option_of_another_type");
    }
    return &config->values[option - config->options];
}

enum {
    ANY_TYPE = ~0,
    TEXT_TYPES = 1 << CONFIG_TEXT | 1 << CONFIG_PATH | 1 << CONFIG_CHOICE,
    NUMBER_TYPES = 1 << CONFIG_INT | 1 << CONFIG_DURATION | 1 << CONFIG_SIZE
};

bool config_is_set(const struct config *config, const char *name)
{
    return value_of(config, name, (unsigned)ANY_TYPE)->source != CONFIG_FROM_DEFAULT;
}

const char *config_text(const struct config *config, const char *name)
{
    const struct config_value *value = value_of(config, name, TEXT_TYPES);
    return value->count == 0 ? NULL : value->items[0];
}

bool config_bool(const struct config *config, const char *name)
{
    return value_of(config, name, 1U << CONFIG_BOOL)->number != 0;
}

int64_t config_int(const struct config *config, const char *name)
{
    return value_of(config, name, NUMBER_TYPES)->number;
}

size_t config_list_count(const struct config *config, const char *name)
{
    return value_of(config, name, 1U << CONFIG_LIST)->count;
}

const char *config_list_item(const struct config *config, const char *name, size_t index)
{
    const struct config_value *value = value_of(config, name, 1U << CONFIG_LIST);
    return index < value->count ? value->items[index] : NULL;
}

const char *config_origin(const struct config *config, const char *name)
{
    const struct config_value *value = value_of(config, name, (unsigned)ANY_TYPE);
    return value->origin == NULL ? "default" : value->origin;
}
