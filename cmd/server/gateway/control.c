/*
 * ControlStream, the server's half. Commands are rows; the stream is only the road: what is open
 * and was not sent on this stream goes out in the order of its sequence, whenever the stream is
 * woken.
 *
 *     awaiting_hello --hello--> streaming --goaway--> draining --acks, time--> ended
 *
 * and from each of them to ended by a fence, an expiry, an error or the peer.
 */
#include "cmd/server/auth/principal.h"
#include "cmd/server/core/work.h"
#include "cmd/server/gateway/figures.h"
#include "cmd/server/gateway/gateway.h"
#include "cmd/server/gateway/intake.h"
#include "cmd/server/gateway/presence.h"
#include "cmd/server/gateway/relay_orders.h"
#include "cmd/server/gateway/stream_number.h"
#include "cmd/server/store/agent.h"
#include "cmd/server/store/command.h"
#include "cmd/server/store/sandbox/relay.h"
#include "cmd/server/store/session.h"
#include "common/base/id.h"
#include "common/base/log.h"
#include "common/base/sm.h"
#include "common/sys/fault.h"
#include "common/wire/timestamp.h"
#include "common/wire/wire.h"

#include "proto/agentgateway/v1/agentgateway.pb-c.h"

#include <inttypes.h>

enum {
    HELLO_US = 5000000,
    ACCEPTED_EVERY_US = 30000000,
    LOOK_EVERY = 10,       /* times it says accepted, where wakes tell of everything */
    COMMANDS_PER_TURN = 8, /* of up to 1 MiB each, read twice into the arena */
    ARENA_BYTES = 48 * 1024 * 1024,
    GOAWAY_SPREAD_MAX_US = 30000000,
    RETRY_US = 2000000, /* and as much again by chance */
    DRAIN_US = 5000000, /* for acknowledgements on their way */
};

enum control_state {
    CONTROL_AWAITING_HELLO,
    CONTROL_STREAMING,
    CONTROL_DRAINING, /* goaway was sent: no command goes out, acknowledgements still come in */
    CONTROL_ENDED
};

static const struct sm_state control_states[] = {
    [CONTROL_AWAITING_HELLO] = { "awaiting_hello",
                                 SM_BIT(CONTROL_STREAMING) | SM_BIT(CONTROL_DRAINING)
                                     | SM_BIT(CONTROL_ENDED),
                                 HELLO_US },
    [CONTROL_STREAMING] = { "streaming", SM_BIT(CONTROL_DRAINING) | SM_BIT(CONTROL_ENDED), 0 },
    [CONTROL_DRAINING] = { "draining", SM_BIT(CONTROL_ENDED), DRAIN_US },
    [CONTROL_ENDED] = { "ended", 0, 0 },
};
static const struct sm_type control_machine = { "control_stream",
                                                control_states,
                                                ARRAY_LENGTH(control_states) };

struct control {
    struct service *service;
    struct principal principal;
    struct rpc_stream *stream; /* borrowed: lives as long as its state */
    struct sm sm;
    int64_t number;       /* since hello; the agent's row has that of its newest stream */
    int64_t sent_through; /* sequence of the last command sent here */
    bool has_more;        /* the queue was full: commands wait for it to empty */
    struct mono_us accepted_at;
    unsigned unlooked; /* times it said accepted without a look at the outbox */
    struct hub_subscription *outbox;
    struct hub_subscription *session;
    struct relay_orders relays;
    struct figures figures;
    struct hub_subscription *watched; /* NULL: the agent has no sandboxes */
    struct arena *arena;              /* of the event that runs now; idle streams hold none */
};

typedef Agentgateway__V1__ControlStreamResponse response_type;

static void end(struct control *control, enum err_code code, const char *text)
{
    if (control->sm.state != CONTROL_ENDED) {
        sm_move(&control->sm, CONTROL_ENDED, clock_mono(control->service->clock));
        rpc_stream_finish(control->stream, code, text);
    }
}

static enum err_code control_open(struct rpc_stream *stream, void **ret_state, struct err_info *err)
{
    (void)err;
    struct rpc_call *call = rpc_stream_call(stream);
    struct control *control = mem_alloc(sizeof(*control));
    control->service = rpc_call_service(call);
    control->principal = *principal_of(call);
    control->stream = stream;
    sm_init(
        &control->sm,
        &control_machine,
        CONTROL_AWAITING_HELLO,
        clock_mono(control->service->clock));
    rpc_stream_set_timer(stream, HELLO_US);
    *ret_state = control;
    return ERR_OK;
}

