#include "common/base/cleanup.h"
#include "common/base/log.h"
#include "common/rpc/door/door_private.h"
#include "common/sys/fd.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

enum {
    READS_PER_TURN = 4,           /* chunks from the library before others get their turn */
    DISCARD_BYTES_MAX = 4 << 20,  /* while lingering */
    ALLOWANCE_LEAST_BYTES = 2048, /* below it a stranger's bytes are left to gather */
    STRANGER_CHUNK_BYTES = 8192,  /* read at once: what may have to be held */
};

/* How a read from the client's socket ended; some bytes may have come before. */
enum read_end {
    READ_FULL, /* the chunk is full: there may be more */
    READ_WAIT,
    READ_ENDED,
    READ_FAILED
};

static void pump_up(struct conn *conn);
static void pump_down(struct conn *conn);

/* ---- Ends ---- */

static bool is_dead(const struct conn *conn)
{
    return conn->phase == CONN_DEAD;
}

/* The library sees the end of its stream; its record is found no more. */
static void close_inner(struct conn *conn)
{
    loop_watch_remove(conn->inner_watch);
    conn->inner_watch = NULL;
    fd_close(&conn->inner);
    if (conn->number >= 0) {
        door_forget_channel(conn->door, conn->number, conn->peer);
        conn->number = -1;
    }
}

/* At once, whatever waits; the memory goes after the batch. */
static void end(struct conn *conn)
{
    if (is_dead(conn)) {
        return;
    }
    close_inner(conn);
    loop_watch_remove(conn->outer_watch);
    conn->outer_watch = NULL;
    tls_session_destroy(conn->tls);
    conn->tls = NULL;
    fd_close(&conn->outer);
    list_remove(&conn->ready);
    door_note_unread(conn, false);
    door_vouch(conn);
    door_release_source(conn->door, conn->source);
    conn->source = NULL;
    conn->door->open--;
    (void)atomic_fetch_sub(&conn->door->open_stat, 1);
    door_move(conn, CONN_DEAD);
    door_after_batch(conn->door);
}

void conn_free(struct conn *conn)
{
    end(conn);
    list_remove(&conn->link);
    spill_clear(&conn->held);
    spill_clear(&conn->up);
    spill_clear(&conn->down);
    rpc_peer_unref(conn->peer);
    mem_free(conn);
}

void conn_refuse(struct conn *conn, const char *reason)
{
    log_debug(
        "connection_refused",
        LOG_STR("listener", conn->peer->listener),
        LOG_STR("address", conn->peer->address),
        LOG_STR("reason", reason));
    (void)atomic_fetch_add(&conn->door->refused, 1);
    end(conn);
}

/*
 * Everything for the client was written: says so, and waits for its end, since a socket closed with
 * unread bytes would be reset and take what is on its way with it.
 */
static void start_lingering(struct conn *conn)
{
    close_inner(conn);
    spill_clear(&conn->up);
    if (conn->tls != NULL) {
        tls_session_close(conn->tls);
    }
    if (shutdown(conn->outer, SHUT_WR) != 0) {
        end(conn);
        return;
    }
    conn->up_ended = true;
    door_move(conn, CONN_LINGERING);
}

static void start_flushing(struct conn *conn)
{
    if (conn->phase == CONN_FLUSHING || conn->phase == CONN_LINGERING || is_dead(conn)) {
        return;
    }
    conn->up_ended = true;
    spill_clear(&conn->held);
    spill_clear(&conn->up);
    door_move(conn, CONN_FLUSHING);
}

/* Tells the client why (where a frame may stand) and closes; the library's side ends at once. */
static void say_goodbye(struct conn *conn, enum guard_error error)
{
    bool can_say = conn->shaken && guard_is_down_boundary(&conn->guard);
    close_inner(conn);
    start_flushing(conn);
    if (can_say) {
        uint8_t frames[GUARD_GOAWAY_FRAME_BYTES];
        size_t bytes = guard_format_goaway(&conn->guard, error, frames);
        (void)spill_append(&conn->down, frames, bytes);
    }
}

