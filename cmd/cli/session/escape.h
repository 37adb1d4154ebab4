/*
 * What is typed, before it goes to the program: "~." at the start of a line ends the session, "~?"
 * shows what there is, "~~" is one "~". Anything else after "~" goes on as it was typed. Pure.
 */
#ifndef CMD_CLI_SESSION_ESCAPE_H
#define CMD_CLI_SESSION_ESCAPE_H

#include "common/base/buf.h"

enum escape_action {
    ESCAPE_NONE,
    ESCAPE_END,
    ESCAPE_HELP
};

struct escape {
    bool is_inside_line; /* zero: at its start */
    bool has_tilde;      /* one is held back */
};

/*
 * Appends to out what the program gets of typed. Stops after an escape: the action tells which, and
 * what follows it is left in *typed for the next call.
 */
enum escape_action escape_filter(struct escape *escape, struct str_view *typed, struct buf *out);

#endif
