/*
 * One loop thread owns the channels and every link's half of its relay; what happens elsewhere
 * (frames of the agent, the end of its stream) wakes it by a posted task.
 */
#include "cmd/server/relay/link.h"

#include "cmd/server/auth/replica_pass.h"
#include "common/base/list.h"
#include "common/base/log.h"
#include "common/base/map.h"
#include "common/rpc/client.h"
#include "common/sys/lock.h"
#include "common/sys/loop.h"
#include "common/sys/thread.h"

#include <stdatomic.h>
#include <stdio.h>

enum {
    STREAMS_PER_CHANNEL = 90, /* a server takes 100 on a connection */
    CHANNELS_IDLE_MAX = 16,
    INPUT_WINDOW_BYTES = RELAY_QUEUE_BYTES / 2
};

#define KEEPALIVE_US (10 * US_PER_SECOND)
#define RECONNECT_US US_PER_SECOND
#define RELAY_PATH   "/agentgateway.v1.AgentGatewayService/RelayStream"

struct relay_links {
    const struct service *service;
    struct rpc_client *client; /* the loop's; NULL until the first channel: it polls all day */
    struct loop *loop;
    struct thread thread;
    struct list channels; /* the loop's */
    struct list links;    /* the loop's: those with a stream */
    size_t channel_count;
    struct lock lock; /* of what follows */
    char *ca_pem;
    uint64_t ca_number; /* channels of an older one take no new streams */
};

struct channel {
    struct list node;
    struct rpc_channel *core;
    char *address;
    uint64_t ca_number;
    unsigned streams;
};

/* Held by its relay until that is freed, and by each task on its way; the rest is the loop's. */
struct link {
    struct list node;
    struct relay_links *links;
    atomic_uint refs;
    atomic_bool is_woken; /* a task is on its way */
    struct relay *relay;  /* NULL once left */
    struct rpc_stream *agent;
    char *address;
    char pass[sizeof("Bearer ") + REPLICA_PASS_BYTES];
    char relay_id[ID_TEXT_BYTES];
    struct channel *channel;
    struct rpc_client_stream *stream;
    size_t under_way; /* bytes given to the stream since it last said that it is empty */
    /* Input from the other server, which sends no more than a window beyond what it was told as
     * taken. So this side always reads, and sees that the operator has gone whatever waits. */
    uint64_t received;
    uint64_t told_taken;
    bool is_full; /* the agent does not take: nothing is told */
    bool is_half_closed;
};

static void unref(struct link *link)
{
    if (atomic_fetch_sub(&link->refs, 1) == 1) {
        rpc_stream_unref(link->agent);
        mem_free(link->address);
        mem_free(link);
    }
}

static void remove_channel(struct relay_links *links, struct channel *channel)
{
    list_remove(&channel->node);
    links->channel_count--;
    rpc_channel_destroy(channel->core);
    mem_free(channel->address);
    mem_free(channel);
}

static struct channel *find_channel(struct relay_links *links, const char *address)
{
    LIST_FOR_EACH(node, &links->channels)
    {
        struct channel *channel = LIST_ENTRY(node, struct channel, node);
        if (channel->streams < STREAMS_PER_CHANNEL && channel->ca_number == links->ca_number
            && strcmp(channel->address, address) == 0) {
            return channel;
        }
    }
    return NULL;
}

static enum err_code get_channel(
    struct relay_links *links,
    const char *address,
    struct channel **ret_channel,
    struct err_info *err)
{
    LOCK_GUARD(&links->lock);
    struct rpc_channel *core = NULL;
    *ret_channel = find_channel(links, address);
    if (*ret_channel != NULL) {
        return ERR_OK;
    }
    if (links->ca_pem == NULL) {
        return ERR_SET(err, ERR_UNAVAILABLE, "this server has no TLS, so it trusts no other");
    }
    const struct rpc_channel_options options = {
        .target = address,
        .ca_pem = links->ca_pem,
        .server_name = RPC_PINNED_SERVER_NAME,
        .user_agent = "belay-server",
        .keepalive_us = KEEPALIVE_US,
        .max_reconnect_us = RECONNECT_US,
    };
    if (links->client == NULL) {
        TRY(rpc_client_create(links->service->schema, &links->client, err));
    }
    TRY(rpc_channel_create(links->client, &options, &core, err));
    struct channel *channel = mem_alloc(sizeof(*channel));
    channel->core = core;
    channel->address = mem_strdup(address);
    channel->ca_number = links->ca_number;
    list_append(&links->channels, &channel->node);
    links->channel_count++;
    *ret_channel = channel;
    return ERR_OK;
}

/* Servers come and go: what is idle is kept, but not of all that ever were. */
static void let_channel_go(struct relay_links *links, struct channel *channel)
{
    if (--channel->streams == 0 && links->channel_count > CHANNELS_IDLE_MAX) {
        remove_channel(links, channel);
    }
}