static void refuse_frames(struct conn *conn, enum guard_error error, const char *reason)
{
    log_debug(
        "connection_guarded",
        LOG_STR("listener", conn->peer->listener),
        LOG_STR("address", conn->peer->address),
        LOG_STR("reason", reason));
    (void)atomic_fetch_add(&conn->door->refused, 1);
    (void)atomic_fetch_add(&conn->door->guard_closes, 1);
    say_goodbye(conn, error);
}

/* ---- The client's socket ---- */

static enum read_end read_plain(struct conn *conn, uint8_t *data, size_t bytes, size_t *ret_bytes)
{
    ssize_t got = recv(conn->outer, data, bytes, 0);
    if (got > 0) {
        *ret_bytes = (size_t)got;
        return READ_WAIT; /* epoll tells when there is more */
    }
    if (got == 0) {
        return READ_ENDED;
    }
    return errno == EAGAIN || errno == EINTR ? READ_WAIT : READ_FAILED;
}

static enum read_end read_tls(struct conn *conn, uint8_t *data, size_t bytes, size_t *ret_bytes)
{
    while (*ret_bytes < bytes) {
        size_t got = 0;
        enum tls_result result =
            tls_session_read(conn->tls, data + *ret_bytes, bytes - *ret_bytes, &got);
        switch (result) {
        case TLS_DONE:
            *ret_bytes += got;
            break;
        case TLS_WANT_READ:
            return READ_WAIT;
        case TLS_WANT_WRITE:
            conn->read_needs_write = true;
            return READ_WAIT;
        case TLS_CLOSED:
            return READ_ENDED;
        case TLS_FAILED:
            return READ_FAILED;
        }
    }
    return READ_FULL;
}

/* Writes what the socket takes; false: the connection is lost. */
static bool write_outer(struct conn *conn, const uint8_t *data, size_t bytes, size_t *ret_written)
{
    size_t at = 0;
    while (at < bytes) {
        size_t done = 0;
        if (conn->tls != NULL) {
            enum tls_result result = tls_session_write(conn->tls, data + at, bytes - at, &done);
            if (result == TLS_WANT_READ || result == TLS_WANT_WRITE) {
                break;
            }
            if (result != TLS_DONE) {
                return false;
            }
        } else {
            ssize_t sent = send(conn->outer, data + at, bytes - at, MSG_NOSIGNAL);
            if (sent < 0 && (errno == EAGAIN || errno == EINTR)) {
                break;
            }
            if (sent < 0) {
                return false;
            }
            done = (size_t)sent;
        }
        at += done;
    }
    (void)atomic_fetch_add_explicit(&conn->door->bytes_sent, at, memory_order_relaxed);
    *ret_written = at;
    return true;
}

/* ---- Client to library ---- */

static void shut_inner_if_done(struct conn *conn)
{
    if (conn->up_ended && !conn->up_shut && conn->inner >= 0 && spill_len(&conn->up) == 0) {
        conn->up_shut = true;
        (void)shutdown(conn->inner, SHUT_WR);
    }
}

/* Returns how many bytes the library took; when it has closed, all of them are gone. */
static size_t write_inner(struct conn *conn, const uint8_t *data, size_t bytes)
{
    size_t at = 0;
    while (at < bytes) {
        ssize_t sent = send(conn->inner, data + at, bytes - at, MSG_NOSIGNAL);
        if (sent < 0 && (errno == EAGAIN || errno == EINTR)) {
            break;
        }
        if (sent < 0) {
            conn->up_ended = true;
            return bytes;
        }
        at += (size_t)sent;
    }
    return at;
}

static void flush_up(struct conn *conn)
{
    if (conn->inner >= 0 && spill_len(&conn->up) > 0) {
        size_t done = write_inner(conn, spill_data(&conn->up), spill_len(&conn->up));
        spill_advance(&conn->up, done);
        shut_inner_if_done(conn);
    }
}

/* Bytes the guard has passed. */
static void forward_up(struct conn *conn, const uint8_t *data, size_t bytes)
{
    size_t done = 0;
    if (conn->inner >= 0 && spill_len(&conn->up) == 0) {
        done = write_inner(conn, data, bytes);
    }
    if (done < bytes && !spill_append(&conn->up, data + done, bytes - done)) {
        conn_refuse(conn, "out of memory");
    }
}

