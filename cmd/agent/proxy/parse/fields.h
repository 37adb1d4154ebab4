/*
 * The fields of an HTTP/1.1 message, and what they say about where its body ends. Stricter than the
 * standard asks: whatever two readers could understand in two ways (folded lines, a bare CR or LF,
 * spaces before the colon, two lengths, a length beside a coding) is refused. Pure; views borrow.
 */
#ifndef CMD_AGENT_PROXY_PARSE_FIELDS_H
#define CMD_AGENT_PROXY_PARSE_FIELDS_H

#include "common/base/buf.h"

enum {
    FIELDS_MAX = 100
};

struct field {
    struct str_view name;
    struct str_view value; /* without the spaces around it */
};

struct fields {
    struct field items[FIELDS_MAX];
    size_t count;
};

enum framing_kind {
    FRAMING_NONE,
    FRAMING_LENGTH,
    FRAMING_CHUNKED,
    FRAMING_CLOSE /* of an answer: to the end of the connection */
};

struct framing {
    enum framing_kind kind;
    uint64_t length;
};

/* One line off the front of text, which ends in CRLF; false: there is none, or a stray CR or LF. */
bool fields_cut_line(struct str_view *text, struct str_view *ret_line);

/* Lines that each end in CRLF. NULL: good; else what is wrong. */
const char *fields_parse(struct str_view lines, struct fields *ret_fields);

size_t fields_count(const struct fields *fields, struct str_view name);
struct str_view fields_find(const struct fields *fields, struct str_view name); /* the first */
/* Whether a list in the fields of this name has the word (such as "close" of Connection). */
bool fields_has_word(const struct fields *fields, struct str_view name, struct str_view word);

/* NONE where neither a length nor a coding is told. NULL: good. */
const char *fields_framing(const struct fields *fields, struct framing *ret_framing);

/* All that go on to the next hop; what is about this connection, Host and framing are left out. */
void fields_forward(const struct fields *fields, struct buf *out);
void fields_put_framing(const struct framing *framing, struct buf *out);

#endif
