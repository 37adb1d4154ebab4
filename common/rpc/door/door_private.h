/*
 * Inside of the door: door.c (life, table, timers), door_listen.c (addresses, listeners,
 * accepting), door_source.c (limits per source), door_arrival.c (a proxy's header, the handshake),
 * door_conn.c (one connection: pump, end).
 *
 * A connection moves through these phases; each phase but OPEN has one fixed time limit, so that a
 * list per phase is sorted by deadline:
 *
 *     ARRIVING -> QUIET -> OPEN -> FLUSHING -> LINGERING -> DEAD
 *     (a proxy's  (handed over,   (the library (all sent,   (freed after
 *      header,     no request)     has closed)  client is    the batch)
 *      TLS,                                     to read it)
 *      preface)
 *
 * OPEN connections are looked at now and then: without calls for too long they are asked to go.
 * Until a credential of it was accepted a connection is a stranger's (rpc_peer_state), and what it
 * sends is read at a limited rate, of which each call takes a fixed price; what has to wait of what
 * was read lies in `held`. Handshakes take turns with everything else: a few per turn of
 * the loop, the others wait in door.handshakes. Before that, those of one source that have not
 * shown a credential yet wait for each other: a few hundred may be under way, the next ones begin
 * when one of them is accepted, or when time has taken some off the count. So a crowd that holds
 * credentials passes as fast as it is accepted, and a crowd without at a trickle.
 *
 * from any of them to DEAD when the socket fails or what waits for the client is not read in time,
 * and to FLUSHING when the guard refuses.
 * Everything but the table, the listeners' TLS contexts and the counters belongs to the door's
 * thread.
 */
#ifndef COMMON_RPC_DOOR_DOOR_PRIVATE_H
#define COMMON_RPC_DOOR_DOOR_PRIVATE_H

#include "common/base/list.h"
#include "common/base/map.h"
#include "common/rpc/door/door.h"
#include "common/rpc/door/guard.h"
#include "common/rpc/door/spill.h"
#include "common/rpc/door/tls.h"
#include "common/sys/lock.h"
#include "common/sys/loop.h"
#include "common/sys/thread.h"

#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/un.h>

enum {
    DOOR_CHUNK_BYTES = 64 * 1024, /* read at once, and the most that waits for one side */
    DOOR_NAME_BYTES = 64,
};

enum conn_phase {
    CONN_ARRIVING,
    CONN_QUIET,
    CONN_OPEN,
    CONN_FLUSHING,
    CONN_LINGERING,
    CONN_DEAD,
    CONN_PHASE_COUNT
};

/* Connections and accepts of one address (IPv6: one /64). */
struct source {
    unsigned open;
    unsigned recent; /* accepted since window_start */
    struct mono_us window_start;
    double strangers;      /* that shook hands, are not accepted, and are not forgotten yet */
    struct mono_us leaked; /* of strangers, by time */
    struct list waiting;   /* conn.ready of those that may not shake hands yet */
    struct list link;      /* in door.waiting_sources while some wait */
    uint8_t key[16];
};

struct listener {
    struct list link; /* in door.listeners */
    struct door *door;
    char name[DOOR_NAME_BYTES];
    enum rpc_peer_kind kind;
    int fd;
    struct loop_watch *watch;
    struct loop_timer *retry;
    struct mono_us warned;           /* of a shortage, at most once a second */
    struct tls_context *tls;         /* guarded by door.lock */
    struct sockaddr_un unix_address; /* of kind UNIX, with the file's identity */
    dev_t unix_device;
    ino_t unix_inode;
};

struct conn {
    struct list link;   /* in door.phases[phase] */
    struct list ready;  /* in door.ready when it must go on without an event, in source.waiting and
                           door.handshakes before its turn, in door.throttled while it may not be
                           read */
    struct list unread; /* in door.unread while `down` holds bytes */
    struct mono_us unread_deadline;
    struct door *door;
    enum conn_phase phase;
    struct mono_us deadline;
    struct rpc_peer *peer;
    struct source *source; /* NULL: exempt */
    struct tls_session *tls;
    struct guard guard;
    int outer;  /* the client's socket */
    int inner;  /* our half of the pair; -1 before the preface and after the end */
    int number; /* of the library's half, in the table; -1: none */
    struct loop_watch *outer_watch;
    struct loop_watch *inner_watch;
    uint32_t outer_events; /* asked for at present */
    uint32_t inner_events;
    struct spill held;       /* a stranger's, read and not yet passed by the guard */
    struct spill up;         /* client to library */
    struct spill down;       /* library to client */
    struct mono_us active;   /* OPEN: when it was last seen with a call */
    uint64_t opened_seen;    /* streams until then */
    struct mono_us refilled; /* of allowance */
    uint32_t allowance;      /* bytes that may be read of a stranger */
    uint32_t discarded;      /* while lingering */
    bool awaits_header;      /* a proxy's; what came of it is in `up` */
    bool shaken;             /* the handshake is over (plain: from the start) */
    bool up_ended;           /* no more is read from the client */
    bool up_shut;            /* the library was told so */
    bool read_needs_write;   /* TLS wants to write before it reads on */
    bool handshake_writes;
    bool handshake_waits; /* in source.waiting or door.handshakes */
    bool is_counted;      /* in source.strangers */
    bool is_stranger;
    bool is_throttled; /* in door.throttled */
};