static void on_inner_ready(void *context, uint32_t events);

static bool open_pair(struct conn *conn, int *ret_library)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) != 0) {
        return false;
    }
    conn->inner = pair[0];
    conn->number = door_file_channel(conn->door, pair[1], conn->peer);
    *ret_library = conn->number;
    return conn->number >= 0;
}

/* Who has shown a certificate that holds is no stranger. */
static void identify(struct conn *conn)
{
    static const uint8_t none[sizeof(conn->peer->tls_fingerprint)];
    tls_session_identify(conn->tls, conn->peer);
    if (memcmp(conn->peer->tls_fingerprint, none, sizeof(none)) != 0) {
        atomic_store(&rpc_peer_state(conn->peer)->is_known, true);
    }
}

/* The preface is there: gives the library its half, and what has come so far. */
static void open_channel(struct conn *conn)
{
    struct door *door = conn->door;
    int library = -1;
    if (conn->tls != NULL) {
        identify(conn);
    }
    bool fine = open_pair(conn, &library);
    if (fine) {
        conn->inner_events = EPOLLIN;
        fine = loop_watch_add(
                   door->loop, conn->inner, EPOLLIN, on_inner_ready, conn, &conn->inner_watch, NULL)
            == ERR_OK;
    }
    if (!fine) {
        fd_close(&library);
        conn_refuse(conn, "no descriptor left");
        return;
    }
    door_move(conn, CONN_QUIET);
    door->options.on_channel(door->options.context, library);
    flush_up(conn);
}

/* Through the guard; a stranger's call that is beyond the allowance waits, with all behind it. */
static bool pass_guard(struct conn *conn, const uint8_t *data, size_t bytes, size_t *ret_passed)
{
    const struct rpc_limits *limits = &conn->door->options.limits;
    struct guard *guard = &conn->guard;
    struct rpc_peer_state *state = rpc_peer_state(conn->peer);
    uint64_t offset = guard->offset;
    uint64_t opened = guard->opened;
    guard->is_known = !conn->is_stranger || atomic_load(&state->is_known);
    guard->openable = UINT64_MAX;
    if (!guard->is_known) {
        if (atomic_load(&state->refusals) >= limits->stranger_refusals) {
            refuse_frames(conn, GUARD_ENHANCE_YOUR_CALM, "too many calls refused");
            return false;
        }
        guard->openable = opened + conn->allowance / limits->stranger_call_bytes;
    }
    if (!guard_feed(guard, data, bytes, loop_now(conn->door->loop))) {
        refuse_frames(conn, guard->error, guard->reason);
        return false;
    }
    if (!guard->is_known) {
        conn->allowance -= (uint32_t)((guard->opened - opened) * limits->stranger_call_bytes);
    }
    *ret_passed = (size_t)(guard->offset - offset);
    return true;
}

static void hold(struct conn *conn, const uint8_t *data, size_t bytes)
{
    if (!spill_append(&conn->held, data, bytes)) {
        conn_refuse(conn, "out of memory");
        return;
    }
    conn->is_throttled = true;
    door_throttle(conn);
}

static void take_up(struct conn *conn, const uint8_t *data, size_t bytes)
{
    struct door *door = conn->door;
    size_t passed = 0;
    if (!pass_guard(conn, data, bytes, &passed)) {
        return;
    }
    forward_up(conn, data, passed);
    if (is_dead(conn)) {
        return;
    }
    if (passed < bytes) {
        hold(conn, data + passed, bytes - passed);
    }
    if (conn->phase == CONN_ARRIVING && guard_has_preface(&conn->guard)) {
        open_channel(conn);
    }
    if (conn->phase == CONN_QUIET && guard_has_request(&conn->guard)) {
        conn->active = loop_now(door->loop);
        conn->opened_seen = conn->guard.opened;
        door_move(conn, CONN_OPEN);
    }
}

/* The library does not take more, or there is nothing to take it, or the client sends too much. */
static bool is_up_blocked(const struct conn *conn)
{
    return conn->up_ended || conn->is_throttled || (conn->inner >= 0 && spill_len(&conn->up) > 0);
}

