/* The control stream of a simulated agent: hello, accepted, commands and their answers, goaway. */
#include "cmd/agent/command/verify.h"
#include "common/base/id.h"
#include "common/base/log.h"
#include "common/wire/timestamp.h"
#include "tools/bench/sim/fleet_private.h"

#include "proto/agentgateway/v1/agentgateway.pb-c.h"

static void on_accepted(struct agent *agent, const Agentgateway__V1__ControlAccepted *accepted)
{
    struct link_event event = { .type = LINK_EVENT_ACCEPTED,
                                .heartbeat_us =
                                    (int64_t)accepted->heartbeat_interval_ms * US_PER_MS };
    int64_t server_time = wire_timestamp_us(accepted->server_time, 0);
    if (server_time > 0 && agent->session_expires_at > server_time) {
        event.lifetime_us = agent->session_expires_at - server_time;
    }
    agent_feed(agent, &event);
}

static void on_goaway(struct agent *agent, const Agentgateway__V1__Goaway *goaway)
{
    int64_t delay_us = (int64_t)goaway->reconnect_after_ms * US_PER_MS;
    delay_us = delay_us > LINK_DELAY_MAX_US ? LINK_DELAY_MAX_US : delay_us;
    struct link_event event = {
        .type = LINK_EVENT_DRAIN,
        .delay_us = delay_us + (int64_t)id_random_below((uint64_t)delay_us / 2 + 1),
    };
    agent->is_leaving = true;
    fleet_count(agent->fleet, TALLY_GOAWAYS, 1);
    agent_feed(agent, &event);
}

struct answer {
    bool succeeded;
    Agentgateway__V1__AckCode code;
};

static struct answer answer_of(enum plan_ack how)
{
    switch (how) {
    case PLAN_ACK_FAIL:
        return (struct answer){ false, AGENTGATEWAY__V1__ACK_CODE__ACK_CODE_INTERNAL };
    case PLAN_ACK_BUSY:
        return (struct answer){ false, AGENTGATEWAY__V1__ACK_CODE__ACK_CODE_BUSY };
    case PLAN_ACK_OK:
    case PLAN_ACK_NONE:
        break;
    }
    return (struct answer){ true, AGENTGATEWAY__V1__ACK_CODE__ACK_CODE_OK };
}

static void send_ack(struct agent *agent, const char *command_id, struct answer answer)
{
    Agentgateway__V1__ControlStreamRequest request = AGENTGATEWAY__V1__CONTROL_STREAM_REQUEST__INIT;
    Agentgateway__V1__ControlAck ack = AGENTGATEWAY__V1__CONTROL_ACK__INIT;
    ack.command_id = CONST_CAST(char *, command_id);
    ack.succeeded = answer.succeeded;
    ack.code = answer.code;
    request.message_case = AGENTGATEWAY__V1__CONTROL_STREAM_REQUEST__MESSAGE_ACK;
    request.ack = &ack;
    if (rpc_client_stream_send(agent->control, &request.base) == ERR_OK) {
        fleet_count(agent->fleet, TALLY_COMMAND_ACKS_SENT, 1);
    }
}

static enum verify_verdict judge(
    const struct agent *agent, const Agentgateway__V1__ControlCommand *command)
{
    const struct verify_context context = {
        .server_id = agent->fleet->server_id,
        .agent_id = agent->id,
        .command_pubkey = agent->fleet->command_pubkey,
        .last_sequence = agent->last_command,
        .now = clock_wall(clock_system()),
    };
    enum verify_verdict verdict = verify_signature(&context, command);
    return verdict == VERIFY_OK ? verify_order(&context, command) : verdict;
}

/* A repetition is answered as it was the first time, since nothing the simulation does can fail. */
static bool execute(struct agent *agent, const Agentgateway__V1__ControlCommand *command)
{
    struct fleet *fleet = agent->fleet;
    fleet_count(fleet, TALLY_COMMANDS_RECEIVED, 1);
    switch (judge(agent, command)) {
    case VERIFY_OK:
        agent->last_command = command->sequence;
        fleet_count(fleet, TALLY_COMMANDS_EXECUTED, 1);
        int64_t issued = wire_timestamp_us(command->issued_at, 0);
        tally_time(fleet->tally, TALLY_COMMAND, clock_wall(clock_system()).value - issued);
        return true;
    case VERIFY_REPLAYED:
        fleet_count(fleet, TALLY_COMMANDS_REPEATED, 1);
        return true;
    case VERIFY_MALFORMED:
    case VERIFY_SIGNATURE:
    case VERIFY_EXPIRED:
        break;
    }
    fleet_count(fleet, TALLY_COMMANDS_REFUSED, 1);
    return false;
}

