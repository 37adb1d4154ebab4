#include "cmd/cli/term/yaml.h"

#include "common/base/cleanup.h"

/*
 * One pass over the tokens with a stack of open containers, no tree. Where a value starts depends
 * on its parent: after "key:" a scalar follows on the same line and a container on the next one;
 * after
 * "- " both start on the same line, so the first key of a mapping in a sequence shares the dash's
 * line.
 */
struct level {
    bool is_object;
    unsigned indent; /* columns before its keys or dashes */
    bool empty;      /* nothing written yet */
};

struct emitter {
    struct str_view rest;
    struct buf *buf;
    struct level levels[YAML_DEPTH_MAX];
    size_t depth;
    bool inline_first; /* the next key or dash continues the current line */
};

static enum err_code broken(struct err_info *err)
{
    return ERR_SET(err, ERR_CORRUPT, "the JSON to be shown as YAML is malformed");
}

static void skip(struct emitter *emitter, size_t bytes)
{
    emitter->rest = str_from(emitter->rest.ptr + bytes, emitter->rest.len - bytes);
}

static char peek(struct emitter *emitter)
{
    while (emitter->rest.len > 0 && emitter->rest.ptr[0] != 0
           && strchr(" \t\r\n", emitter->rest.ptr[0]) != NULL) {
        skip(emitter, 1);
    }
    return emitter->rest.len > 0 ? emitter->rest.ptr[0] : 0;
}

/* A string token with its quotes. */
static enum err_code take_string(
    struct emitter *emitter, struct str_view *ret_token, struct err_info *err)
{
    struct str_view text = emitter->rest;
    for (size_t i = 1; i < text.len; i++) {
        if (text.ptr[i] == '\\') {
            i++;
        } else if (text.ptr[i] == '"') {
            *ret_token = str_from(text.ptr, i + 1);
            skip(emitter, i + 1);
            return ERR_OK;
        }
    }
    return broken(err);
}

static bool is_word_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static bool is_plain_char(char c)
{
    return is_word_char(c) || (c >= '0' && c <= '9') || (c != 0 && strchr("-./ ", c) != NULL);
}

/* Words that YAML 1.1 or 1.2 readers take for something else than text. */
static bool is_reserved(struct str_view text)
{
    static const char *const WORDS[] = { "null", "true", "false", "yes", "no", "on",
                                         "off",  "y",    "n",     "nan", "inf" };
    for (size_t i = 0; i < ARRAY_LENGTH(WORDS); i++) {
        if (str_equal_fold(text, str_of(WORDS[i]))) {
            return true;
        }
    }
    return false;
}

/*
 * Text goes unquoted only when no reader could take it for anything else: it starts with a letter
 * and holds letters, digits and a few harmless marks. Everything else keeps its JSON quotes and
 * escapes, which YAML's double-quoted style reads the same way.
 */
static void put_string(struct str_view token, struct buf *buf)
{
    struct str_view text = str_from(token.ptr + 1, token.len - 2);
    bool plain = text.len > 0 && text.len < 200 && is_word_char(text.ptr[0])
        && text.ptr[text.len - 1] != ' ' && !is_reserved(text);
    for (size_t i = 0; plain && i < text.len; i++) {
        plain = is_plain_char(text.ptr[i]);
    }
    buf_append_str(buf, plain ? text : token);
}

static void put_line_start(struct emitter *emitter, unsigned indent)
{
    if (emitter->inline_first) {
        emitter->inline_first = false;
        return;
    }
    if (emitter->buf->len > 0 && emitter->buf->data[emitter->buf->len - 1] != '\n') {
        buf_append_char(emitter->buf, '\n');
    }
    buf_printf(emitter->buf, "%*s", (int)indent, "");
}

/* What stands before a value: nothing at the top, a dash in a sequence, a space after a key. */
static void put_value_start(struct emitter *emitter, bool container, bool empty)
{
    if (emitter->depth == 0) {
        emitter->inline_first = container && !empty;
        return;
    }
    struct level *parent = &emitter->levels[emitter->depth - 1];
    if (!parent->is_object) {
        put_line_start(emitter, parent->indent);
        buf_append_str(emitter->buf, STR("- "));
        emitter->inline_first = container && !empty;
    } else if (!container || empty) {
        buf_append_char(emitter->buf, ' ');
    }
}

