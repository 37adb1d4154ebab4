/* One simulated agent: events into the real agent's state machine, and what it asks to be done. */
#include "common/base/id.h"
#include "common/base/log.h"
#include "tools/bench/sim/fleet_private.h"

#include <string.h>

#define CALL_US (30 * US_PER_SECOND)

static enum err_code make_keys(struct agent *agent)
{
    enum err_code code = ERR_INTERNAL;
    id_random(agent->identity_seed, sizeof(agent->identity_seed));
    id_random(agent->encryption_seed, sizeof(agent->encryption_seed));
    struct str_view identity_seed = str_from((const char *)agent->identity_seed, KEY_SEED_BYTES);
    struct str_view box_seed = str_from((const char *)agent->encryption_seed, KEY_SEED_BYTES);
    struct key_sign *identity = NULL;
    struct key_box *encryption = NULL;
    if (key_sign_from_seed(identity_seed, &identity) == ERR_OK
        && key_box_from_seed(box_seed, &encryption) == ERR_OK) {
        memcpy(agent->identity_public, key_sign_public(identity), KEY_PUBLIC_BYTES);
        memcpy(agent->encryption_public, key_box_public(encryption), KEY_PUBLIC_BYTES);
        code = ERR_OK;
    }
    key_sign_destroy(identity);
    key_box_destroy(encryption);
    return code;
}

void agent_init(struct agent *agent, struct fleet *fleet, unsigned number)
{
    agent->fleet = fleet;
    agent->number = number;
    agent->telemetry_at = AGENT_NEVER;
    agent->retry_at = AGENT_NEVER;
    link_core_init(&agent->core, false, clock_mono(clock_system()));
    if (make_keys(agent) != ERR_OK) {
        log_error("sim_keys_failed", LOG_UINT("agent", number));
    }
    agent_set_due(agent);
}

static void set_online(struct agent *agent, bool is_online)
{
    struct board_slot *slot = agent->fleet->slot;
    if (agent->is_online == is_online) {
        return;
    }
    agent->is_online = is_online;
    if (!is_online) {
        (void)atomic_fetch_sub(&slot->online, 1);
        fleet_count(agent->fleet, TALLY_LOST, agent->is_leaving ? 0 : 1);
        return;
    }
    int64_t now = fleet_now_us(agent->fleet);
    agent->is_leaving = false;
    atomic_store(&slot->last_online_us, now);
    (void)atomic_fetch_add(&slot->online, 1);
    fleet_count(agent->fleet, TALLY_ONLINE, 1);
    tally_time(agent->fleet->tally, TALLY_CONNECT, now - agent->attempt_at.value);
    if (agent->telemetry_at == AGENT_NEVER && agent->fleet->telemetry_us > 0) {
        /* each begins somewhere within its interval, so that the fleet does not beat as one */
        agent->telemetry_at =
            now + (int64_t)id_random_below((uint64_t)agent->fleet->telemetry_us + 1);
    }
}

static void release(struct agent *agent)
{
    agent->attempt++;
    set_online(agent, false);
    if (agent->upload != NULL) {
        rpc_client_stream_release(STEAL(agent->upload));
    }
    if (agent->control != NULL) {
        rpc_client_stream_release(STEAL(agent->control));
    }
}

static void discard(struct agent *agent)
{
    release(agent);
    rpc_channel_destroy(STEAL(agent->channel));
}

void agent_deinit(struct agent *agent)
{
    agent->is_leaving = true;
    discard(agent);
    mem_free(agent->token);
}

static void half_close(struct agent *agent)
{
    agent->is_leaving = true;
    if (agent->control != NULL) {
        rpc_client_stream_half_close(agent->control);
    } else {
        agent_feed_type(agent, LINK_EVENT_CLOSED);
    }
}

static void go_online(struct agent *agent)
{
    set_online(agent, true);
    agent_upload(agent);
}

