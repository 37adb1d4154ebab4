/* The control stream: hello, accepted, commands down, answers up, goaway. */
#include "cmd/agent/link/link_private.h"
#include "common/base/id.h"
#include "common/base/log.h"

struct link_stream {
    const char *path;
    const ProtobufCMessageDescriptor *reply_type;
    const struct rpc_client_stream_ops *ops;
    void *context;
};

static void on_accepted(struct link *link, const Agentgateway__V1__ControlAccepted *accepted)
{
    struct link_event event = { .type = LINK_EVENT_ACCEPTED,
                                .heartbeat_us =
                                    (int64_t)accepted->heartbeat_interval_ms * US_PER_MS };
    struct wall_us server_time = link_time_of(accepted->server_time);
    if (server_time.value > 0) {
        link->server_time = server_time;
        link->server_time_at = loop_now(link->options.loop);
    }
    /* both times are the server's, so our clock may be wrong */
    if (server_time.value > 0 && link->session_expires_at.value > server_time.value) {
        event.lifetime_us = link->session_expires_at.value - server_time.value;
    }
    link_feed(link, &event);
}

static void on_goaway(struct link *link, const Agentgateway__V1__Goaway *goaway)
{
    int64_t delay_us = (int64_t)goaway->reconnect_after_ms * US_PER_MS;
    delay_us = delay_us > LINK_DELAY_MAX_US ? LINK_DELAY_MAX_US : delay_us;
    log_info(
        "goaway",
        LOG_STR("reason", goaway->reason),
        LOG_INT("after_ms", goaway->reconnect_after_ms));
    /* half as much again, so that a server that restarts is not met by all at once */
    link_drain(link, delay_us + (int64_t)id_random_below((uint64_t)delay_us / 2 + 1));
}

static void on_message(void *context, const ProtobufCMessage *message)
{
    struct link *link = context;
    const Agentgateway__V1__ControlStreamResponse *response = (const void *)message;
    switch (response->message_case) {
    case AGENTGATEWAY__V1__CONTROL_STREAM_RESPONSE__MESSAGE_ACCEPTED:
        on_accepted(link, response->accepted);
        return;
    case AGENTGATEWAY__V1__CONTROL_STREAM_RESPONSE__MESSAGE_COMMAND:
        link_feed_type(link, LINK_EVENT_ALIVE);
        if (link->control != NULL) {
            link->ops->command(link->context, response->command);
        }
        return;
    case AGENTGATEWAY__V1__CONTROL_STREAM_RESPONSE__MESSAGE_GOAWAY:
        on_goaway(link, response->goaway);
        return;
    case AGENTGATEWAY__V1__CONTROL_STREAM_RESPONSE__MESSAGE_RELAY_OPEN:
        link_feed_type(link, LINK_EVENT_ALIVE);
        if (link->control != NULL && link->ops->relay_open != NULL) {
            link->ops->relay_open(link->context, response->relay_open);
        }
        return;
    case AGENTGATEWAY__V1__CONTROL_STREAM_RESPONSE__MESSAGE_SANDBOX_WATCH:
        link_feed_type(link, LINK_EVENT_ALIVE);
        if (link->control != NULL && link->ops->sandbox_watch != NULL) {
            link->ops->sandbox_watch(link->context, response->sandbox_watch);
        }
        return;
    case AGENTGATEWAY__V1__CONTROL_STREAM_RESPONSE__MESSAGE__NOT_SET:
    default: /* of a newer server: passed over */
        link_feed_type(link, LINK_EVENT_ALIVE);
        return;
    }
}

static void on_closed(void *context, enum err_code code, const struct err_info *err)
{
    struct link *link = context;
    rpc_client_stream_release(STEAL(link->control));
    if (link->is_half_closed) {
        link_check_closed(link);
        return;
    }
    if (code != ERR_OK) {
        link_report(link, code, "control stream", err);
    }
    link_feed_type(link, link_event_of_end(code));
}

