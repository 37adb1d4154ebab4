#include "cmd/agent/command/commands.h"

#include "common/base/cleanup.h"
#include "common/base/list.h"
#include "common/base/log.h"
#include "common/sys/fault.h"

#include <stdio.h>

enum {
    UNPACK_BYTES = 8 * 1024 * 1024,
    REDELIVER_MAX = 64,
    ACK_PAYLOAD_MAX = 1048576
};

#define ACK(name) AGENTGATEWAY__V1__ACK_CODE__ACK_CODE_##name

enum lane {
    LANE_POOL,
    LANE_EXCLUSIVE,
    LANE_COUNT
};

static const unsigned lane_limits[] = {
    [LANE_POOL] = COMMANDS_POOL_LANE, [LANE_EXCLUSIVE] = COMMANDS_EXCLUSIVE_LANE
};

struct command_run {
    struct list node;
    struct commands *commands;
    enum lane lane;
    char command_id[COMMAND_ID_BYTES];
};

struct commands {
    struct commands_options options;
    uint64_t last_sequence;
    unsigned running[LANE_COUNT];
    struct list runs;
};

struct action {
    Agentgateway__V1__AgentCommand__CommandCase command;
    const char *name;
    enum lane lane;
    bool resumes;   /* as in command_interrupt of spool.sql */
    size_t handler; /* offset of the command_fn in struct command_ops */
};

#define ROW(id, member, which)                                                \
    {                                                                         \
        AGENTGATEWAY__V1__AGENT_COMMAND__COMMAND_##id, #member, which, false, \
            offsetof(struct command_ops, member)                              \
    }
#define RESUMING_ROW(id, member)                                                 \
    {                                                                            \
        AGENTGATEWAY__V1__AGENT_COMMAND__COMMAND_##id, #member, LANE_POOL, true, \
            offsetof(struct command_ops, member)                                 \
    }

static const struct action actions[] = {
    ROW(DEVICE_COMMAND, device_command, LANE_POOL),
    ROW(TELEMETRY_NOW, telemetry_now, LANE_POOL),
    RESUMING_ROW(SANDBOX_CREATE, sandbox_create),
    RESUMING_ROW(SANDBOX_START, sandbox_start),
    RESUMING_ROW(SANDBOX_STOP, sandbox_stop),
    RESUMING_ROW(SANDBOX_DELETE, sandbox_delete),
    RESUMING_ROW(SANDBOX_POLICY, sandbox_policy),
    RESUMING_ROW(LEND, lend),
    RESUMING_ROW(RECLAIM, reclaim),
    ROW(ROTATE_KEY, rotate_key, LANE_EXCLUSIVE),
    ROW(SET_CONFIG, set_config, LANE_EXCLUSIVE),
    ROW(DRAIN, drain, LANE_EXCLUSIVE),
};

static const struct action *find_action(const Agentgateway__V1__AgentCommand *command)
{
    for (size_t i = 0; i < ARRAY_LENGTH(actions); i++) {
        if (actions[i].command == command->command_case) {
            return &actions[i];
        }
    }
    return NULL;
}

enum err_code commands_create(
    const struct commands_options *options, struct commands **ret_commands, struct err_info *err)
{
    uint64_t last = 0;
    TRY(state_load_command_sequence(options->state, &last, err));
    struct commands *commands = mem_alloc(sizeof(*commands));
    commands->options = *options;
    commands->last_sequence = last;
    list_init(&commands->runs);
    struct err_info local = ERR_INFO_INIT;
    if (command_log_interrupt(
            options->spool,
            ACK(INTERNAL),
            "interrupted: the agent ended before the command did; it was not tried again",
            &local)
        != ERR_OK) {
        log_warn("command_log", LOG_ERR(&local)); /* the disk refuses now; answers follow later */
    }
    *ret_commands = commands;
    return ERR_OK;
}

void commands_destroy(struct commands *commands)
{
    if (commands == NULL) {
        return;
    }
    LIST_FOR_EACH(node, &commands->runs)
    {
        list_remove(node);
        mem_free(LIST_ENTRY(node, struct command_run, node));
    }
    mem_free(commands);
}