/* A fresh channel for each attempt, as the real agent makes one. */
static bool need_channel(struct agent *agent)
{
    struct fleet *fleet = agent->fleet;
    struct err_info err = ERR_INFO_INIT;
    if (agent->channel != NULL) {
        return true;
    }
    struct rpc_channel_options options = { .target = fleet_target_of(fleet, agent),
                                           .ca_pem = fleet->ca_pem,
                                           .server_name = fleet->ca_pem == NULL
                                               ? NULL
                                               : RPC_PINNED_SERVER_NAME,
                                           .user_agent = "belay-sim" };
    agent->attempt_at.value = fleet_now_us(fleet);
    if (rpc_channel_create(fleet->client, &options, &agent->channel, &err) == ERR_OK) {
        return true;
    }
    log_warn("sim_channel_failed", LOG_ERR(&err));
    agent_fail(agent, TALLY_CONNECT, err.code);
    return false;
}

static void with_channel(struct agent *agent, void (*run)(struct agent *agent))
{
    if (need_channel(agent)) {
        run(agent);
    }
}

static void perform(struct agent *agent, unsigned actions)
{
    if ((actions & LINK_DO_DISCARD) != 0) {
        discard(agent);
    }
    if ((actions & LINK_DO_RELEASE) != 0) {
        release(agent);
    }
    if ((actions & LINK_DO_REGISTER) != 0) {
        with_channel(agent, agent_register);
    }
    if ((actions & LINK_DO_BEGIN) != 0) {
        with_channel(agent, agent_begin);
    }
    if ((actions & LINK_DO_COMPLETE) != 0) {
        agent_complete(agent);
    }
    if ((actions & LINK_DO_OPEN) != 0) {
        with_channel(agent, agent_open_control);
    }
    if ((actions & LINK_DO_UPLOAD) != 0) {
        go_online(agent);
    }
    if ((actions & LINK_DO_HEARTBEAT) != 0) {
        agent_heartbeat(agent);
    }
    if ((actions & LINK_DO_HALF_CLOSE) != 0) {
        half_close(agent);
    }
    agent->is_stopped = agent->is_stopped || (actions & LINK_DO_STOPPED) != 0;
}

static void step(struct agent *agent, struct link_event event)
{
    unsigned actions = 0;
    struct mono_us now = { fleet_now_us(agent->fleet) };
    id_random(&event.random, sizeof(event.random));
    event.heartbeat_us = scenario_vary(
        agent->fleet->heartbeat_us > 0 ? agent->fleet->heartbeat_us : event.heartbeat_us,
        agent->fleet->jitter,
        event.random);
    if (link_step(&agent->core, &event, now, &actions) == ERR_OK) {
        perform(agent, actions);
    } else {
        log_debug("sim_out_of_order", LOG_STR("event", link_event_name(event.type)));
    }
}

void agent_feed(struct agent *agent, const struct link_event *event)
{
    if (agent->event_count == AGENT_EVENTS_MAX) {
        log_error("sim_events_full", LOG_STR("event", link_event_name(event->type)));
        return;
    }
    agent->events[agent->event_count++] = *event;
    if (agent->is_stepping) {
        return; /* whoever is above us takes it next */
    }
    agent->is_stepping = true;
    while (agent->event_count > 0) {
        struct link_event next = agent->events[0];
        agent->event_count--;
        memmove(agent->events, agent->events + 1, agent->event_count * sizeof(agent->events[0]));
        step(agent, next);
    }
    agent->is_stepping = false;
    agent_set_due(agent);
}

void agent_feed_type(struct agent *agent, enum link_event_type type)
{
    agent_feed(agent, &(struct link_event){ .type = type });
}

void agent_start(struct agent *agent, const char *token)
{
    agent->token = mem_strdup(token);
    agent_feed_type(agent, LINK_EVENT_START);
}

void agent_stop(struct agent *agent)
{
    agent->is_leaving = true;
    if (agent->core.is_started) {
        agent_feed_type(agent, LINK_EVENT_STOP);
    } else {
        agent->is_stopped = true;
    }
}

