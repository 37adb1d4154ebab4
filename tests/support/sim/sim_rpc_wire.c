#include "common/base/cleanup.h"
#include "common/wire/wire.h"
#include "tests/support/memory.h"
#include "tests/support/sim/sim_rpc_private.h"

#include <stdio.h>

enum {
    PACKET_BYTES_MAX = 64 * 1024 * 1024,
    STREAM_PACKETS = 24 /* a stream that breaks does so within these */
};

#define NEAR_US    (5 * US_PER_MS)
#define LATE_US    (40 * US_PER_SECOND)
#define NOTICED_US (45 * US_PER_SECOND) /* keepalive: a dead connection is known by then */

static struct sim_net *current; /* clients are made without an argument that could name it */

struct sim_net *sim_net_current(void)
{
    return current;
}

struct sim_net *sim_net_create(struct sim *sim, const struct wire_schema *schema)
{
    struct sim_net *net = mem_alloc(sizeof(*net));
    net->sim = sim;
    net->schema = schema;
    net->allocations = -1;
    list_init(&net->wires);
    list_init(&net->calls);
    current = net;
    return net;
}

static void wire_free(struct sim_wire *wire)
{
    list_remove(&wire->link);
    mem_free(wire->path);
    mem_free(wire->authorization);
    mem_free(wire);
}

void sim_net_destroy(struct sim_net *net)
{
    /* What is left belongs to events that will not run. */
    LIST_FOR_EACH(node, &net->wires)
    {
        wire_free(LIST_ENTRY(node, struct sim_wire, link));
    }
    current = NULL;
    mem_free(net);
}

void sim_net_set_faults(struct sim_net *net, const struct sim_faults *faults)
{
    net->faults = *faults;
}

void sim_net_fail_allocations(struct sim_net *net, long count)
{
    net->allocations = count;
}

void sim_net_set_host(struct sim_net *net, unsigned host)
{
    net->host = host;
}

struct sim_packet *sim_packet_create(enum sim_packet_type type, const ProtobufCMessage *message)
{
    struct sim_packet *packet = mem_alloc(sizeof(*packet));
    list_init(&packet->link);
    packet->type = type;
    if (message != NULL) {
        MEMORY_PAUSE(); /* the library's own memory aborts when there is none */
        struct buf packed = BUF_INIT(PACKET_BYTES_MAX);
        wire_pack(message, &packed);
        packet->bytes = packed.len;
        packet->data = buf_steal(&packed);
    }
    return packet;
}

void sim_packet_destroy(struct sim_packet *packet)
{
    mem_free(packet->data);
    mem_free(packet->text);
    mem_free(packet);
}

void sim_wire_ref(struct sim_wire *wire)
{
    wire->refs++;
}

void sim_wire_unref(struct sim_wire *wire)
{
    if (--wire->refs == 0) {
        wire_free(wire);
    }
}

/* The connection is gone, as the client sees it. */
static void client_notices(void *context)
{
    struct sim_wire *wire = context;
    if (wire->client != NULL) {
        struct sim_packet *packet = sim_packet_create(SIM_STATUS, NULL);
        packet->code = ERR_UNAVAILABLE;
        packet->text = mem_strdup("the connection was lost");
        sim_client_receive(wire, packet);
    }
    sim_wire_unref(wire);
}

static void server_notices(void *context)
{
    struct sim_wire *wire = context;
    sim_server_lose(wire);
    sim_wire_unref(wire);
}

static int64_t notice_delay(struct sim *sim)
{
    return sim_chance(sim, 500) ? sim_between(sim, 0, NEAR_US) : sim_between(sim, 0, NOTICED_US);
}

/* Each end learns of it by itself, soon or late. */
static void wire_break(struct sim_wire *wire, bool up, bool down)
{
    struct sim *sim = wire->net->sim;
    wire->broken[SIM_UP] = wire->broken[SIM_UP] || up;
    wire->broken[SIM_DOWN] = wire->broken[SIM_DOWN] || down;
    sim_wire_ref(wire);
    (void)sim_after(sim, notice_delay(sim), client_notices, wire);
    sim_wire_ref(wire);
    (void)sim_after(sim, notice_delay(sim), server_notices, wire);
}