uint64_t commands_last_sequence(const struct commands *commands)
{
    return commands->last_sequence;
}

unsigned commands_running(const struct commands *commands)
{
    return commands->running[LANE_POOL] + commands->running[LANE_EXCLUSIVE];
}

static void set_outcome(
    struct command_outcome *outcome, unsigned code, const char *error, struct str_view payload)
{
    memset(outcome, 0, sizeof(*outcome));
    outcome->succeeded = code == ACK(OK) || code == ACK(PARTIAL);
    outcome->code = code;
    outcome->payload = payload;
    (void)snprintf(outcome->error, sizeof(outcome->error), "%s", error == NULL ? "" : error);
    str_make_utf8(outcome->error); /* it may be cut here, and the server hangs up on what is not */
}

static void send_ack(
    struct commands *commands, struct str_view command_id, const struct command_outcome *outcome)
{
    const struct commands_options *options = &commands->options;
    struct err_info err = ERR_INFO_INIT;
    if (options->ops->send_ack(options->context, command_id, outcome) != ERR_OK) {
        return; /* it stays in the log and goes with the next session */
    }
    FAULT_POINT("agent.command.acked");
    if (command_log_set_acked(options->spool, command_id, &err) != ERR_OK) {
        log_warn("command_log", LOG_ERR(&err)); /* it will be sent once more */
    }
    FAULT_POINT("agent.command.closed");
}

/* Not in the log: nothing of it happened, and a stranger could fill the log. */
static void refuse(
    struct commands *commands,
    const Agentgateway__V1__ControlCommand *command,
    enum verify_verdict verdict)
{
    const struct commands_options *options = &commands->options;
    struct command_outcome outcome;
    unsigned code = verdict == VERIFY_MALFORMED ? ACK(BAD_REQUEST) : ACK(FORBIDDEN);
    set_outcome(&outcome, code, verify_text(verdict), STR_NONE);
    log_warn(
        "command_refused",
        LOG_STR("command", command->command_id),
        LOG_STR("actor", command->actor),
        LOG_STR("reason", verify_text(verdict)));
    if (options->ops->refused != NULL) {
        options->ops->refused(
            options->context, command->command_id, command->actor, verify_text(verdict));
    }
    if (command->command_id[0] != '\0') {
        (void)options->ops->send_ack(options->context, str_of(command->command_id), &outcome);
    }
}

static bool acts_now(const struct commands *commands, const char *command_id)
{
    LIST_FOR_EACH(node, &commands->runs)
    {
        if (strcmp(LIST_ENTRY(node, struct command_run, node)->command_id, command_id) == 0) {
            return true;
        }
    }
    return false;
}

/* true: it was given before, or may have been; its answer, if there is one and it can be read, goes
 * again. *ret_cut_off: it was given to an earlier process, which came to no answer. */
static bool answer_repetition(
    struct commands *commands, const Agentgateway__V1__ControlCommand *command, bool *ret_cut_off)
{
    AUTO_ARENA struct arena *arena = arena_create((size_t)ACK_PAYLOAD_MAX * 2);
    enum command_status status = COMMAND_RUNNING;
    struct command_outcome outcome;
    struct str_view id = str_of(command->command_id);
    struct err_info err = ERR_INFO_INIT;
    enum err_code code =
        command_log_find(commands->options.spool, id, arena, &status, &outcome, &err);
    if (code == ERR_NOT_FOUND) {
        return false;
    }
    if (code != ERR_OK) {
        /* A number above all others is new. Of any other an answer now could be the wrong one, and
         * the server keeps what it hears: it asks again with the next session. */
        log_error("command_log", LOG_STR("command", command->command_id), LOG_ERR(&err));
        return command->sequence <= commands->last_sequence;
    }
    if (status != COMMAND_RUNNING) {
        send_ack(commands, id, &outcome);
        return true;
    }
    *ret_cut_off = !acts_now(commands, command->command_id);
    return !*ret_cut_off;
}

