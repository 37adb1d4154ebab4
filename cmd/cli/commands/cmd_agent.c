/* belay agent: the fleet. */
#include "cmd/cli/cells.h"
#include "cmd/cli/commands/cmd_command_view.h"
#include "cmd/cli/commands/commands.h"
#include "cmd/cli/connection.h"
#include "cmd/cli/term/plot.h"
#include "common/rpc/client.h"

#include "proto/agentgateway/v1/admin.pb-c.h"

/* ---- view ---- */

static bool is_confirmed(const Agentgateway__V1__Agent *agent)
{
    return agent->state == AGENTGATEWAY__V1__AGENT_STATE__AGENT_STATE_CONFIRMED;
}

static enum text_style write_state(const struct view_cell *cell, struct buf *out)
{
    const Agentgateway__V1__Agent *agent = cell->item;
    if (!is_confirmed(agent)) {
        (void)cells_text(
            cli_enum_word(cell->cli, &agentgateway__v1__agent_state__descriptor, (int)agent->state),
            out);
        return TEXT_WARN;
    }
    buf_printf(
        out, "%s%s", agent->online ? "online" : "offline", agent->cordoned ? ",cordoned" : "");
    return agent->cordoned ? TEXT_WARN : agent->online ? TEXT_GOOD : TEXT_BAD;
}

static enum text_style write_host(const struct view_cell *cell, struct buf *out)
{
    const Agentgateway__V1__Agent *agent = cell->item;
    return cells_text(agent->host != NULL ? agent->host->hostname : "", out);
}

static enum text_style write_platform(const struct view_cell *cell, struct buf *out)
{
    const Agentgateway__V1__Agent *agent = cell->item;
    if (agent->host != NULL) {
        buf_printf(out, "%s/%s", agent->host->os, agent->host->arch);
    }
    return TEXT_PLAIN;
}

static enum text_style write_machine(const struct view_cell *cell, struct buf *out)
{
    const Agentgateway__V1__Agent *agent = cell->item;
    if (agent->host != NULL) {
        buf_printf(out, "%u CPUs, ", agent->host->cpu_count);
        (void)cells_bytes(agent->host->memory_bytes, out);
        buf_printf(out, ", kernel %s", agent->host->kernel);
    }
    return TEXT_PLAIN;
}

static enum text_style write_spool(const struct view_cell *cell, struct buf *out)
{
    const Agentgateway__V1__AgentStatus *status =
        ((const Agentgateway__V1__Agent *)cell->item)->status;
    if (status == NULL) {
        return TEXT_PLAIN;
    }
    (void)cells_bytes(status->spool_bytes, out);
    if (status->spool_dropped > 0) {
        buf_printf(out, ", %llu dropped", (unsigned long long)status->spool_dropped);
    }
    return status->spool_dropped > 0 ? TEXT_WARN : TEXT_PLAIN;
}

static enum text_style write_uptime(const struct view_cell *cell, struct buf *out)
{
    const Agentgateway__V1__AgentStatus *status =
        ((const Agentgateway__V1__Agent *)cell->item)->status;
    if (status != NULL) {
        cells_duration((int64_t)(status->uptime_ms / 1000) * US_PER_SECOND, out);
    }
    return TEXT_PLAIN;
}

CELL_TEXT(write_name, Agentgateway__V1__Agent, name)
CELL_NUMBER(write_id, Agentgateway__V1__Agent, id)
CELL_TEXT(write_version, Agentgateway__V1__Agent, version)
CELL_AGE(write_seen, Agentgateway__V1__Agent, last_seen_at)
CELL_PAIRS(write_labels, Agentgateway__V1__Agent, labels)
CELL_TEXT(write_fingerprint, Agentgateway__V1__Agent, fingerprint)
CELL_TEXT(write_workspace, Agentgateway__V1__Agent, workspace)
CELL_TEXT(write_enrollment, Agentgateway__V1__Agent, enrollment_id)
CELL_AGE(write_created, Agentgateway__V1__Agent, created_at)
CELL_NUMBER(write_telemetry, Agentgateway__V1__Agent, telemetry_sequence)
CELL_NUMBER(write_events, Agentgateway__V1__Agent, events_sequence)
CELL_NUMBER(write_epoch, Agentgateway__V1__Agent, session_epoch)
CELL_TEXTS(write_capabilities, Agentgateway__V1__Agent, capabilities)
CELL_NAME(name_of, Agentgateway__V1__Agent, name)

