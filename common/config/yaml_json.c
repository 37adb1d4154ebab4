#include "common/config/yaml_json.h"

#include "common/base/cleanup.h"
#include "common/base/map.h"

#include <yaml.h>

enum {
    DEPTH_MAX = 32,
    SHOWN_BYTES = 60
};

/* An open mapping or sequence. */
struct level {
    bool is_mapping;
    bool awaits_value; /* of a mapping: its key was read */
    size_t count;
    struct map *keys;
};

struct reader {
    const char *name;
    yaml_parser_t parser;
    struct level levels[DEPTH_MAX];
    size_t depth;
    struct buf *out;
    struct err_info *err;
};

static enum err_code fail_at(struct reader *reader, yaml_mark_t mark, const char *what)
{
    return ERR_SET(
        reader->err,
        ERR_INVALID,
        "%s:%zu:%zu: %s",
        reader->name,
        mark.line + 1,
        mark.column + 1,
        what);
}

static enum err_code next(struct reader *reader, yaml_event_t *event)
{
    if (yaml_parser_parse(&reader->parser, event) != 0) {
        return ERR_OK;
    }
    const yaml_parser_t *parser = &reader->parser;
    yaml_mark_t mark = parser->error == YAML_READER_ERROR ? parser->mark : parser->problem_mark;
    return fail_at(reader, mark, parser->problem == NULL ? "not YAML" : parser->problem);
}

/* ---- scalars ---- */

static bool skip_digits(const char **text, const char *end)
{
    const char *start = *text;
    while (*text < end && **text >= '0' && **text <= '9') {
        (*text)++;
    }
    return *text > start;
}

/* -?(0|[1-9][0-9]*)(.[0-9]+)?([eE][+-]?[0-9]+)? */
static bool is_json_number(struct str_view text)
{
    const char *at = text.ptr;
    const char *end = text.ptr + text.len;
    at += at < end && *at == '-';
    bool has_zero = at < end && *at == '0';
    const char *digits = at;
    if (!skip_digits(&at, end) || (has_zero && at - digits > 1)) {
        return false;
    }
    if (at < end && *at == '.' && (at++, !skip_digits(&at, end))) {
        return false;
    }
    if (at < end && (*at == 'e' || *at == 'E')) {
        at++;
        at += at < end && (*at == '+' || *at == '-');
        if (!skip_digits(&at, end)) {
            return false;
        }
    }
    return at == end;
}

static void put_scalar(struct reader *reader, const yaml_event_t *event)
{
    struct str_view text =
        str_from((const char *)event->data.scalar.value, event->data.scalar.length);
    bool is_plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    bool is_word = str_equal(text, STR("true")) || str_equal(text, STR("false"))
        || str_equal(text, STR("null"));
    if (is_plain && (text.len == 0 || str_equal(text, STR("~")))) {
        buf_append_str(reader->out, STR("null"));
    } else if (is_plain && (is_word || is_json_number(text))) {
        buf_append_str(reader->out, text);
    } else {
        buf_append_json(reader->out, text);
    }
}

static enum err_code put_key(struct reader *reader, struct level *level, const yaml_event_t *event)
{
    struct str_view key =
        str_from((const char *)event->data.scalar.value, event->data.scalar.length);
    if (map_put(level->keys, key, level) != NULL) {
        char what[SHOWN_BYTES + 32];
        int shown = key.len > SHOWN_BYTES ? SHOWN_BYTES : (int)key.len;
        (void)snprintf(what, sizeof(what), "the key \"%.*s\" comes twice", shown, key.ptr);
        return fail_at(reader, event->start_mark, what);
    }
    if (level->count++ > 0) {
        buf_append_char(reader->out, ',');
    }
    buf_append_json(reader->out, key);
    buf_append_char(reader->out, ':');
    level->awaits_value = true;
    return ERR_OK;
}

/* ---- structure ---- */

/* What stands before a value. */
static void begin_value(struct reader *reader)
{
    struct level *level = reader->depth == 0 ? NULL : &reader->levels[reader->depth - 1];
    if (level != NULL && level->is_mapping) {
        level->awaits_value = false;
    } else if (level != NULL && level->count++ > 0) {
        buf_append_char(reader->out, ',');
    }
}

