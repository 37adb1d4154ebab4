/* A frame of a relay as it is queued, and its form on the wire of RelayStream. Pure. */
#ifndef SERVER_RELAY_FRAME_H
#define SERVER_RELAY_FRAME_H

#include "common/base/str.h"

#include "proto/agentgateway/v1/agentgateway.pb-c.h"

enum relay_kind {
    RELAY_DATA,   /* bytes; from the agent: standard output */
    RELAY_ERRORS, /* bytes of standard error */
    RELAY_RESIZE, /* a: columns, b: rows */
    RELAY_END,    /* no more bytes from that side */
    RELAY_EXIT,   /* a: exit code */
    RELAY_FAILURE /* bytes: what to tell; a: AckCode */
};

struct relay_frame {
    enum relay_kind kind;
    int64_t a;
    int64_t b;
    struct str_view bytes;
};

enum relay_side {
    RELAY_OPERATOR,
    RELAY_AGENT
};

/* A message and what it points to; not to be copied. */
struct relay_wire {
    Agentgateway__V1__RelayFrame frame;
    Agentgateway__V1__RelayResize resize;
    Agentgateway__V1__RelayEnd end;
    Agentgateway__V1__RelayExit exit;
    Agentgateway__V1__RelayFailure failure;
};

/* frame->bytes of a failure must end with a NUL (those of relay_peek do). */
void relay_wire_fill(struct relay_wire *wire, const struct relay_frame *frame);

/* Borrows the message's bytes. false: not what this side sends. */
bool relay_frame_read(
    const Agentgateway__V1__RelayFrame *message,
    enum relay_side from,
    struct relay_frame *ret_frame);

#endif
