/*
 * The head of a request to the proxy: CONNECT host:port, or a method with an absolute http URI.
 * And the head of an answer. Pure; views borrow from the bytes that were parsed.
 */
#ifndef CMD_AGENT_PROXY_PARSE_HEAD_H
#define CMD_AGENT_PROXY_PARSE_HEAD_H

#include "cmd/agent/proxy/parse/fields.h"
#include "common/sys/host.h"

enum {
    HEAD_BYTES_MAX = 8192,         /* of a request */
    HEAD_ANSWER_BYTES_MAX = 32768, /* of an answer */
    HEAD_METHOD_BYTES_MAX = 32
};

enum head_scan {
    HEAD_MORE, /* the empty line is not there yet */
    HEAD_WHOLE,
    HEAD_BAD /* no HTTP/1: an octet or a line end that cannot be */
};

/*
 * Looks for the end of a head in the first `bytes` bytes, of which *scanned were looked at by an
 * earlier call (0 at first). WHOLE: *scanned is the length of the head with its empty line.
 */
enum head_scan head_scan(const char *data, size_t bytes, size_t *scanned);

struct head {
    struct str_view method;
    bool is_tunnel; /* CONNECT */
    unsigned minor; /* HTTP/1.0 or 1.1 */
    struct host host;
    unsigned port;
    struct str_view target; /* path and query, at least "/"; of CONNECT: nothing */
    struct str_view path;   /* of it, without the query */
    struct framing body;
    bool close; /* the client wants no further request on this connection */
    struct fields fields;
};

struct head_fault {
    unsigned status;
    const char *why;
};

/* The whole head, its empty line included. false: ret_fault says what to answer. */
bool head_parse(struct str_view text, struct head *ret_head, struct head_fault *ret_fault);

/* The same request for the server itself, to be its only one on the connection. */
void head_forward(const struct head *head, struct buf *out);

struct head_answer {
    unsigned status;
    unsigned minor;
    struct str_view reason;
    struct framing body; /* as told, even where none follows */
    bool bodiless;       /* to a HEAD, or by its status */
    struct fields fields;
};

/* to_head: the request was a HEAD. NULL: good; else what is wrong with it. */
const char *head_answer_parse(struct str_view text, bool to_head, struct head_answer *ret_answer);
/* close: the client is told that the connection ends after it. */
void head_answer_forward(const struct head_answer *answer, bool close, struct buf *out);

#endif
