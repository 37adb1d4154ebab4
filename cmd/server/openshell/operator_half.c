#include "cmd/server/openshell/operator_half.h"

#include "cmd/server/api/api.h"
#include "cmd/server/auth/credentials.h"
#include "cmd/server/auth/gate.h"
#include "common/base/id.h"
#include "common/base/mem.h"

#include <stdio.h>

enum {
    EXIT_TIMED_OUT = 124
};

#define RECHECK_US  (INT64_C(5) * US_PER_SECOND)
#define OVERTIME_US (INT64_C(2) * US_PER_SECOND) /* for the agent to say so itself */

struct operator_half {
    struct rpc_stream *stream; /* borrowed: lives as long as its state */
    operator_send_fn send;
    struct relay *relay; /* NULL until opened */
    bool was_joined;
    bool is_paused;
    bool is_ended;
    int64_t timeout_us;     /* of the command; 0: none */
    struct mono_us ends_at; /* INT64_MAX: not yet known, or never */
    bool is_overdue;        /* the end was put in the agent's place */
};

struct operator_half *operator_half_create(struct rpc_stream *stream, operator_send_fn send)
{
    struct operator_half *half = mem_alloc(sizeof(*half));
    half->stream = stream;
    half->send = send;
    half->ends_at.value = INT64_MAX;
    rpc_stream_set_timer(stream, RELAY_OPEN_US); /* for the first message, then for the agent */
    return half;
}

void operator_half_destroy(struct operator_half *half)
{
    if (half->relay != NULL) {
        if (!half->is_ended) {
            relay_forget(half->relay, rpc_call_worker(rpc_stream_call(half->stream)));
        }
        relay_leave(half->relay, RELAY_OPERATOR);
    }
    mem_free(half);
}

/* Whoever sees the end may open another at once: it counts no more by then. */
void operator_half_end(struct operator_half *half, enum err_code code, const char *text)
{
    if (half->is_ended) {
        return;
    }
    half->is_ended = true;
    if (half->relay != NULL) {
        relay_forget(half->relay, rpc_call_worker(rpc_stream_call(half->stream)));
    }
    rpc_stream_finish(half->stream, code, text);
}

void operator_half_refuse(
    struct operator_half *half, const char *sandbox_id, const struct err_info *why)
{
    struct rpc_call *call = rpc_stream_call(half->stream);
    struct err_info err = *why;
    char target[sizeof("sandbox/") + ID_TEXT_BYTES] = "sandbox";
    if (strlen(sandbox_id) < ID_TEXT_BYTES) {
        (void)snprintf(target, sizeof(target), "sandbox/%s", sandbox_id);
    }
    const struct gate_refusal refusal = { principal_of(call), target, why->code, why->text };
    if (gate_is_refusal(why->code) && gate_audit_refusal(call, &refusal, &err) == ERR_OK) {
        err = *why;
    }
    operator_half_end(half, err.code, err.text);
}

enum err_code operator_half_find_workspace(
    const struct operator_half *half,
    const ProtobufCMessage *request,
    int64_t *ret_workspace_id,
    struct err_info *err)
{
    struct rpc_call *call = rpc_stream_call(half->stream);
    struct api_call api = { .call = call,
                            .service = rpc_call_service(call),
                            .principal = principal_of(call),
                            .arena = rpc_call_arena(call) };
    TRY(api_resolve_workspace(&api, rpc_call_worker(call), request, err));
    *ret_workspace_id = api.workspace_id;
    return ERR_OK;
}

void operator_half_open(
    struct operator_half *half, const struct relay_wish *wish, struct arena *arena)
{
    struct err_info err = ERR_INFO_INIT;
    struct service *service = rpc_call_service(rpc_stream_call(half->stream));
    enum err_code code = relay_open(service->relays, half->stream, wish, arena, &half->relay, &err);
    if (code != ERR_OK) {
        operator_half_refuse(half, wish->sandbox_id, &err);
        return;
    }
    rpc_stream_set_timer(half->stream, RELAY_OPEN_US);
}

void operator_half_limit(struct operator_half *half, uint32_t timeout_seconds)
{
    half->timeout_us = timeout_seconds * US_PER_SECOND;
}

bool operator_half_is_open(const struct operator_half *half)
{
    return half->relay != NULL;
}

void operator_half_put(struct operator_half *half, const struct relay_frame *frame)
{
    if (half->relay == NULL || half->is_ended) {
        return;
    }
    if (!relay_put(half->relay, RELAY_OPERATOR, frame) && !half->is_paused) {
        half->is_paused = true;
        rpc_stream_pause(half->stream);
    }
}

