#include "cmd/server/domain/selector.h"

enum {
    TERMS_MAX = 32,
    VALUES_MAX = 32
};

struct term {
    enum {
        TERM_EXISTS,
        TERM_ABSENT,
        TERM_IN,
        TERM_NOT_IN
    } kind;
    struct str_view key;
    struct str_view values[VALUES_MAX];
    size_t value_count;
};

struct selector {
    struct term *terms;
    size_t count;
};

struct parser {
    struct str_view whole;
    struct str_view rest;
    struct err_info *err;
};

static enum err_code fail(const struct parser *parser, const char *what)
{
    return ERR_SET(
        parser->err,
        ERR_INVALID,
        "label_selector: %s at character %zu of \"%.*s\"",
        what,
        parser->whole.len - parser->rest.len + 1,
        (int)(parser->whole.len > 128 ? 128 : parser->whole.len),
        parser->whole.ptr);
}

static void skip_blanks(struct parser *parser)
{
    while (parser->rest.len > 0 && parser->rest.ptr[0] == ' ') {
        parser->rest.ptr++;
        parser->rest.len--;
    }
}

static bool take(struct parser *parser, struct str_view token)
{
    skip_blanks(parser);
    if (!str_has_prefix(parser->rest, token)) {
        return false;
    }
    parser->rest.ptr += token.len;
    parser->rest.len -= token.len;
    return true;
}

static bool is_word_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-'
        || c == '_' || c == '.' || c == '/';
}

static struct str_view take_word(struct parser *parser)
{
    skip_blanks(parser);
    size_t len = 0;
    while (len < parser->rest.len && is_word_char(parser->rest.ptr[len])) {
        len++;
    }
    struct str_view word = str_from(parser->rest.ptr, len);
    parser->rest.ptr += len;
    parser->rest.len -= len;
    return word;
}

/* The word `in` or `notin` followed by something that is not part of a word. */
static bool take_keyword(struct parser *parser, struct str_view keyword)
{
    struct str_view before = parser->rest;
    if (take(parser, keyword) && (parser->rest.len == 0 || !is_word_char(parser->rest.ptr[0]))) {
        return true;
    }
    parser->rest = before;
    return false;
}

static enum err_code parse_set(struct parser *parser, struct term *term)
{
    if (!take(parser, STR("("))) {
        return fail(parser, "\"(\" expected");
    }
    do {
        if (term->value_count == VALUES_MAX) {
            return fail(parser, "more than 32 values");
        }
        term->values[term->value_count++] = take_word(parser);
    } while (take(parser, STR(",")));
    return take(parser, STR(")")) ? ERR_OK : fail(parser, "\")\" expected");
}

static enum err_code parse_value(struct parser *parser, struct term *term)
{
    term->values[0] = take_word(parser);
    term->value_count = 1;
    return ERR_OK;
}

static enum err_code parse_term(struct parser *parser, struct term *term)
{
    bool absent = take(parser, STR("!"));
    term->key = take_word(parser);
    if (term->key.len == 0) {
        return fail(parser, "a label key expected");
    }
    term->kind = absent ? TERM_ABSENT : TERM_EXISTS;
    if (absent) {
        return ERR_OK;
    }
    if (take(parser, STR("!="))) {
        term->kind = TERM_NOT_IN;
        return parse_value(parser, term);
    }
    if (take(parser, STR("==")) || take(parser, STR("="))) {
        term->kind = TERM_IN;
        return parse_value(parser, term);
    }
    if (take_keyword(parser, STR("in"))) {
        term->kind = TERM_IN;
        return parse_set(parser, term);
    }
    if (take_keyword(parser, STR("notin"))) {
        term->kind = TERM_NOT_IN;
        return parse_set(parser, term);
    }
    return ERR_OK;
}

enum err_code selector_parse(
    struct str_view text, struct arena *arena, struct selector **ret_selector, struct err_info *err)
{
    struct parser parser = { text, text, err };
    struct selector *selector = arena_alloc(arena, sizeof(*selector));
    struct term *terms = arena_alloc(arena, TERMS_MAX * sizeof(*terms));
    if (selector == NULL || terms == NULL) {
        return ERR_SET(err, ERR_NOMEM, "out of memory");
    }
    selector->terms = terms;
    skip_blanks(&parser);
    while (parser.rest.len > 0) {
        if (selector->count == TERMS_MAX) {
            return fail(&parser, "more than 32 terms");
        }
        TRY(parse_term(&parser, &terms[selector->count++]));
        skip_blanks(&parser);
        if (parser.rest.len > 0 && !take(&parser, STR(","))) {
            return fail(&parser, "\",\" expected");
        }
    }
    *ret_selector = selector;
    return ERR_OK;
}

static bool has_value(const struct term *term, struct str_view value)
{
    for (size_t i = 0; i < term->value_count; i++) {
        if (str_equal(term->values[i], value)) {
            return true;
        }
    }
    return false;
}

static bool term_matches(const struct term *term, struct str_view value)
{
    switch (term->kind) {
    case TERM_EXISTS:
        return value.ptr != NULL;
    case TERM_ABSENT:
        return value.ptr == NULL;
    case TERM_IN:
        return value.ptr != NULL && has_value(term, value);
    case TERM_NOT_IN:
        return value.ptr == NULL || !has_value(term, value);
    }
    return false;
}

bool selector_matches(
    const struct selector *selector, selector_lookup_fn lookup, const void *labels)
{
    for (size_t i = 0; i < selector->count; i++) {
        if (!term_matches(&selector->terms[i], lookup(labels, selector->terms[i].key))) {
            return false;
        }
    }
    return true;
}
