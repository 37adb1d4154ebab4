/* `config show`: every option with its value and where it comes from; secrets stay hidden. */
#include "common/config/config_private.h"

#include <stdio.h>

static bool is_bare(const char *text)
{
    for (const char *p = text; *p != '\0'; p++) {
        if (*p <= ' ' || *p == '"' || *p == ',' || (*p & 0x80) != 0 || *p == 0x7f) {
            return false;
        }
    }
    return text[0] != '\0';
}

static void append_text_value(
    const struct config_option *option, const struct config_value *value, struct buf *buf)
{
    if (value->count == 0) {
        buf_append_char(buf, '-');
        return;
    }
    if ((option->flags & CONFIG_SECRET) != 0) {
        buf_append_str(buf, STR("(set)"));
        return;
    }
    if (option->type == CONFIG_BOOL) {
        buf_append_str(buf, value->number != 0 ? STR("true") : STR("false"));
        return;
    }
    for (size_t i = 0; i < value->count; i++) {
        buf_append_str(buf, i == 0 ? STR("") : STR(","));
        if (is_bare(value->items[i])) {
            buf_append_str(buf, str_of(value->items[i]));
        } else {
            buf_append_json(buf, str_of(value->items[i]));
        }
    }
}

static void append_json_list(const struct config_value *value, struct buf *buf)
{
    buf_append_char(buf, '[');
    for (size_t i = 0; i < value->count; i++) {
        buf_append_str(buf, i == 0 ? STR("") : STR(","));
        buf_append_json(buf, str_of(value->items[i]));
    }
    buf_append_char(buf, ']');
}

static void append_json_value(
    const struct config_option *option, const struct config_value *value, struct buf *buf)
{
    if (option->type == CONFIG_LIST && (option->flags & CONFIG_SECRET) == 0) {
        append_json_list(value, buf);
    } else if (value->count == 0) {
        buf_append_str(buf, STR("null"));
    } else if ((option->flags & CONFIG_SECRET) != 0) {
        buf_append_str(buf, STR("\"(set)\""));
    } else if (option->type == CONFIG_BOOL) {
        buf_append_str(buf, value->number != 0 ? STR("true") : STR("false"));
    } else if (option->type == CONFIG_INT) {
        buf_printf(buf, "%lld", (long long)value->number);
    } else {
        buf_append_json(buf, str_of(value->items[0]));
    }
}

static void show_json(const struct config *config, struct buf *buf)
{
    buf_append_char(buf, '[');
    for (size_t i = 0; i < config->count; i++) {
        const struct config_option *option = &config->options[i];
        buf_append_str(buf, i == 0 ? STR("\n  {\"name\":") : STR(",\n  {\"name\":"));
        buf_append_json(buf, str_of(option->name));
        buf_append_str(buf, STR(",\"value\":"));
        append_json_value(option, &config->values[i], buf);
        buf_append_str(buf, STR(",\"origin\":"));
        buf_append_json(buf, str_of(config_origin(config, option->name)));
        buf_append_char(buf, '}');
    }
    buf_append_str(buf, STR("\n]\n"));
}

static size_t widest_name(const struct config *config)
{
    size_t widest = 0;
    for (size_t i = 0; i < config->count; i++) {
        size_t len = strlen(config->options[i].name);
        widest = len > widest ? len : widest;
    }
    return widest;
}

void config_show(const struct config *config, bool json, struct buf *buf)
{
    if (json) {
        show_json(config, buf);
        return;
    }
    int name_width = (int)widest_name(config);
    for (size_t i = 0; i < config->count; i++) {
        const struct config_option *option = &config->options[i];
        AUTO_BUF struct buf value = BUF_INIT(CONFIG_FILE_MAX_BYTES);
        append_text_value(option, &config->values[i], &value);
        buf_printf(buf, "%-*s  ", name_width, option->name);
        buf_append_str(buf, buf_view(&value));
        for (size_t pad = value.len; pad < 24; pad++) {
            buf_append_char(buf, ' ');
        }
        buf_printf(buf, "  %s\n", config_origin(config, option->name));
    }
}
