/*
 * Unary calls: the gate, one message in, the handler, one batch out. The reply, a deadline and the
 * peer's going away race; the first to set `answered` decides.
 */
#include "common/base/log.h"
#include "common/rpc/rpc_private.h"
#include "common/wire/wire.h"

#include <grpc/slice.h>

#include <stdio.h>

#define ADMISSION_HOLDS_US US_PER_SECOND

static void on_answered(void *owner, struct rpc_thread *thread, bool ok)
{
    (void)thread;
    (void)ok;
    rpc_call_unref(owner);
}

/* Sends the recorded status, and reply before it unless NULL. Under the call's lock. */
static void send_locked(struct rpc_call *call, grpc_byte_buffer *reply)
{
    grpc_op ops[4] = { { .op = GRPC_OP_SEND_INITIAL_METADATA } };
    size_t count = 1;
    if (reply != NULL) {
        ops[count] = (grpc_op){ .op = GRPC_OP_SEND_MESSAGE };
        ops[count++].data.send_message.send_message = reply;
    }
    struct rpc_status_op storage;
    rpc_call_fill_status(call, &storage, &ops[count++]);
    if (!call->watches_close) {
        call->watches_close = true;
        ops[count] = (grpc_op){ .op = GRPC_OP_RECV_CLOSE_ON_SERVER };
        ops[count++].data.recv_close_on_server.cancelled = &call->close_canceled;
    }
    call->t_status = (struct rpc_tag){ .done = on_answered, .owner = call };
    if (!rpc_call_batch(call, ops, count, &call->t_status)) {
        log_error("rpc_status_refused", LOG_STR("call", call->id));
    }
    rpc_status_op_deinit(&storage);
}

/* The library needs take_reply until the batch completes: it lives as long as the call. */
static void answer(
    struct rpc_call *call, enum rpc_status status, const char *text, grpc_byte_buffer *take_reply)
{
    uint64_t timer = 0;
    bool late = false;
    lock_acquire(&call->lock);
    late = call->answered;
    if (!late) {
        call->answered = true;
        timer = call->timer_id;
        call->timer_id = 0;
        rpc_call_record(call, status, text);
        call->out = take_reply;
        send_locked(call, take_reply);
    }
    lock_release(&call->lock);
    if (late) {
        grpc_byte_buffer_destroy(take_reply);
    }
    if (timer != 0 && timer_wheel_cancel(call->server->wheel, timer)) {
        rpc_call_unref(call);
    }
}

void rpc_unary_refuse(struct rpc_call *call, enum rpc_status status, const char *text)
{
    answer(call, status, text, NULL);
}

void rpc_unary_closed(struct rpc_call *call)
{
    uint64_t timer = 0;
    lock_acquire(&call->lock);
    if (!call->answered) {
        call->answered = true;
        bool late = rpc_now().value >= call->deadline.value;
        rpc_call_record(call, late ? RPC_DEADLINE_EXCEEDED : RPC_CANCELLED, "the caller went away");
        timer = call->timer_id;
        call->timer_id = 0;
    }
    lock_release(&call->lock);
    if (timer != 0 && timer_wheel_cancel(call->server->wheel, timer)) {
        rpc_call_unref(call);
    }
}

static void on_deadline(void *context)
{
    struct rpc_call *call = context;
    lock_acquire(&call->lock);
    call->timer_id = 0;
    lock_release(&call->lock);
    rpc_unary_refuse(call, RPC_DEADLINE_EXCEEDED, "the time for this method is over");
    rpc_call_unref(call);
}

/* The library watches the caller's own deadline; the row's shorter one is ours. */
static void arm_deadline(struct rpc_call *call)
{
    if (call->method->deadline_cap_us <= 0
        || rpc_time_from(call->details.deadline).value <= call->deadline.value) {
        return;
    }
    rpc_call_ref(call);
    int64_t delay = call->deadline.value - rpc_now().value;
    lock_acquire(&call->lock);
    bool pointless = call->answered;
    if (!pointless) {
        call->timer_id =
            timer_wheel_add(call->server->wheel, delay < 0 ? 0 : delay, on_deadline, call);
    }
    lock_release(&call->lock);
    if (pointless) {
        rpc_call_unref(call);
    }
}

static void fail(struct rpc_call *call, enum err_code code, const struct err_info *err)
{
    rpc_unary_refuse(call, rpc_status_of(code), err->text[0] == '\0' ? err_name(code) : err->text);
}

static enum err_code unpack(
    struct rpc_call *call, const ProtobufCMessage **ret_request, struct err_info *err)
{
    grpc_slice bytes;
    lock_acquire(&call->lock);
    grpc_byte_buffer *in = call->answered ? NULL : STEAL(call->in);
    lock_release(&call->lock);
    if (in == NULL) {
        return ERR_SET(err, ERR_CANCELED, "the call has ended");
    }
    bool whole = rpc_message_gather(in, &bytes);
    grpc_byte_buffer_destroy(in);
    if (!whole) {
        return ERR_SET(err, ERR_UNSUPPORTED, "compressed messages are not accepted");
    }
    ProtobufCMessage *request = NULL;
    enum err_code code = wire_unpack(
        call->server->options.schema,
        call->method->input,
        GRPC_SLICE_START_PTR(bytes),
        GRPC_SLICE_LENGTH(bytes),
        rpc_call_arena(call),
        &request,
        err);
    grpc_slice_unref(bytes);
    *ret_request = request;
    return code;
}

