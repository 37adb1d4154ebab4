/* common/rpc/client.h over the simulated network: event-driven calls and streams only. */
#include "common/base/cleanup.h"
#include "common/wire/wire.h"
#include "tests/support/memory.h"
#include "tests/support/sim/sim_rpc_private.h"

enum {
    ARENA_BYTES = 64 * 1024 * 1024,
    QUEUE_BYTES = 4 * 1024 * 1024
};

#define CALL_US (30 * US_PER_SECOND)

struct rpc_client {
    struct sim_net *net;
    unsigned host;
    struct list streams; /* rpc_client_stream, unary calls too */
};

struct rpc_channel {
    struct rpc_client *client;
};

/* A stream or a unary call. Events wait in `in` until the executor has time. */
struct rpc_client_stream {
    struct list link;
    struct rpc_client *client;
    struct rpc_channel *channel; /* to find those it cancels; may be gone */
    struct sim_wire *wire;
    const ProtobufCMessageDescriptor *reply_type;
    struct rpc_executor executor;
    rpc_reply_fn done; /* NULL: a stream */
    struct rpc_client_stream_ops ops;
    void *context;
    struct list in; /* sim_packet */
    uint64_t deadline;
    bool posted;
    bool running;
    bool released;
    bool has_status;
    bool closed;
    bool half_closed;
    bool paused;
};

enum err_code rpc_client_create(
    const struct wire_schema *schema, struct rpc_client **ret_client, struct err_info *err)
{
    struct rpc_client *client = mem_alloc(sizeof(*client));
    (void)schema;
    (void)err;
    client->net = sim_net_current();
    client->host = client->net->host;
    list_init(&client->streams);
    *ret_client = client;
    return ERR_OK;
}

/* The wire has no client from here on; what still comes is dropped. */
static void detach(struct rpc_client_stream *stream)
{
    struct sim_wire *wire = STEAL(stream->wire);
    sim_cancel(stream->client->net->sim, stream->deadline);
    stream->deadline = 0;
    if (wire != NULL) {
        wire->client = NULL;
        sim_wire_unref(wire);
    }
}

static void stream_free(struct rpc_client_stream *stream)
{
    detach(stream);
    for (struct list *node = list_pop(&stream->in); node != NULL; node = list_pop(&stream->in)) {
        sim_packet_destroy(LIST_ENTRY(node, struct sim_packet, link));
    }
    list_remove(&stream->link);
    mem_free(stream);
}

static void free_if_over(struct rpc_client_stream *stream)
{
    bool over = stream->done == NULL ? stream->released : stream->closed;
    if (over && !stream->posted && !stream->running) {
        stream_free(stream);
    }
}

static void cancel_wire(struct rpc_client_stream *stream)
{
    if (stream->wire != NULL) {
        sim_wire_send(stream->wire, SIM_UP, sim_packet_create(SIM_CANCEL, NULL));
    }
    detach(stream);
}

void rpc_client_destroy(struct rpc_client *client)
{
    if (client == NULL) {
        return;
    }
    LIST_FOR_EACH(node, &client->streams)
    {
        cancel_wire(LIST_ENTRY(node, struct rpc_client_stream, link));
        stream_free(LIST_ENTRY(node, struct rpc_client_stream, link));
    }
    mem_free(client);
}

enum err_code rpc_channel_create(
    struct rpc_client *client,
    const struct rpc_channel_options *options,
    struct rpc_channel **ret_channel,
    struct err_info *err)
{
    (void)options;
    (void)err;
    struct rpc_channel *channel = mem_alloc(sizeof(*channel));
    channel->client = client;
    *ret_channel = channel;
    return ERR_OK;
}

/* ---- events ---- */

static void end_with(struct rpc_client_stream *stream, enum err_code code, const char *text);

static void deliver_message(struct rpc_client_stream *stream, const struct sim_packet *packet)
{
    struct err_info err = ERR_INFO_INIT;
    ProtobufCMessage *message = NULL;
    AUTO_ARENA struct arena *arena = arena_create(ARENA_BYTES);
    enum err_code code = packet->code;
    if (code == ERR_OK && packet->data != NULL) {
        code = wire_unpack_lenient(
            stream->client->net->schema,
            stream->reply_type,
            packet->data,
            packet->bytes,
            arena,
            &message,
            &err);
    }
    if (packet->type == SIM_MESSAGE && code != ERR_OK) {
        end_with(stream, code, "the server sent a message that cannot be read");
        return;
    }
    if (packet->type == SIM_MESSAGE) {
        stream->ops.message(stream->context, message);
        return;
    }
    stream->closed = true;
    if (packet->code != ERR_OK) {
        (void)ERR_SET(&err, packet->code, "%s", packet->text == NULL ? "" : packet->text);
    }
    if (stream->done != NULL) {
        stream->done(stream->context, code, code == ERR_OK ? message : NULL, &err);
    } else {
        stream->ops.closed(stream->context, code, &err);
    }
}

static void deliver_all(struct rpc_client_stream *stream)
{
    while (!list_is_empty(&stream->in) && (!stream->paused || stream->released)) {
        struct sim_packet *packet = LIST_ENTRY(list_pop(&stream->in), struct sim_packet, link);
        if (!stream->released && !stream->closed) {
            deliver_message(stream, packet);
        }
        sim_packet_destroy(packet);
    }
}

static void run(void *argument)
{
    struct rpc_client_stream *stream = argument;
    stream->posted = false;
    stream->running = true;
    if (stream->client->host == SIM_OPERATOR) {
        MEMORY_PAUSE(); /* the operator's is the test's */
        deliver_all(stream);
    } else {
        deliver_all(stream);
    }
    stream->running = false;
    free_if_over(stream);
}