static void on_command(struct agent *agent, const Agentgateway__V1__ControlCommand *command)
{
    struct fleet *fleet = agent->fleet;
    struct answer refusal = { false, AGENTGATEWAY__V1__ACK_CODE__ACK_CODE_FORBIDDEN };
    bool is_done = execute(agent, command);
    if (fleet->plan->ack == PLAN_ACK_NONE) {
        return;
    }
    if (is_done && fleet_dice(fleet->lose_acks)) {
        /* an answer is lost with its connection, and asked for again on the next one */
        fleet_count(fleet, TALLY_COMMAND_ACKS_LOST, 1);
        agent_cut(agent, false);
        return;
    }
    send_ack(agent, command->command_id, is_done ? answer_of(fleet->plan->ack) : refusal);
}

static void on_message(void *context, const ProtobufCMessage *message)
{
    struct agent *agent = context;
    const Agentgateway__V1__ControlStreamResponse *response = (const void *)message;
    switch (response->message_case) {
    case AGENTGATEWAY__V1__CONTROL_STREAM_RESPONSE__MESSAGE_ACCEPTED:
        on_accepted(agent, response->accepted);
        return;
    case AGENTGATEWAY__V1__CONTROL_STREAM_RESPONSE__MESSAGE_COMMAND:
        agent_feed_type(agent, LINK_EVENT_ALIVE);
        if (agent->control != NULL) {
            on_command(agent, response->command);
        }
        return;
    case AGENTGATEWAY__V1__CONTROL_STREAM_RESPONSE__MESSAGE_GOAWAY:
        on_goaway(agent, response->goaway);
        return;
    case AGENTGATEWAY__V1__CONTROL_STREAM_RESPONSE__MESSAGE__NOT_SET:
    default: /* of a newer server: passed over */
        agent_feed_type(agent, LINK_EVENT_ALIVE);
        return;
    }
}

static void on_closed(void *context, enum err_code code, const struct err_info *err)
{
    struct agent *agent = context;
    rpc_client_stream_release(STEAL(agent->control));
    if (code != ERR_OK && !agent->is_leaving) {
        log_info("sim_control_closed", LOG_UINT("agent", agent->number), LOG_ERR(err));
        agent->fleet->tally->errors[TALLY_CONTROL][code]++;
    }
    agent_feed_type(agent, link_event_of_end(code));
}

static enum err_code send_hello(struct agent *agent)
{
    Agentgateway__V1__ControlStreamRequest request = AGENTGATEWAY__V1__CONTROL_STREAM_REQUEST__INIT;
    Agentgateway__V1__ControlHello hello = AGENTGATEWAY__V1__CONTROL_HELLO__INIT;
    char version[] = "belay-sim";
    hello.agent_version = version;
    hello.last_command_sequence = agent->last_command;
    request.message_case = AGENTGATEWAY__V1__CONTROL_STREAM_REQUEST__MESSAGE_HELLO;
    request.hello = &hello;
    return rpc_client_stream_send(agent->control, &request.base);
}

void agent_open_control(struct agent *agent)
{
    static const struct rpc_client_stream_ops ops = { .message = on_message, .closed = on_closed };
    struct err_info err = ERR_INFO_INIT;
    struct rpc_header header = { "authorization", agent->authorization };
    struct rpc_call_options options = { .headers = &header, .header_count = 1 };
    enum err_code code = rpc_client_stream_open(
        agent->channel,
        GATEWAY_PATH("ControlStream"),
        &agentgateway__v1__control_stream_response__descriptor,
        &options,
        &agent->fleet->executor,
        &ops,
        agent,
        &agent->control,
        &err);
    if (code == ERR_OK) {
        code = send_hello(agent);
    }
    if (code != ERR_OK) {
        agent_fail(agent, TALLY_CONTROL, code);
    }
}

void agent_set_slow(struct agent *agent, bool is_slow)
{
    if (agent->control != NULL) {
        rpc_client_stream_pause(agent->control, is_slow);
    }
}