static enum err_code open_container(struct emitter *emitter, bool is_object, struct err_info *err)
{
    skip(emitter, 1);
    bool empty = peek(emitter) == (is_object ? '}' : ']');
    put_value_start(emitter, true, empty);
    if (empty) {
        buf_append_str(emitter->buf, is_object ? STR("{}") : STR("[]"));
    }
    if (emitter->depth == YAML_DEPTH_MAX) {
        return ERR_SET(err, ERR_LIMIT, "more than %d levels", YAML_DEPTH_MAX);
    }
    unsigned indent = emitter->depth == 0 ? 0 : emitter->levels[emitter->depth - 1].indent + 2;
    emitter->levels[emitter->depth++] =
        (struct level){ .is_object = is_object, .indent = indent, .empty = true };
    return ERR_OK;
}

static enum err_code put_scalar(struct emitter *emitter, struct err_info *err)
{
    put_value_start(emitter, false, false);
    if (peek(emitter) == '"') {
        struct str_view token = STR_NONE;
        TRY(take_string(emitter, &token, err));
        put_string(token, emitter->buf);
        return ERR_OK;
    }
    size_t length = 0;
    while (length < emitter->rest.len
           && (is_plain_char(emitter->rest.ptr[length]) || emitter->rest.ptr[length] == '+')
           && emitter->rest.ptr[length] != ' ') {
        length++;
    }
    if (length == 0) {
        return broken(err);
    }
    buf_append(emitter->buf, emitter->rest.ptr, length);
    skip(emitter, length);
    return ERR_OK;
}

static enum err_code put_key(struct emitter *emitter, struct err_info *err)
{
    struct str_view token = STR_NONE;
    if (peek(emitter) != '"') {
        return broken(err);
    }
    TRY(take_string(emitter, &token, err));
    put_line_start(emitter, emitter->levels[emitter->depth - 1].indent);
    put_string(token, emitter->buf);
    buf_append_char(emitter->buf, ':');
    if (peek(emitter) != ':') {
        return broken(err);
    }
    skip(emitter, 1);
    return ERR_OK;
}

static enum err_code put_value(struct emitter *emitter, struct err_info *err)
{
    char c = peek(emitter);
    if (c == '{' || c == '[') {
        return open_container(emitter, c == '{', err);
    }
    return put_scalar(emitter, err);
}

/* The next member of the innermost container, or its end. */
static enum err_code step(struct emitter *emitter, struct err_info *err)
{
    struct level *level = &emitter->levels[emitter->depth - 1];
    if (peek(emitter) == (level->is_object ? '}' : ']')) {
        skip(emitter, 1);
        emitter->depth--;
        return ERR_OK;
    }
    if (!level->empty) {
        if (peek(emitter) != ',') {
            return broken(err);
        }
        skip(emitter, 1);
    }
    level->empty = false;
    if (level->is_object) {
        TRY(put_key(emitter, err));
    }
    return put_value(emitter, err);
}

enum err_code yaml_from_json(struct str_view json, struct buf *buf, struct err_info *err)
{
    AUTO_BUF struct buf text = BUF_INIT(buf->cap);
    struct emitter emitter = { .rest = json, .buf = &text };
    TRY(put_value(&emitter, err));
    while (emitter.depth > 0) {
        TRY(step(&emitter, err));
    }
    if (peek(&emitter) != 0 || emitter.rest.len > 0) {
        return broken(err);
    }
    buf_append_char(&text, '\n');
    buf_append_str(buf, buf_view(&text));
    if (!buf_ok(&text) || !buf_ok(buf)) {
        return ERR_SET(err, ERR_LIMIT, "the answer is larger than %zu bytes as YAML", buf->cap);
    }
    return ERR_OK;
}
