/*
 * A stream is a strand: events are noted as bits under its lock, and one runner at a time
 * (`scheduled`) takes them off, on a worker or on the poller of the call's queue. Every start of a
 * library batch stands under the lock too. The end comes when no batch is outstanding: closed, then
 * the call concludes.
 */
#include "common/rpc/stream_private.h"
#include "common/wire/wire.h"

#include <grpc/slice.h>

enum {
    EVENT_OPEN = 1,
    EVENT_WOKEN = 2,
    EVENT_TIMER = 4,
    EVENT_WRITABLE = 8,
    EVENT_MESSAGE = 16,
    EVENT_HALF_CLOSED = 32,
    EVENT_CLOSED = 64,
    EVENTS_PER_RUN = 32, /* then other streams of the thread come first */
};

/* A peer that does not read gets this long after finish. */
#define FLUSH_GRACE_US (10 * US_PER_SECOND)

static void run(struct rpc_stream *stream, struct rpc_thread *thread);

/* ---- references ---- */

struct rpc_stream *rpc_stream_ref(struct rpc_stream *stream)
{
    atomic_fetch_add(&stream->refs, 1);
    return stream;
}

void rpc_stream_unref(struct rpc_stream *stream)
{
    if (stream != NULL && atomic_fetch_sub(&stream->refs, 1) == 1) {
        lock_deinit(&stream->lock);
        mem_free(stream);
    }
}

struct rpc_call *rpc_stream_call(struct rpc_stream *stream)
{
    return stream->call;
}

/* ---- scheduling ---- */

static unsigned next_event_locked(const struct rpc_stream *stream)
{
    if ((stream->pending & EVENT_OPEN) != 0) {
        return EVENT_OPEN;
    }
    if (stream->finishing || stream->dead) {
        return stream->batches == 0 ? EVENT_CLOSED : 0;
    }
    unsigned soon = stream->pending & (EVENT_WOKEN | EVENT_TIMER | EVENT_WRITABLE);
    if (soon != 0) {
        return soon & -soon;
    }
    if (stream->in != NULL) {
        return stream->paused ? 0 : EVENT_MESSAGE;
    }
    return stream->pending & EVENT_HALF_CLOSED;
}

static bool is_on_worker_locked(const struct rpc_stream *stream)
{
    bool is_blocking = stream->method->is_blocking && !stream->left_workers;
    return is_blocking || (stream->pending & EVENT_OPEN) != 0;
}

/*
 * Has the strand run somewhere, soon. `scheduled` is set already. true: by a worker, to whom the
 * caller gives it, if possible without the lock (push): who is woken would only wait for that.
 */
static bool queue_locked(struct rpc_stream *stream)
{
    /* An empty batch completes at once, and so brings the strand to its poller. */
    return is_on_worker_locked(stream)
        || !rpc_stream_batch_locked(stream, NULL, 0, &stream->t_kick);
}

static bool schedule_locked(struct rpc_stream *stream)
{
    if (stream->call == NULL || stream->scheduled || next_event_locked(stream) == 0) {
        return false;
    }
    stream->scheduled = true;
    return queue_locked(stream);
}

/* The strand's own reference goes with it, and is given back by the run that ends it. */
static void push(struct rpc_stream *stream)
{
    rpc_pool_push_event(stream->server->pool, &stream->task);
}

static void schedule_and_unlock(struct rpc_stream *stream)
{
    bool is_for_worker = schedule_locked(stream);
    lock_release(&stream->lock);
    if (is_for_worker) {
        push(stream);
    }
}

/* From a completion on the call's own poller: runs here when events may. Consumes the lock. */
static void continue_and_unlock(struct rpc_stream *stream, struct rpc_thread *thread)
{
    bool is_due = !stream->scheduled && next_event_locked(stream) != 0;
    bool is_for_worker = is_due && is_on_worker_locked(stream);
    stream->scheduled = stream->scheduled || is_due;
    lock_release(&stream->lock);
    if (is_for_worker) {
        push(stream);
    } else if (is_due) {
        run(stream, thread);
    }
}

static void run_task(struct rpc_task *task, struct rpc_thread *thread)
{
    run(CONTAINER_OF(task, struct rpc_stream, task), thread);
}

/* ---- end ---- */

static void on_kill(void *context)
{
    struct rpc_stream *stream = context;
    lock_acquire(&stream->lock);
    struct rpc_call *call = stream->call;
    if (call != NULL && !stream->dead) {
        rpc_call_record(call, RPC_DEADLINE_EXCEEDED, "the time for this method is over");
        stream->finishing = true;
        if (call->status == RPC_OK) {
            call->status = RPC_CANCELLED; /* the peer never saw that it went well */
        }
        rpc_stream_drop_queue_locked(stream);
        (void)grpc_call_cancel_with_status(
            call->core,
            (grpc_status_code)call->status,
            call->text == NULL ? "the caller does not read" : call->text,
            NULL);
    }
    lock_release(&stream->lock);
    rpc_stream_unref(stream);
}

