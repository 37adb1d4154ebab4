#include "cmd/server/relay/frame.h"

#include "common/base/cleanup.h"

void relay_wire_fill(struct relay_wire *wire, const struct relay_frame *frame)
{
    const ProtobufCBinaryData data = { frame->bytes.len, CONST_CAST(uint8_t *, frame->bytes.ptr) };
    wire->frame = (Agentgateway__V1__RelayFrame)AGENTGATEWAY__V1__RELAY_FRAME__INIT;
    wire->resize = (Agentgateway__V1__RelayResize)AGENTGATEWAY__V1__RELAY_RESIZE__INIT;
    wire->end = (Agentgateway__V1__RelayEnd)AGENTGATEWAY__V1__RELAY_END__INIT;
    wire->exit = (Agentgateway__V1__RelayExit)AGENTGATEWAY__V1__RELAY_EXIT__INIT;
    wire->failure = (Agentgateway__V1__RelayFailure)AGENTGATEWAY__V1__RELAY_FAILURE__INIT;
    switch (frame->kind) {
    case RELAY_DATA:
        wire->frame.frame_case = AGENTGATEWAY__V1__RELAY_FRAME__FRAME_DATA;
        wire->frame.data = data;
        break;
    case RELAY_ERRORS:
        wire->frame.frame_case = AGENTGATEWAY__V1__RELAY_FRAME__FRAME_ERRORS;
        wire->frame.errors = data;
        break;
    case RELAY_RESIZE:
        wire->frame.frame_case = AGENTGATEWAY__V1__RELAY_FRAME__FRAME_RESIZE;
        wire->frame.resize = &wire->resize;
        wire->resize.columns = (uint32_t)frame->a;
        wire->resize.rows = (uint32_t)frame->b;
        break;
    case RELAY_END:
        wire->frame.frame_case = AGENTGATEWAY__V1__RELAY_FRAME__FRAME_END;
        wire->frame.end = &wire->end;
        break;
    case RELAY_EXIT:
        wire->frame.frame_case = AGENTGATEWAY__V1__RELAY_FRAME__FRAME_EXIT;
        wire->frame.exit = &wire->exit;
        wire->exit.exit_code = (int32_t)frame->a;
        break;
    case RELAY_FAILURE:
        wire->frame.frame_case = AGENTGATEWAY__V1__RELAY_FRAME__FRAME_FAILURE;
        wire->frame.failure = &wire->failure;
        wire->failure.code = (Agentgateway__V1__AckCode)frame->a;
        wire->failure.message = CONST_CAST(char *, frame->bytes.ptr);
        break;
    }
}

static struct str_view bytes_of(const ProtobufCBinaryData *data)
{
    return str_from((const char *)data->data, data->len);
}

static bool read_of_agent(
    const Agentgateway__V1__RelayFrame *message, struct relay_frame *ret_frame)
{
    switch (message->frame_case) {
    case AGENTGATEWAY__V1__RELAY_FRAME__FRAME_ERRORS:
        *ret_frame =
            (struct relay_frame){ .kind = RELAY_ERRORS, .bytes = bytes_of(&message->errors) };
        return true;
    case AGENTGATEWAY__V1__RELAY_FRAME__FRAME_EXIT:
        *ret_frame = (struct relay_frame){ .kind = RELAY_EXIT, .a = message->exit->exit_code };
        return true;
    case AGENTGATEWAY__V1__RELAY_FRAME__FRAME_FAILURE:
        *ret_frame = (struct relay_frame){ .kind = RELAY_FAILURE,
                                           .a = (int64_t)message->failure->code,
                                           .bytes = str_of(message->failure->message) };
        return true;
    default:
        return false;
    }
}

bool relay_frame_read(
    const Agentgateway__V1__RelayFrame *message,
    enum relay_side from,
    struct relay_frame *ret_frame)
{
    switch (message->frame_case) {
    case AGENTGATEWAY__V1__RELAY_FRAME__FRAME_DATA:
        *ret_frame = (struct relay_frame){ .kind = RELAY_DATA, .bytes = bytes_of(&message->data) };
        return true;
    case AGENTGATEWAY__V1__RELAY_FRAME__FRAME_END:
        *ret_frame = (struct relay_frame){ .kind = RELAY_END };
        return true;
    case AGENTGATEWAY__V1__RELAY_FRAME__FRAME_RESIZE:
        *ret_frame = (struct relay_frame){ .kind = RELAY_RESIZE,
                                           .a = message->resize->columns,
                                           .b = message->resize->rows };
        return from == RELAY_OPERATOR;
    default:
        return from == RELAY_AGENT && read_of_agent(message, ret_frame);
    }
}