static const struct view_column COLUMNS[] = {
    { { .title = "NAME", .keep = 12, .min_width = 16 }, 0, write_name },
    { { .title = "ID", .right = true }, VIEW_WIDE, write_id },
    { { .title = "STATE", .keep = 7, .min_width = 8 }, 0, write_state },
    { { .title = "SEEN", .right = true, .keep = 4, .min_width = 5 }, 0, write_seen },
    { { .title = "VERSION", .min_width = 8 }, 0, write_version },
    { { .title = "HOST", .min_width = 12 }, 0, write_host },
    { { .title = "PLATFORM" }, VIEW_WIDE, write_platform },
    { { .title = "SPOOL" }, VIEW_WIDE, write_spool },
    { { .title = "UPTIME" }, VIEW_WIDE, write_uptime },
    { { .title = "FINGERPRINT" }, VIEW_WIDE, write_fingerprint },
    { { .title = "LABELS" }, 0, write_labels },
    { { .title = "MACHINE" }, VIEW_DETAIL, write_machine },
    { { .title = "WORKSPACE" }, VIEW_DETAIL, write_workspace },
    { { .title = "ENROLLMENT" }, VIEW_DETAIL, write_enrollment },
    { { .title = "CREATED" }, VIEW_DETAIL, write_created },
    { { .title = "CAPABILITIES" }, VIEW_DETAIL, write_capabilities },
    { { .title = "TELEMETRY UP TO" }, VIEW_DETAIL, write_telemetry },
    { { .title = "EVENTS UP TO" }, VIEW_DETAIL, write_events },
    { { .title = "SESSION" }, VIEW_DETAIL, write_epoch },
};
static const struct view VIEW_AGENTS = VIEW(COLUMNS, name_of);

/* ---- reading ---- */

static enum err_code list(struct cli *cli)
{
    Agentgateway__V1__ListAgentsRequest request = AGENTGATEWAY__V1__LIST_AGENTS_REQUEST__INIT;
    Agentgateway__V1__ListAgentsResponse *reply = NULL;
    request.workspace = connection_workspace(cli);
    request.label_selector = cli_text(cli, args_text(cli->args, "selector"));
    request.name_prefix = cli_text(cli, args_text(cli->args, "prefix"));
    request.only_online = args_flag(cli->args, "online");
    request.state = (Agentgateway__V1__AgentState)cli_enum_value(
        &agentgateway__v1__agent_state__descriptor, args_text(cli->args, "state"));
    TRY(connection_list(
        cli,
        "ListAgents",
        &request.base,
        &agentgateway__v1__list_agents_response__descriptor,
        (size_t)args_number(cli->args, "limit"),
        &reply));
    if (reply->n_agents == 0 && !output_is_structured(cli)) {
        output_note(cli, "No agent here. A join string for one: belay enroll token");
    }
    return output_list(cli, &VIEW_AGENTS, &reply->base, reply->agents, reply->n_agents);
}

static enum err_code get(struct cli *cli)
{
    Agentgateway__V1__GetAgentRequest request = AGENTGATEWAY__V1__GET_AGENT_REQUEST__INIT;
    Agentgateway__V1__Agent *reply = NULL;
    request.workspace = connection_workspace(cli);
    request.agent = cli_text(cli, args_word(cli->args, 0));
    TRY(connection_call(
        cli, "GetAgent", &request.base, &agentgateway__v1__agent__descriptor, &reply));
    return output_one(cli, &VIEW_AGENTS, &reply->base, 0);
}

static enum err_code show_change(
    struct cli *cli, void *context, const ProtobufCMessage *message, bool *ret_done)
{
    const Agentgateway__V1__AgentChange *change =
        (const Agentgateway__V1__AgentChange *)(const void *)message;
    *ret_done = false;
    if (output_is_structured(cli)) {
        return output_live_row(context, message);
    }
    if (change->agent == NULL) {
        return ERR_OK;
    }
    if (change->removed) {
        output_note(cli, "%s is gone.", change->agent->name);
        return ERR_OK;
    }
    return output_live_row(context, &change->agent->base);
}

static enum err_code watch(struct cli *cli)
{
    Agentgateway__V1__WatchAgentsRequest request = AGENTGATEWAY__V1__WATCH_AGENTS_REQUEST__INIT;
    struct rpc_client_stream *stream = NULL;
    request.workspace = connection_workspace(cli);
    request.label_selector = cli_text(cli, args_text(cli->args, "selector"));
    request.agent = cli_text(cli, args_word(cli->args, 0));
    TRY(connection_stream(
        cli, "WatchAgents", &request.base, &agentgateway__v1__agent_change__descriptor, &stream));
    AUTO_OUTPUT_LIVE struct output_live *live = output_live_create(cli, &VIEW_AGENTS);
    enum err_code code = connection_watch(cli, stream, false, show_change, live);
    rpc_client_stream_release(stream);
    return code;
}

/* ---- changing ---- */