/* ---- Strangers ---- */

static void refill(struct conn *conn)
{
    const struct rpc_limits *limits = &conn->door->options.limits;
    struct mono_us now = loop_now(conn->door->loop);
    double passed_s = (double)(now.value - conn->refilled.value) / (double)US_PER_SECOND;
    double more = conn->allowance + passed_s * (double)limits->stranger_bytes_per_second;
    double most = (double)limits->stranger_burst_bytes;
    conn->allowance = (uint32_t)(more < most ? more : most);
    conn->refilled = now;
}

bool conn_may_read(struct conn *conn)
{
    conn->is_stranger = conn->is_stranger && !atomic_load(&rpc_peer_state(conn->peer)->is_known);
    if (conn->is_stranger) {
        refill(conn);
    }
    size_t least = spill_len(&conn->held) > 0 ? conn->door->options.limits.stranger_call_bytes
                                              : ALLOWANCE_LEAST_BYTES;
    conn->is_throttled = conn->is_stranger && conn->allowance < least;
    return !conn->is_throttled;
}

/* How much may be read now; 0: it waits in door.throttled. */
static size_t allowance(struct conn *conn)
{
    if (!conn->is_stranger) {
        return DOOR_CHUNK_BYTES;
    }
    if (conn->allowance < ALLOWANCE_LEAST_BYTES && !conn_may_read(conn)) {
        door_throttle(conn);
        return 0;
    }
    if (!conn->is_stranger) {
        return DOOR_CHUNK_BYTES;
    }
    return conn->allowance < STRANGER_CHUNK_BYTES ? conn->allowance : STRANGER_CHUNK_BYTES;
}

static void on_up_ended(struct conn *conn)
{
    conn->up_ended = true;
    if (conn->inner < 0) {
        end(conn);
        return;
    }
    shut_inner_if_done(conn);
}

static void take_held(struct conn *conn)
{
    struct spill held = conn->held;
    conn->held = (struct spill){ 0 };
    if (spill_len(&held) > 0) {
        take_up(conn, spill_data(&held), spill_len(&held));
    }
    spill_clear(&held);
}

static void pump_up(struct conn *conn)
{
    if (is_up_blocked(conn) || !conn->shaken || is_dead(conn)) {
        return;
    }
    take_held(conn);
    if (is_up_blocked(conn) || is_dead(conn)) {
        return;
    }
    size_t got = 0;
    size_t room = allowance(conn);
    uint8_t *chunk = conn->door->chunk;
    if (room == 0) {
        return;
    }
    conn->read_needs_write = false;
    enum read_end ended =
        conn->tls != NULL ? read_tls(conn, chunk, room, &got) : read_plain(conn, chunk, room, &got);
    conn->allowance -= conn->is_stranger ? (uint32_t)got : 0;
    if (got > 0) {
        (void)atomic_fetch_add_explicit(&conn->door->bytes_received, got, memory_order_relaxed);
        take_up(conn, chunk, got);
    }
    if (is_dead(conn) || conn->up_ended) {
        return;
    }
    if (ended == READ_FAILED) {
        end(conn);
    } else if (ended == READ_ENDED) {
        on_up_ended(conn);
    } else if (ended == READ_FULL && !is_up_blocked(conn)) {
        /* epoll does not see what TLS holds */
        list_remove(&conn->ready);
        list_append(&conn->door->ready, &conn->ready);
        door_after_batch(conn->door);
    }
}

/* ---- Library to client ---- */

static void flush_down(struct conn *conn)
{
    size_t done = 0;
    if (spill_len(&conn->down) == 0) {
        return;
    }
    if (!write_outer(conn, spill_data(&conn->down), spill_len(&conn->down), &done)) {
        end(conn);
        return;
    }
    spill_advance(&conn->down, done);
}

static void send_down(struct conn *conn, const uint8_t *data, size_t bytes)
{
    size_t done = 0;
    guard_feed_down(&conn->guard, data, bytes);
    bool fine = write_outer(conn, data, bytes, &done);
    if (fine && done < bytes) {
        fine = spill_append(&conn->down, data + done, bytes - done);
    }
    if (!fine) {
        end(conn);
    }
}

