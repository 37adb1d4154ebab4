#include "cmd/agent/link/live.h"

#include "cmd/agent/link/link_private.h"
#include "common/base/log.h"
#include "common/wire/timestamp.h"

#define COPY_US (15 * US_PER_SECOND)

struct live {
    struct link *link;
    struct rpc_client_stream *copy; /* NULL: none under way */
    bool is_enabled;
};

struct live *live_create(struct link *link)
{
    struct live *live = mem_alloc(sizeof(*live));
    live->link = link;
    return live;
}

void live_destroy(struct live *live)
{
    if (live != NULL) {
        live_stop(live);
        mem_free(live);
    }
}

void live_start(struct live *live)
{
    if (live != NULL) {
        live->is_enabled = true;
    }
}

void live_stop(struct live *live)
{
    if (live == NULL) {
        return;
    }
    live->is_enabled = false;
    if (live->copy != NULL) {
        rpc_client_stream_release(STEAL(live->copy));
    }
}

/* The mark it names is the rounds' business. */
static void on_reply(void *context, const ProtobufCMessage *message)
{
    (void)context;
    (void)message;
}

/* What is wrong with the session shows on the rounds and the heartbeats, which decide. */
static void on_closed(void *context, enum err_code code, const struct err_info *err)
{
    struct live *live = context;
    rpc_client_stream_release(STEAL(live->copy));
    if (code == ERR_OK) {
        live->link->uploaded_copies++;
    } else {
        log_debug("copy_not_sent", LOG_STR("code", err_name(code)), LOG_ERR(err));
    }
}

static enum err_code send_copy(struct live *live, const struct spool_input *input)
{
    Google__Protobuf__Timestamp captured_at = wire_timestamp_of(input->captured_at);
    Agentgateway__V1__UploadTelemetryRequest request =
        AGENTGATEWAY__V1__UPLOAD_TELEMETRY_REQUEST__INIT;
    request.payload.data = CONST_CAST(uint8_t *, input->payload.ptr);
    request.payload.len = input->payload.len;
    request.captured_at = &captured_at;
    request.format = (Agentgateway__V1__PayloadFormat)input->format;
    request.compression = (Agentgateway__V1__PayloadCompression)input->compression;
    request.copy = true;
    return rpc_client_stream_send(live->copy, &request.base);
}

void live_offer(struct live *live, const struct spool_input *input)
{
    static const struct rpc_client_stream_ops ops = { .message = on_reply, .closed = on_closed };
    struct err_info err = ERR_INFO_INIT;
    if (live == NULL || !live->is_enabled || live->copy != NULL) {
        return;
    }
    struct link *link = live->link;
    struct rpc_header header = { "authorization", secret_peek(link->authorization).ptr };
    struct rpc_call_options options = { .deadline_us = COPY_US,
                                        .headers = &header,
                                        .header_count = 1 };
    enum err_code code = rpc_client_stream_open(
        link->channel,
        LINK_PATH("UploadTelemetry"),
        &agentgateway__v1__upload_telemetry_response__descriptor,
        &options,
        &link->executor,
        &ops,
        live,
        &live->copy,
        &err);
    if (code != ERR_OK) {
        log_debug("copy_not_sent", LOG_STR("code", err_name(code)), LOG_ERR(&err));
        return;
    }
    if (send_copy(live, input) == ERR_OK) {
        rpc_client_stream_half_close(live->copy);
    } else {
        rpc_client_stream_cancel(live->copy);
    }
}
