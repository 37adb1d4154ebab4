#include "tools/bench/sim/fleet.h"

#include "belay_descriptors.h"
#include "common/base/id.h"
#include "common/base/log.h"
#include "common/wire/wire.h"
#include "tools/bench/sim/fleet_private.h"
#include "tools/bench/sim/verify.h"

#include "proto/agentgateway/v1/admin.pb-c.h"

#define TICK_US  (10 * US_PER_MS)
#define LEAVE_US (5 * US_PER_SECOND)
#define FETCH_US (10 * US_PER_SECOND)

enum {
    TOKENS_AHEAD_MAX = 64 /* asked for at a time */
};

unsigned fleet_share(const struct plan *plan, unsigned slot, unsigned *ret_first)
{
    unsigned each = plan->agents / plan->processes;
    unsigned left = plan->agents % plan->processes;
    *ret_first = slot * each + (slot < left ? slot : left);
    return each + (slot < left ? 1 : 0);
}

unsigned fleet_part(unsigned count, int64_t permille)
{
    return (unsigned)((uint64_t)count * (uint64_t)permille / SCENARIO_WHOLE);
}

bool fleet_dice(int64_t permille)
{
    return permille > 0 && (int64_t)id_random_below(SCENARIO_WHOLE) < permille;
}

void fleet_count(struct fleet *fleet, enum tally_count count, uint64_t more)
{
    fleet->tally->counts[count] += more;
}

int64_t fleet_now_us(const struct fleet *fleet)
{
    return loop_now(fleet->loop).value;
}

const char *fleet_target_of(const struct fleet *fleet, const struct agent *agent)
{
    const struct plan *plan = fleet->plan;
    return plan->target_count == 0
        ? fleet->join.target
        : plan->targets[(fleet->first + agent->number) % plan->target_count];
}

/* ---- Start: a token for each agent, when its turn of the ramp has come ---- */

/* The first join string tells where the agents' port is and which CA it has. */
static enum err_code learn_server(struct fleet *fleet, const char *text, struct err_info *err)
{
    const struct plan *plan = fleet->plan;
    TRY(join_parse(str_of(text), &fleet->join, err));
    fleet->has_join = true;
    const char *target = plan->target_count == 0 ? fleet->join.target : plan->targets[0];
    return plan->plaintext || !fleet->join.has_pin
        ? ERR_OK
        : rpc_fetch_pinned_ca(target, fleet->join.ca_pin, FETCH_US, &fleet->ca_pem, err);
}

static void take_token(
    struct agent *agent, const Agentgateway__V1__CreateEnrollmentTokenResponse *reply)
{
    struct fleet *fleet = agent->fleet;
    struct err_info err = ERR_INFO_INIT;
    if (!fleet->has_join && learn_server(fleet, reply->join_string, &err) != ERR_OK) {
        log_error("sim_no_server", LOG_ERR(&err));
        fleet->has_join = false;
        atomic_store(&fleet->board->is_stopping, true);
        return;
    }
    fleet_count(fleet, TALLY_TOKENS, 1);
    agent_start(agent, reply->secret);
}

static void on_token(
    void *context, enum err_code code, const ProtobufCMessage *reply, const struct err_info *err)
{
    struct agent_call *call = context;
    struct agent *agent = call->agent;
    struct fleet *fleet = agent->fleet;
    fleet->tokens_ahead--;
    list_remove(&call->node);
    if (code == ERR_OK) {
        tally_time(fleet->tally, TALLY_TOKEN, fleet_now_us(fleet) - call->started.value);
        if (fleet->phase <= FLEET_LOAD) {
            take_token(agent, (const void *)reply);
        }
    } else {
        fleet->tally->errors[TALLY_TOKEN][code]++;
        log_error("sim_no_token", LOG_ERR(err));
        atomic_store(&fleet->board->is_stopping, true);
    }
    mem_free(call);
}

static struct agent_call *operator_call(struct agent *agent, enum tally_kind kind)
{
    struct agent_call *call = mem_alloc(sizeof(*call));
    call->agent = agent;
    call->kind = kind;
    call->started.value = fleet_now_us(agent->fleet);
    list_append(&agent->fleet->calls, &call->node);
    return call;
}

static void ramp(struct fleet *fleet)
{
    int64_t passed_us = fleet_now_us(fleet) - fleet->began_us;
    int64_t ramp_us = fleet->plan->ramp_us;
    unsigned wanted = passed_us >= ramp_us
        ? fleet->count
        : (unsigned)((uint64_t)fleet->count * (uint64_t)passed_us / (uint64_t)ramp_us);
    while (fleet->asked < wanted && fleet->tokens_ahead < TOKENS_AHEAD_MAX) {
        struct agent *agent = &fleet->agents[fleet->asked++];
        fleet->tokens_ahead++;
        operator_make_token(
            fleet->operators, &fleet->executor, on_token, operator_call(agent, TALLY_TOKEN));
    }
}

/* ---- Steps ---- */

