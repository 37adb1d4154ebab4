#include "common/rpc/door/door.h"

#include "common/base/cleanup.h"
#include "common/base/log.h"
#include "common/rpc/door/door_private.h"
#include "common/sys/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum {
    NUMBERS_MAX = 262144,   /* the kernel's table of descriptors grows to the highest number */
    DESCRIPTORS_KEPT = 128, /* for everything else in the process */
    CONNECTIONS_MIN = 8,
    HANDSHAKES_PER_TURN = 4, /* about a millisecond */
};

static const int64_t flush_timeout_us = 10 * US_PER_SECOND;
static const int64_t linger_timeout_us = 2 * US_PER_SECOND;
static const int64_t throttle_look_us = 20 * US_PER_MS;
static const int64_t sweep_longest_us = 10 * US_PER_SECOND;
static const int64_t sweep_shortest_us = 20 * US_PER_MS;

static void on_timer(void *context);
static void on_throttle(void *context);
static void on_sweep(void *context);

/*
 * A connection takes two low numbers (socket, our half) and one of the upper third, which the
 * library gets.
 */
static enum err_code plan_numbers(struct door *door, struct err_info *err)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) {
        return ERR_SET_ERRNO(err, ERR_INTERNAL, errno, "getrlimit");
    }
    int high = limit.rlim_cur > NUMBERS_MAX ? NUMBERS_MAX : (int)limit.rlim_cur;
    int low = high - high / 3;
    int room = (low - DESCRIPTORS_KEPT) / 2;
    if (room < CONNECTIONS_MIN) {
        return ERR_SET(err, ERR_LIMIT, "the limit of open files is too low: %d", high);
    }
    door->number_low = low;
    door->number_high = high;
    door->number_next = low;
    door->open_max = door->options.limits.connections;
    if (door->open_max > (unsigned)room) {
        log_warn(
            "door_connections_cut",
            LOG_UINT("wanted", door->open_max),
            LOG_INT("possible", room),
            LOG_INT("open_files", high));
        door->open_max = (unsigned)room;
    }
    door->table = mem_try_alloc((size_t)(high - low) * sizeof(struct rpc_peer *));
    return door->table == NULL ? ERR_SET(err, ERR_NOMEM, "table of connections") : ERR_OK;
}

static void copy_trusted(struct door *door)
{
    size_t count = door->options.trusted_proxy_count;
    struct network *copy = mem_alloc_array(count + 1, sizeof(*copy));
    if (count > 0) {
        memcpy(copy, door->options.trusted_proxies, count * sizeof(*copy));
    }
    door->options.trusted_proxies = copy;
    door->trusted = copy;
}

enum err_code door_create(
    const struct door_options *options, struct door **ret_door, struct err_info *err)
{
    struct door *door = mem_alloc(sizeof(*door));
    door->options = *options;
    door->timer_at.value = INT64_MAX;
    for (size_t i = 0; i < ARRAY_LENGTH(door->phases); i++) {
        list_init(&door->phases[i]);
    }
    list_init(&door->ready);
    list_init(&door->handshakes);
    list_init(&door->throttled);
    list_init(&door->waiting_sources);
    door->handshakes_left = HANDSHAKES_PER_TURN;
    list_init(&door->unread);
    list_init(&door->listeners);
    lock_init(&door->lock, LOCK_RANK_DOOR);
    lock_cond_init(&door->stopped);
    door->sources = map_create();
    copy_trusted(door);
    door->chunk = mem_alloc(DOOR_CHUNK_BYTES);
    enum err_code code = plan_numbers(door, err);
    if (code == ERR_OK) {
        code = loop_create(clock_system(), &door->loop, err);
    }
    if (code != ERR_OK) {
        door_destroy(door);
        return code;
    }
    door->timer = loop_timer_create(door->loop, on_timer, door);
    door->throttle_timer = loop_timer_create(door->loop, on_throttle, door);
    door->sweep_timer = loop_timer_create(door->loop, on_sweep, door);
    door->waiting_timer = loop_timer_create(door->loop, door_on_waiting, door);
    *ret_door = door;
    return ERR_OK;
}

static int64_t phase_timeout_us(const struct door *door, enum conn_phase phase)
{
    switch (phase) {
    case CONN_ARRIVING:
        return door->options.limits.handshake_timeout_us;
    case CONN_QUIET:
        return door->options.limits.first_request_timeout_us;
    case CONN_FLUSHING:
        return flush_timeout_us;
    case CONN_LINGERING:
        return linger_timeout_us;
    case CONN_OPEN:
    case CONN_DEAD:
    case CONN_PHASE_COUNT:
        break;
    }
    return -1;
}

