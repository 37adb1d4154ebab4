/* belay enroll: join strings for agents, and the operator's word for those that wait. */
#include "cmd/cli/cells.h"
#include "cmd/cli/commands/commands.h"
#include "cmd/cli/connection.h"

#include "proto/agentgateway/v1/admin.pb-c.h"

/* ---- view ---- */

static enum text_style write_state(const struct view_cell *cell, struct buf *out)
{
    const Agentgateway__V1__EnrollmentToken *token = cell->item;
    (void)cells_text(
        cli_enum_word(
            cell->cli, &agentgateway__v1__enrollment_state__descriptor, (int)token->state),
        out);
    bool waits =
        token->state == AGENTGATEWAY__V1__ENROLLMENT_STATE__ENROLLMENT_STATE_AWAITING_CONFIRMATION;
    bool confirmed = token->state == AGENTGATEWAY__V1__ENROLLMENT_STATE__ENROLLMENT_STATE_CONFIRMED;
    bool open = token->state == AGENTGATEWAY__V1__ENROLLMENT_STATE__ENROLLMENT_STATE_PENDING;
    return waits ? TEXT_WARN : confirmed ? TEXT_GOOD : open ? TEXT_PLAIN : TEXT_DIM;
}

CELL_TEXT(write_id, Agentgateway__V1__EnrollmentToken, id)
CELL_TEXT(write_agent, Agentgateway__V1__EnrollmentToken, agent_name)
CELL_TEXT(write_fingerprint, Agentgateway__V1__EnrollmentToken, fingerprint)
CELL_UNTIL(write_expires, Agentgateway__V1__EnrollmentToken, expires_at)
CELL_TEXT(write_auto, Agentgateway__V1__EnrollmentToken, auto_confirm ? "yes" : "no")
CELL_PAIRS(write_labels, Agentgateway__V1__EnrollmentToken, labels)
CELL_TEXT(write_creator, Agentgateway__V1__EnrollmentToken, created_by)
CELL_AGE(write_created, Agentgateway__V1__EnrollmentToken, created_at)
CELL_NAME(name_of, Agentgateway__V1__EnrollmentToken, id)

static const struct view_column COLUMNS[] = {
    { { .title = "ID", .keep = 30 }, 0, write_id },
    { { .title = "STATE" }, 0, write_state },
    { { .title = "AGENT" }, 0, write_agent },
    { { .title = "FINGERPRINT", .keep = 39 }, 0, write_fingerprint },
    { { .title = "EXPIRES" }, 0, write_expires },
    { { .title = "AUTO" }, VIEW_WIDE, write_auto },
    { { .title = "LABELS" }, VIEW_WIDE, write_labels },
    { { .title = "BY" }, VIEW_WIDE, write_creator },
    { { .title = "CREATED" }, VIEW_WIDE, write_created },
};

static const struct view VIEW_TOKENS = VIEW(COLUMNS, name_of);

/* ---- token ---- */

static enum err_code create(struct cli *cli)
{
    Agentgateway__V1__CreateEnrollmentTokenRequest request =
        AGENTGATEWAY__V1__CREATE_ENROLLMENT_TOKEN_REQUEST__INIT;
    Agentgateway__V1__CreateEnrollmentTokenResponse *reply = NULL;
    request.workspace = connection_workspace(cli);
    request.auto_confirm = args_flag(cli->args, "auto-confirm");
    request.ttl_seconds = (uint32_t)(args_number(cli->args, "ttl") / US_PER_SECOND);
    TRY(cli_option_pairs(
        cli,
        "label",
        &agentgateway__v1__create_enrollment_token_request__labels_entry__descriptor,
        &request.n_labels,
        &request.labels));
    TRY(connection_call(
        cli,
        "CreateEnrollmentToken",
        &request.base,
        &agentgateway__v1__create_enrollment_token_response__descriptor,
        &reply));
    if (output_is_structured(cli)) {
        return output_message(cli, &reply->base, OUTPUT_SECRETS);
    }
    if (cli->output.format == OUTPUT_NAME && reply->token == NULL) {
        return ERR_SET(&cli->err, ERR_CORRUPT, "the server's answer holds no token");
    }
    if (cli->output.format == OUTPUT_NAME) {
        return output_one(cli, &VIEW_TOKENS, &reply->token->base, 0);
    }
    AUTO_BUF struct buf text = BUF_INIT(65536);
    text_escape(str_of(reply->join_string), &text);
    buf_append_char(&text, '\n');
    TRY(output_text(cli, buf_view(&text)));
    output_note(
        cli, "This join string is shown once and works for one agent. On the agent's machine:");
    output_note(cli, "  belay-agent enroll JOIN-STRING");
    if (!request.auto_confirm) {
        output_note(cli, "Then compare its fingerprint here: belay status");
    }
    return ERR_OK;
}

/* ---- the others ---- */

static enum err_code list(struct cli *cli)
{
    Agentgateway__V1__ListEnrollmentTokensRequest request =
        AGENTGATEWAY__V1__LIST_ENROLLMENT_TOKENS_REQUEST__INIT;
    Agentgateway__V1__ListEnrollmentTokensResponse *reply = NULL;
    request.workspace = connection_workspace(cli);
    request.state = (Agentgateway__V1__EnrollmentState)cli_enum_value(
        &agentgateway__v1__enrollment_state__descriptor, args_text(cli->args, "state"));
    TRY(connection_list(
        cli,
        "ListEnrollmentTokens",
        &request.base,
        &agentgateway__v1__list_enrollment_tokens_response__descriptor,
        (size_t)args_number(cli->args, "limit"),
        &reply));
    return output_list(cli, &VIEW_TOKENS, &reply->base, reply->tokens, reply->n_tokens);
}