static enum err_code work_on(
    struct control *control, work_fn fn, void *context, struct err_info *err)
{
    return work_run(
        rpc_call_worker(rpc_stream_call(control->stream)),
        control->arena,
        control->principal.workspace_id,
        fn,
        context,
        err);
}

static bool send_response(struct control *control, const response_type *response)
{
    if (rpc_stream_send(control->stream, &response->base) == ERR_OK) {
        return true;
    }
    end(control, ERR_LIMIT, "the agent reads too slowly");
    return false;
}

static void send_accepted(struct control *control)
{
    response_type *response =
        wire_new(control->arena, &agentgateway__v1__control_stream_response__descriptor);
    Agentgateway__V1__ControlAccepted *accepted =
        wire_new(control->arena, &agentgateway__v1__control_accepted__descriptor);
    if (response == NULL || accepted == NULL) {
        return;
    }
    accepted->server_time = wire_timestamp_new(control->arena, clock_wall(control->service->clock));
    accepted->session_epoch = (uint64_t)control->principal.epoch;
    accepted->heartbeat_interval_ms =
        (uint32_t)(control->service->settings.heartbeat_us / US_PER_MS);
    response->message_case = AGENTGATEWAY__V1__CONTROL_STREAM_RESPONSE__MESSAGE_ACCEPTED;
    response->accepted = accepted;
    control->accepted_at = clock_mono(control->service->clock);
    (void)send_response(control, response);
}

/*
 * An agent adds up to half of what it is told: so all of them are back within a heartbeat's
 * interval, and no replica is met by all at once.
 */
static uint32_t goaway_delay_ms(const struct control *control)
{
    int64_t spread_us = control->service->settings.heartbeat_us / 2;
    spread_us = spread_us > GOAWAY_SPREAD_MAX_US ? GOAWAY_SPREAD_MAX_US : spread_us;
    return (uint32_t)(id_random_below((uint64_t)spread_us) / US_PER_MS);
}

static void send_goaway(struct control *control)
{
    response_type *response =
        wire_new(control->arena, &agentgateway__v1__control_stream_response__descriptor);
    Agentgateway__V1__Goaway *goaway =
        wire_new(control->arena, &agentgateway__v1__goaway__descriptor);
    if (response == NULL || goaway == NULL) {
        return;
    }
    goaway->reason = arena_strdup(control->arena, "the server is draining");
    goaway->reconnect_after_ms = goaway_delay_ms(control);
    response->message_case = AGENTGATEWAY__V1__CONTROL_STREAM_RESPONSE__MESSAGE_GOAWAY;
    response->goaway = goaway;
    if (send_response(control, response)) {
        sm_move(&control->sm, CONTROL_DRAINING, clock_mono(control->service->clock));
        rpc_stream_set_timer(control->stream, DRAIN_US);
    }
}

struct turn { /* one look at the outbox */
    struct control *control;
    bool is_fenced;
    bool is_older; /* the session has a newer stream, on this server or another */
    bool is_idle;  /* a glimpse found nothing */
    const struct command_record *commands;
    size_t count;
    struct relay_record *relays; /* what the agent is asked to open */
    size_t relay_count;
    int64_t watched_until_us; /* 0: nothing new about figures */
    struct wall_us at;
};

/* Whether the session is still the agent's, and this stream its newest. */
static enum err_code judge(
    struct turn *turn, enum err_code code, const struct session_record *session)
{
    const struct control *control = turn->control;
    turn->is_fenced =
        code == ERR_NOT_FOUND || (code == ERR_OK && session->epoch != control->principal.epoch);
    turn->is_older = code == ERR_OK && session->stream != control->number;
    return turn->is_fenced || turn->is_older ? ERR_OK : code;
}

/* One question in place of four, where most of the time nothing waits. */
static enum err_code glimpse(struct work *work, void *context, struct err_info *err)
{
    struct turn *turn = context;
    const struct control *control = turn->control;
    const struct session_sent sent = { control->sent_through, control->number };
    struct session_record session = { .has_waiting = false };
    enum err_code code = store_session_glimpse(
        work->conn, control->principal.credential_hash, work->now, &sent, &session, err);
    turn->is_idle = !session.has_waiting && !control->figures.is_offered;
    return judge(turn, code, &session);
}