static void arm_timer(struct door *door, struct mono_us deadline)
{
    if (deadline.value < door->timer_at.value) {
        door->timer_at = deadline;
        loop_timer_arm(door->timer, deadline);
    }
}

/* All of it must be read in time, so that a reader of single bytes is cut off too. */
void door_note_unread(struct conn *conn, bool is_unread)
{
    struct door *door = conn->door;
    if (!is_unread) {
        list_remove(&conn->unread);
    } else if (list_is_empty(&conn->unread)) {
        conn->unread_deadline.value =
            loop_now(door->loop).value + door->options.limits.unread_timeout_us;
        list_append(&door->unread, &conn->unread);
        arm_timer(door, conn->unread_deadline);
    }
}

/* Tells door_flush once nobody is left to whom something may have to be sent. */
static void note_flushed(struct door *door)
{
    if (door->is_flush_asked && list_is_empty(&door->phases[CONN_QUIET])
        && list_is_empty(&door->phases[CONN_OPEN]) && list_is_empty(&door->phases[CONN_FLUSHING])) {
        LOCK_GUARD(&door->lock);
        door->is_flushed = true;
        lock_cond_broadcast(&door->stopped);
    }
}

/* How often OPEN connections are looked at. */
static int64_t sweep_us(const struct door *door)
{
    int64_t idle = door->options.limits.idle_timeout_us;
    int64_t least = door->options.limits.stranger_idle_timeout_us;
    least = (idle > 0 && idle < least ? idle : least) / 4;
    least = least > sweep_longest_us ? sweep_longest_us : least;
    return least < sweep_shortest_us ? sweep_shortest_us : least;
}

void door_move(struct conn *conn, enum conn_phase phase)
{
    struct door *door = conn->door;
    int64_t timeout_us = phase_timeout_us(door, phase);
    conn->phase = phase;
    conn->deadline.value = timeout_us < 0 ? INT64_MAX : loop_now(door->loop).value + timeout_us;
    list_remove(&conn->link);
    list_append(&door->phases[phase], &conn->link);
    if (phase == CONN_OPEN && door->phases[phase].next == &conn->link) {
        loop_timer_arm_after(door->sweep_timer, sweep_us(door));
    }
    arm_timer(door, conn->deadline);
    note_flushed(door);
}

static void expire_unread(struct door *door, struct mono_us now)
{
    while (!list_is_empty(&door->unread)) {
        struct conn *conn = LIST_ENTRY(door->unread.next, struct conn, unread);
        if (conn->unread_deadline.value > now.value) {
            return;
        }
        conn_expire_unread(conn); /* takes it off the list */
    }
}

static void expire_phase(struct list *phase, struct mono_us now)
{
    while (!list_is_empty(phase)) {
        struct conn *conn = LIST_ENTRY(phase->next, struct conn, link);
        if (conn->deadline.value > now.value) {
            return;
        }
        conn_expire(conn); /* moves it to another list */
    }
}

static void on_timer(void *context)
{
    struct door *door = context;
    struct mono_us now = loop_now(door->loop);
    int64_t next = INT64_MAX;
    door->timer_at.value = INT64_MIN; /* moves below do not arm it */
    for (unsigned i = 0; i < CONN_DEAD; i++) {
        expire_phase(&door->phases[i], now);
    }
    expire_unread(door, now);
    for (unsigned i = 0; i < CONN_DEAD; i++) {
        if (!list_is_empty(&door->phases[i])) {
            int64_t first = LIST_ENTRY(door->phases[i].next, struct conn, link)->deadline.value;
            next = first < next ? first : next;
        }
    }
    if (!list_is_empty(&door->unread)) {
        int64_t first = LIST_ENTRY(door->unread.next, struct conn, unread)->unread_deadline.value;
        next = first < next ? first : next;
    }
    door->timer_at.value = next;
    if (next != INT64_MAX) {
        loop_timer_arm(door->timer, door->timer_at);
    }
}

/* ---- Connections without calls ---- */

static bool is_idle(struct conn *conn, struct mono_us now)
{
    const struct rpc_limits *limits = &conn->door->options.limits;
    const struct rpc_peer_state *state = rpc_peer_state(conn->peer);
    if (atomic_load(&state->calls) > 0 || conn->opened_seen != conn->guard.opened) {
        conn->opened_seen = conn->guard.opened;
        conn->active = now;
    }
    bool is_known = atomic_load(&state->is_known);
    int64_t limit = is_known ? limits->idle_timeout_us : limits->stranger_idle_timeout_us;
    return limit > 0 && now.value - conn->active.value >= limit;
}

