#include "common/base/log.h"

#include "common/base/buf.h"
#include "common/base/time.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <unistd.h>

enum {
    LINE_BYTES = 16 * 1024,
    LINE_TAIL_BYTES = 32
};

/* The log threshold and the component's name are the process's, set once at start. */
static atomic_int threshold = LOG_INFO;
static _Atomic(const char *) component;

static const char *const level_names[] = { "debug", "info", "warn", "error", "off" };

void log_set_level(enum log_level level)
{
    atomic_store_explicit(&threshold, (int)level, memory_order_relaxed);
}

enum log_level log_get_level(void)
{
    return (enum log_level)atomic_load_explicit(&threshold, memory_order_relaxed);
}

enum err_code log_parse_level(struct str_view text, enum log_level *ret_level)
{
    for (int i = LOG_DEBUG; i <= LOG_OFF; i++) {
        if (str_equal(text, str_of(level_names[i]))) {
            *ret_level = (enum log_level)i;
            return ERR_OK;
        }
    }
    return ERR_INVALID;
}

void log_set_component(const char *name)
{
    atomic_store(&component, name);
}

/* At most LOG_VALUE_BYTES, cut between code points. */
static struct str_view cut_value(struct str_view text)
{
    if (text.len > LOG_VALUE_BYTES) {
        text.len = LOG_VALUE_BYTES;
        while (text.len > 0 && ((unsigned char)text.ptr[text.len] & 0xC0) == 0x80) {
            text.len--;
        }
    }
    return text;
}

static void append_field(struct buf *line, const struct log_field *field)
{
    buf_append_char(line, ',');
    buf_append_json(line, str_of(field->key));
    buf_append_char(line, ':');
    switch (field->type) {
    case LOG_FIELD_STR:
        buf_append_json(line, cut_value(field->text));
        break;
    case LOG_FIELD_INT:
        buf_printf(line, "%" PRId64, field->number);
        break;
    case LOG_FIELD_UINT:
        buf_printf(line, "%" PRIu64, (uint64_t)field->number);
        break;
    case LOG_FIELD_BOOL:
        buf_append_str(line, field->number != 0 ? STR("true") : STR("false"));
        break;
    }
}

/*
 * Long hostile values (escapes make them six times as long) must not cost the line: a field that
 * does not fit is left out. false: it was.
 */
static bool append_whole_field(struct buf *line, const struct log_field *field)
{
    size_t before = line->len;
    append_field(line, field);
    if (buf_ok(line) && line->len <= LINE_BYTES - LINE_TAIL_BYTES) {
        return true;
    }
    line->len = before;
    line->failed = false;
    return false;
}

void log_write(
    enum log_level level, const char *event, const struct log_field *fields, size_t count)
{
    AUTO_BUF struct buf line = BUF_INIT(LINE_BYTES);
    char time[TIME_TEXT_BYTES];
    const char *name = atomic_load(&component);
    buf_printf(
        &line,
        "{\"time\":\"%s\",\"level\":\"%s\",\"event\":\"%s\"",
        time_format(clock_wall(clock_system()), time),
        level_names[level],
        event);
    if (name != NULL) {
        buf_printf(&line, ",\"component\":\"%s\"", name);
    }
    bool whole = true;
    for (size_t i = 0; i < count && whole; i++) {
        whole = append_whole_field(&line, &fields[i]);
    }
    buf_append_str(&line, whole ? STR("}\n") : STR(",\"cut\":true}\n"));
    if (buf_ok(&line)) {
        /* One write, so that lines of several threads do not mix; a broken pipe loses the line. */
        ssize_t written = write(STDERR_FILENO, line.data, line.len);
        (void)written;
    }
}
