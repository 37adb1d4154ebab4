/*
 * RelayStream, the agent's half of a relay: its first frame names the relay, then frames go both
 * ways until either side ends. Never touches the database.
 */
#include "cmd/server/auth/principal.h"
#include "cmd/server/core/service.h"
#include "cmd/server/gateway/gateway.h"
#include "cmd/server/relay/relay.h"
#include "common/base/mem.h"

struct agent_half {
    struct rpc_stream *stream; /* borrowed: lives as long as its state */
    struct service *service;
    int64_t agent_id;
    struct relay *relay; /* NULL until named */
    bool is_paused;
    bool is_ended;
};

typedef Agentgateway__V1__RelayFrame frame_type;

static void end(struct agent_half *half, enum err_code code, const char *text)
{
    if (!half->is_ended) {
        half->is_ended = true;
        rpc_stream_finish(half->stream, code, text);
    }
}

static enum err_code half_open(struct rpc_stream *stream, void **ret_state, struct err_info *err)
{
    (void)err;
    struct rpc_call *call = rpc_stream_call(stream);
    struct agent_half *half = mem_alloc(sizeof(*half));
    half->stream = stream;
    half->service = rpc_call_service(call);
    half->agent_id = principal_of(call)->agent_id;
    rpc_stream_set_timer(stream, RELAY_OPEN_US);
    *ret_state = half;
    return ERR_OK;
}

static void put(struct agent_half *half, const struct relay_frame *frame)
{
    if (!relay_put(half->relay, RELAY_AGENT, frame)) {
        half->is_paused = true;
        rpc_stream_pause(half->stream);
    }
}

static struct str_view bytes_of(const ProtobufCBinaryData *data)
{
    return str_from((const char *)data->data, data->len);
}

static void on_init(struct agent_half *half, const Agentgateway__V1__RelayInit *init)
{
    struct err_info err = ERR_INFO_INIT;
    if (half->relay != NULL) {
        end(half, ERR_INVALID, "frame: init comes once, first");
        return;
    }
    enum err_code code = relay_join(
        half->service->relays,
        str_of(init->relay_id),
        half->agent_id,
        half->stream,
        &half->relay,
        &err);
    if (code != ERR_OK) {
        end(half, code, err.text);
        return;
    }
    rpc_stream_set_timer(half->stream, -1);
}

static void on_frame(struct agent_half *half, const frame_type *frame)
{
    struct relay_frame taken = { .kind = RELAY_END };
    switch (frame->frame_case) {
    case AGENTGATEWAY__V1__RELAY_FRAME__FRAME_DATA:
        taken = (struct relay_frame){ .kind = RELAY_DATA, .bytes = bytes_of(&frame->data) };
        break;
    case AGENTGATEWAY__V1__RELAY_FRAME__FRAME_ERRORS:
        taken = (struct relay_frame){ .kind = RELAY_ERRORS, .bytes = bytes_of(&frame->errors) };
        break;
    case AGENTGATEWAY__V1__RELAY_FRAME__FRAME_EXIT:
        taken = (struct relay_frame){ .kind = RELAY_EXIT, .a = frame->exit->exit_code };
        break;
    case AGENTGATEWAY__V1__RELAY_FRAME__FRAME_FAILURE:
        taken = (struct relay_frame){ .kind = RELAY_FAILURE,
                                      .a = (int64_t)frame->failure->code,
                                      .bytes = str_of(frame->failure->message) };
        break;
    case AGENTGATEWAY__V1__RELAY_FRAME__FRAME_END:
        break;
    default:
        end(half, ERR_INVALID, "frame: an agent sends init, data, errors, end, exit or failure");
        return;
    }
    put(half, &taken);
}

static void half_message(struct rpc_stream *stream, void *state, const ProtobufCMessage *message)
{
    (void)stream;
    struct agent_half *half = state;
    const frame_type *frame = (const frame_type *)message;
    if (half->is_ended) {
        return;
    }
    if (frame->frame_case == AGENTGATEWAY__V1__RELAY_FRAME__FRAME_INIT) {
        on_init(half, frame->init);
    } else if (half->relay == NULL) {
        end(half, ERR_INVALID, "frame: init must come first");
    } else {
        on_frame(half, frame);
    }
}

static enum err_code send(struct agent_half *half, const struct relay_frame *taken)
{
    frame_type frame = AGENTGATEWAY__V1__RELAY_FRAME__INIT;
    Agentgateway__V1__RelayResize resize = AGENTGATEWAY__V1__RELAY_RESIZE__INIT;
    Agentgateway__V1__RelayEnd ended = AGENTGATEWAY__V1__RELAY_END__INIT;
    if (taken->kind == RELAY_DATA) {
        frame.frame_case = AGENTGATEWAY__V1__RELAY_FRAME__FRAME_DATA;
        frame.data =
            (ProtobufCBinaryData){ taken->bytes.len, CONST_CAST(uint8_t *, taken->bytes.ptr) };
    } else if (taken->kind == RELAY_RESIZE) {
        frame.frame_case = AGENTGATEWAY__V1__RELAY_FRAME__FRAME_RESIZE;
        frame.resize = &resize;
        resize.columns = (uint32_t)taken->a;
        resize.rows = (uint32_t)taken->b;
    } else {
        frame.frame_case = AGENTGATEWAY__V1__RELAY_FRAME__FRAME_END;
        frame.end = &ended;
    }
    return rpc_stream_send(half->stream, &frame.base);
}

static void half_pump(struct rpc_stream *stream, void *state)
{
    struct agent_half *half = state;
    struct relay_frame frame;
    if (half->relay == NULL || half->is_ended) {
        return;
    }
    if (half->is_paused && relay_may_read(half->relay, RELAY_AGENT)) {
        half->is_paused = false;
        rpc_stream_resume(stream);
    }
    bool is_left = relay_is_left(half->relay, RELAY_OPERATOR);
    while (relay_peek(half->relay, RELAY_AGENT, &frame)) {
        if (send(half, &frame) != ERR_OK) {
            return; /* goes on when the stream is writable */
        }
        relay_drop(half->relay, RELAY_AGENT);
    }
    if (is_left) {
        end(half, ERR_CANCELED, "the operator has gone");
    }
}

static void half_timer(struct rpc_stream *stream, void *state)
{
    (void)stream;
    struct agent_half *half = state;
    if (half->relay == NULL) {
        end(half, ERR_TIMEOUT, "no init within 10 s");
    }
}

static void half_half_closed(struct rpc_stream *stream, void *state)
{
    (void)stream;
    end(state, ERR_OK, NULL);
}

static void half_closed(struct rpc_stream *stream, void *state)
{
    (void)stream;
    struct agent_half *half = state;
    if (half->relay != NULL) {
        relay_leave(half->relay, RELAY_AGENT);
    }
    mem_free(half);
}

const struct rpc_stream_ops gateway_relay_ops = {
    .open = half_open,
    .message = half_message,
    .half_closed = half_half_closed,
    .writable = half_pump,
    .woken = half_pump,
    .timer = half_timer,
    .closed = half_closed,
};