static void on_sweep(void *context)
{
    struct door *door = context;
    struct mono_us now = loop_now(door->loop);
    LIST_FOR_EACH(node, &door->phases[CONN_OPEN])
    {
        struct conn *conn = LIST_ENTRY(node, struct conn, link);
        if (is_idle(conn, now)) {
            conn_expire_idle(conn); /* moves it to another list */
        }
    }
    if (!list_is_empty(&door->phases[CONN_OPEN])) {
        loop_timer_arm_after(door->sweep_timer, sweep_us(door));
    }
}

/* ---- Strangers that send much ---- */

void door_throttle(struct conn *conn)
{
    struct door *door = conn->door;
    if (list_is_empty(&door->throttled)) {
        loop_timer_arm_after(door->throttle_timer, throttle_look_us);
    }
    list_remove(&conn->ready);
    list_append(&door->throttled, &conn->ready);
}

static void on_throttle(void *context)
{
    struct door *door = context;
    LIST_FOR_EACH(node, &door->throttled)
    {
        struct conn *conn = LIST_ENTRY(node, struct conn, ready);
        if (conn_may_read(conn)) {
            list_remove(&conn->ready);
            conn_resume(conn);
        }
    }
    if (!list_is_empty(&door->throttled)) {
        loop_timer_arm_after(door->throttle_timer, throttle_look_us);
    }
}

/* ---- After a batch of events ---- */

static void reap(struct door *door)
{
    for (struct list *node = list_pop(&door->phases[CONN_DEAD]); node != NULL;
         node = list_pop(&door->phases[CONN_DEAD])) {
        conn_free(LIST_ENTRY(node, struct conn, link));
    }
}

/* A flood of handshakes takes its share of each turn, and the connections that stand the rest. */
static void run_handshakes(struct door *door)
{
    door->handshakes_left = HANDSHAKES_PER_TURN;
    while (door->handshakes_left > 0 && !list_is_empty(&door->handshakes)) {
        conn_shake(LIST_ENTRY(list_pop(&door->handshakes), struct conn, ready));
    }
    if (!list_is_empty(&door->handshakes)) {
        door_after_batch(door);
    }
}

static void run_after_batch(void *context)
{
    struct door *door = context;
    door->is_reaping = false;
    struct list batch;
    list_init(&batch);
    for (struct list *node = list_pop(&door->ready); node != NULL; node = list_pop(&door->ready)) {
        list_append(&batch, node);
    }
    for (struct list *node = list_pop(&batch); node != NULL; node = list_pop(&batch)) {
        conn_resume(LIST_ENTRY(node, struct conn, ready));
    }
    run_handshakes(door);
    reap(door);
}

void door_after_batch(struct door *door)
{
    if (!door->is_reaping) {
        door->is_reaping = loop_post(door->loop, run_after_batch, door);
    }
}

static int move_number(struct door *door, int fd)
{
    int moved = fcntl(fd, F_DUPFD_CLOEXEC, door->number_next);
    if (moved < 0 || moved >= door->number_high) {
        fd_close(&moved);
        moved = fcntl(fd, F_DUPFD_CLOEXEC, door->number_low);
    }
    if (moved >= door->number_high) {
        fd_close(&moved);
    }
    if (moved >= 0) {
        int next = moved + 1;
        door->number_next = next < door->number_high ? next : door->number_low;
    }
    return moved;
}

int door_file_channel(struct door *door, int take_fd, struct rpc_peer *peer)
{
    int number = move_number(door, take_fd);
    fd_close(&take_fd);
    if (number < 0) {
        return -1;
    }
    LOCK_GUARD(&door->lock);
    struct rpc_peer **slot = &door->table[number - door->number_low];
    rpc_peer_unref(*slot); /* of a connection whose library half is closed already */
    *slot = rpc_peer_ref(peer);
    return number;
}

void door_forget_channel(struct door *door, int number, const struct rpc_peer *peer)
{
    LOCK_GUARD(&door->lock);
    struct rpc_peer **slot = &door->table[number - door->number_low];
    if (*slot == peer) {
        rpc_peer_unref(*slot);
        *slot = NULL;
    }
}