/* Reads: is the session still the agent's, and what waits? An idle turn writes nothing. */
static enum err_code look(struct work *work, void *context, struct err_info *err)
{
    struct turn *turn = context;
    const struct principal *principal = &turn->control->principal;
    struct session_record session;
    TRY(judge(
        turn,
        store_session_by_token(
            work->conn, principal->credential_hash, work->now, work->arena, &session, err),
        &session));
    if (turn->is_fenced || turn->is_older) {
        turn->count = 0;
        return ERR_OK;
    }
    const struct command_filter filter = {
        .agent_id = principal->agent_id,
        .after_sequence = turn->control->sent_through,
        .now = work->now,
        .limit = COMMANDS_PER_TURN,
    };
    const struct relay_filter relays = {
        .agent_id = principal->agent_id,
        .now = work->now,
        .stream = turn->control->number,
    };
    struct store_list list;
    TRY(store_command_open(work->conn, principal->workspace_id, &filter, work->arena, &list, err));
    turn->commands = list.records;
    turn->count = list.count;
    TRY(store_relay_waiting(work->conn, principal->workspace_id, &relays, work->arena, &list, err));
    turn->relays = list.records;
    turn->relay_count = list.count;
    turn->at = work->now;
    return figures_look(
        work, &turn->control->figures, principal->workspace_id, &turn->watched_until_us, err);
}

/* Looks again, since a command may have been taken back meanwhile, and marks what will be sent. */
static enum err_code mark_sent(struct work *work, void *context, struct err_info *err)
{
    struct turn *turn = context;
    const struct principal *principal = &turn->control->principal;
    TRY(store_agent_fence(
        work->conn, principal->workspace_id, principal->agent_id, principal->epoch, err));
    TRY(look(work, turn, err));
    for (size_t i = 0; i < turn->count; i++) {
        TRY(store_command_sent(
            work->conn, principal->workspace_id, str_of(turn->commands[i].id), work->now, err));
    }
    work_wake(work, HUB_COMMANDS, principal->workspace_id);
    return ERR_OK;
}

/* work_read or work_lookup, by what fn asks. */
static enum err_code read_turn(
    struct turn *turn,
    enum err_code (*read)(
        struct worker *worker,
        struct arena *arena,
        int64_t workspace_id,
        work_fn fn,
        void *context,
        struct err_info *err),
    work_fn fn,
    struct err_info *err)
{
    const struct control *control = turn->control;
    return read(
        rpc_call_worker(rpc_stream_call(control->stream)),
        control->arena,
        control->principal.workspace_id,
        fn,
        turn,
        err);
}

static enum err_code take_turn(struct control *control, struct turn *turn, struct err_info *err)
{
    TRY(read_turn(turn, work_read, look, err));
    if (turn->is_fenced || turn->is_older || turn->count == 0) {
        return ERR_OK;
    }
    return work_on(control, mark_sent, turn, err);
}

/* ERR_LIMIT: much is on its way; control_writable goes on from here. */
static enum err_code send_command(
    struct control *control, const struct command_record *record, struct err_info *err)
{
    struct arena *arena = control->arena;
    response_type *response =
        wire_new(arena, &agentgateway__v1__control_stream_response__descriptor);
    Agentgateway__V1__ControlCommand *command =
        wire_new(arena, &agentgateway__v1__control_command__descriptor);
    if (response == NULL || command == NULL) {
        return ERR_SET(err, ERR_NOMEM, "out of memory");
    }
    command->command_id = arena_strdup(arena, record->id);
    command->payload.data = CONST_CAST(uint8_t *, record->payload.ptr); /* of the same arena */
    command->payload.len = record->payload.len;
    command->actor = arena_strdup(arena, record->actor);
    command->sequence = (uint64_t)record->sequence;
    command->signature.data = CONST_CAST(uint8_t *, record->signature.ptr);
    command->signature.len = record->signature.len;
    command->issued_at = wire_timestamp_new(arena, (struct wall_us){ record->created_at });
    command->expires_at = wire_timestamp_new(arena, (struct wall_us){ record->expires_at });
    response->message_case = AGENTGATEWAY__V1__CONTROL_STREAM_RESPONSE__MESSAGE_COMMAND;
    response->command = command;
    if (command->command_id == NULL || command->actor == NULL || command->issued_at == NULL
        || command->expires_at == NULL) { /* the agent would refuse it for good */
        return ERR_SET(err, ERR_NOMEM, "out of memory");
    }
    if (rpc_stream_send(control->stream, &response->base) != ERR_OK) {
        return ERR_SET(err, ERR_LIMIT, "the stream's queue is full");
    }
    control->sent_through = record->sequence;
    FAULT_POINT("server.command.sent");
    return ERR_OK;
}