/*
 * Ends the agent's stream, if it has not ended yet, by what the other server said of the relay.
 * What went wrong between servers is none of the agent's business; nor is an UNAUTHENTICATED its
 * own.
 */
static void finish_agent(const struct link *link, enum err_code code, const char *text)
{
    switch (code) {
    case ERR_CANCELED: /* what the agent is told anyway when its operator has gone */
        return;
    case ERR_OK:
    case ERR_NOT_FOUND:
    case ERR_CONFLICT:
    case ERR_INVALID:
    case ERR_LIMIT:
        rpc_stream_finish(link->agent, code, text);
        return;
    default:
        log_warn(
            "relay_link_failed",
            LOG_STR("address", link->address),
            LOG_STR("relay", link->relay_id),
            LOG_STR("error", text == NULL ? err_name(code) : text));
        rpc_stream_finish(
            link->agent, ERR_UNAVAILABLE, "the server that has the operator's stream is away");
    }
}

/* The last of the loop's part. */
static void end(struct link *link, enum err_code code, const char *text)
{
    if (link->relay == NULL) {
        return;
    }
    rpc_client_stream_release(STEAL(link->stream));
    if (link->channel != NULL) {
        let_channel_go(link->links, STEAL(link->channel));
        list_remove(&link->node);
    }
    finish_agent(link, code, text);
    relay_leave(STEAL(link->relay), RELAY_OPERATOR);
}

static void tell_taken(struct link *link)
{
    Agentgateway__V1__RelayFrame frame = AGENTGATEWAY__V1__RELAY_FRAME__INIT;
    if (link->told_taken == link->received) {
        return;
    }
    frame.frame_case = AGENTGATEWAY__V1__RELAY_FRAME__FRAME_TAKEN;
    frame.taken = link->received;
    if (rpc_client_stream_send(link->stream, &frame.base) == ERR_OK) {
        link->told_taken = link->received; /* else it has ended, and closed comes */
    }
}

static void pump(struct link *link)
{
    struct relay_frame frame;
    struct relay_wire wire;
    if (link->relay == NULL || link->stream == NULL) {
        return;
    }
    bool is_left = relay_is_left(link->relay, RELAY_AGENT);
    if (link->is_full && relay_may_read(link->relay, RELAY_OPERATOR)) {
        link->is_full = false;
        tell_taken(link);
    }
    while (link->under_way < RELAY_QUEUE_BYTES && relay_peek(link->relay, RELAY_OPERATOR, &frame)) {
        relay_wire_fill(&wire, &frame);
        if (rpc_client_stream_send(link->stream, &wire.frame.base) != ERR_OK) {
            return; /* it has ended: closed comes */
        }
        link->under_way += frame.bytes.len + sizeof(frame);
        relay_drop(link->relay, RELAY_OPERATOR);
    }
    if (is_left && !link->is_half_closed && !relay_peek(link->relay, RELAY_OPERATOR, &frame)) {
        link->is_half_closed = true;
        rpc_client_stream_half_close(link->stream);
    }
}

static void on_message(void *context, const ProtobufCMessage *message)
{
    struct link *link = context;
    struct relay_frame frame;
    if (!relay_frame_read((const Agentgateway__V1__RelayFrame *)message, RELAY_OPERATOR, &frame)) {
        end(link, ERR_INTERNAL, "the other server sent a frame that is not for an agent");
        return;
    }
    if (relay_is_left(link->relay, RELAY_AGENT)) {
        return;
    }
    link->is_full = !relay_put(link->relay, RELAY_OPERATOR, &frame);
    link->received += frame.kind == RELAY_DATA ? frame.bytes.len : 0;
    if (!link->is_full) {
        tell_taken(link);
    }
}

static void on_writable(void *context)
{
    struct link *link = context;
    link->under_way = 0;
    pump(link);
}

static void on_closed(void *context, enum err_code code, const struct err_info *err)
{
    end(context, code, code == ERR_OK ? NULL : err->text);
}

static bool post(void *context, void (*fn)(void *argument), void *argument)
{
    return loop_post(context, fn, argument);
}

static void run_woken(void *argument)
{
    struct link *link = argument;
    atomic_store(&link->is_woken, false);
    pump(link);
    unref(link);
}

static void wake(void *context)
{
    struct link *link = context;
    if (atomic_exchange(&link->is_woken, true)) {
        return;
    }
    atomic_fetch_add(&link->refs, 1);
    if (!loop_post(link->links->loop, run_woken, link)) {
        atomic_fetch_sub(&link->refs, 1); /* never the last: the relay holds one */
    }
}

static void release(void *context)
{
    unref(context);
}