/* What an agent says it could not do, as the operator's status. */
static enum err_code code_of(int64_t ack_code)
{
    switch (ack_code) {
    case AGENTGATEWAY__V1__ACK_CODE__ACK_CODE_BAD_REQUEST:
        return ERR_INVALID;
    case AGENTGATEWAY__V1__ACK_CODE__ACK_CODE_AGENT_INCAPABLE:
        return ERR_PRECONDITION;
    case AGENTGATEWAY__V1__ACK_CODE__ACK_CODE_FORBIDDEN:
        return ERR_DENIED;
    case AGENTGATEWAY__V1__ACK_CODE__ACK_CODE_BUSY:
        return ERR_LIMIT;
    case AGENTGATEWAY__V1__ACK_CODE__ACK_CODE_UNIMPLEMENTED:
        return ERR_UNSUPPORTED;
    default:
        return ERR_UNAVAILABLE;
    }
}

/* Frames of the agent until there are none (true), or until the reader takes no more before it
 * has read what waits (false). */
static bool send_frames(struct operator_half *half)
{
    struct relay_frame frame;
    bool is_last = false;
    while (!half->is_ended && relay_peek(half->relay, RELAY_OPERATOR, &frame)) {
        if (frame.kind == RELAY_FAILURE) {
            char text[512];
            (void)snprintf(text, sizeof(text), "%.*s", (int)frame.bytes.len, frame.bytes.ptr);
            operator_half_end(half, code_of(frame.a), text);
        } else if (half->send(half->stream, &frame, &is_last) != ERR_OK) {
            return false;
        }
        relay_drop(half->relay, RELAY_OPERATOR);
        if (is_last) {
            operator_half_end(half, ERR_OK, NULL);
        }
    }
    return true;
}

static struct mono_us now_of(const struct operator_half *half)
{
    const struct service *service = rpc_call_service(rpc_stream_call(half->stream));
    return clock_mono(service->clock);
}

/* Until the right is looked up again, or the command's time is over. */
static void set_timer(struct operator_half *half)
{
    int64_t left_us = half->ends_at.value - now_of(half).value;
    int64_t due_us = left_us < 1 ? 1 : left_us; /* a negative time would be none */
    rpc_stream_set_timer(
        half->stream, half->is_overdue || left_us > RECHECK_US ? RECHECK_US : due_us);
}

static void note_joined(struct operator_half *half)
{
    half->was_joined = true;
    if (half->timeout_us > 0) {
        half->ends_at.value = now_of(half).value + half->timeout_us + OVERTIME_US;
    }
    set_timer(half);
}

/* An agent that does not end a command in time is no reason to wait for it: what it has sent goes
 * out, and then the exit that it owes. */
static void end_overdue(struct operator_half *half)
{
    const struct relay_frame over = { .kind = RELAY_EXIT, .a = EXIT_TIMED_OUT };
    if (!half->is_overdue && now_of(half).value >= half->ends_at.value) {
        half->is_overdue = true;
        (void)relay_put(half->relay, RELAY_AGENT, &over);
    }
}

void operator_half_pump(struct operator_half *half)
{
    if (half->relay == NULL || half->is_ended) {
        return;
    }
    if (!half->was_joined && relay_is_joined(half->relay)) {
        note_joined(half);
    }
    if (half->is_paused && relay_may_read(half->relay, RELAY_OPERATOR)) {
        half->is_paused = false;
        rpc_stream_resume(half->stream);
    }
    bool is_left = relay_is_left(half->relay, RELAY_AGENT);
    if (send_frames(half) && is_left) {
        operator_half_end(half, ERR_UNAVAILABLE, "the agent went away before the end");
    }
}

void operator_half_tick(struct operator_half *half)
{
    struct err_info err = ERR_INFO_INIT;
    struct rpc_call *call = rpc_stream_call(half->stream);
    if (half->relay == NULL) {
        operator_half_end(half, ERR_TIMEOUT, "no first message within 10 s");
        return;
    }
    if (!half->was_joined && !relay_is_joined(half->relay)) {
        operator_half_end(half, ERR_UNAVAILABLE, "the sandbox's agent did not answer within 10 s");
        return;
    }
    enum err_code code = credentials_recheck(
        rpc_call_service(call), rpc_call_worker(call), principal_of(call), &err);
    if (code == ERR_UNAUTHENTICATED
        || (code = relay_renew(half->relay, rpc_call_worker(call), &err)) != ERR_OK) {
        operator_half_end(half, code, err.text);
        return;
    }
    end_overdue(half);
    set_timer(half);
}
