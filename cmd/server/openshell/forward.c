/* ForwardTcp: one connection to a port on the loopback of a sandbox. */
#include "cmd/server/openshell/operator_half.h"
#include "cmd/server/openshell/streams.h"
#include "cmd/server/store/sandbox/sandbox.h"
#include "common/base/cleanup.h"
#include "common/crypto/hash.h"
#include "common/wire/wire.h"

enum {
    CHUNK_BYTES = 64 * 1024,
    PORT_MOST = 65535
};

typedef Openshell__V1__TcpForwardFrame frame_type;
typedef Openshell__V1__TcpForwardInit init_type;

static enum err_code send_frame(
    struct rpc_stream *stream, const struct relay_frame *frame, bool *ret_last)
{
    frame_type message = OPENSHELL__V1__TCP_FORWARD_FRAME__INIT;
    if (frame->kind != RELAY_DATA) {
        *ret_last = frame->kind == RELAY_END || frame->kind == RELAY_EXIT;
        return ERR_OK;
    }
    message.payload_case = OPENSHELL__V1__TCP_FORWARD_FRAME__PAYLOAD_DATA;
    message.data =
        (ProtobufCBinaryData){ frame->bytes.len, CONST_CAST(uint8_t *, frame->bytes.ptr) };
    return rpc_stream_send(stream, &message.base);
}

static bool is_loopback(const char *host)
{
    static const char *const names[] = { "", "localhost", "127.0.0.1", "::1", "[::1]" };
    for (size_t i = 0; i < ARRAY_LENGTH(names); i++) {
        if (str_equal_fold(str_of(host), str_of(names[i]))) {
            return true;
        }
    }
    return false;
}

static enum err_code check_init(const init_type *init, struct err_info *err)
{
    if (init->target_case != OPENSHELL__V1__TCP_FORWARD_INIT__TARGET_TCP) {
        return ERR_SET(err, ERR_UNSUPPORTED, "init.target: only tcp is served by this server");
    }
    if (!is_loopback(init->tcp->host)) {
        return ERR_SET(
            err, ERR_INVALID, "init.tcp.host: only the sandbox's own loopback can be reached");
    }
    if (init->tcp->port < 1 || init->tcp->port > PORT_MOST) {
        return ERR_SET(err, ERR_INVALID, "init.tcp.port: 1 to %d", PORT_MOST);
    }
    return ERR_OK;
}

struct proof {
    int64_t workspace_id;
    const init_type *init;
    const uint8_t *hash;
};

static enum err_code check_token(struct work *work, void *context, struct err_info *err)
{
    const struct proof *proof = context;
    const struct sandbox_forward_filter filter = { proof->hash, work->now };
    struct sandbox_forward_record record;
    enum err_code code = store_sandbox_forward_find(
        work->conn, proof->workspace_id, &filter, work->arena, &record, err);
    bool is_good =
        code == ERR_OK && str_equal(str_of(record.sandbox_id), str_of(proof->init->sandbox_id));
    if (code == ERR_NOT_FOUND || (code == ERR_OK && !is_good)) {
        return ERR_SET(
            err,
            ERR_DENIED,
            "init.authorization_token: not a token of this sandbox, or its time is over; make one "
            "with CreateSshSession");
    }
    return code;
}

static void start(
    struct rpc_stream *stream, struct operator_half *half, const ProtobufCMessage *message)
{
    const init_type *init = ((const frame_type *)message)->init;
    struct err_info err = ERR_INFO_INIT;
    struct rpc_call *call = rpc_stream_call(stream);
    struct arena *arena = rpc_call_arena(call);
    uint8_t hash[HASH_SHA256_BYTES];
    Agentgateway__V1__ControlRelayOpen target = AGENTGATEWAY__V1__CONTROL_RELAY_OPEN__INIT;
    Agentgateway__V1__RelayTcp tcp = AGENTGATEWAY__V1__RELAY_TCP__INIT;
    struct proof proof = { .init = init, .hash = hash };
    token_hash(str_of(init->authorization_token), hash);
    enum err_code code = check_init(init, &err);
    if (code == ERR_OK) {
        code = operator_half_find_workspace(half, message, &proof.workspace_id, &err);
    }
    if (code == ERR_OK) {
        code =
            work_read(rpc_call_worker(call), arena, proof.workspace_id, check_token, &proof, &err);
    }
    if (code != ERR_OK) {
        operator_half_refuse(half, init->sandbox_id, &err);
        return;
    }
    tcp.host = init->tcp->host;
    tcp.port = init->tcp->port;
    target.target_case = AGENTGATEWAY__V1__CONTROL_RELAY_OPEN__TARGET_TCP;
    target.tcp = &tcp;
    const struct relay_wish wish = { proof.workspace_id, init->sandbox_id, &target, hash };
    operator_half_open(half, &wish, arena);
}

static enum err_code forward_open(struct rpc_stream *stream, void **ret_state, struct err_info *err)
{
    (void)err;
    *ret_state = operator_half_create(stream, send_frame);
    return ERR_OK;
}

static void forward_message(struct rpc_stream *stream, void *state, const ProtobufCMessage *message)
{
    const frame_type *frame = (const frame_type *)message;
    bool is_init = frame->payload_case == OPENSHELL__V1__TCP_FORWARD_FRAME__PAYLOAD_INIT;
    if (is_init == operator_half_is_open(state)) {
        operator_half_end(
            state,
            ERR_INVALID,
            is_init ? "payload: init comes once, first" : "payload: init must come first");
        return;
    }
    if (is_init) {
        start(stream, state, message);
        return;
    }
    struct str_view rest = str_from((const char *)frame->data.data, frame->data.len);
    while (rest.len > 0) {
        size_t bytes = rest.len < CHUNK_BYTES ? rest.len : CHUNK_BYTES;
        const struct relay_frame piece = { .kind = RELAY_DATA, .bytes = { rest.ptr, bytes } };
        operator_half_put(state, &piece);
        rest = str_from(rest.ptr + bytes, rest.len - bytes);
    }
}

static void forward_half_closed(struct rpc_stream *stream, void *state)
{
    (void)stream;
    const struct relay_frame frame = { .kind = RELAY_END };
    operator_half_put(state, &frame);
}

static void forward_pump(struct rpc_stream *stream, void *state)
{
    (void)stream;
    operator_half_pump(state);
}

static void forward_tick(struct rpc_stream *stream, void *state)
{
    (void)stream;
    operator_half_tick(state);
}

static void forward_closed(struct rpc_stream *stream, void *state)
{
    (void)stream;
    operator_half_destroy(state);
}

const struct rpc_stream_ops openshell_forward_ops = {
    .open = forward_open,
    .message = forward_message,
    .half_closed = forward_half_closed,
    .writable = forward_pump,
    .woken = forward_pump,
    .timer = forward_tick,
    .closed = forward_closed,
};