/* One chunk; false: nothing more to do now. */
static bool pump_down_once(struct conn *conn)
{
    if (is_dead(conn) || conn->inner < 0 || spill_len(&conn->down) > 0) {
        return false;
    }
    ssize_t got = recv(conn->inner, conn->door->chunk, DOOR_CHUNK_BYTES, 0);
    if (got > 0) {
        send_down(conn, conn->door->chunk, (size_t)got);
        return true;
    }
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
        return false;
    }
    close_inner(conn);
    start_flushing(conn);
    return false;
}

/*
 * A short read is no reason to stop: once the library has closed while the client is slow there is
 * no watch on its side any more, and nothing but another read finds the end.
 */
static void pump_down(struct conn *conn)
{
    bool more = true;
    for (unsigned i = 0; more && i < READS_PER_TURN; i++) {
        more = pump_down_once(conn);
    }
    if (more && !is_dead(conn) && conn->inner_watch == NULL && conn->inner >= 0) {
        list_remove(&conn->ready);
        list_append(&conn->door->ready, &conn->ready);
        door_after_batch(conn->door);
    }
}

/* ---- Events ---- */

static bool set_interest(struct loop_watch *watch, uint32_t *current, uint32_t wanted)
{
    if (watch == NULL || *current == wanted) {
        return true;
    }
    *current = wanted;
    return loop_watch_set(watch, wanted) == ERR_OK;
}

/* Last step of every event: closes what is finished and asks epoll for what is needed next. */
static void settle(struct conn *conn)
{
    if (conn->phase == CONN_FLUSHING && conn->inner < 0 && spill_len(&conn->down) == 0) {
        start_lingering(conn);
    }
    if (is_dead(conn)) {
        return;
    }
    bool reads = !conn->shaken ? !conn->handshake_writes && !conn->handshake_waits
                               : !is_up_blocked(conn) || conn->phase == CONN_LINGERING;
    door_note_unread(conn, spill_len(&conn->down) > 0);
    bool retries_read = conn->read_needs_write && !is_up_blocked(conn);
    bool writes = conn->handshake_writes || retries_read || spill_len(&conn->down) > 0;
    uint32_t outer = (reads ? (uint32_t)EPOLLIN : 0) | (writes ? (uint32_t)EPOLLOUT : 0);
    uint32_t inner = (spill_len(&conn->down) == 0 ? (uint32_t)EPOLLIN : 0)
        | (spill_len(&conn->up) > 0 ? (uint32_t)EPOLLOUT : 0);
    if (!set_interest(conn->outer_watch, &conn->outer_events, outer)
        || !set_interest(conn->inner_watch, &conn->inner_events, inner)) {
        end(conn);
    }
}

/* Reads away what a client sends after the end, up to a bound. */
static void discard(struct conn *conn)
{
    ssize_t got = recv(conn->outer, conn->door->chunk, DOOR_CHUNK_BYTES, 0);
    if (got > 0) {
        conn->discarded += (uint32_t)got;
    }
    bool over = got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR);
    if (over || conn->discarded > DISCARD_BYTES_MAX) {
        end(conn);
    }
}

static void on_outer_ready(void *context, uint32_t events)
{
    struct conn *conn = context;
    if (conn->phase == CONN_LINGERING) {
        discard(conn);
        return;
    }
    if (conn->awaits_header) {
        conn_read_header(conn);
        if (conn->awaits_header || is_dead(conn)) {
            return;
        }
    }
    if (!conn->shaken && !conn->handshake_waits) {
        conn_step_handshake(conn);
    }
    if ((events & EPOLLOUT) != 0 && !is_dead(conn)) {
        flush_down(conn);
        pump_down(conn);
    }
    pump_up(conn);
    /* Nobody is there any more to answer, and nothing is read: epoll would report it for ever. */
    bool is_deaf = is_up_blocked(conn) || conn->handshake_waits;
    if ((events & (EPOLLHUP | EPOLLERR)) != 0 && !is_dead(conn) && is_deaf) {
        end(conn);
    }
    if (!is_dead(conn)) {
        settle(conn);
    }
}