static enum err_code update(struct cli *cli, Agentgateway__V1__UpdateAgentRequest *request)
{
    Agentgateway__V1__Agent *reply = NULL;
    request->workspace = connection_workspace(cli);
    request->agent = cli_text(cli, args_word(cli->args, 0));
    TRY(connection_call(
        cli, "UpdateAgent", &request->base, &agentgateway__v1__agent__descriptor, &reply));
    return output_row(cli, &VIEW_AGENTS, &reply->base);
}

/* "site=north" sets, "site-" removes. */
static enum err_code label(struct cli *cli)
{
    Agentgateway__V1__UpdateAgentRequest request = AGENTGATEWAY__V1__UPDATE_AGENT_REQUEST__INIT;
    size_t count = args_word_count(cli->args) - 1;
    const char **pairs = arena_alloc(cli->arena, count * sizeof(*pairs));
    size_t pair_count = 0;
    request.remove_labels = arena_alloc(cli->arena, count * sizeof(char *));
    for (size_t i = 0; i < count; i++) {
        struct str_view word = str_of(args_word(cli->args, i + 1));
        if (memchr(word.ptr, '=', word.len) != NULL) {
            pairs[pair_count++] = word.ptr;
        } else if (word.len > 1 && word.ptr[word.len - 1] == '-') {
            request.remove_labels[request.n_remove_labels++] =
                arena_str_dup(cli->arena, str_from(word.ptr, word.len - 1));
        } else {
            return cli_usage(cli, "LABEL: \"%s\" is neither KEY=VALUE nor KEY-", word.ptr);
        }
    }
    TRY(cli_pairs(
        cli,
        pairs,
        pair_count,
        &agentgateway__v1__update_agent_request__set_labels_entry__descriptor,
        &request.set_labels));
    request.n_set_labels = pair_count;
    return update(cli, &request);
}

static enum err_code set_cordoned(struct cli *cli, bool cordoned)
{
    Agentgateway__V1__UpdateAgentRequest request = AGENTGATEWAY__V1__UPDATE_AGENT_REQUEST__INIT;
    request._cordoned_case = AGENTGATEWAY__V1__UPDATE_AGENT_REQUEST___CORDONED_CORDONED;
    request.cordoned = cordoned;
    return update(cli, &request);
}

static enum err_code cordon(struct cli *cli)
{
    return set_cordoned(cli, true);
}

static enum err_code uncordon(struct cli *cli)
{
    return set_cordoned(cli, false);
}

static enum err_code evict(struct cli *cli)
{
    Agentgateway__V1__EvictAgentRequest request = AGENTGATEWAY__V1__EVICT_AGENT_REQUEST__INIT;
    Agentgateway__V1__Agent *reply = NULL;
    request.workspace = connection_workspace(cli);
    request.agent = cli_text(cli, args_word(cli->args, 0));
    request.reason = cli_text(cli, args_text(cli->args, "reason"));
    TRY(connection_call(
        cli, "EvictAgent", &request.base, &agentgateway__v1__agent__descriptor, &reply));
    return output_row(cli, &VIEW_AGENTS, &reply->base);
}

static enum err_code revoke(struct cli *cli)
{
    Agentgateway__V1__RevokeAgentRequest request = AGENTGATEWAY__V1__REVOKE_AGENT_REQUEST__INIT;
    Agentgateway__V1__Agent *reply = NULL;
    if (!args_flag(cli->args, "yes")) {
        return cli_usage(cli, "revoking is for ever: the agent has to be enrolled anew. Add --yes");
    }
    request.workspace = connection_workspace(cli);
    request.agent = cli_text(cli, args_word(cli->args, 0));
    request.reason = cli_text(cli, args_text(cli->args, "reason"));
    TRY(connection_call(
        cli, "RevokeAgent", &request.base, &agentgateway__v1__agent__descriptor, &reply));
    return output_row(cli, &VIEW_AGENTS, &reply->base);
}

static enum err_code rotate_key(struct cli *cli)
{
    Agentgateway__V1__RotateAgentKeyRequest request =
        AGENTGATEWAY__V1__ROTATE_AGENT_KEY_REQUEST__INIT;
    Agentgateway__V1__Command *reply = NULL;
    request.workspace = connection_workspace(cli);
    request.agent = cli_text(cli, args_word(cli->args, 0));
    TRY(connection_call(
        cli, "RotateAgentKey", &request.base, &agentgateway__v1__command__descriptor, &reply));
    return cmd_command_finish(cli, reply, args_flag(cli->args, "wait"));
}

/* ---- table ---- */

static const char *const STATE_CHOICES[] = {
    "awaiting-confirmation", "confirmed", "evicted", "revoked", NULL
};
#define OPTION_SELECTOR                                                              \
    {                                                                                \
        .name = "selector", .letter = 'l', .type = CLI_TEXT, .argument = "SELECTOR", \
        .help = "Only agents with these labels: a=b,c!=d,e in (f,g),!h"              \
    }
