/*
 * Names and words about options: their spellings in the environment and in files, what their values
 * look like, and the nearest name for one that does not exist. Pure.
 */
#include "common/config/config_private.h"

#include <stdio.h>

static char *respell(const char *prefix, const char *name, bool upper, char out[CONFIG_NAME_BYTES])
{
    size_t at = 0;
    for (; *prefix != '\0' && at < CONFIG_NAME_BYTES - 1; prefix++) {
        out[at++] = *prefix;
    }
    for (; *name != '\0' && at < CONFIG_NAME_BYTES - 1; name++) {
        char c = *name;
        if (c == '-' || (upper && c == '.')) {
            c = '_';
        } else if (upper && c >= 'a' && c <= 'z') {
            c = (char)(c - 'a' + 'A');
        }
        out[at++] = c;
    }
    out[at] = '\0';
    return out;
}

char *config_env_name(const struct config_option *option, char out[CONFIG_NAME_BYTES])
{
    return respell("BELAY_", option->name, true, out);
}

char *config_key_name(const struct config_option *option, char out[CONFIG_NAME_BYTES])
{
    return respell("", option->name, false, out);
}

const char *config_argument(const struct config_option *option)
{
    static const char *const names[] = {
        [CONFIG_TEXT] = "TEXT",   [CONFIG_PATH] = "PATH",         [CONFIG_BOOL] = NULL,
        [CONFIG_INT] = "NUMBER",  [CONFIG_DURATION] = "DURATION", [CONFIG_SIZE] = "SIZE",
        [CONFIG_CHOICE] = "WORD", [CONFIG_LIST] = "TEXT",
    };
    _Static_assert(ARRAY_LENGTH(names) == CONFIG_LIST + 1, "every type has its placeholder");
    return option->argument != NULL ? option->argument : names[option->type];
}

static void append_choices(const struct config_option *option, struct buf *buf)
{
    for (size_t i = 0; option->choices != NULL && option->choices[i] != NULL; i++) {
        buf_printf(buf, "%s%s", i == 0 ? "" : ", ", option->choices[i]);
    }
}

static void append_size(struct buf *buf, int64_t bytes)
{
    static const char *const units[] = { "", "KiB", "MiB", "GiB", "TiB" };
    size_t unit = 0;
    while (unit + 1 < ARRAY_LENGTH(units) && bytes != 0 && bytes % 1024 == 0) {
        bytes /= 1024;
        unit++;
    }
    buf_printf(buf, "%lld%s", (long long)bytes, units[unit]);
}

static void append_bound(const struct config_option *option, struct buf *buf, int64_t bound)
{
    char text[32];
    if (option->type == CONFIG_DURATION) {
        buf_append_str(buf, str_of(str_format_duration_us(bound, text, sizeof(text))));
    } else if (option->type == CONFIG_SIZE) {
        append_size(buf, bound);
    } else {
        buf_printf(buf, "%lld", (long long)bound);
    }
}

static void append_range(const struct config_option *option, struct buf *buf)
{
    if (option->min == 0 && option->max == 0) {
        return;
    }
    buf_append_str(buf, STR(" from "));
    append_bound(option, buf, option->min);
    buf_append_str(buf, STR(" to "));
    append_bound(option, buf, option->max);
}

static void append_text(const struct config_option *option, struct buf *buf)
{
    if (option->choices != NULL) {
        buf_append_str(buf, STR("one of "));
        append_choices(option, buf);
    } else if (option->min != 0 || option->max != 0) {
        buf_printf(
            buf, "text of %lld to %lld bytes", (long long)option->min, (long long)option->max);
    } else {
        buf_append_str(buf, STR("text without control characters"));
    }
}

char *config_expectation(const struct config_option *option, char out[CONFIG_EXPECTATION_BYTES])
{
    AUTO_BUF struct buf buf = BUF_INIT(CONFIG_EXPECTATION_BYTES - 1);
    switch (option->type) {
    case CONFIG_TEXT:
    case CONFIG_PATH:
    case CONFIG_LIST:
    case CONFIG_CHOICE:
        append_text(option, &buf);
        break;
    case CONFIG_BOOL:
        buf_append_str(&buf, STR("true or false"));
        break;
    case CONFIG_INT:
        buf_append_str(&buf, STR("a whole number"));
        append_range(option, &buf);
        break;
    case CONFIG_DURATION:
        buf_append_str(&buf, STR("a duration such as 250ms, 10s or 5m"));
        append_range(option, &buf);
        break;
    case CONFIG_SIZE:
        buf_append_str(&buf, STR("a size such as 512, 64KiB or 10MiB"));
        append_range(option, &buf);
        break;
    }
    (void)snprintf(out, CONFIG_EXPECTATION_BYTES, "%s", buf_text(&buf));
    return out;
}

void config_hint_offer(struct config_hint *hint, struct str_view name)
{
    unsigned distance = str_distance(hint->text, name) + 1;
    size_t longest = hint->text.len > name.len ? hint->text.len : name.len;
    /* str_distance says 8 for everything that is far. */
    bool near = distance - 1 < 8 && distance - 1 <= 1 + longest / 4 && distance <= longest;
    bool better = hint->distance == 0 || distance < hint->distance;
    if (near && better && str_copy(name, hint->best, sizeof(hint->best)) == ERR_OK) {
        hint->distance = distance;
    }
}

char *config_hint_text(
    const struct config_hint *hint, const char *prefix, char out[CONFIG_EXPECTATION_BYTES])
{
    out[0] = '\0';
    if (hint->distance != 0) {
        (void)snprintf(
            out, CONFIG_EXPECTATION_BYTES, "; did you mean \"%s%s\"?", prefix, hint->best);
    }
    return out;
}