struct door {
    struct door_options options;
    struct mono_us proxies_warned; /* not again before */
    struct network *trusted;       /* what options.trusted_proxies points at */
    struct loop *loop;
    struct thread thread;
    struct loop_timer *timer;
    struct mono_us timer_at; /* INT64_MAX: not armed */
    struct list phases[CONN_PHASE_COUNT];
    struct list ready;
    struct list handshakes;
    unsigned handshakes_left; /* of this turn */
    struct list throttled;
    struct loop_timer *throttle_timer;
    struct loop_timer *sweep_timer;
    struct list unread; /* sorted by deadline, as there is one time limit */
    bool is_reaping;    /* a task after the batch is posted */
    struct map *sources;
    struct mono_us sources_swept;
    struct list waiting_sources;
    struct loop_timer *waiting_timer;
    unsigned open; /* connections, the lingering ones included */
    unsigned open_max;
    uint8_t *chunk;
    struct lock lock; /* rank DOOR: listeners and their TLS, table */
    struct lock_cond stopped;
    struct list listeners;
    bool is_started;
    bool is_closed; /* no more listeners */
    bool is_flush_asked;
    bool is_flushed; /* guarded by lock */
    int number_low;  /* the library's numbers: [low, high) */
    int number_high;
    int number_next;
    struct rpc_peer **table; /* guarded by lock; [number - low] */
    atomic_uint_fast64_t accepted;
    atomic_uint_fast64_t refused;
    atomic_uint_fast64_t guard_closes;
    atomic_uint_fast64_t bytes_received;
    atomic_uint_fast64_t bytes_sent;
    atomic_uint_fast64_t open_stat;
};

/* A client's socket that passed the limits; takes fd. peer is a draft without TLS identity. */
struct door_arrival {
    int fd;
    struct tls_context *tls; /* borrowed; NULL: plain */
    const struct rpc_peer *peer;
    struct source *source;
    bool is_proxied; /* it has to say for whom it comes; no source until then */
};

void conn_start(struct door *door, const struct door_arrival *arrival);
void conn_expire(struct conn *conn); /* its phase took too long */
void conn_expire_unread(struct conn *conn);
void conn_expire_idle(struct conn *conn);
void conn_evict(struct conn *conn);
void conn_refuse(struct conn *conn, const char *reason); /* counted as refused, and ended */
void conn_read_header(struct conn *conn);                /* a proxy's */
void conn_step_handshake(struct conn *conn);
void conn_resume(struct conn *conn); /* was on the ready list */
void conn_shake(struct conn *conn);  /* it is its turn */
bool conn_may_read(struct conn *conn);
void conn_free(struct conn *conn); /* of any phase; closes everything */

void door_move(struct conn *conn, enum conn_phase phase);
void door_note_unread(struct conn *conn, bool is_unread);
void door_after_batch(struct door *door); /* asks for reaping and the ready list */
void door_throttle(struct conn *conn);    /* reads on when it may */

/* Moves fd (take) into the library's range, files peer under the number; -1: no descriptor left. */
int door_file_channel(struct door *door, int take_fd, struct rpc_peer *peer);
void door_forget_channel(struct door *door, int number, const struct rpc_peer *peer);

/* The source of this address with one more connection; NULL: over a limit. */
struct source *door_enter_source(struct door *door, const uint8_t address[NETWORK_ADDRESS_BYTES]);
void door_release_source(struct door *door, struct source *source);

/* Whether the connection may shake hands; else it waits, and goes to door.handshakes later. */
bool door_admit_stranger(struct conn *conn);
void door_vouch(
    struct conn *conn); /* it may have been accepted: then it is no stranger of its source */
void door_on_waiting(void *context); /* of waiting_timer */

/* Fills address and port. */
void door_describe_client(
    const uint8_t address[NETWORK_ADDRESS_BYTES], uint16_t port, struct rpc_peer *peer);

void listener_attach(struct listener *listener); /* on the door's thread, or before it runs */
void listener_destroy(struct listener *listener);

#endif
