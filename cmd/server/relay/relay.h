/*
 * Relays: an operator's stream and an agent's stream joined frame by frame, with flow control end
 * to end. A relay is asked for by a row (so that whichever replica holds the agent's control stream
 * can tell the agent), lives in the registry of the replica that has the operator's stream, and
 * ends with either of its sides. An agent that comes to another replica is led there by a link
 * (link.h), which is the operator's side where the agent is.
 *
 * Each side is a stream with events of its own. What one brings is queued for the other, which is
 * woken to take it; a side whose other end does not take stops reading. Thread-safe.
 */
#ifndef SERVER_RELAY_RELAY_H
#define SERVER_RELAY_RELAY_H

#include "cmd/server/auth/principal.h"
#include "cmd/server/core/work.h"
#include "cmd/server/relay/frame.h"
#include "common/rpc/call.h"

struct relays;
struct relay;

enum {
    RELAY_QUEUE_BYTES = 256 * 1024, /* of memory each way; one message more may stand in it */
    RELAY_PER_TOKEN = 3,
    RELAY_PER_SANDBOX = 20 /* forwards */
};

#define RELAY_OPEN_US  (INT64_C(10) * US_PER_SECOND) /* the agent comes within this time */
#define RELAY_RENEW_US (INT64_C(20) * US_PER_SECOND) /* a forward counts for so long */

struct relays *relays_create(void);
void relays_destroy(struct relays *relays); /* after every stream is gone */

struct relay_wish {
    int64_t workspace_id;
    const char *sandbox_id;
    Agentgateway__V1__ControlRelayOpen *target; /* with exec or tcp set; the rest is filled in */
    const uint8_t *token_hash;                  /* of a forward's token; NULL: an exec */
};

/*
 * From the operator's stream: checks that the sandbox is the workspace's and READY, stores the row
 * with its audit record, and wakes the agent. Blocks on the database. ERR_NOT_FOUND,
 * ERR_PRECONDITION (phase), ERR_LIMIT (forwards: with one token, to one sandbox).
 */
enum err_code relay_open(
    struct relays *relays,
    struct rpc_stream *stream,
    const struct relay_wish *wish,
    struct arena *arena,
    struct relay **ret_relay,
    struct err_info *err) MUST_CHECK;

/*
 * From the operator's stream: a forward counts among those of its token and its sandbox, which all
 * servers know, from relay_open on; to be renewed within RELAY_RENEW_US, and forgotten once at its
 * end, before the operator is told of it.
 * Both block on the database; of an exec nothing is counted. ERR_DENIED: the agent was evicted or
 * revoked, the token was revoked, or its time is over; any other failure only means that the
 * forward counts for less long.
 */
enum err_code relay_renew(struct relay *relay, struct worker *worker, struct err_info *err)
    MUST_CHECK;
void relay_forget(struct relay *relay, struct worker *worker);

/* From the agent's stream, by its first frame. ERR_NOT_FOUND: no such relay of this agent here, or
 * its time is over; ERR_CONFLICT: the agent has come already. */
enum err_code relay_join(
    struct relays *relays,
    struct str_view id,
    int64_t agent_id,
    struct rpc_stream *stream,
    struct relay **ret_relay,
    struct err_info *err) MUST_CHECK;

/* The operator's side where the operator is elsewhere: woken as a stream is, from any thread and
 * under a lock; released with the relay. */
struct relay_end {
    void (*wake)(void *context);
    void (*release)(void *context);
    void *context;
};

/* A relay of the agent's stream with such an end, joined from the start. */
struct relay *relay_create_linked(
    struct relays *relays, struct rpc_stream *agent, const struct relay_end *operator_end);

/* Queues for the other side and wakes it; bytes are copied, and small pieces of a stream go on as
 * one. false: the queue is full now, the frame was taken all the same, and this side is to pause
 * until it is woken and relay_may_read. */
bool relay_put(struct relay *relay, enum relay_side side, const struct relay_frame *frame);
bool relay_may_read(struct relay *relay, enum relay_side side);

/* The next frame for this side, valid until relay_drop or another look, its bytes followed by a
 * NUL; false: none. The oldest, but a terminal's newest size goes before all, and replaces an
 * older. */
bool relay_peek(struct relay *relay, enum relay_side side, struct relay_frame *ret_frame);
void relay_drop(struct relay *relay, enum relay_side side);

/* Whether the other side has come, and whether it has gone again. */
bool relay_is_joined(struct relay *relay);
bool relay_is_left(struct relay *relay, enum relay_side side);

/* This side is closed: the other is woken. Frees the relay when both are. */
void relay_leave(struct relay *relay, enum relay_side side);

#endif
