#include "cmd/agent/relay/relay.h"

#include "common/base/cleanup.h"
#include "common/base/log.h"

#include <stdarg.h>
#include <stdio.h>

#define PATH            "/agentgateway.v1.AgentGatewayService/RelayStream"
#define FRAME(name)     AGENTGATEWAY__V1__RELAY_FRAME__FRAME_##name
#define CLOSE_US        (30 * US_PER_SECOND) /* the server ends the stream within this time */
#define TAKEN_TOLD_STEP (RELAY_INPUT_WINDOW_BYTES / 4)

enum {
    TEXT_BYTES = 512,
    SIGNAL_MAX = 64,
    TERMINAL_MAX = 65535
};

typedef Agentgateway__V1__RelayFrame frame_type;

typedef enum err_code (*send_fn)(struct rpc_client_stream *stream, const ProtobufCMessage *message);

/* A queue that is full has a reader that breaks our bounds; one that is canceled has told so. */
static void pass_on(struct relay *relay, const frame_type *frame, send_fn fn)
{
    if (relay->stream != NULL && !relay->is_finished
        && fn(relay->stream, &frame->base) == ERR_LIMIT) {
        rpc_client_stream_cancel(relay->stream);
    }
}

void relay_introduce(struct relay *relay)
{
    frame_type frame = AGENTGATEWAY__V1__RELAY_FRAME__INIT;
    Agentgateway__V1__RelayInit init = AGENTGATEWAY__V1__RELAY_INIT__INIT;
    if (relay->is_introduced) {
        return;
    }
    relay->is_introduced = true;
    init.relay_id = relay->id;
    init.input_window = RELAY_INPUT_WINDOW_BYTES;
    frame.frame_case = FRAME(INIT);
    frame.init = &init;
    pass_on(relay, &frame, rpc_client_stream_send);
}

static void send_by(struct relay *relay, const frame_type *frame, send_fn fn)
{
    relay_introduce(relay);
    pass_on(relay, frame, fn);
}

static void send(struct relay *relay, const frame_type *frame)
{
    send_by(relay, frame, rpc_client_stream_send);
}

static void drop_target(struct relay *relay)
{
    const struct relay_target_ops *target = STEAL(relay->target);
    if (target != NULL) {
        target->destroy(STEAL(relay->state));
    }
    buf_deinit(&relay->input);
}

static void tell_taken(struct relay *relay)
{
    frame_type frame = AGENTGATEWAY__V1__RELAY_FRAME__INIT;
    uint64_t taken = relay->received - relay->input.len;
    if (taken - relay->told_taken < TAKEN_TOLD_STEP && relay->input.len > 0) {
        return;
    }
    if (taken > relay->told_taken) {
        relay->told_taken = taken;
        frame.frame_case = FRAME(TAKEN);
        frame.taken = taken;
        send(relay, &frame);
    }
}

void relay_consume(struct relay *relay, size_t bytes)
{
    struct buf *input = &relay->input;
    input->len -= bytes;
    if (input->len > 0) {
        memmove(input->data, input->data + bytes, input->len);
    }
    tell_taken(relay);
}

void relay_send_output(struct relay *relay, unsigned stream, struct str_view data)
{
    frame_type frame = AGENTGATEWAY__V1__RELAY_FRAME__INIT;
    ProtobufCBinaryData bytes = { data.len, CONST_CAST(uint8_t *, data.ptr) };
    frame.frame_case = stream == 1 ? FRAME(DATA) : FRAME(ERRORS);
    if (stream == 1) {
        frame.data = bytes;
    } else {
        frame.errors = bytes;
    }
    send(relay, &frame);
}

void relay_send_end(struct relay *relay)
{
    frame_type frame = AGENTGATEWAY__V1__RELAY_FRAME__INIT;
    Agentgateway__V1__RelayEnd end = AGENTGATEWAY__V1__RELAY_END__INIT;
    frame.frame_case = FRAME(END);
    frame.end = &end;
    send(relay, &frame);
}

static void finish(struct relay *relay)
{
    relay->is_finished = true;
    drop_target(relay);
    loop_timer_arm_after(relay->timer, CLOSE_US);
}

static void finish_with(struct relay *relay, const frame_type *frame)
{
    send_by(relay, frame, rpc_client_stream_send_last);
    finish(relay);
}

void relay_finish(struct relay *relay)
{
    finish(relay);
    if (relay->stream != NULL) {
        rpc_client_stream_half_close(relay->stream);
    }
}

void relay_finish_exit(struct relay *relay, int exit_code)
{
    frame_type frame = AGENTGATEWAY__V1__RELAY_FRAME__INIT;
    Agentgateway__V1__RelayExit ended = AGENTGATEWAY__V1__RELAY_EXIT__INIT;
    ended.exit_code = exit_code;
    frame.frame_case = FRAME(EXIT);
    frame.exit = &ended;
    finish_with(relay, &frame);
    log_info("relay_ended", LOG_STR("relay", relay->id), LOG_INT("exit_code", exit_code));
}