/* Also packed, to be compared with what was said last. */
static enum err_code fill_capacity(
    struct link *link,
    struct arena *arena,
    Agentgateway__V1__Capacity *capacity,
    struct buf *packed,
    struct err_info *err)
{
    capacity->cpus = link->options.facts->cpu_count;
    capacity->memory_bytes = link->options.facts->memory_bytes;
    if (link->ops->fill_capacity != NULL) {
        TRY(link->ops->fill_capacity(link->context, arena, capacity, err));
    }
    wire_pack(&capacity->base, packed);
    return buf_ok(packed) ? ERR_OK : ERR_SET(err, ERR_LIMIT, "the capacity is too large");
}

static enum err_code send_hello(struct link *link, struct err_info *err)
{
    static const char *const capabilities[] = { "commands",   "device_command", "telemetry_now",
                                                "rotate_key", "set_config",     "drain",
                                                "zstd" };
    AUTO_ARENA struct arena *arena = arena_create(LINK_HELLO_BYTES);
    Agentgateway__V1__ControlStreamRequest request = AGENTGATEWAY__V1__CONTROL_STREAM_REQUEST__INIT;
    Agentgateway__V1__ControlHello hello;
    Agentgateway__V1__Capacity capacity = AGENTGATEWAY__V1__CAPACITY__INIT;
    char *names[ARRAY_LENGTH(capabilities)];
    struct link_status status = { 0 };
    agentgateway__v1__control_hello__init(&hello);
    if (link->ops->get_status != NULL) {
        link->ops->get_status(link->context, &status);
    }
    for (unsigned i = 0; i < ARRAY_LENGTH(capabilities); i++) {
        names[i] = CONST_CAST(char *, capabilities[i]);
    }
    buf_clear(&link->capacity);
    TRY(fill_capacity(link, arena, &capacity, &link->capacity, err));
    hello.agent_version = CONST_CAST(char *, link->options.agent_version);
    hello.boot_id = CONST_CAST(char *, link->options.facts->boot_id);
    hello.last_command_sequence = status.last_command_sequence;
    hello.capabilities = names;
    hello.n_capabilities = ARRAY_LENGTH(capabilities);
    hello.capacity = &capacity;
    hello.stream_number = ++link->stream_number;
    if (link->ops->fill_hello != NULL) {
        TRY(link->ops->fill_hello(link->context, arena, &hello, err));
    }
    request.message_case = AGENTGATEWAY__V1__CONTROL_STREAM_REQUEST__MESSAGE_HELLO;
    request.hello = &hello;
    return rpc_client_stream_send(link->control, &request.base);
}

/* The first message has to follow at once: nothing is sent before it. */
static enum err_code open_stream(
    struct link *link,
    const struct link_stream *wanted,
    struct rpc_client_stream **ret_stream,
    struct err_info *err)
{
    struct rpc_header header = { "authorization", secret_peek(link->authorization).ptr };
    struct rpc_call_options options = { .headers = &header,
                                        .header_count = 1,
                                        .speaks_first = true };
    return rpc_client_stream_open(
        link->channel,
        wanted->path,
        wanted->reply_type,
        &options,
        &link->executor,
        wanted->ops,
        wanted->context,
        ret_stream,
        err);
}

void link_open_control(struct link *link)
{
    static const struct rpc_client_stream_ops ops = { .message = on_message, .closed = on_closed };
    struct err_info err = ERR_INFO_INIT;
    const struct link_stream wanted = { LINK_PATH("ControlStream"),
                                        &agentgateway__v1__control_stream_response__descriptor,
                                        &ops,
                                        link };
    if (!link_need_channel(link)) {
        return;
    }
    enum err_code code = open_stream(link, &wanted, &link->control, &err);
    if (code == ERR_OK) {
        code = send_hello(link, &err);
    }
    if (code != ERR_OK) {
        link_report(link, code, "control stream", &err);
        link_feed_type(link, LINK_EVENT_FAILED);
    }
}

static enum err_code send_request(
    struct link *link, const Agentgateway__V1__ControlStreamRequest *request, struct err_info *err)
{
    if (link->control == NULL || link->is_half_closed || !link->core.is_accepted) {
        return ERR_SET(err, ERR_UNAVAILABLE, "no control stream");
    }
    return rpc_client_stream_send(link->control, &request->base) == ERR_OK
        ? ERR_OK
        : ERR_SET(err, ERR_UNAVAILABLE, "the control stream takes no more now");
}