static void post_run(struct rpc_client_stream *stream)
{
    if (!stream->posted) {
        stream->posted = stream->executor.post(stream->executor.context, run, stream);
    }
}

static void note(struct rpc_client_stream *stream, struct sim_packet *take_packet)
{
    if (take_packet->type == SIM_STATUS) {
        stream->has_status = true;
        detach(stream);
    }
    list_append(&stream->in, &take_packet->link);
    post_run(stream);
}

void sim_client_receive(struct sim_wire *wire, struct sim_packet *take_packet)
{
    if (wire->client == NULL) {
        sim_packet_destroy(take_packet);
    } else {
        note(wire->client, take_packet);
    }
}

static void end_with(struct rpc_client_stream *stream, enum err_code code, const char *text)
{
    struct sim_packet *packet = sim_packet_create(SIM_STATUS, NULL);
    packet->code = code;
    packet->text = mem_strdup(text);
    cancel_wire(stream);
    note(stream, packet);
}

static void on_deadline(void *context)
{
    struct rpc_client_stream *stream = context;
    stream->deadline = 0;
    end_with(stream, ERR_TIMEOUT, "the server did not answer in time");
}

void rpc_channel_destroy(struct rpc_channel *channel)
{
    if (channel == NULL) {
        return;
    }
    LIST_FOR_EACH(node, &channel->client->streams)
    {
        struct rpc_client_stream *stream = LIST_ENTRY(node, struct rpc_client_stream, link);
        if (stream->channel != channel) {
            continue;
        }
        stream->channel = NULL;
        if (!stream->has_status && !stream->released) {
            end_with(stream, ERR_CANCELED, "the connection is being closed");
        }
    }
    mem_free(channel);
}

/* ---- calls ---- */

static struct rpc_client_stream *stream_create(
    struct rpc_channel *channel,
    const char *path,
    const ProtobufCMessageDescriptor *reply_type,
    const struct rpc_call_options *options,
    const struct rpc_executor *executor)
{
    struct rpc_client_stream *stream = mem_alloc(sizeof(*stream));
    struct rpc_client *client = channel->client;
    stream->client = client;
    stream->channel = channel;
    stream->reply_type = reply_type;
    stream->executor = *executor;
    list_init(&stream->in);
    list_append(&client->streams, &stream->link);
    stream->wire = sim_wire_create(client->net, client->host, path);
    stream->wire->client = stream;
    for (size_t i = 0; i < options->header_count; i++) {
        if (strcmp(options->headers[i].name, "authorization") == 0) {
            stream->wire->authorization = mem_strdup(options->headers[i].value);
        }
    }
    stream->wire->deadline_us = options->deadline_us;
    return stream;
}

static void arm_deadline(struct rpc_client_stream *stream, int64_t delay_us)
{
    if (delay_us > 0) {
        stream->deadline = sim_after(stream->client->net->sim, delay_us, on_deadline, stream);
    }
}

void rpc_channel_call_async(
    struct rpc_channel *channel,
    const char *path,
    const ProtobufCMessage *request,
    const ProtobufCMessageDescriptor *reply_type,
    const struct rpc_call_options *options,
    const struct rpc_executor *executor,
    rpc_reply_fn done,
    void *context)
{
    struct rpc_client_stream *stream = stream_create(channel, path, reply_type, options, executor);
    stream->done = done;
    stream->context = context;
    arm_deadline(stream, options->deadline_us == 0 ? CALL_US : options->deadline_us);
    sim_wire_send(stream->wire, SIM_UP, sim_packet_create(SIM_OPEN, request));
}

enum err_code rpc_client_stream_open(
    struct rpc_channel *channel,
    const char *path,
    const ProtobufCMessageDescriptor *reply_type,
    const struct rpc_call_options *options,
    const struct rpc_executor *executor,
    const struct rpc_client_stream_ops *ops,
    void *context,
    struct rpc_client_stream **ret_stream,
    struct err_info *err)
{
    (void)err;
    struct rpc_client_stream *stream = stream_create(channel, path, reply_type, options, executor);
    stream->ops = *ops;
    stream->context = context;
    arm_deadline(stream, options->deadline_us);
    sim_wire_send(stream->wire, SIM_UP, sim_packet_create(SIM_OPEN, NULL));
    *ret_stream = stream;
    return ERR_OK;
}

enum err_code rpc_client_stream_send(
    struct rpc_client_stream *stream, const ProtobufCMessage *message)
{
    if (stream->has_status || stream->half_closed || stream->released) {
        return ERR_CANCELED;
    }
    struct sim_packet *packet = sim_packet_create(SIM_MESSAGE, message);
    sim_wire_send(stream->wire, SIM_UP, packet);
    return ERR_OK;
}

void rpc_client_stream_half_close(struct rpc_client_stream *stream)
{
    if (!stream->half_closed && stream->wire != NULL) {
        sim_wire_send(stream->wire, SIM_UP, sim_packet_create(SIM_HALF_CLOSE, NULL));
    }
    stream->half_closed = true;
}

void rpc_client_stream_pause(struct rpc_client_stream *stream, bool is_paused)
{
    stream->paused = is_paused;
    if (!is_paused && !list_is_empty(&stream->in)) {
        post_run(stream);
    }
}

void rpc_client_stream_cancel(struct rpc_client_stream *stream)
{
    if (!stream->has_status) {
        end_with(stream, ERR_CANCELED, "cancelled");
    }
}

void rpc_client_stream_release(struct rpc_client_stream *stream)
{
    if (stream != NULL) {
        stream->released = true;
        cancel_wire(stream);
        free_if_over(stream);
    }
}
