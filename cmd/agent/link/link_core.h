/*
 * The link's state machine without any I/O: what to do next, given what happened.
 *
 *   DISCONNECTED --timer--> ENROLLING ----enrolled----> HANDSHAKING --session--> STREAMING
 *        |                                                  ^                      |   |
 *        +---------------timer (enrolled)-------------------+<----renewal----- DRAINING |
 *        +<-lost, failed, refused, closed (from anywhere; with a jittered, growing delay)
 *
 * A session that was accepted once outlives its streams: until it is due for renewal, what leads to
 * HANDSHAKING leads to STREAMING at once, with the token the agent has. When the server does not
 * know it any more, the handshake follows without a delay.
 *
 * An event that a state does not know is a fault of the server (or ours): ERR_PRECONDITION, nothing
 * changed; the caller answers with LINK_EVENT_FAILED. Pure: time and randomness come in with the
 * event.
 */
#ifndef CMD_AGENT_LINK_LINK_CORE_H
#define CMD_AGENT_LINK_LINK_CORE_H

#include "common/base/sm.h"

enum link_state {
    LINK_DISCONNECTED,
    LINK_ENROLLING,
    LINK_HANDSHAKING,
    LINK_STREAMING,
    LINK_DRAINING,
    LINK_STATE_COUNT
};

enum link_event_type {
    LINK_EVENT_START,     /* once, first */
    LINK_EVENT_TIMER,     /* link_core_deadline has come */
    LINK_EVENT_PENDING,   /* Register: ask again after delay_us */
    LINK_EVENT_ENROLLED,  /* Register: confirmed, everything is stored */
    LINK_EVENT_CHALLENGE, /* Begin: a challenge with our tag */
    LINK_EVENT_SESSION,   /* Complete: heartbeat_us */
    LINK_EVENT_ACCEPTED,  /* on the control stream: heartbeat_us, and lifetime_us of the session */
    LINK_EVENT_ALIVE,     /* anything else on the control stream */
    LINK_EVENT_HEARTBEAT, /* answered: heartbeat_us */
    LINK_EVENT_DRAIN,     /* goaway or a drain command: come back after delay_us */
    LINK_EVENT_CLOSED,    /* every stream has ended; the session may still stand */
    LINK_EVENT_LOST,      /* there is no way to the server; the session may still stand */
    LINK_EVENT_FAILED,    /* a call or stream failed; the session is of no use any more */
    LINK_EVENT_REFUSED,   /* our credentials are not accepted */
    LINK_EVENT_STOP,
    LINK_EVENT_TYPE_COUNT
};

struct link_event {
    enum link_event_type type;
    int64_t delay_us;
    int64_t heartbeat_us; /* 0: unchanged */
    int64_t lifetime_us;  /* 0: unknown */
    bool renews;          /* drain: a handshake follows, whatever the session is good for */
    uint64_t random;      /* uniform, for jitter */
};

enum link_action {
    LINK_DO_REGISTER = 1,
    LINK_DO_BEGIN = 2,
    LINK_DO_COMPLETE = 4,
    LINK_DO_OPEN = 8,    /* the control stream, with hello; over a new channel if there is none */
    LINK_DO_UPLOAD = 16, /* the session is live: acks, uploads */
    LINK_DO_HEARTBEAT = 32,
    LINK_DO_HALF_CLOSE = 64, /* end the streams gently, then say CLOSED */
    LINK_DO_DISCARD = 128,   /* drop streams and channel; late answers are stale. The session's
                                token is kept until LINK_DO_BEGIN */
    LINK_DO_STOPPED = 256,   /* the end: nothing follows */
    LINK_DO_RELEASE = 512    /* as DISCARD, but the channel stays, and with it the relays */
};

struct link_core {
    struct sm sm;
    bool is_enrolled;
    bool is_started;
    bool is_stopping;
    bool is_accepted;    /* on this stream */
    bool keeps_relays;   /* draining for a renewal alone: what follows goes over the same channel */
    bool is_resuming;    /* this stream came without a handshake and is not accepted yet */
    unsigned unaccepted; /* streams in a row that came so and were reached, but not accepted */
    unsigned failures;   /* in a row */
    int64_t heartbeat_us;
    int64_t resume_after_us;      /* after draining */
    struct mono_us session_until; /* what was accepted is good without a handshake; 0: nothing */
    struct mono_us wake_at;       /* end of a delay or of a state's patience */
    struct mono_us heartbeat_at;
    struct mono_us renew_at;
    struct mono_us liveness_at;
};

/* LINK_DRAIN_US is what relays have to end by themselves where the channel goes. The agent takes no
 * commands meanwhile: its control stream is half closed. At a renewal they outlive the session that
 * they were opened with: the agent is the same, and one that may come no more is refused by the
 * handshake, which discards the channel. */
#define LINK_BACKOFF_MIN_US   US_PER_SECOND
#define LINK_BACKOFF_MAX_US   (60 * US_PER_SECOND)
#define LINK_PATIENCE_US      (20 * US_PER_SECOND) /* for one answer */
#define LINK_UNACCEPTED_MAX   3                    /* then a handshake is tried again */
#define LINK_DRAIN_US         (5 * US_PER_SECOND)
#define LINK_LIVENESS_US      (90 * US_PER_SECOND) /* accepted repeats every 30 s */
#define LINK_HEARTBEAT_US     (15 * US_PER_SECOND) /* until the server says otherwise */
#define LINK_HEARTBEAT_MIN_US US_PER_SECOND
#define LINK_HEARTBEAT_MAX_US US_PER_HOUR
#define LINK_DELAY_MAX_US     US_PER_HOUR

void link_core_init(struct link_core *core, bool is_enrolled, struct mono_us now);

/* One step: the state moves, ret_actions is a mask of enum link_action. */
enum err_code link_step(
    struct link_core *core,
    const struct link_event *event,
    struct mono_us now,
    unsigned *ret_actions) MUST_CHECK;

/* When LINK_EVENT_TIMER is due; INT64_MAX: never. */
struct mono_us link_core_deadline(const struct link_core *core);

enum link_state link_core_state(const struct link_core *core);
/* What the end of the control stream means. */
enum link_event_type link_event_of_end(enum err_code code);
const char *link_event_name(enum link_event_type event);

#endif