static void handle(struct rpc_call *call)
{
    struct err_info err = ERR_INFO_INIT;
    const ProtobufCMessage *request = NULL;
    ProtobufCMessage *reply = NULL;
    enum err_code code = unpack(call, &request, &err);
    if (code == ERR_OK) {
        code = call->method->unary(call, request, &reply, &err);
    }
    if (code != ERR_OK) {
        fail(call, code, &err);
        return;
    }
    if (rpc_now().value
        >= call->deadline.value) { /* whatever it did, the caller was told otherwise */
        rpc_unary_refuse(call, RPC_DEADLINE_EXCEEDED, "the time for this method is over");
        return;
    }
    if (reply == NULL || reply->descriptor != call->method->output) {
        log_error("rpc_reply_type", LOG_STR("method", call->method->path));
        rpc_unary_refuse(call, RPC_INTERNAL, "the server made no reply");
        return;
    }
    grpc_byte_buffer *packed = rpc_message_pack(reply, RPC_REPLY_MAX);
    if (packed == NULL) {
        rpc_unary_refuse(call, RPC_RESOURCE_EXHAUSTED, "the reply is too large");
        return;
    }
    answer(call, RPC_OK, NULL, packed);
}

static void run_here(struct rpc_call *call, struct rpc_thread *thread, bool may_block);

/* ---- The request has come ---- */

static void run_task(struct rpc_task *task, struct rpc_thread *thread)
{
    struct rpc_call *call = CONTAINER_OF(task, struct rpc_call, task);
    run_here(call, thread, true);
    rpc_call_unref(call);
}

static void give_to_worker(
    struct rpc_call *call, void (*run)(struct rpc_task *task, struct rpc_thread *thread))
{
    call->task.run = run;
    rpc_call_ref(call);
    lock_acquire(&call->lock);
    if (!call->answered && !call->watches_close) {
        rpc_call_watch_close(call);
    }
    lock_release(&call->lock);
    if (!rpc_pool_push(call->server->pool, &call->task)) {
        rpc_unary_refuse(call, RPC_RESOURCE_EXHAUSTED, "the server is busy; try again later");
        rpc_call_unref(call);
    }
}

static bool is_canceled(struct rpc_call *call)
{
    if (rpc_call_is_canceled(call)) {
        rpc_unary_refuse(call, RPC_DEADLINE_EXCEEDED, "the call waited past its deadline");
        return true;
    }
    return false;
}

/* A request that was held back does not run on what the gate said long ago. */
static enum err_code admit_again(struct rpc_call *call, bool may_block, struct err_info *err)
{
    bool holds = rpc_now().value - call->admitted.value < ADMISSION_HOLDS_US;
    return holds ? ERR_OK : rpc_call_admit(call, may_block, err);
}

static void run_here(struct rpc_call *call, struct rpc_thread *thread, bool may_block)
{
    struct err_info err = ERR_INFO_INIT;
    if (is_canceled(call)) {
        return;
    }
    call->thread = thread;
    enum err_code code = admit_again(call, may_block, &err);
    if (code == ERR_OK) {
        handle(call);
    } else if (code != ERR_BUSY || may_block) {
        fail(call, code, &err);
    }
    call->thread = NULL;
    if (code == ERR_BUSY && !may_block) {
        give_to_worker(call, run_task);
    }
}

static void on_read(void *owner, struct rpc_thread *thread, bool ok)
{
    struct rpc_call *call = owner;
    if (!ok || call->in == NULL) {
        /* The caller went away, or ended its half without a message. */
        if (ok && grpc_call_failed_before_recv_message(call->core) == 0) {
            rpc_unary_refuse(call, RPC_INVALID_ARGUMENT, "the request carries no message");
        } else {
            rpc_unary_closed(call);
        }
    } else if (grpc_byte_buffer_length(call->in) > call->method->max_request_bytes) {
        char text[96];
        (void)snprintf(
            text,
            sizeof(text),
            "the request is larger than %zu bytes",
            call->method->max_request_bytes);
        rpc_unary_refuse(call, RPC_RESOURCE_EXHAUSTED, text);
    } else if (call->method->is_inline) {
        run_here(call, thread, false);
    } else {
        give_to_worker(call, run_task);
    }
    rpc_call_unref(call);
}

/* ---- The metadata have come ---- */

static void start_read(struct rpc_call *call)
{
    grpc_op op = { .op = GRPC_OP_RECV_MESSAGE };
    op.data.recv_message.recv_message = &call->in;
    call->t_read = (struct rpc_tag){ .done = on_read, .owner = call };
    lock_acquire(&call->lock);
    bool started = call->answered || rpc_call_batch(call, &op, 1, &call->t_read);
    lock_release(&call->lock);
    if (!started) {
        rpc_unary_refuse(call, RPC_INTERNAL, "the request could not be read");
    }
}

static void admit_task(struct rpc_task *task, struct rpc_thread *thread);

/* Whoever may not call is told so before the request is read: it takes no memory here. */
static void admit_here(struct rpc_call *call, struct rpc_thread *thread, bool may_block)
{
    struct err_info err = ERR_INFO_INIT;
    if (is_canceled(call)) {
        return;
    }
    call->thread = thread;
    enum err_code code = rpc_call_admit(call, may_block, &err);
    call->thread = NULL;
    if (code == ERR_OK) {
        start_read(call);
    } else if (code == ERR_BUSY && !may_block) {
        give_to_worker(call, admit_task);
    } else {
        fail(call, code, &err);
    }
}

static void admit_task(struct rpc_task *task, struct rpc_thread *thread)
{
    struct rpc_call *call = CONTAINER_OF(task, struct rpc_call, task);
    admit_here(call, thread, true);
    rpc_call_unref(call);
}

void rpc_unary_begin(struct rpc_call *call, struct rpc_thread *poller)
{
    arm_deadline(call);
    admit_here(call, poller, false);
}
