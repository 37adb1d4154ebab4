#include "cmd/cli/session/escape.h"

/* The character after a "~" at the start of a line. */
static enum escape_action after_tilde(struct escape *escape, char c, struct buf *out)
{
    escape->has_tilde = false;
    if (c == '.') {
        return ESCAPE_END;
    }
    if (c == '?') {
        return ESCAPE_HELP;
    }
    buf_append_char(out, '~');
    if (c != '~') {
        buf_append_char(out, c);
    }
    escape->is_inside_line = c != '\r' && c != '\n';
    return ESCAPE_NONE;
}

enum escape_action escape_filter(struct escape *escape, struct str_view *typed, struct buf *out)
{
    enum escape_action action = ESCAPE_NONE;
    while (typed->len > 0 && action == ESCAPE_NONE) {
        char c = typed->ptr[0];
        *typed = str_from(typed->ptr + 1, typed->len - 1);
        if (escape->has_tilde) {
            action = after_tilde(escape, c, out);
        } else if (c == '~' && !escape->is_inside_line) {
            escape->has_tilde = true;
        } else {
            buf_append_char(out, c);
            escape->is_inside_line = c != '\r' && c != '\n';
        }
    }
    return action;
}