/* One that is lost in a full queue is told at the next look. */
static void send_watch(struct control *control, const struct turn *turn)
{
    response_type *response =
        wire_new(control->arena, &agentgateway__v1__control_stream_response__descriptor);
    Agentgateway__V1__ControlSandboxWatch *watch =
        figures_order(control->arena, turn->watched_until_us, turn->at);
    if (response == NULL || watch == NULL) {
        return;
    }
    response->message_case = AGENTGATEWAY__V1__CONTROL_STREAM_RESPONSE__MESSAGE_SANDBOX_WATCH;
    response->sandbox_watch = watch;
    if (rpc_stream_send(control->stream, &response->base) == ERR_OK) {
        control->figures.until_us = turn->watched_until_us;
    }
}

static enum err_code send_relays(struct control *control, struct turn *turn, struct err_info *err)
{
    const struct relay_road road = {
        .stream = control->stream,
        .principal = &control->principal,
        .number = control->number,
    };
    const struct store_list waiting = { turn->relays, turn->relay_count };
    return relay_orders_send(&control->relays, &road, &waiting, &control->has_more, err);
}

static void look_later(struct control *control, const struct err_info *err)
{
    /* The database is away: the stream stays up and looks again soon. */
    log_warn("control_turn_failed", LOG_INT("agent_id", control->principal.agent_id), LOG_ERR(err));
    control->unlooked = LOOK_EVERY;
    rpc_stream_set_timer(control->stream, RETRY_US + (int64_t)id_random_below(RETRY_US));
}

/* What was read of the session, or that it could not be read: false, there is nothing to send. */
static bool goes_on(
    struct control *control,
    const struct turn *turn,
    enum err_code code,
    const struct err_info *err)
{
    if (turn->is_fenced || code == ERR_UNAUTHENTICATED) {
        end(control, ERR_UNAUTHENTICATED, "the session has ended or was replaced");
    } else if (code != ERR_OK) {
        look_later(control, err);
    } else if (turn->is_older) {
        end(control, ERR_CONFLICT, "a newer control stream of this agent took over");
    } else {
        return true;
    }
    return false;
}

/*
 * Sends what is open. To a new stream that is everything without an acknowledgement, also what the
 * agent has seen by its sequence: the acknowledgement may have been lost on the way, and the agent
 * answers a repetition from its log instead of acting again.
 */
static void deliver(struct control *control)
{
    struct turn turn = { .control = control };
    struct err_info err = ERR_INFO_INIT;
    control->has_more = false;
    control->unlooked = 0;
    do {
        arena_reset(control->arena);
        turn.count = 0;
        turn.relay_count = 0;
        turn.watched_until_us = 0;
        enum err_code code = take_turn(control, &turn, &err);
        if (!goes_on(control, &turn, code, &err)) {
            return;
        }
        FAULT_POINT("server.command.marked");
        if (turn.watched_until_us != 0) {
            send_watch(control, &turn);
        }
        for (size_t i = 0; i < turn.count; i++) {
            code = send_command(control, &turn.commands[i], &err);
            if (code == ERR_NOMEM) {
                look_later(control, &err);
                return;
            }
            if (code != ERR_OK) {
                control->has_more = true;
                return;
            }
        }
        code = send_relays(control, &turn, &err);
        if (code != ERR_OK) {
            look_later(control, &err);
            return;
        }
        if (control->has_more) {
            return; /* the queue is full: control_writable goes on */
        }
    } while (turn.count == COMMANDS_PER_TURN || turn.relay_count == RELAY_WAITING_MAX);
}

/* Where nothing told that something waits. */
static void deliver_if_any(struct control *control)
{
    struct turn turn = { .control = control };
    struct err_info err = ERR_INFO_INIT;
    enum err_code code = read_turn(&turn, work_lookup, glimpse, &err);
    if (!goes_on(control, &turn, code, &err)) {
        return;
    }
    control->unlooked = 0;
    if (!turn.is_idle) {
        deliver(control);
    }
}

static struct intake intake_of(const struct control *control)
{
    return (struct intake){
        .principal = &control->principal,
        .stream = control->number,
        .request_id = rpc_call_id(rpc_stream_call(control->stream)),
    };
}

static void deliver_or_leave(struct control *control, void (*send)(struct control *control))
{
    bool is_open =
        control->sm.state == CONTROL_AWAITING_HELLO || control->sm.state == CONTROL_STREAMING;
    if (is_open && presence_is_draining(control->service->presence)) {
        send_goaway(control);
    } else if (control->sm.state == CONTROL_STREAMING) {
        send(control);
    }
}

