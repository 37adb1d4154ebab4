/* Where a body ends, found while it passes: a length counted down, or chunks read. Pure. */
#ifndef CMD_AGENT_PROXY_PARSE_BODY_H
#define CMD_AGENT_PROXY_PARSE_BODY_H

#include "cmd/agent/proxy/parse/fields.h"

enum body_state {
    BODY_SIZE,      /* of chunks: their sizes */
    BODY_EXTENSION, /* what follows a size: of answers alone */
    BODY_SIZE_END,  /* the LF of that line */
    BODY_DATA,
    BODY_DATA_END, /* CR, then LF */
    BODY_DATA_LF,
    BODY_TRAILER, /* at the beginning of a line */
    BODY_TRAILER_LINE,
    BODY_TRAILER_LF,
    BODY_LAST_LF,
    BODY_OVER
};

struct body {
    enum framing_kind kind;
    bool lenient; /* an answer's: extensions and trailers pass */
    enum body_state state;
    uint64_t left; /* of the length, or of this chunk */
    unsigned digits;
    unsigned extra_bytes; /* of extensions and trailers so far */
};

enum body_result {
    BODY_MORE,
    BODY_DONE,
    BODY_BAD
};

void body_init(struct body *body, const struct framing *framing, bool lenient);

/* How many of these bytes are the body's; DONE: what follows them is not. */
enum body_result body_take(struct body *body, struct str_view data, size_t *ret_taken);

#endif