static enum err_code keep_sequence(
    struct commands *commands, uint64_t sequence, struct err_info *err)
{
    if (sequence > commands->last_sequence) {
        TRY(state_save_command_sequence(commands->options.state, sequence, err));
        commands->last_sequence = sequence;
    }
    return ERR_OK;
}

/* After this the command may act, once. The log comes first, so that one that is cut off in between
 * is known when it comes again. The sequence has a file of its own: it outlives a damaged spool. */
static enum err_code record(
    struct commands *commands,
    const Agentgateway__V1__ControlCommand *command,
    const char *action,
    struct err_info *err)
{
    struct command_entry entry = { .command_id = str_of(command->command_id),
                                   .actor = str_of(command->actor),
                                   .action = str_of(action),
                                   .sequence = command->sequence };
    TRY(command_log_begin(commands->options.spool, &entry, err));
    FAULT_POINT("agent.command.numbered");
    return keep_sequence(commands, command->sequence, err);
}

static struct command_run *begin_run(
    struct commands *commands, const char *command_id, enum lane lane)
{
    struct command_run *run = mem_alloc(sizeof(*run));
    run->commands = commands;
    run->lane = lane;
    (void)snprintf(run->command_id, sizeof(run->command_id), "%s", command_id);
    commands->running[lane]++;
    list_append(&commands->runs, &run->node);
    return run;
}

void command_finish(
    struct command_run *take_run, unsigned code, const char *error, struct str_view payload)
{
    struct commands *commands = take_run->commands;
    struct str_view id = str_of(take_run->command_id);
    struct command_outcome outcome;
    struct err_info err = ERR_INFO_INIT;
    bool fits = payload.len <= ACK_PAYLOAD_MAX;
    set_outcome(
        &outcome,
        fits ? code : (unsigned)ACK(INTERNAL),
        fits ? error : "the answer is too large",
        fits ? payload : STR_NONE);
    log_info(
        "command_finished",
        LOG_VIEW("command", id),
        LOG_BOOL("succeeded", outcome.succeeded),
        LOG_STR("error", outcome.error));
    FAULT_POINT("agent.command.done");
    if (command_log_finish(commands->options.spool, id, &outcome, &err) != ERR_OK) {
        log_error("command_log", LOG_ERR(&err));
    }
    FAULT_POINT("agent.command.answered");
    send_ack(commands, id, &outcome);
    commands->running[take_run->lane]--;
    list_remove(&take_run->node);
    mem_free(take_run);
}

static void dispatch(
    struct commands *commands,
    const Agentgateway__V1__ControlCommand *command,
    const Agentgateway__V1__AgentCommand *what,
    const struct action *action)
{
    FAULT_POINT("agent.command.logged");
    const struct command_ops *ops = commands->options.ops;
    bool is_busy = action != NULL && commands->running[action->lane] >= lane_limits[action->lane];
    struct command_run *run =
        begin_run(commands, command->command_id, action == NULL ? LANE_POOL : action->lane);
    log_info(
        "command_started",
        LOG_STR("command", command->command_id),
        LOG_STR("action", action == NULL ? "unknown" : action->name),
        LOG_STR("actor", command->actor));
    if (action == NULL) {
        command_finish(run, ACK(UNIMPLEMENTED), "this agent does not know this command", STR_NONE);
    } else if (is_busy) {
        command_finish(run, ACK(BUSY), "as many commands run as may; try again", STR_NONE);
    } else {
        command_fn handler = NULL;
        memcpy(&handler, (const char *)ops + action->handler, sizeof(handler));
        handler(commands->options.context, run, what);
    }
}

/* A member of the oneof that we do not know leaves it unset: known to be unknown, not malformed. */
static enum err_code unpack(
    struct commands *commands,
    const Agentgateway__V1__ControlCommand *command,
    struct arena *arena,
    ProtobufCMessage **ret_message,
    struct err_info *err)
{
    const ProtobufCMessageDescriptor *type = &agentgateway__v1__agent_command__descriptor;
    const struct wire_schema *schema = commands->options.schema;
    const ProtobufCBinaryData *payload = &command->payload;
    TRY(wire_unpack_lenient(schema, type, payload->data, payload->len, arena, ret_message, err));
    const Agentgateway__V1__AgentCommand *what = (const void *)*ret_message;
    if (what->command_case == AGENTGATEWAY__V1__AGENT_COMMAND__COMMAND__NOT_SET
        && payload->len > 0) {
        return ERR_OK;
    }
    return wire_unpack(schema, type, payload->data, payload->len, arena, ret_message, err);
}