static enum err_code open_level(struct reader *reader, const yaml_event_t *event)
{
    bool is_mapping = event->type == YAML_MAPPING_START_EVENT;
    if (reader->depth == DEPTH_MAX) {
        return fail_at(reader, event->start_mark, "nested too deeply");
    }
    begin_value(reader);
    reader->levels[reader->depth++] =
        (struct level){ .is_mapping = is_mapping, .keys = is_mapping ? map_create() : NULL };
    buf_append_char(reader->out, is_mapping ? '{' : '[');
    return ERR_OK;
}

static void close_level(struct reader *reader)
{
    struct level *level = &reader->levels[--reader->depth];
    buf_append_char(reader->out, level->is_mapping ? '}' : ']');
    map_destroy(level->keys, NULL);
}

static bool is_decorated(const yaml_event_t *event)
{
    switch (event->type) {
    case YAML_SCALAR_EVENT:
        return event->data.scalar.anchor != NULL || event->data.scalar.tag != NULL;
    case YAML_MAPPING_START_EVENT:
        return event->data.mapping_start.anchor != NULL || event->data.mapping_start.tag != NULL;
    case YAML_SEQUENCE_START_EVENT:
        return event->data.sequence_start.anchor != NULL || event->data.sequence_start.tag != NULL;
    default:
        return event->type == YAML_ALIAS_EVENT;
    }
}

static enum err_code take(struct reader *reader, const yaml_event_t *event)
{
    struct level *level = reader->depth == 0 ? NULL : &reader->levels[reader->depth - 1];
    bool wants_key = level != NULL && level->is_mapping && !level->awaits_value;
    if (is_decorated(event)) {
        return fail_at(
            reader, event->start_mark, "anchors, aliases (&name, *name) and tags are not allowed");
    }
    if (event->type == YAML_MAPPING_END_EVENT || event->type == YAML_SEQUENCE_END_EVENT) {
        close_level(reader);
        return ERR_OK;
    }
    if (event->type == YAML_SCALAR_EVENT) {
        if (wants_key) {
            return put_key(reader, level, event);
        }
        begin_value(reader);
        put_scalar(reader, event);
        return ERR_OK;
    }
    return wants_key ? fail_at(reader, event->start_mark, "a key must be a word")
                     : open_level(reader, event);
}

/* Events of the stream and the document around the value. */
static bool is_frame(const yaml_event_t *event)
{
    return event->type == YAML_STREAM_START_EVENT || event->type == YAML_DOCUMENT_START_EVENT
        || event->type == YAML_DOCUMENT_END_EVENT || event->type == YAML_NO_EVENT;
}

static enum err_code read_all(struct reader *reader)
{
    size_t documents = 0;
    for (bool is_over = false; !is_over;) {
        yaml_event_t event = { .type = YAML_NO_EVENT };
        enum err_code code = next(reader, &event);
        documents += event.type == YAML_DOCUMENT_START_EVENT;
        if (code == ERR_OK && documents > 1) {
            code = fail_at(reader, event.start_mark, "one document only");
        }
        is_over = event.type == YAML_STREAM_END_EVENT;
        if (code == ERR_OK && !is_over && !is_frame(&event)) {
            code = take(reader, &event);
        }
        yaml_event_delete(&event);
        TRY(code);
    }
    return documents == 1 ? ERR_OK
                          : ERR_SET(reader->err, ERR_INVALID, "%s: it is empty", reader->name);
}

enum err_code yaml_to_json(
    const char *name, struct str_view text, struct buf *out, struct err_info *err)
{
    struct reader reader = { .name = name, .out = out, .err = err };
    if (yaml_parser_initialize(&reader.parser) == 0) {
        return ERR_SET(err, ERR_NOMEM, "%s: out of memory", name);
    }
    yaml_parser_set_input_string(&reader.parser, (const unsigned char *)text.ptr, text.len);
    enum err_code code = read_all(&reader);
    while (reader.depth > 0) {
        map_destroy(reader.levels[--reader.depth].keys, NULL);
    }
    yaml_parser_delete(&reader.parser);
    if (code == ERR_OK && !buf_ok(out)) {
        code = ERR_SET(err, ERR_LIMIT, "%s: it is too large", name);
    }
    return code;
}