void agent_cut(struct agent *agent, bool at_once)
{
    if (link_core_state(&agent->core) != LINK_STREAMING) {
        return;
    }
    agent->is_leaving = true;
    fleet_count(agent->fleet, TALLY_DROPS, 1);
    if (at_once) {
        /* nothing is left to drain: the state machine comes back with the next connection */
        discard(agent);
        agent_feed_type(agent, LINK_EVENT_DRAIN);
    } else {
        agent_feed_type(agent, LINK_EVENT_LOST);
    }
}

void agent_set_due(struct agent *agent)
{
    int64_t due = link_core_deadline(&agent->core).value;
    due = agent->telemetry_at < due ? agent->telemetry_at : due;
    due = agent->retry_at < due ? agent->retry_at : due;
    agent->fleet->due[agent->number] = due;
}

void agent_on_due(struct agent *agent)
{
    int64_t now = fleet_now_us(agent->fleet);
    if (link_core_deadline(&agent->core).value <= now) {
        agent_feed_type(agent, LINK_EVENT_TIMER);
    }
    if (agent->telemetry_at <= now) {
        agent_make_records(agent);
    }
    if (agent->retry_at <= now) {
        agent->retry_at = AGENT_NEVER;
        agent_upload(agent);
    }
    agent_set_due(agent);
}

/* Counts what went wrong, and tells the state machine as the real agent would. */
void agent_fail(struct agent *agent, enum tally_kind kind, enum err_code code)
{
    bool is_refusal = code == ERR_UNAUTHENTICATED || code == ERR_DENIED || code == ERR_INVALID;
    agent->fleet->tally->errors[kind][code]++;
    agent_feed_type(agent, is_refusal ? LINK_EVENT_REFUSED : LINK_EVENT_FAILED);
}

static void on_reply(
    void *context, enum err_code code, const ProtobufCMessage *reply, const struct err_info *err)
{
    struct agent_call *call = context;
    struct agent *agent = call->agent;
    struct tally *tally = agent->fleet->tally;
    bool is_late = call->attempt != agent->attempt;
    list_remove(&call->node);
    if (code == ERR_OK) {
        int64_t now = fleet_now_us(agent->fleet);
        tally_time(tally, call->kind, now - call->started.value);
    }
    if (code == ERR_OK && !is_late) {
        call->done(agent, reply);
    } else if (code != ERR_OK && !is_late) {
        log_info("sim_call_failed", LOG_UINT("agent", agent->number), LOG_ERR(err));
        if (call->kind != TALLY_HEARTBEAT) {
            agent_fail(agent, call->kind, code);
        } else {
            /* the control stream tells whether the server is there */
            tally->errors[TALLY_HEARTBEAT][code]++;
            if (code == ERR_UNAUTHENTICATED) {
                agent_feed_type(agent, LINK_EVENT_FAILED);
            }
        }
    }
    mem_free(call);
}

void agent_call(
    struct agent *agent,
    enum tally_kind kind,
    const char *path,
    const ProtobufCMessage *request,
    const ProtobufCMessageDescriptor *reply_type,
    void (*done)(struct agent *agent, const ProtobufCMessage *reply))
{
    struct fleet *fleet = agent->fleet;
    struct agent_call *call = mem_alloc(sizeof(*call));
    struct rpc_header header = { "authorization", agent->authorization };
    struct rpc_call_options options = { .deadline_us = CALL_US };
    if (kind == TALLY_HEARTBEAT) {
        options.headers = &header;
        options.header_count = 1;
    }
    call->agent = agent;
    call->attempt = agent->attempt;
    call->kind = kind;
    call->started.value = fleet_now_us(fleet);
    call->done = done;
    list_append(&fleet->calls, &call->node);
    rpc_channel_call_async(
        agent->channel, path, request, reply_type, &options, &fleet->executor, on_reply, call);
}