void commands_handle(
    struct commands *commands,
    const struct verify_context *who,
    const Agentgateway__V1__ControlCommand *command)
{
    struct verify_context context = *who;
    struct err_info err = ERR_INFO_INIT;
    AUTO_ARENA struct arena *arena = arena_create(UNPACK_BYTES);
    ProtobufCMessage *message = NULL;
    bool was_cut_off = false;
    context.last_sequence = commands->last_sequence;
    enum verify_verdict verdict = verify_signature(&context, command);
    if (verdict == VERIFY_OK && answer_repetition(commands, command, &was_cut_off)) {
        return;
    }
    if (was_cut_off) {
        context.last_sequence = command->sequence - 1; /* the log knows it; only time can be up */
    }
    if (verdict == VERIFY_OK) {
        verdict = verify_order(&context, command);
    }
    if (verdict != VERIFY_OK) {
        refuse(commands, command, verdict);
        return;
    }
    enum err_code code = unpack(commands, command, arena, &message, &err);
    const Agentgateway__V1__AgentCommand *what = (const void *)message;
    const struct action *action = code == ERR_OK ? find_action(what) : NULL;
    struct command_outcome outcome;
    struct err_info log_err = ERR_INFO_INIT;
    if (was_cut_off && (action == NULL || !action->resumes)) {
        return; /* nobody knows how far it came: it waits to be told as interrupted */
    }
    enum err_code kept = was_cut_off
        ? keep_sequence(commands, command->sequence, &log_err)
        : record(commands, command, action == NULL ? "unknown" : action->name, &log_err);
    if (kept != ERR_OK) {
        log_error("command_not_recorded", LOG_ERR(&log_err));
        set_outcome(&outcome, ACK(INTERNAL), "the agent's disk does not take it", STR_NONE);
        (void)commands->options.ops->send_ack(
            commands->options.context, str_of(command->command_id), &outcome);
        return;
    }
    if (code != ERR_OK) {
        command_finish(
            begin_run(commands, command->command_id, LANE_POOL),
            ACK(BAD_REQUEST),
            err.text,
            STR_NONE);
        return;
    }
    dispatch(commands, command, what, action);
}

struct redelivery {
    struct commands *commands;

    struct {
        char id[COMMAND_ID_BYTES];
    } sent[REDELIVER_MAX];

    unsigned count;
    bool failed;
};

static void redeliver_one(
    void *context, struct str_view command_id, const struct command_outcome *outcome)
{
    struct redelivery *redelivery = context;
    const struct commands_options *options = &redelivery->commands->options;
    char *id = redelivery->sent[redelivery->count].id;
    if (redelivery->failed || str_copy(command_id, id, COMMAND_ID_BYTES) != ERR_OK
        || options->ops->send_ack(options->context, command_id, outcome) != ERR_OK) {
        redelivery->failed = true;
        return;
    }
    redelivery->count++;
}

void commands_redeliver(struct commands *commands)
{
    AUTO_FREE struct redelivery *redelivery = mem_alloc(sizeof(*redelivery));
    struct err_info err = ERR_INFO_INIT;
    redelivery->commands = commands;
    do {
        redelivery->count = 0;
        enum err_code code = command_log_each_unacked(
            commands->options.spool, REDELIVER_MAX, redeliver_one, redelivery, &err);
        for (unsigned i = 0; i < redelivery->count && code == ERR_OK; i++) {
            code = command_log_set_acked(
                commands->options.spool, str_of(redelivery->sent[i].id), &err);
        }
        if (code != ERR_OK) {
            log_warn("command_log", LOG_ERR(&err));
            return;
        }
    } while (redelivery->count == REDELIVER_MAX && !redelivery->failed);
}