static enum err_code open_stream(struct link *link, struct err_info *err)
{
    static const struct rpc_client_stream_ops ops = {
        .message = on_message,
        .writable = on_writable,
        .closed = on_closed,
    };
    const struct rpc_header header = { "authorization", link->pass };
    const struct rpc_call_options options = { .headers = &header, .header_count = 1 };
    const struct rpc_executor executor = { post, link->links->loop };
    struct channel *channel = NULL;
    TRY(get_channel(link->links, link->address, &channel, err));
    TRY(rpc_client_stream_open(
        channel->core,
        RELAY_PATH,
        &agentgateway__v1__relay_frame__descriptor,
        &options,
        &executor,
        &ops,
        link,
        &link->stream,
        err));
    link->channel = channel;
    channel->streams++;
    list_append(&link->links->links, &link->node);
    return ERR_OK;
}

static void run_start(void *argument)
{
    struct link *link = argument;
    struct err_info err = ERR_INFO_INIT;
    Agentgateway__V1__RelayFrame frame = AGENTGATEWAY__V1__RELAY_FRAME__INIT;
    Agentgateway__V1__RelayInit init = AGENTGATEWAY__V1__RELAY_INIT__INIT;
    frame.frame_case = AGENTGATEWAY__V1__RELAY_FRAME__FRAME_INIT;
    frame.init = &init;
    init.relay_id = link->relay_id;
    init.input_window = INPUT_WINDOW_BYTES;
    enum err_code code = open_stream(link, &err);
    bool is_open = code == ERR_OK;
    if (is_open) {
        code = rpc_client_stream_send(link->stream, &frame.base);
    }
    if (is_open && code == ERR_CANCELED) {
        /* It has ended already, which is not the operator's doing: closed comes, and says why. */
    } else if (code != ERR_OK) {
        end(link, code, err.text);
    } else {
        pump(link);
    }
    unref(link);
}

enum err_code relay_links_open(
    struct relay_links *links,
    const struct relay_link_target *target,
    struct rpc_stream *agent,
    struct relay **ret_relay,
    struct err_info *err)
{
    char pass[REPLICA_PASS_BYTES];
    char relay_id[ID_TEXT_BYTES] = "";
    const struct replica_pass wish = { str_of(target->address),
                                       target->relay_id,
                                       target->agent_id };
    TRY(replica_pass_create(links->service, &wish, pass, err));
    TRY(str_copy(target->relay_id, relay_id, sizeof(relay_id)));
    struct link *link = mem_alloc(sizeof(*link));
    link->links = links;
    link->agent = rpc_stream_ref(agent);
    link->address = mem_strdup(target->address);
    (void)snprintf(link->pass, sizeof(link->pass), "Bearer %s", pass);
    memcpy(link->relay_id, relay_id, sizeof(relay_id));
    atomic_init(&link->refs, 2); /* the relay's, and that of the task below */
    const struct relay_end operator_end = { wake, release, link };
    struct relay *relay = relay_create_linked(links->service->relays, agent, &operator_end);
    link->relay = relay;
    *ret_relay = relay;
    if (!loop_post(links->loop, run_start, link)) {
        end(link, ERR_UNAVAILABLE, "the server is stopping");
        unref(link);
    }
    return ERR_OK;
}

static void run_loop(void *context)
{
    loop_run(context);
}

enum err_code relay_links_create(
    const struct service *service, struct relay_links **ret_links, struct err_info *err)
{
    struct relay_links *links = mem_alloc(sizeof(*links));
    links->service = service;
    list_init(&links->channels);
    list_init(&links->links);
    lock_init(&links->lock, LOCK_RANK_REGISTRY);
    enum err_code code = loop_create(service->clock, &links->loop, err);
    if (code == ERR_OK) {
        code = thread_start(&links->thread, "relay-links", run_loop, links->loop, err);
    }
    if (code != ERR_OK) {
        relay_links_destroy(links);
        return code;
    }
    *ret_links = links;
    return ERR_OK;
}

void relay_links_trust(struct relay_links *links, const char *ca_pem)
{
    LOCK_GUARD(&links->lock);
    if (links->ca_pem == NULL || strcmp(links->ca_pem, ca_pem) != 0) {
        mem_free(links->ca_pem);
        links->ca_pem = mem_strdup(ca_pem);
        links->ca_number++;
    }
}

void relay_links_destroy(struct relay_links *links)
{
    if (links == NULL) {
        return;
    }
    if (links->thread.running) {
        loop_stop(links->loop);
        thread_join(&links->thread);
        while (loop_turn(links->loop)) { /* tasks that came too late give back what they hold */
        }
    }
    while (!list_is_empty(&links->links)) {
        end(LIST_ENTRY(links->links.next, struct link, node), ERR_UNAVAILABLE, "the server stops");
    }
    while (!list_is_empty(&links->channels)) {
        remove_channel(links, LIST_ENTRY(links->channels.next, struct channel, node));
    }
    rpc_client_destroy(links->client);
    loop_destroy(links->loop);
    mem_free(links->ca_pem);
    lock_deinit(&links->lock);
    mem_free(links);
}