static void on_hello(struct control *control, const Agentgateway__V1__ControlHello *hello)
{
    struct err_info err = ERR_INFO_INIT;
    if (control->sm.state != CONTROL_AWAITING_HELLO) {
        end(control, ERR_INVALID, "message: hello comes once, first");
        return;
    }
    if (hello->last_command_sequence > INT64_MAX) {
        end(control, ERR_INVALID, "last_command_sequence: at most 9223372036854775807");
        return;
    }
    control->number = stream_number_make(hello->stream_number);
    struct intake_hello said = { intake_of(control), hello };
    enum err_code code = work_on(control, intake_keep_hello, &said, &err);
    if (code != ERR_OK) {
        end(control, code, err.text);
        return;
    }
    FAULT_POINT("server.hello.stored");
    sm_move(&control->sm, CONTROL_STREAMING, clock_mono(control->service->clock));
    control->sent_through = 0;
    presence_add_stream(control->service->presence, control->principal.agent_id, control->stream);
    struct hub *hub = control->service->hub;
    control->outbox = hub_subscribe(hub, HUB_OUTBOX, control->principal.agent_id, control->stream);
    control->session =
        hub_subscribe(hub, HUB_SESSION, control->principal.agent_id, control->stream);
    control->figures.is_offered = hello->capacity != NULL && hello->capacity->n_sandbox_drivers > 0;
    if (control->figures.is_offered) {
        control->watched =
            hub_subscribe(hub, HUB_FIGURES, control->principal.workspace_id, control->stream);
    }
    send_accepted(control);
    rpc_stream_set_timer(control->stream, ACCEPTED_EVERY_US);
    deliver_or_leave(control, deliver_if_any);
}

static void end_unstored(struct control *control, enum err_code code, const struct err_info *err)
{
    /* The next stream begins with all of it again. */
    bool is_final = code == ERR_INVALID || code == ERR_UNAUTHENTICATED;
    end(control, is_final ? code : ERR_UNAVAILABLE, err->text);
}

static void on_ack(struct control *control, const Agentgateway__V1__ControlAck *ack)
{
    struct err_info err = ERR_INFO_INIT;
    struct intake_ack said = { intake_of(control), ack };
    FAULT_POINT("server.ack.received");
    enum err_code code = work_on(control, intake_keep_ack, &said, &err);
    FAULT_POINT("server.ack.stored");
    if (code != ERR_OK) {
        end_unstored(control, code, &err);
    }
}

static void on_report(struct control *control, const Agentgateway__V1__SandboxReport *report)
{
    struct err_info err = ERR_INFO_INIT;
    struct intake_report said = { intake_of(control), report };
    enum err_code code = work_on(control, intake_keep_report, &said, &err);
    if (code != ERR_OK) {
        end_unstored(control, code, &err);
    }
}

static void on_capacity(struct control *control, const Agentgateway__V1__Capacity *capacity)
{
    struct err_info err = ERR_INFO_INIT;
    struct intake_capacity said = { intake_of(control), capacity };
    enum err_code code = work_on(control, intake_keep_capacity, &said, &err);
    if (code != ERR_OK) {
        end_unstored(control, code, &err);
    }
}

/* Nobody misses a reading that is not stored: the next one is on its way. */
static void on_readings(
    struct control *control, const Agentgateway__V1__ControlSandboxReadings *readings)
{
    struct err_info err = ERR_INFO_INIT;
    struct figures_answer answer = { &control->principal, readings };
    if (figures_are_wanted(&control->figures, control->service->clock)
        && work_on(control, figures_store, &answer, &err) != ERR_OK) {
        log_warn(
            "figures_not_stored", LOG_INT("agent_id", control->principal.agent_id), LOG_ERR(&err));
    }
}