static void on_command_given(
    void *context, enum err_code code, const ProtobufCMessage *reply, const struct err_info *err)
{
    struct agent_call *call = context;
    struct fleet *fleet = call->agent->fleet;
    (void)reply;
    list_remove(&call->node);
    if (code == ERR_OK) {
        fleet_count(fleet, TALLY_COMMANDS_GIVEN, 1);
    } else {
        fleet->tally->errors[TALLY_COMMAND][code]++;
        log_info("sim_command_not_given", LOG_ERR(err));
    }
    mem_free(call);
}

static void give_command(struct agent *agent)
{
    struct fleet *fleet = agent->fleet;
    if (agent->id != 0) {
        operator_give_command(
            fleet->operators,
            agent->id,
            &fleet->executor,
            on_command_given,
            operator_call(agent, TALLY_COMMAND));
    }
}

static void set_telemetry(struct agent *agent)
{
    int64_t every = agent->fleet->telemetry_us;
    agent->telemetry_at = every == 0
        ? AGENT_NEVER
        : fleet_now_us(agent->fleet) + (int64_t)id_random_below((uint64_t)every);
    agent_set_due(agent);
}

static void apply_to(struct agent *agent, const struct scenario_step *step, bool is_chosen)
{
    switch (step->action) {
    case SCENARIO_DROP:
    case SCENARIO_STORM:
        if (is_chosen) {
            agent_cut(agent, step->action == SCENARIO_STORM);
            (void)atomic_fetch_add(&agent->fleet->slot->cuts, 1);
        }
        break;
    case SCENARIO_SLOW:
        agent_set_slow(agent, is_chosen);
        break;
    case SCENARIO_COMMAND:
        if (is_chosen) {
            give_command(agent);
        }
        break;
    case SCENARIO_TELEMETRY:
        set_telemetry(agent);
        break;
    case SCENARIO_HEARTBEAT:
    case SCENARIO_JITTER:
    case SCENARIO_DUPLICATE:
    case SCENARIO_LOSE_ACKS:
    case SCENARIO_ACTION_COUNT:
        break;
    }
}

static void set_pace(struct fleet *fleet, const struct scenario_step *step)
{
    int64_t *const places[SCENARIO_ACTION_COUNT] = {
        [SCENARIO_TELEMETRY] = &fleet->telemetry_us, [SCENARIO_HEARTBEAT] = &fleet->heartbeat_us,
        [SCENARIO_JITTER] = &fleet->jitter,          [SCENARIO_DUPLICATE] = &fleet->duplicate,
        [SCENARIO_LOSE_ACKS] = &fleet->lose_acks,
    };
    if (places[step->action] != NULL) {
        *places[step->action] = step->value;
    }
}

/* The chosen ones are spread evenly, and as many as fleet_part says. */
static void apply(struct fleet *fleet, const struct scenario_step *step)
{
    set_pace(fleet, step);
    for (unsigned i = 0; i < fleet->count; i++) {
        bool is_chosen = fleet_part(i + 1, step->value) != fleet_part(i, step->value);
        apply_to(&fleet->agents[i], step, is_chosen);
    }
}

static void take_steps(struct fleet *fleet)
{
    const struct plan *plan = fleet->plan;
    int64_t passed_us = fleet_now_us(fleet) - atomic_load(&fleet->board->started_us);
    while (fleet->next_step < plan->step_count
           && plan->steps[fleet->next_step].at_us <= passed_us) {
        apply(fleet, &plan->steps[fleet->next_step++]);
    }
}

/* ---- End ---- */

/* Nothing is under way: what was made is acknowledged, what was commanded is answered. */
static bool is_settled(const struct fleet *fleet)
{
    const uint64_t *counts = fleet->tally->counts;
    bool is_answered = counts[TALLY_COMMANDS_EXECUTED] + counts[TALLY_COMMANDS_REFUSED]
            >= counts[TALLY_COMMANDS_GIVEN]
        && list_is_empty(&fleet->calls);
    for (unsigned i = 0; i < fleet->count; i++) {
        const struct agent *agent = &fleet->agents[i];
        if (agent->acked < agent->made || agent->upload != NULL) {
            return false;
        }
    }
    return is_answered;
}

static bool is_left(const struct fleet *fleet)
{
    for (unsigned i = 0; i < fleet->count; i++) {
        if (!fleet->agents[i].is_stopped) {
            return false;
        }
    }
    return true;
}

static void enter(struct fleet *fleet, enum fleet_phase phase, int64_t patience_us)
{
    fleet->phase = phase;
    fleet->phase_until_us = fleet_now_us(fleet) + patience_us;
}

static void start_settling(struct fleet *fleet)
{
    fleet->lose_acks = 0;
    fleet->duplicate = 0;
    for (unsigned i = 0; i < fleet->count; i++) {
        agent_set_slow(&fleet->agents[i], false);
    }
    enter(fleet, FLEET_SETTLE, fleet->plan->settle_us);
}

