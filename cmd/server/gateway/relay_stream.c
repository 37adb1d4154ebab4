/*
 * RelayStream, the agent's half of a relay: its first frame names the relay, then frames go both
 * ways until either side ends. Where the operator is at another server, the relay is a link to
 * there; that server meets the agent's half here, from another server's hand. The database is asked
 * for the one thing: whose a relay is that is not here.
 */
#include "cmd/server/auth/principal.h"
#include "cmd/server/core/work.h"
#include "cmd/server/gateway/gateway.h"
#include "cmd/server/relay/link.h"
#include "cmd/server/store/sandbox/relay.h"
#include "common/base/mem.h"

struct agent_half {
    struct rpc_stream *stream; /* borrowed: lives as long as its state */
    struct service *service;
    int64_t agent_id;
    struct relay *relay; /* NULL until named */
    uint64_t window;     /* of input; 0: the stream's flow control alone */
    uint64_t sent;       /* bytes of input */
    uint64_t taken;
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

struct search {
    const struct principal *principal;
    struct str_view relay_id;
    const char *owner;
};

static enum err_code find_owner(struct work *work, void *context, struct err_info *err)
{
    struct search *search = context;
    struct relay_record record;
    const struct relay_filter filter = { .agent_id = search->principal->agent_id,
                                         .now = work->now,
                                         .id = search->relay_id };
    TRY(store_relay_get(
        work->conn, search->principal->workspace_id, &filter, work->arena, &record, err));
    search->owner = record.owner;
    return ERR_OK;
}

/* The relay is not here: it may be at another server. local: what there is to say if it is not. */
static enum err_code join_elsewhere(
    struct agent_half *half, struct str_view relay_id, struct err_info *local)
{
    struct rpc_call *call = rpc_stream_call(half->stream);
    struct search search = { principal_of(call), relay_id, NULL };
    struct err_info err = ERR_INFO_INIT;
    if (half->service->links == NULL || search.principal->kind != PRINCIPAL_AGENT) {
        return ERR_NOT_FOUND; /* what another server brings is here or nowhere */
    }
    enum err_code code = work_read(
        rpc_call_worker(call),
        rpc_call_arena(call),
        search.principal->workspace_id,
        find_owner,
        &search,
        &err);
    if (code == ERR_NOT_FOUND
        || (code == ERR_OK
            && str_equal(str_of(search.owner), str_of(half->service->replica_address)))) {
        return ERR_NOT_FOUND;
    }
    if (code == ERR_OK && search.owner[0] == '\0') {
        code = ERR_SET(
            &err,
            ERR_UNAVAILABLE,
            "the operator is at a server that tells the others no address (--replica-address)");
    }
    if (code == ERR_OK) {
        const struct relay_link_target target = { search.owner, relay_id, half->agent_id };
        code = relay_links_open(half->service->links, &target, half->stream, &half->relay, &err);
    }
    if (code != ERR_OK) {
        *local = err;
    }
    return code;
}

static enum err_code join(struct agent_half *half, struct str_view relay_id, struct err_info *err)
{
    const struct principal *principal = principal_of(rpc_stream_call(half->stream));
    if (principal->kind == PRINCIPAL_REPLICA && !str_equal(relay_id, str_of(principal->relay_id))) {
        return ERR_SET(err, ERR_NOT_FOUND, "no such relay, or its time is over");
    }
    enum err_code code = relay_join(
        half->service->relays, relay_id, half->agent_id, half->stream, &half->relay, err);
    return code == ERR_NOT_FOUND ? join_elsewhere(half, relay_id, err) : code;
}

static void on_init(struct agent_half *half, const Agentgateway__V1__RelayInit *init)
{
    struct err_info err = ERR_INFO_INIT;
    if (half->relay != NULL) {
        end(half, ERR_INVALID, "frame: init comes once, first");
        return;
    }
    enum err_code code = join(half, str_of(init->relay_id), &err);
    if (code != ERR_OK) {
        end(half, code, err.text);
        return;
    }
    half->window = init->input_window;
    rpc_stream_set_timer(half->stream, -1);
    rpc_stream_leave_workers(half->stream);
}

static void half_pump(struct rpc_stream *stream, void *state);

static void on_taken(struct agent_half *half, uint64_t taken)
{
    if (half->window == 0 || taken < half->taken || taken > half->sent) {
        end(half,
            ERR_INVALID,
            "taken: it rises, to at most what was sent, where init names a window");
        return;
    }
    half->taken = taken;
    half_pump(half->stream, half);
}

static void on_frame(struct agent_half *half, const frame_type *frame)
{
    struct relay_frame taken;
    if (!relay_frame_read(frame, RELAY_AGENT, &taken)) {
        end(half,
            ERR_INVALID,
            "frame: an agent sends init, data, errors, taken, end, exit or failure");
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
    } else if (frame->frame_case == AGENTGATEWAY__V1__RELAY_FRAME__FRAME_TAKEN) {
        on_taken(half, frame->taken);
    } else {
        on_frame(half, frame);
    }
}

/* Whether the window has room for it. A piece larger than the window goes alone. */
static bool may_send(const struct agent_half *half, const struct relay_frame *frame)
{
    uint64_t open = half->sent - half->taken;
    return half->window == 0 || frame->kind != RELAY_DATA || open == 0
        || open + frame->bytes.len <= half->window;
}

static void half_pump(struct rpc_stream *stream, void *state)
{
    struct agent_half *half = state;
    struct relay_frame frame;
    struct relay_wire wire;
    if (half->relay == NULL || half->is_ended) {
        return;
    }
    if (half->is_paused && relay_may_read(half->relay, RELAY_AGENT)) {
        half->is_paused = false;
        rpc_stream_resume(stream);
    }
    if (relay_is_left(half->relay, RELAY_OPERATOR)) {
        /* What still waits is input for a command that nobody asks for any more. */
        end(half, ERR_CANCELED, "the operator has gone");
        return;
    }
    while (relay_peek(half->relay, RELAY_AGENT, &frame) && may_send(half, &frame)) {
        relay_wire_fill(&wire, &frame);
        if (rpc_stream_send(stream, &wire.frame.base) != ERR_OK) {
            return; /* goes on when the stream is writable */
        }
        half->sent += frame.kind == RELAY_DATA ? frame.bytes.len : 0;
        relay_drop(half->relay, RELAY_AGENT);
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