void relay_finish_failure(struct relay *relay, int ack_code, const char *format, ...)
{
    char text[TEXT_BYTES];
    frame_type frame = AGENTGATEWAY__V1__RELAY_FRAME__INIT;
    Agentgateway__V1__RelayFailure failure = AGENTGATEWAY__V1__RELAY_FAILURE__INIT;
    va_list arguments;
    va_start(arguments, format);
    int used = vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    (void)used; /* cut is fine */
    str_make_utf8(text);
    failure.code = (Agentgateway__V1__AckCode)ack_code;
    failure.message = text;
    frame.frame_case = FRAME(FAILURE);
    frame.failure = &failure;
    finish_with(relay, &frame);
    log_info("relay_failed", LOG_STR("relay", relay->id), LOG_STR("reason", text));
}

/* ---- What the server sends ---- */

/* Nothing that our server does: the relay is not worth keeping. */
static void break_off(struct relay *relay, const char *reason)
{
    log_warn("relay_broken", LOG_STR("relay", relay->id), LOG_STR("reason", reason));
    relay_destroy(relay);
}

static void on_data(struct relay *relay, const ProtobufCBinaryData *data)
{
    relay->received += data->len;
    if (relay->target == NULL) {
        return;
    }
    buf_append(&relay->input, data->data, data->len);
    if (!buf_ok(&relay->input) || relay->input_ended) {
        break_off(relay, "more input than the window, or after its end");
        return;
    }
    relay->target->input(relay->state);
}

static void on_end(struct relay *relay)
{
    if (!relay->input_ended && relay->target != NULL) {
        relay->input_ended = true;
        relay->target->input(relay->state);
    }
}

static void on_resize(struct relay *relay, const Agentgateway__V1__RelayResize *resize)
{
    bool is_sane = resize->rows >= 1 && resize->rows <= TERMINAL_MAX && resize->columns >= 1
        && resize->columns <= TERMINAL_MAX;
    if (is_sane && relay->target != NULL && relay->target->resize != NULL) {
        relay->target->resize(relay->state, resize->rows, resize->columns);
    }
}

static void on_signal(struct relay *relay, uint32_t number)
{
    if (number >= 1 && number <= SIGNAL_MAX && relay->target != NULL
        && relay->target->signal != NULL) {
        relay->target->signal(relay->state, (int)number);
    }
}

void relay_hear(struct relay *relay, const frame_type *frame)
{
    switch (frame->frame_case) {
    case FRAME(DATA):
        on_data(relay, &frame->data);
        return;
    case FRAME(END):
        on_end(relay);
        return;
    case FRAME(RESIZE):
        on_resize(relay, frame->resize);
        return;
    case FRAME(SIGNAL):
        on_signal(relay, frame->signal);
        return;
    default:
        break_off(relay, "a frame that only an agent sends");
        return;
    }
}

static void on_message(void *context, const ProtobufCMessage *message)
{
    relay_hear(context, (const frame_type *)message);
}

static void on_writable(void *context)
{
    struct relay *relay = context;
    if (relay->target != NULL) {
        relay->target->writable(relay->state);
    }
}

static void on_closed(void *context, enum err_code code, const struct err_info *err)
{
    struct relay *relay = context;
    if (!relay->is_finished) {
        log_info(
            "relay_closed",
            LOG_STR("relay", relay->id),
            LOG_STR("code", err_name(code)),
            LOG_STR("reason", err == NULL ? "" : err->text));
    }
    relay_destroy(relay);
}

/* ---- Life ---- */

static void on_late(void *context)
{
    break_off(context, "the server does not end the stream");
}

enum err_code relay_create(
    struct bridges *all,
    const Agentgateway__V1__ControlRelayOpen *order,
    struct relay **ret_relay,
    struct err_info *err)
{
    static const struct rpc_client_stream_ops ops = { .message = on_message,
                                                      .writable = on_writable,
                                                      .closed = on_closed };
    const struct bridges_options *options = bridges_options_of(all);
    struct relay *relay = mem_alloc(sizeof(*relay));
    relay->all = all;
    relay->input = (struct buf)BUF_INIT(RELAY_INPUT_WINDOW_BYTES);
    relay->timer = loop_timer_create(options->loop, on_late, relay);
    (void)snprintf(relay->id, sizeof(relay->id), "%s", order->relay_id);
    (void)snprintf(relay->sandbox_id, sizeof(relay->sandbox_id), "%s", order->sandbox_id);
    bridges_add(all, relay);
    enum err_code code = options->open_stream(options->context, &ops, relay, &relay->stream, err);
    if (code != ERR_OK) {
        relay_destroy(relay);
        return code;
    }
    *ret_relay = relay;
    return ERR_OK;
}

void relay_destroy(struct relay *relay)
{
    drop_target(relay);
    rpc_client_stream_release(STEAL(relay->stream));
    loop_timer_destroy(relay->timer);
    bridges_remove(relay->all, relay);
    mem_free(relay);
}

void relay_set_target(struct relay *relay, const struct relay_target_ops *ops, void *take_state)
{
    relay->target = ops;
    relay->state = take_state;
}