static void on_message(struct control *control, const ProtobufCMessage *message)
{
    const Agentgateway__V1__ControlStreamRequest *request =
        (const Agentgateway__V1__ControlStreamRequest *)message;
    bool is_hello =
        request->message_case == AGENTGATEWAY__V1__CONTROL_STREAM_REQUEST__MESSAGE_HELLO;
    if (!is_hello && control->sm.state == CONTROL_AWAITING_HELLO) {
        end(control, ERR_INVALID, "message: hello must come first");
        return;
    }
    switch (request->message_case) {
    case AGENTGATEWAY__V1__CONTROL_STREAM_REQUEST__MESSAGE_HELLO:
        on_hello(control, request->hello);
        break;
    case AGENTGATEWAY__V1__CONTROL_STREAM_REQUEST__MESSAGE_ACK:
        on_ack(control, request->ack);
        break;
    case AGENTGATEWAY__V1__CONTROL_STREAM_REQUEST__MESSAGE_SANDBOX_REPORT:
        on_report(control, request->sandbox_report);
        break;
    case AGENTGATEWAY__V1__CONTROL_STREAM_REQUEST__MESSAGE_SANDBOX_READINGS:
        on_readings(control, request->sandbox_readings);
        break;
    case AGENTGATEWAY__V1__CONTROL_STREAM_REQUEST__MESSAGE_CAPACITY:
        on_capacity(control, request->capacity);
        break;
    case AGENTGATEWAY__V1__CONTROL_STREAM_REQUEST__MESSAGE__NOT_SET:
    case _AGENTGATEWAY__V1__CONTROL_STREAM_REQUEST__MESSAGE__CASE_IS_INT_SIZE:
        end(control,
            ERR_INVALID,
            "message: one of hello, ack, sandbox_report, capacity, sandbox_readings is required");
        break;
    }
}

static void on_wake(struct control *control, const ProtobufCMessage *message)
{
    (void)message;
    deliver_or_leave(control, deliver);
}

/* The net under wakes that were lost. Ten thousand idle streams would read all day where none are.
 */
static void look_if_due(struct control *control)
{
    control->unlooked++;
    if (!atomic_load(&control->service->hears_all) || control->unlooked >= LOOK_EVERY) {
        deliver_if_any(control);
    }
}

static void on_timer(struct control *control, const ProtobufCMessage *message)
{
    (void)message;
    int64_t left_us = control->principal.expires_at - clock_wall(control->service->clock).value;
    if (control->sm.state == CONTROL_AWAITING_HELLO) {
        end(control, ERR_TIMEOUT, "no hello within 5 s");
    } else if (control->sm.state == CONTROL_DRAINING) {
        end(control, ERR_UNAVAILABLE, "the server is draining");
    } else if (control->sm.state == CONTROL_STREAMING && left_us <= 0) {
        end(control, ERR_UNAUTHENTICATED, "the session has expired");
    }
    if (control->sm.state != CONTROL_STREAMING) {
        return;
    }
    send_accepted(control);
    rpc_stream_set_timer(
        control->stream, left_us < ACCEPTED_EVERY_US ? left_us : ACCEPTED_EVERY_US);
    look_if_due(control);
}

/* Each event has an arena of its own, so that ten thousand idle streams hold no memory for
 * messages. */
static void run_event(
    struct control *control,
    void (*handle)(struct control *control, const ProtobufCMessage *message),
    const ProtobufCMessage *message)
{
    AUTO_ARENA struct arena *arena = arena_create(ARENA_BYTES);
    control->arena = arena;
    if (control->sm.state != CONTROL_ENDED) {
        handle(control, message);
    }
    control->arena = NULL;
}

static void control_message(struct rpc_stream *stream, void *state, const ProtobufCMessage *message)
{
    (void)stream;
    run_event(state, on_message, message);
}

static void control_woken(struct rpc_stream *stream, void *state)
{
    (void)stream;
    run_event(state, on_wake, NULL);
}

static void control_writable(struct rpc_stream *stream, void *state)
{
    const struct control *control = state;
    if (control->has_more) {
        control_woken(stream, state);
    }
}

static void control_timer(struct rpc_stream *stream, void *state)
{
    (void)stream;
    run_event(state, on_timer, NULL);
}

static void control_half_closed(struct rpc_stream *stream, void *state)
{
    (void)stream;
    end(state, ERR_OK, NULL);
}

static void control_closed(struct rpc_stream *stream, void *state)
{
    struct control *control = state;
    hub_unsubscribe(control->outbox);
    hub_unsubscribe(control->session);
    hub_unsubscribe(control->watched);
    presence_remove_stream(control->service->presence, control->principal.agent_id, stream);
    relay_orders_deinit(&control->relays);
    hub_publish(control->service->hub, HUB_AGENTS, control->principal.workspace_id);
    mem_free(control);
}

const struct rpc_stream_ops gateway_control_ops = {
    .open = control_open,
    .message = control_message,
    .half_closed = control_half_closed,
    .writable = control_writable,
    .woken = control_woken,
    .timer = control_timer,
    .closed = control_closed,
};