static enum err_code revoke(struct cli *cli)
{
    Agentgateway__V1__RevokeEnrollmentTokenRequest request =
        AGENTGATEWAY__V1__REVOKE_ENROLLMENT_TOKEN_REQUEST__INIT;
    Agentgateway__V1__EnrollmentToken *reply = NULL;
    request.workspace = connection_workspace(cli);
    request.id = cli_text(cli, args_word(cli->args, 0));
    TRY(connection_call(
        cli,
        "RevokeEnrollmentToken",
        &request.base,
        &agentgateway__v1__enrollment_token__descriptor,
        &reply));
    return output_row(cli, &VIEW_TOKENS, &reply->base);
}

static enum err_code confirm(struct cli *cli)
{
    Agentgateway__V1__ConfirmAgentRequest request = AGENTGATEWAY__V1__CONFIRM_AGENT_REQUEST__INIT;
    Agentgateway__V1__ConfirmAgentResponse *reply = NULL;
    request.workspace = connection_workspace(cli);
    request.enrollment_id = cli_text(cli, args_word(cli->args, 0));
    request.fingerprint = cli_text(cli, args_word(cli->args, 1));
    request.reveal_api_key = args_flag(cli->args, "reveal-key");
    TRY(connection_call(
        cli,
        "ConfirmAgent",
        &request.base,
        &agentgateway__v1__confirm_agent_response__descriptor,
        &reply));
    if (output_is_structured(cli)) {
        return output_message(cli, &reply->base, request.reveal_api_key ? OUTPUT_SECRETS : 0);
    }
    if (reply->agent == NULL) {
        return ERR_SET(&cli->err, ERR_CORRUPT, "the server's answer holds no agent");
    }
    AUTO_BUF struct buf text = BUF_INIT(65536);
    if (request.reveal_api_key) {
        text_escape(str_of(reply->api_key), &text);
        buf_append_char(&text, '\n');
        output_note(cli, "The agent's API key, shown once:");
    }
    TRY(output_text(cli, buf_view(&text)));
    output_note(
        cli, "Agent %s (%lld) is confirmed.", reply->agent->name, (long long)reply->agent->id);
    return ERR_OK;
}

/* ---- table ---- */

static const struct cli_option TOKEN_OPTIONS[] = {
    { .name = "label",
      .letter = 'l',
      .type = CLI_PAIR,
      .flags = CLI_REPEAT,
      .argument = "KEY=VALUE",
      .help = "Label the agent gets" },
    { .name = "auto-confirm",
      .type = CLI_FLAG,
      .help = "Accept the agent without comparing its fingerprint" },
    { .name = "ttl",
      .type = CLI_DURATION,
      .argument = "TIME",
      .fallback = "1h",
      .min = US_PER_SECOND,
      .max = 30 * US_PER_DAY,
      .help = "How long the join string works" },
};
static const struct cli_example TOKEN_EXAMPLES[] = {
    { "belay enroll token --label site=north --ttl 24h", "A join string for one agent" },
    { "belay enroll token --auto-confirm -o json | jq -r .joinString", "For a script" },
};
static const struct cli_command TOKEN = {
    .name = "token",
    .summary = "Make a join string for one agent",
    .description =
        "The join string holds the server's address, the hash of its CA and a token that "
        "works once. It is a secret until then: give it to the machine over a safe way.",
    CLI_LIST(option, TOKEN_OPTIONS),
    CLI_LIST(example, TOKEN_EXAMPLES),
    .run = create,
};

static const char *const STATE_CHOICES[] = {
    "pending", "awaiting-confirmation", "confirmed", "expired", "cancelled", "revoked", NULL
};
static const struct cli_option LIST_OPTIONS[] = {
    { .name = "state",
      .type = CLI_CHOICE,
      .argument = "STATE",
      .choices = STATE_CHOICES,
      .help = "Only those in this state" },
    OPTION_LIMIT("0"),
};
static const struct cli_command LIST = {
    .name = "list",
    .alias = "ls",
    .summary = "List enrollments and the fingerprints that wait for a word",
    CLI_LIST(option, LIST_OPTIONS),
    .run = list,
};

static const struct cli_argument ID_ARGUMENTS[] = {
    { .name = "ID", .complete = CLI_COMPLETE_ENROLLMENT, .help = "Id of an enrollment (enr_...)" },
};
static const struct cli_command REVOKE = {
    .name = "revoke",
    .summary = "Take back a join string that was not used",
    CLI_LIST(argument, ID_ARGUMENTS),
    .run = revoke,
};

static const struct cli_argument CONFIRM_ARGUMENTS[] = {
    { .name = "ID", .complete = CLI_COMPLETE_ENROLLMENT, .help = "Id of an enrollment (enr_...)" },
    { .name = "FINGERPRINT", .help = "What belay-agent shows on the agent's machine" },
};
static const struct cli_option CONFIRM_OPTIONS[] = {
    { .name = "reveal-key",
      .type = CLI_FLAG,
      .help = "Show the agent's API key once, for agents that cannot open the sealed one" },
};
static const struct cli_command CONFIRM = {
    .name = "confirm",
    .summary = "Accept an agent whose fingerprint was compared",
    CLI_LIST(argument, CONFIRM_ARGUMENTS),
    CLI_LIST(option, CONFIRM_OPTIONS),
    .run = confirm,
};

static const struct cli_command *const COMMANDS[] = { &TOKEN, &LIST, &REVOKE, &CONFIRM };
const struct cli_command CMD_ENROLL = {
    .name = "enroll",
    .summary = "Join strings for new agents, and their confirmation",
    CLI_LIST(command, COMMANDS),
};
