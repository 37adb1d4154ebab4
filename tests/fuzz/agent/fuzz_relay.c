/* links: agent_relay */
/*
 * What a server says to the agent's half of a relay: the order that opens it, and the frames that
 * follow, each preceded by its length in two bytes. An order without our signature never acts; a
 * relay never holds more than its window, and gives every byte on once and in order.
 */
#include "belay_descriptors.h"
#include "cmd/agent/relay/relay.h"
#include "common/base/cleanup.h"
#include "common/wire/wire.h"

#include <stdlib.h>

enum {
    ARENA_BYTES = 1 << 22
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
    if (!holds) {
        abort();
    }
}

static const struct wire_schema *get_schema(void)
{
    static struct wire_schema *schema;
    if (schema == NULL) {
        check(wire_schema_load(belay_descriptors, belay_descriptors_size, &schema, NULL) == ERR_OK);
    }
    return schema;
}

static const ProtobufCMessage *unpack(
    const ProtobufCMessageDescriptor *type, struct str_view bytes, struct arena *arena)
{
    ProtobufCMessage *message = NULL;
    struct err_info err = ERR_INFO_INIT;
    enum err_code code =
        wire_unpack(get_schema(), type, bytes.ptr, bytes.len, arena, &message, &err);
    return code == ERR_OK ? message : NULL;
}

static void check_order(struct str_view bytes)
{
    static const uint8_t key[KEY_PUBLIC_BYTES] = { 1, 2, 3 };
    AUTO_ARENA struct arena *arena = arena_create(ARENA_BYTES);
    const struct verify_context who = {
        .server_id = "srv_fuzz", .agent_id = 1, .command_pubkey = key, .now = { 1 }
    };
    const ProtobufCMessage *order =
        unpack(&agentgateway__v1__control_relay_open__descriptor, bytes, arena);
    if (order != NULL) {
        check(verify_relay(&who, (const void *)order) != VERIFY_OK);
    }
}

/* A target that takes some of what waits, by turns. */
struct target {
    struct relay *relay;
    uint64_t taken;
    unsigned turn;
    bool heard_end;
};

static void take(void *state)
{
    struct target *target = state;
    struct relay *relay = target->relay;
    check(relay->input.len <= RELAY_INPUT_WINDOW_BYTES && !target->heard_end);
    size_t bytes = ++target->turn % 3 == 0 ? 0 : relay->input.len / (target->turn % 3);
    target->taken += bytes;
    relay_consume(relay, bytes);
    check(relay->received - relay->input.len == target->taken);
    target->heard_end = relay->input_ended;
}

static void resize(void *state, uint64_t rows, uint64_t columns)
{
    (void)state;
    check(rows >= 1 && rows <= 65535 && columns >= 1 && columns <= 65535);
}

static void take_signal(void *state, int number)
{
    (void)state;
    check(number >= 1 && number <= 64);
}

static void nothing(void *state)
{
    (void)state;
}

static const struct relay_target_ops target_ops = {
    .input = take, .resize = resize, .signal = take_signal, .writable = nothing, .destroy = nothing
};

static enum err_code open_stream(
    void *context,
    const struct rpc_client_stream_ops *ops,
    void *stream_context,
    struct rpc_client_stream **ret_stream,
    struct err_info *err)
{
    (void)context;
    (void)ops;
    (void)stream_context;
    (void)err;
    *ret_stream = NULL; /* what is sent goes nowhere */
    return ERR_OK;
}

/* The next one off the front; false: there is none. */
static bool cut(struct str_view *rest, struct str_view *ret_frame)
{
    if (rest->len < 2) {
        return false;
    }
    size_t bytes = (size_t)(uint8_t)rest->ptr[0] | (size_t)(uint8_t)rest->ptr[1] << 8;
    bytes = bytes > rest->len - 2 ? rest->len - 2 : bytes;
    *ret_frame = str_from(rest->ptr + 2, bytes);
    *rest = str_from(rest->ptr + 2 + bytes, rest->len - 2 - bytes);
    return true;
}

static void check_frames(struct bridges *bridges, struct str_view rest)
{
    Agentgateway__V1__ControlRelayOpen order = AGENTGATEWAY__V1__CONTROL_RELAY_OPEN__INIT;
    struct target target = { .turn = 0 };
    struct str_view bytes;
    order.relay_id = CONST_CAST(char *, "rly_0123456789abcdef");
    order.sandbox_id = CONST_CAST(char *, "one");
    check(relay_create(bridges, &order, &target.relay, NULL) == ERR_OK);
    relay_set_target(target.relay, &target_ops, &target);
    while (bridges_count(bridges) == 1 && cut(&rest, &bytes)) {
        AUTO_ARENA struct arena *arena = arena_create(ARENA_BYTES);
        const ProtobufCMessage *frame =
            unpack(&agentgateway__v1__relay_frame__descriptor, bytes, arena);
        if (frame != NULL) {
            relay_hear(target.relay, (const void *)frame);
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct loop *loop = NULL;
    struct err_info err = ERR_INFO_INIT;
    struct str_view all = str_from((const char *)data, size);
    check_order(all);
    check(loop_create(clock_system(), &loop, &err) == ERR_OK);
    const struct bridges_options options = { .loop = loop, .open_stream = open_stream };
    struct bridges *bridges = bridges_create(&options);
    check_frames(bridges, all);
    bridges_destroy(bridges);
    loop_destroy(loop);
    return 0;
}