static void wire_cut(struct sim_wire *wire)
{
    unsigned way = (unsigned)sim_below(wire->net->sim, 3);
    sim_note(wire->net->sim, "cut %u %s way %u", wire->host, wire->path, way);
    wire_break(wire, way != 1, way != 2);
}

static void arrive(void *context)
{
    struct sim_packet *packet = context;
    struct sim_wire *wire = packet->wire;
    struct sim_net *net = wire->net;
    if (!wire->broken[packet->way] && net->parted[wire->host]) {
        wire_break(wire, true, true);
    }
    if (!wire->broken[packet->way] && ++wire->arrived == wire->cut_at) {
        wire_cut(wire);
    }
    if (packet->way == SIM_DOWN) {
        sim_server_sent(wire, packet->bytes);
    }
    if (wire->broken[packet->way]) {
        sim_packet_destroy(packet);
    } else if (packet->way == SIM_UP && !net->is_serving) {
        sim_packet_destroy(packet);
        wire_break(wire, true, true);
    } else {
        (packet->way == SIM_UP ? sim_server_receive : sim_client_receive)(wire, packet);
    }
    sim_wire_unref(wire);
}

void sim_wire_send(struct sim_wire *wire, enum sim_way way, struct sim_packet *take_packet)
{
    struct sim *sim = wire->net->sim;
    if (wire->broken[way]) {
        if (way == SIM_DOWN) {
            sim_server_sent(wire, take_packet->bytes);
        }
        sim_packet_destroy(take_packet);
        return;
    }
    int64_t most = sim_chance(sim, wire->net->faults.late) ? LATE_US : NEAR_US;
    int64_t at = sim_now(sim).value + sim_between(sim, 200, most);
    wire->arrives_at[way] = at > wire->arrives_at[way] ? at : wire->arrives_at[way];
    take_packet->wire = wire;
    take_packet->way = way;
    sim_wire_ref(wire);
    (void)sim_after(sim, wire->arrives_at[way] - sim_now(sim).value, arrive, take_packet);
}

struct sim_wire *sim_wire_create(struct sim_net *net, unsigned host, const char *path)
{
    struct sim_wire *wire = mem_alloc(sizeof(*wire));
    const struct rpc_method *method = sim_server_find(net, path);
    bool unary = method != NULL && method->kind == RPC_UNARY;
    wire->net = net;
    wire->host = host;
    wire->path = mem_strdup(path);
    wire->refs = 1;
    if (sim_chance(net->sim, net->faults.cut)) {
        wire->cut_at = 1 + (unsigned)sim_below(net->sim, unary ? 2 : STREAM_PACKETS);
    }
    list_append(&net->wires, &wire->link);
    if (!net->is_serving || net->parted[host]) { /* refused, or swallowed */
        wire_break(wire, true, true);
    }
    return wire;
}

static void break_all(struct sim_net *net, bool every, unsigned host)
{
    LIST_FOR_EACH(node, &net->wires)
    {
        struct sim_wire *wire = LIST_ENTRY(node, struct sim_wire, link);
        if ((every || wire->host == host) && !(wire->broken[SIM_UP] && wire->broken[SIM_DOWN])) {
            wire_break(wire, true, true);
        }
    }
}

void sim_net_part(struct sim_net *net, unsigned host, bool parted)
{
    net->parted[host] = parted;
}

void sim_net_kill(struct sim_net *net, unsigned host)
{
    break_all(net, false, host);
}

void sim_net_serve(struct sim_net *net, const struct sim_server_options *options)
{
    net->server = *options;
    net->is_serving = true;
}

void sim_net_unserve(struct sim_net *net)
{
    net->is_serving = false;
    break_all(net, true, 0);
    sim_server_end(net);
}