void link_send_capacity(struct link *link)
{
    struct err_info err = ERR_INFO_INIT;
    AUTO_ARENA struct arena *arena = arena_create(LINK_HELLO_BYTES);
    AUTO_BUF struct buf packed = BUF_INIT(LINK_HELLO_BYTES);
    Agentgateway__V1__ControlStreamRequest request = AGENTGATEWAY__V1__CONTROL_STREAM_REQUEST__INIT;
    Agentgateway__V1__Capacity capacity = AGENTGATEWAY__V1__CAPACITY__INIT;
    if (fill_capacity(link, arena, &capacity, &packed, &err) != ERR_OK
        || str_equal(buf_view(&packed), buf_view(&link->capacity))) {
        return; /* at the next heartbeat again */
    }
    request.message_case = AGENTGATEWAY__V1__CONTROL_STREAM_REQUEST__MESSAGE_CAPACITY;
    request.capacity = &capacity;
    if (send_request(link, &request, &err) == ERR_OK) {
        buf_clear(&link->capacity);
        buf_append_str(&link->capacity, buf_view(&packed));
    }
}

void link_tell_capacity(struct link *link)
{
    if (link->control != NULL) {
        link_send_capacity(link);
    }
}

enum err_code link_send_report(
    struct link *link, const Agentgateway__V1__SandboxReport *report, struct err_info *err)
{
    Agentgateway__V1__ControlStreamRequest request = AGENTGATEWAY__V1__CONTROL_STREAM_REQUEST__INIT;
    request.message_case = AGENTGATEWAY__V1__CONTROL_STREAM_REQUEST__MESSAGE_SANDBOX_REPORT;
    request.sandbox_report = CONST_CAST(Agentgateway__V1__SandboxReport *, report);
    return send_request(link, &request, err);
}

enum err_code link_send_readings(
    struct link *link,
    const Agentgateway__V1__ControlSandboxReadings *readings,
    struct err_info *err)
{
    Agentgateway__V1__ControlStreamRequest request = AGENTGATEWAY__V1__CONTROL_STREAM_REQUEST__INIT;
    request.message_case = AGENTGATEWAY__V1__CONTROL_STREAM_REQUEST__MESSAGE_SANDBOX_READINGS;
    request.sandbox_readings = CONST_CAST(Agentgateway__V1__ControlSandboxReadings *, readings);
    return send_request(link, &request, err);
}

enum err_code link_open_relay(
    struct link *link,
    const struct rpc_client_stream_ops *ops,
    void *context,
    struct rpc_client_stream **ret_stream,
    struct err_info *err)
{
    const struct link_stream wanted = {
        LINK_PATH("RelayStream"), &agentgateway__v1__relay_frame__descriptor, ops, context
    };
    if (link->channel == NULL || link->authorization == NULL || link->is_half_closed) {
        return ERR_SET(err, ERR_UNAVAILABLE, "no session");
    }
    return open_stream(link, &wanted, ret_stream, err);
}

enum err_code link_send_ack(
    struct link *link,
    struct str_view command_id,
    const struct command_outcome *outcome,
    struct err_info *err)
{
    Agentgateway__V1__ControlStreamRequest request = AGENTGATEWAY__V1__CONTROL_STREAM_REQUEST__INIT;
    Agentgateway__V1__ControlAck ack;
    AUTO_FREE char *id = mem_printf("%.*s", STR_ARG(command_id));
    agentgateway__v1__control_ack__init(&ack);
    ack.command_id = id;
    ack.succeeded = outcome->succeeded;
    ack.error_message = CONST_CAST(char *, outcome->error);
    ack.code = (Agentgateway__V1__AckCode)outcome->code;
    ack.payload.data = CONST_CAST(uint8_t *, outcome->payload.ptr);
    ack.payload.len = outcome->payload.len;
    request.message_case = AGENTGATEWAY__V1__CONTROL_STREAM_REQUEST__MESSAGE_ACK;
    request.ack = &ack;
    return send_request(link, &request, err);
}