static void on_inner_ready(void *context, uint32_t events)
{
    struct conn *conn = context;
    if ((events & EPOLLOUT) != 0) {
        flush_up(conn);
        pump_up(conn);
    }
    door_vouch(conn); /* whatever is accepted is answered */
    pump_down(conn);
    bool hung_up = (events & (EPOLLHUP | EPOLLERR)) != 0;
    if (hung_up && !is_dead(conn) && conn->inner >= 0 && spill_len(&conn->down) > 0) {
        /* The library has closed while the client is slow: what it wrote is read as room comes. */
        loop_watch_remove(conn->inner_watch);
        conn->inner_watch = NULL;
        start_flushing(conn);
    }
    if (!is_dead(conn)) {
        settle(conn);
    }
}

void conn_resume(struct conn *conn)
{
    pump_up(conn);
    pump_down(conn);
    if (!is_dead(conn)) {
        settle(conn);
    }
}

void conn_shake(struct conn *conn)
{
    conn->handshake_waits = false;
    on_outer_ready(conn, 0);
}

/* A frame says that it is to go; the library's side ends at once. */
static void part(struct conn *conn)
{
    say_goodbye(conn, GUARD_NO_ERROR);
    flush_down(conn);
    if (!is_dead(conn)) {
        settle(conn);
    }
}

void conn_expire_idle(struct conn *conn)
{
    log_debug(
        "connection_idle",
        LOG_STR("listener", conn->peer->listener),
        LOG_STR("address", conn->peer->address));
    part(conn);
}

static const char *late_reason(const struct conn *conn)
{
    bool is_crowded = conn->handshake_waits && !conn->is_counted;
    return conn->awaits_header ? "no header of the PROXY protocol in time"
        : conn->shaken         ? "no preface in time"
        : is_crowded           ? "too many strangers of its address before it"
                               : "no handshake in time";
}

void conn_expire(struct conn *conn)
{
    switch (conn->phase) {
    case CONN_ARRIVING:
        conn_refuse(conn, late_reason(conn));
        break;
    case CONN_QUIET:
        (void)atomic_fetch_add(&conn->door->refused, 1);
        part(conn);
        break;
    case CONN_FLUSHING:
    case CONN_LINGERING:
    case CONN_OPEN:
    case CONN_DEAD:
    case CONN_PHASE_COUNT:
        end(conn);
        break;
    }
}

void conn_evict(struct conn *conn)
{
    conn_refuse(conn, "silent, and others need the room");
}

void conn_expire_unread(struct conn *conn)
{
    conn_refuse(conn, "what was sent to it was not read in time");
}

void conn_start(struct door *door, const struct door_arrival *arrival)
{
    struct conn *conn = mem_alloc(sizeof(*conn));
    list_init(&conn->link);
    list_init(&conn->ready);
    list_init(&conn->unread);
    conn->door = door;
    conn->outer = arrival->fd;
    conn->inner = -1;
    conn->number = -1;
    conn->source = arrival->source;
    conn->peer = rpc_peer_create(arrival->peer);
    conn->awaits_header = arrival->is_proxied;
    conn->shaken = arrival->tls == NULL;
    conn->is_stranger = arrival->peer->kind != RPC_PEER_UNIX;
    conn->allowance = (uint32_t)door->options.limits.stranger_burst_bytes;
    conn->refilled = loop_now(door->loop);
    conn->outer_events = EPOLLIN;
    guard_init(&conn->guard, door->options.limits.streams_per_connection);
    door->open++;
    (void)atomic_fetch_add(&door->open_stat, 1);
    door_move(conn, CONN_ARRIVING);
    if (arrival->tls != NULL) {
        conn->tls = tls_session_create(arrival->tls, conn->outer);
    }
    if ((arrival->tls != NULL && conn->tls == NULL)
        || loop_watch_add(
               door->loop, conn->outer, EPOLLIN, on_outer_ready, conn, &conn->outer_watch, NULL)
            != ERR_OK) {
        conn_refuse(conn, "no memory left");
    }
}