static const struct cli_option LIST_OPTIONS[] = {
    OPTION_SELECTOR,
    { .name = "prefix", .type = CLI_TEXT, .argument = "TEXT", .help = "Only names that start so" },
    { .name = "state",
      .type = CLI_CHOICE,
      .argument = "STATE",
      .choices = STATE_CHOICES,
      .help = "Only those in this state" },
    { .name = "online", .type = CLI_FLAG, .help = "Only those that are online" },
    OPTION_LIMIT("0"),
};
static const struct cli_example LIST_EXAMPLES[] = {
    { "belay agent list -l site=north --online", "The reachable ones of a site" },
    { "belay agent list -o json | jq -r '.agents[].name'", "For a script" },
};
static const struct cli_command LIST = {
    .name = "list",
    .alias = "ls",
    .summary = "List agents",
    CLI_LIST(option, LIST_OPTIONS),
    CLI_LIST(example, LIST_EXAMPLES),
    .run = list,
};

static const struct cli_argument AGENT_ARGUMENTS[] = { ARGUMENT_AGENT };
static const struct cli_command GET = {
    .name = "get",
    .summary = "Show one agent in detail",
    CLI_LIST(argument, AGENT_ARGUMENTS),
    .run = get,
};

static const struct cli_argument WATCH_ARGUMENTS[] = {
    { .name = "AGENT",
      .flags = CLI_OPTIONAL,
      .complete = CLI_COMPLETE_AGENT,
      .help = "Name or id of an agent; all without it" },
};
static const struct cli_option WATCH_OPTIONS[] = { OPTION_SELECTOR };
static const struct cli_command WATCH = {
    .name = "watch",
    .summary = "Show agents as they are, then each change",
    CLI_LIST(argument, WATCH_ARGUMENTS),
    CLI_LIST(option, WATCH_OPTIONS),
    .run = watch,
};

static const struct cli_argument LABEL_ARGUMENTS[] = {
    ARGUMENT_AGENT,
    { .name = "LABEL", .flags = CLI_REPEAT, .help = "KEY=VALUE sets a label, KEY- removes it" },
};
static const struct cli_example LABEL_EXAMPLES[] = {
    { "belay agent label node-7 site=north rack-", "Set one label, remove another" },
};
static const struct cli_command LABEL = {
    .name = "label",
    .summary = "Set and remove labels",
    CLI_LIST(argument, LABEL_ARGUMENTS),
    CLI_LIST(example, LABEL_EXAMPLES),
    .run = label,
};
static const struct cli_command CORDON = {
    .name = "cordon",
    .summary = "Place nothing new on an agent",
    CLI_LIST(argument, AGENT_ARGUMENTS),
    .run = cordon,
};
static const struct cli_command UNCORDON = {
    .name = "uncordon",
    .summary = "Place new work on an agent again",
    CLI_LIST(argument, AGENT_ARGUMENTS),
    .run = uncordon,
};

#define OPTION_REASON                                                                         \
    {                                                                                         \
        .name = "reason", .type = CLI_TEXT, .argument = "TEXT", .help = "For the audit trail" \
    }
static const struct cli_option EVICT_OPTIONS[] = { OPTION_REASON };
static const struct cli_command EVICT = {
    .name = "evict",
    .summary = "End an agent's session; it may come back",
    CLI_LIST(argument, AGENT_ARGUMENTS),
    CLI_LIST(option, EVICT_OPTIONS),
    .run = evict,
};
static const struct cli_option REVOKE_OPTIONS[] = {
    OPTION_REASON,
    { .name = "yes", .type = CLI_FLAG, .help = "Say that it is meant" },
};
static const struct cli_command REVOKE = {
    .name = "revoke",
    .summary = "Shut an agent out for ever",
    CLI_LIST(argument, AGENT_ARGUMENTS),
    CLI_LIST(option, REVOKE_OPTIONS),
    .run = revoke,
};
static const struct cli_option ROTATE_OPTIONS[] = {
    { .name = "wait", .type = CLI_FLAG, .help = "Wait until the agent has the new key" },
};
static const struct cli_command ROTATE_KEY = {
    .name = "rotate-key",
    .summary = "Give an agent a new API key",
    CLI_LIST(argument, AGENT_ARGUMENTS),
    CLI_LIST(option, ROTATE_OPTIONS),
    .run = rotate_key,
};

static const struct cli_command *const COMMANDS[] = { &LIST,  &GET,    &WATCH,
                                                      &LABEL, &CORDON, &UNCORDON,
                                                      &EVICT, &REVOKE, &ROTATE_KEY };
const struct cli_command CMD_AGENT = {
    .name = "agent",
    .alias = "agents",
    .summary = "The agents of the fleet",
    CLI_LIST(command, COMMANDS),
};