static void cancel_kill_locked(struct rpc_stream *stream)
{
    if (stream->kill_id != 0 && timer_wheel_cancel(stream->server->wheel, stream->kill_id)) {
        atomic_fetch_sub(&stream->refs, 1); /* never the last: the strand holds one */
    }
    stream->kill_id = 0;
}

static void arm_kill_locked(struct rpc_stream *stream, int64_t delay_us)
{
    cancel_kill_locked(stream);
    (void)rpc_stream_ref(stream);
    stream->kill_id = timer_wheel_add(stream->server->wheel, delay_us, on_kill, stream);
}

static void cancel_timer_locked(struct rpc_stream *stream)
{
    stream->timer_at.value = INT64_MAX;
    if (stream->timer_id != 0 && timer_wheel_cancel(stream->server->wheel, stream->timer_id)) {
        atomic_fetch_sub(&stream->refs, 1);
    }
    stream->timer_id = 0;
}

void rpc_stream_finish_locked(struct rpc_stream *stream, enum rpc_status status, const char *text)
{
    if (stream->call == NULL || stream->finishing || stream->dead) {
        return;
    }
    stream->finishing = true;
    rpc_call_record(stream->call, status, text);
    if (list_is_empty(&stream->out)) {
        rpc_stream_start_status_locked(stream);
    } else {
        rpc_stream_start_write_locked(stream);
    }
    int64_t left = stream->call->deadline.value - rpc_now().value;
    arm_kill_locked(stream, left < FLUSH_GRACE_US && left > 0 ? left : FLUSH_GRACE_US);
    if (schedule_locked(stream)) {
        push(stream);
    }
}

void rpc_stream_finish(struct rpc_stream *stream, enum err_code code, const char *text)
{
    LOCK_GUARD(&stream->lock);
    const char *shown = text == NULL && code != ERR_OK ? err_name(code) : text;
    rpc_stream_finish_locked(stream, rpc_status_of(code), shown);
}

static void finish_err(struct rpc_stream *stream, enum err_code code, const struct err_info *err)
{
    rpc_stream_finish(stream, code, err->text[0] == '\0' ? NULL : err->text);
}

/* After the last event: lets the call conclude and gives the strand's reference back. */
static void release(struct rpc_stream *stream)
{
    lock_acquire(&stream->lock);
    struct rpc_call *call = STEAL(stream->call);
    cancel_timer_locked(stream);
    cancel_kill_locked(stream);
    rpc_stream_drop_queue_locked(stream);
    grpc_byte_buffer_destroy(STEAL(stream->in));
    lock_release(&stream->lock);
    atomic_fetch_sub(&stream->server->streams_open, 1);
    call->stream = NULL;
    call->thread = NULL;
    rpc_call_unref(call);
    rpc_stream_unref(stream);
}

/* ---- events ---- */

static void deliver_open(struct rpc_stream *stream)
{
    struct err_info err = ERR_INFO_INIT;
    void *state = NULL;
    enum err_code code = rpc_call_is_canceled(stream->call)
        ? ERR_SET(&err, ERR_CANCELED, "the call has ended")
        : rpc_call_admit(stream->call, true, &err);
    if (code == ERR_OK) {
        code = stream->method->stream->open(stream, &state, &err);
    }
    if (code != ERR_OK) {
        finish_err(stream, code, &err);
        return;
    }
    LOCK_GUARD(&stream->lock);
    stream->state = state;
    stream->opened = true;
    rpc_stream_start_read_locked(stream);
}

static enum err_code unpack(
    struct rpc_stream *stream,
    grpc_byte_buffer *in,
    struct arena *arena,
    ProtobufCMessage **ret_message,
    struct err_info *err)
{
    if (grpc_byte_buffer_length(in) > stream->method->max_request_bytes) {
        return ERR_SET(
            err,
            ERR_LIMIT,
            "the message is larger than %zu bytes",
            stream->method->max_request_bytes);
    }
    grpc_slice bytes;
    if (!rpc_message_gather(in, &bytes)) {
        return ERR_SET(err, ERR_UNSUPPORTED, "compressed messages are not accepted");
    }
    enum err_code code = wire_unpack(
        stream->server->options.schema,
        stream->method->input,
        GRPC_SLICE_START_PTR(bytes),
        GRPC_SLICE_LENGTH(bytes),
        arena,
        ret_message,
        err);
    grpc_slice_unref(bytes);
    return code;
}

