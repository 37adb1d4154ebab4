/*
 * Text on its way to a terminal. What peers sent may hold control characters, escape sequences,
 * direction overrides or broken UTF-8: everything a terminal might act on is shown as an escape.
 * Widths are columns, by wcwidth: the caller's locale must be a UTF-8 one (text_use_utf8).
 */
#ifndef CMD_CLI_TERM_TEXT_H
#define CMD_CLI_TERM_TEXT_H

#include "common/base/buf.h"

enum text_style {
    TEXT_PLAIN,
    TEXT_BOLD,
    TEXT_DIM,
    TEXT_GOOD,
    TEXT_WARN,
    TEXT_BAD,
    TEXT_STYLE_COUNT
};

/* Sets LC_CTYPE to a UTF-8 locale, whatever the environment says. Once, in main or a test. */
void text_use_utf8(void);

/* Appends text with everything unprintable escaped: \n, \t, \x1b, \u{202e}; a newline too. */
void text_escape(struct str_view text, struct buf *buf);

/*
 * JSON or YAML of ours, where nothing but ASCII stands outside of quotes: the same value, with what
 * a terminal might act on as \u009b (beyond \uffff: a pair in JSON, \U000e0001 in YAML).
 */
void text_escape_quoted(struct str_view text, bool is_yaml, struct buf *buf);

/* Columns of text that was escaped. */
size_t text_width(struct str_view text);

/* The longest front of escaped text that fits in columns; ret_width: what it takes. */
struct str_view text_fit(struct str_view text, size_t columns, size_t *ret_width);

/* The sequence that starts a style, "" for TEXT_PLAIN; and the one that ends any. */
const char *text_style_start(enum text_style style);
const char *text_style_end(enum text_style style);

/* Text in a style when color is set. */
void text_put(struct str_view text, enum text_style style, bool color, struct buf *buf);

#endif