static void start_leaving(struct fleet *fleet)
{
    if (fleet->plan->verify) {
        verify_fleet(fleet);
    }
    enter(fleet, FLEET_LEAVE, LEAVE_US);
    for (unsigned i = 0; i < fleet->count; i++) {
        agent_stop(&fleet->agents[i]);
    }
}

static void finish(struct fleet *fleet)
{
    enter(fleet, FLEET_DONE, 0);
    loop_timer_disarm(fleet->tick);
    atomic_store(&fleet->slot->is_finished, true);
    fleet->options.finished(fleet->options.context);
}

static void step_phase(struct fleet *fleet)
{
    int64_t now = fleet_now_us(fleet);
    int64_t started = atomic_load(&fleet->board->started_us);
    bool is_stopping = atomic_load(&fleet->board->is_stopping);
    bool is_late = now >= fleet->phase_until_us;
    switch (fleet->phase) {
    case FLEET_RAMP:
        ramp(fleet);
        if (started != 0) {
            int64_t duration_us = fleet->plan->duration_us;
            enter(fleet, FLEET_LOAD, duration_us == 0 ? 30 * US_PER_DAY : duration_us);
        }
        break;
    case FLEET_LOAD:
        take_steps(fleet);
        break;
    case FLEET_SETTLE:
        if (is_settled(fleet) || is_late) {
            start_leaving(fleet);
        }
        return;
    case FLEET_LEAVE:
        if (is_left(fleet) || is_late) {
            finish(fleet);
        }
        return;
    case FLEET_DONE:
        return;
    }
    if (is_stopping || (fleet->phase == FLEET_LOAD && is_late)) {
        start_settling(fleet);
    }
}

static void on_tick(void *context)
{
    struct fleet *fleet = context;
    int64_t now = fleet_now_us(fleet);
    loop_timer_arm_after(fleet->tick, TICK_US);
    for (unsigned i = 0; i < fleet->count; i++) {
        if (fleet->due[i] <= now) {
            agent_on_due(&fleet->agents[i]);
        }
    }
    step_phase(fleet);
}

/* ---- Life ---- */

static bool post(void *context, void (*fn)(void *argument), void *argument)
{
    return loop_post(context, fn, argument);
}

static void make_agents(struct fleet *fleet)
{
    fleet->agents = mem_alloc_array(fleet->count, sizeof(*fleet->agents));
    fleet->due = mem_alloc_array(fleet->count, sizeof(*fleet->due));
    for (unsigned i = 0; i < fleet->count; i++) {
        agent_init(&fleet->agents[i], fleet, i);
    }
}

static enum err_code open_parts(struct fleet *fleet, struct err_info *err)
{
    TRY(wire_schema_load(belay_descriptors, belay_descriptors_size, &fleet->schema, err));
    TRY(rpc_client_create(fleet->schema, &fleet->client, err));
    return operator_open(fleet->client, fleet->plan, &fleet->operators, err);
}

enum err_code fleet_create(
    const struct fleet_options *options, struct fleet **ret_fleet, struct err_info *err)
{
    struct fleet *fleet = mem_alloc(sizeof(*fleet));
    fleet->options = *options;
    fleet->plan = options->plan;
    fleet->board = options->board;
    fleet->slot = &options->board->slots[options->slot];
    fleet->tally = &fleet->slot->tally;
    fleet->loop = options->loop;
    fleet->executor = (struct rpc_executor){ post, options->loop };
    fleet->telemetry_us = fleet->plan->telemetry_us;
    fleet->heartbeat_us = fleet->plan->heartbeat_us;
    fleet->jitter = fleet->plan->jitter;
    fleet->duplicate = fleet->plan->duplicate;
    fleet->lose_acks = fleet->plan->lose_acks;
    fleet->base = clock_wall(clock_system());
    fleet->phase_until_us = INT64_MAX;
    list_init(&fleet->calls);
    fleet->tick = loop_timer_create(options->loop, on_tick, fleet);
    fleet->count = fleet_share(fleet->plan, options->slot, &fleet->first);
    make_agents(fleet);
    enum err_code code = open_parts(fleet, err);
    if (code != ERR_OK) {
        fleet_destroy(fleet);
        return code;
    }
    *ret_fleet = fleet;
    return ERR_OK;
}

void fleet_start(struct fleet *fleet)
{
    fleet->began_us = fleet_now_us(fleet);
    loop_timer_arm_after(fleet->tick, 0);
}

void fleet_destroy(struct fleet *fleet)
{
    if (fleet == NULL) {
        return;
    }
    for (unsigned i = 0; i < fleet->count; i++) {
        agent_deinit(&fleet->agents[i]);
    }
    operator_close(fleet->operators);
    rpc_client_destroy(fleet->client);
    LIST_FOR_EACH(node, &fleet->calls) /* their answers were for a loop that has ended */
    {
        list_remove(node);
        mem_free(LIST_ENTRY(node, struct agent_call, node));
    }
    loop_timer_destroy(fleet->tick);
    wire_schema_destroy(fleet->schema);
    mem_free(fleet->ca_pem);
    mem_free(fleet->agents);
    mem_free(fleet->due);
    mem_free(fleet);
}