static void deliver_message(struct rpc_stream *stream, struct arena *arena)
{
    struct err_info err = ERR_INFO_INIT;
    ProtobufCMessage *message = NULL;
    lock_acquire(&stream->lock);
    grpc_byte_buffer *in = STEAL(stream->in);
    stream->in_message = true;
    lock_release(&stream->lock);
    enum err_code code = unpack(stream, in, arena, &message, &err);
    grpc_byte_buffer_destroy(in);
    if (code == ERR_OK) {
        stream->method->stream->message(stream, stream->state, message);
    } else {
        finish_err(stream, code, &err);
    }
    LOCK_GUARD(&stream->lock);
    stream->in_message = false;
    stream->read_ended = stream->read_ended || stream->method->kind == RPC_SERVER_STREAM;
    rpc_stream_start_read_locked(stream);
}

static void deliver_half_close(struct rpc_stream *stream)
{
    if (stream->method->kind == RPC_SERVER_STREAM) {
        rpc_stream_finish(stream, ERR_INVALID, "the request carries no message");
    } else if (stream->method->stream->half_closed != NULL) {
        stream->method->stream->half_closed(stream, stream->state);
    }
}

static void notify(struct rpc_stream *stream, void (*event)(struct rpc_stream *stream, void *state))
{
    if (event != NULL) {
        event(stream, stream->state);
    }
}

static void deliver(struct rpc_stream *stream, unsigned event, struct rpc_thread *thread)
{
    const struct rpc_stream_ops *ops = stream->method->stream;
    struct rpc_call *call = stream->call;
    call->thread = thread;
    if (event == EVENT_OPEN) {
        deliver_open(stream);
        call->thread = NULL;
        return;
    }
    call->event_arena = thread->arena;
    switch (event) {
    case EVENT_WOKEN:
        notify(stream, ops->woken);
        break;
    case EVENT_TIMER:
        notify(stream, ops->timer);
        break;
    case EVENT_WRITABLE:
        notify(stream, ops->writable);
        break;
    case EVENT_MESSAGE:
        deliver_message(stream, thread->arena);
        break;
    case EVENT_HALF_CLOSED:
        deliver_half_close(stream);
        break;
    default: /* EVENT_CLOSED */
        if (stream->opened) {
            ops->closed(stream, stream->state);
        }
        break;
    }
    call->event_arena = NULL;
    call->thread = NULL;
    arena_reset(thread->arena);
}

/* The next event, taken off; 0: nothing to do, and the strand rests. */
static unsigned take_event(struct rpc_stream *stream)
{
    LOCK_GUARD(&stream->lock);
    unsigned event = next_event_locked(stream);
    stream->pending &= ~event;
    stream->scheduled = event != 0;
    return event;
}

static void run(struct rpc_stream *stream, struct rpc_thread *thread)
{
    for (unsigned i = 0; i < EVENTS_PER_RUN; i++) {
        unsigned event = take_event(stream);
        if (event == 0) {
            return;
        }
        deliver(stream, event, thread);
        if (event == EVENT_CLOSED) {
            release(stream);
            return;
        }
        if (event == EVENT_OPEN) { /* what follows may belong on the poller */
            break;
        }
    }
    lock_acquire(&stream->lock);
    stream->scheduled = false;
    schedule_and_unlock(stream);
}

/* ---- completions, on the call's poller ---- */

static void on_read(void *owner, struct rpc_thread *thread, bool ok)
{
    struct rpc_stream *stream = owner;
    struct rpc_call *call = stream->call;
    lock_acquire(&stream->lock);
    stream->batches--;
    stream->reading = false;
    stream->in = STEAL(stream->arriving);
    if (!ok || stream->in == NULL) {
        stream->read_ended = true;
        if (ok && grpc_call_failed_before_recv_message(call->core) == 0) {
            stream->pending |= EVENT_HALF_CLOSED;
        }
    }
    continue_and_unlock(stream, thread);
    rpc_call_unref(call);
}

static void on_write(void *owner, struct rpc_thread *thread, bool ok)
{
    (void)ok; /* a failed write means that the close comes too */
    struct rpc_stream *stream = owner;
    struct rpc_call *call = stream->call;
    lock_acquire(&stream->lock);
    stream->batches--;
    stream->writing = false;
    rpc_stream_drop_first_locked(stream);
    if (!list_is_empty(&stream->out)) {
        rpc_stream_start_write_locked(stream);
    } else if (stream->finishing) {
        rpc_stream_start_status_locked(stream);
    } else {
        stream->pending |= EVENT_WRITABLE;
    }
    continue_and_unlock(stream, thread);
    rpc_call_unref(call);
}