struct rpc_peer *door_find_peer(struct door *door, int fd_number)
{
    if (fd_number < door->number_low || fd_number >= door->number_high) {
        return NULL;
    }
    LOCK_GUARD(&door->lock);
    struct rpc_peer *peer = door->table[fd_number - door->number_low];
    return peer == NULL ? NULL : rpc_peer_ref(peer);
}

void door_get_stats(const struct door *door, struct rpc_server_stats *ret_stats)
{
    ret_stats->connections_accepted = atomic_load(&door->accepted);
    ret_stats->connections_refused = atomic_load(&door->refused);
    ret_stats->connections_open = atomic_load(&door->open_stat);
    ret_stats->guard_closes = atomic_load(&door->guard_closes);
    ret_stats->bytes_received = atomic_load(&door->bytes_received);
    ret_stats->bytes_sent = atomic_load(&door->bytes_sent);
}

static void run(void *context)
{
    struct door *door = context;
    loop_run(door->loop);
}

enum err_code door_start(struct door *door, struct err_info *err)
{
    lock_acquire(&door->lock);
    bool was_started = door->is_started;
    door->is_started = true;
    lock_release(&door->lock);
    if (was_started) {
        return ERR_SET(err, ERR_PRECONDITION, "the door was started already");
    }
    enum err_code code = thread_start(&door->thread, "door", run, door, err);
    if (code != ERR_OK) {
        door->is_started = false;
    }
    return code;
}

/* Takes the listeners off under the lock and closes them outside. */
static void close_listeners(struct door *door)
{
    for (;;) {
        lock_acquire(&door->lock);
        struct list *node = list_pop(&door->listeners);
        lock_release(&door->lock);
        if (node == NULL) {
            return;
        }
        listener_destroy(LIST_ENTRY(node, struct listener, link));
    }
}

struct stop_request {
    struct door *door;
    bool done; /* guarded by door.lock */
};

static void run_stop_accepting(void *context)
{
    struct stop_request *request = context;
    struct door *door = request->door;
    close_listeners(door);
    LOCK_GUARD(&door->lock);
    request->done = true;
    lock_cond_broadcast(&door->stopped);
}

void door_stop_accepting(struct door *door)
{
    struct stop_request request = { .door = door };
    lock_acquire(&door->lock);
    bool is_running = door->is_started;
    door->is_closed = true;
    lock_release(&door->lock);
    if (!is_running || !loop_post(door->loop, run_stop_accepting, &request)) {
        close_listeners(door);
        return;
    }
    LOCK_GUARD(&door->lock);
    while (!request.done) {
        lock_cond_wait(&door->stopped, &door->lock);
    }
}

static void run_flush(void *context)
{
    struct door *door = context;
    door->is_flush_asked = true;
    note_flushed(door);
}

void door_flush(struct door *door, int64_t timeout_us)
{
    struct mono_us deadline = { clock_mono(clock_system()).value + timeout_us };
    lock_acquire(&door->lock);
    bool is_running = door->is_started;
    lock_release(&door->lock);
    if (!is_running || !loop_post(door->loop, run_flush, door)) {
        return;
    }
    bool in_time = true;
    LOCK_GUARD(&door->lock);
    while (!door->is_flushed && in_time) {
        in_time = lock_cond_wait_until(&door->stopped, &door->lock, deadline);
    }
}

static void free_connections(struct door *door)
{
    for (size_t i = 0; i < ARRAY_LENGTH(door->phases); i++) {
        for (struct list *node = list_pop(&door->phases[i]); node != NULL;
             node = list_pop(&door->phases[i])) {
            conn_free(LIST_ENTRY(node, struct conn, link));
        }
    }
}

void door_destroy(struct door *door)
{
    if (door == NULL) {
        return;
    }
    if (door->loop != NULL) {
        loop_stop(door->loop);
        thread_join(&door->thread);
        close_listeners(door);
        free_connections(door);
        loop_timer_destroy(door->timer);
        loop_timer_destroy(door->throttle_timer);
        loop_timer_destroy(door->sweep_timer);
        loop_timer_destroy(door->waiting_timer);
        loop_destroy(door->loop);
    }
    for (int i = 0; door->table != NULL && i < door->number_high - door->number_low; i++) {
        rpc_peer_unref(door->table[i]);
    }
    map_destroy(door->sources, mem_free);
    mem_free(door->trusted);
    mem_free(door->table);
    mem_free(door->chunk);
    lock_cond_deinit(&door->stopped);
    lock_deinit(&door->lock);
    mem_free(door);
}