/* The status was sent, or an empty batch came back to have the strand run. */
static void on_status(void *owner, struct rpc_thread *thread, bool ok)
{
    (void)ok;
    struct rpc_stream *stream = owner;
    struct rpc_call *call = stream->call;
    lock_acquire(&stream->lock);
    stream->batches--;
    continue_and_unlock(stream, thread);
    rpc_call_unref(call);
}

static void on_kick(void *owner, struct rpc_thread *thread, bool ok)
{
    (void)ok;
    struct rpc_stream *stream = owner;
    struct rpc_call *call = stream->call;
    lock_acquire(&stream->lock);
    stream->batches--;
    lock_release(&stream->lock);
    run(stream, thread);
    rpc_call_unref(call);
}

void rpc_stream_peer_closed(struct rpc_stream *stream, struct rpc_thread *thread)
{
    struct rpc_call *call = stream->call;
    lock_acquire(&stream->lock);
    stream->batches--;
    if (call->close_canceled != 0) {
        bool late = rpc_now().value >= call->deadline.value;
        rpc_call_record(call, late ? RPC_DEADLINE_EXCEEDED : RPC_CANCELLED, "the caller went away");
        stream->dead = true;
        rpc_stream_drop_queue_locked(stream);
    }
    continue_and_unlock(stream, thread);
}

void rpc_stream_begin(struct rpc_call *call)
{
    struct rpc_stream *stream = mem_alloc(sizeof(*stream));
    stream->server = call->server;
    stream->call = call;
    stream->method = call->method;
    atomic_init(&stream->refs, 1);
    lock_init(&stream->lock, LOCK_RANK_STREAM);
    list_init(&stream->out);
    stream->timer_at.value = INT64_MAX;
    stream->task.run = run_task;
    stream->t_read = (struct rpc_tag){ .done = on_read, .owner = stream };
    stream->t_write = (struct rpc_tag){ .done = on_write, .owner = stream };
    stream->t_status = (struct rpc_tag){ .done = on_status, .owner = stream };
    stream->t_kick = (struct rpc_tag){ .done = on_kick, .owner = stream };
    call->stream = stream;
    atomic_fetch_add(&call->server->streams_open, 1);
    LOCK_GUARD(&stream->lock);
    grpc_op op = { .op = GRPC_OP_RECV_CLOSE_ON_SERVER };
    op.data.recv_close_on_server.cancelled = &call->close_canceled;
    (void)rpc_stream_batch_locked(stream, &op, 1, &call->t_close);
    if (call->deadline.value != INT64_MAX && call->method->deadline_cap_us > 0) {
        arm_kill_locked(stream, call->deadline.value - rpc_now().value);
    }
    stream->pending = EVENT_OPEN;
    stream->scheduled = rpc_pool_push(call->server->pool, &stream->task);
    if (!stream->scheduled) {
        stream->pending = 0;
        rpc_stream_finish_locked(
            stream, RPC_RESOURCE_EXHAUSTED, "the server is busy; try again later");
    }
}

/* ---- what handlers call ---- */

void rpc_stream_leave_workers(struct rpc_stream *stream)
{
    LOCK_GUARD(&stream->lock);
    stream->left_workers = true;
}

void rpc_stream_pause(struct rpc_stream *stream)
{
    LOCK_GUARD(&stream->lock);
    stream->paused = true;
}

void rpc_stream_resume(struct rpc_stream *stream)
{
    LOCK_GUARD(&stream->lock);
    stream->paused = false;
    if (stream->opened) {
        rpc_stream_start_read_locked(stream);
    }
}

static void on_timer(void *context)
{
    struct rpc_stream *stream = context;
    lock_acquire(&stream->lock);
    if (rpc_now().value >= stream->timer_at.value) { /* else set anew while this one began to run */
        stream->timer_at.value = INT64_MAX;
        stream->timer_id = 0;
        stream->pending |= EVENT_TIMER;
    }
    schedule_and_unlock(stream);
    rpc_stream_unref(stream);
}

void rpc_stream_set_timer(struct rpc_stream *stream, int64_t delay_us)
{
    LOCK_GUARD(&stream->lock);
    cancel_timer_locked(stream);
    stream->pending &= ~(unsigned)EVENT_TIMER;
    if (delay_us < 0 || stream->call == NULL || stream->finishing || stream->dead) {
        return;
    }
    int64_t now = rpc_now().value;
    stream->timer_at.value = delay_us > INT64_MAX - 1 - now ? INT64_MAX - 1 : now + delay_us;
    (void)rpc_stream_ref(stream);
    stream->timer_id = timer_wheel_add(stream->server->wheel, delay_us, on_timer, stream);
}

void rpc_stream_wake(struct rpc_stream *stream)
{
    lock_acquire(&stream->lock);
    if (stream->call != NULL && !stream->finishing && !stream->dead) {
        stream->pending |= EVENT_WOKEN;
    }
    schedule_and_unlock(stream);
}
