/* belay status: the server, the caller and the fleet in short; and what to do when nothing answers.
 */
#include "cmd/cli/cells.h"
#include "cmd/cli/commands/commands.h"
#include "cmd/cli/connection.h"

#include "proto/agentgateway/v1/admin.pb-c.h"

enum {
    AWAITING_MAX = 50,
    TEXT_BYTES_MAX = 1048576
};

static void put_line(struct cli *cli, const char *name, struct str_view text, struct buf *out)
{
    AUTO_BUF struct buf escaped = BUF_INIT(65536);
    text_escape(text, &escaped);
    text_put(str_of(name), TEXT_BOLD, cli->output.color, out);
    buf_printf(out, ":%*s%s\n", (int)(12 - strlen(name)), "", buf_text(&escaped));
}

static void put_server(struct cli *cli, const Agentgateway__V1__ServerInfo *info, struct buf *out)
{
    struct view_cell cell = { .cli = cli, .now = cli_now(cli) };
    AUTO_BUF struct buf text = BUF_INIT(65536);
    buf_printf(&text, "belay-server %s, %s on %s, up ", info->version, info->mode, info->database);
    (void)cells_age(&cell, info->started_at, &text);
    put_line(cli, "Server", buf_view(&text), out);
    put_line(cli, "Server id", str_of(info->server_id), out);
    put_line(cli, "CA SHA256", str_of(info->ca_sha256), out);
    put_line(cli, "You", str_of(info->principal), out);
    put_line(cli, "Workspace", str_of(info->workspace), out);
    buf_clear(&text);
    (void)cells_texts(info->scopes, info->n_scopes, &text);
    put_line(cli, "Scopes", buf_view(&text), out);
    buf_clear(&text);
    buf_printf(
        &text,
        "%llu, %llu online",
        (unsigned long long)info->agents,
        (unsigned long long)info->agents_online);
    put_line(cli, "Agents", buf_view(&text), out);
}

/* Agents that wait for an operator are worth a line each. */
static void put_awaiting(struct cli *cli, const Belay__Cli__V1__Status *status, struct buf *out)
{
    for (size_t i = 0; i < status->n_awaiting_confirmation; i++) {
        const Agentgateway__V1__EnrollmentToken *token = status->awaiting_confirmation[i];
        AUTO_BUF struct buf text = BUF_INIT(65536);
        buf_printf(
            &text,
            "%s shows %s; the same on its side? belay enroll confirm %s %s",
            token->agent_name,
            token->fingerprint,
            token->id,
            token->fingerprint);
        put_line(cli, "Waiting", buf_view(&text), out);
    }
}

static void put_advice(const Belay__Cli__V1__Status *status, struct buf *out)
{
    if (status->server->agents == 0 && status->n_awaiting_confirmation == 0) {
        buf_append_str(
            out, STR("\nNo agent yet. Make a join string for one: belay enroll token\n"));
    }
}

/* Best effort: a caller without the scope sees no one waiting. */
static void find_awaiting(struct cli *cli, Belay__Cli__V1__Status *status)
{
    Agentgateway__V1__ListEnrollmentTokensRequest request =
        AGENTGATEWAY__V1__LIST_ENROLLMENT_TOKENS_REQUEST__INIT;
    Agentgateway__V1__ListEnrollmentTokensResponse *reply = NULL;
    request.workspace = connection_workspace(cli);
    request.state = AGENTGATEWAY__V1__ENROLLMENT_STATE__ENROLLMENT_STATE_AWAITING_CONFIRMATION;
    request.page_size = AWAITING_MAX;
    if (connection_call(
            cli,
            "ListEnrollmentTokens",
            &request.base,
            &agentgateway__v1__list_enrollment_tokens_response__descriptor,
            &reply)
        == ERR_OK) {
        status->awaiting_confirmation = reply->tokens;
        status->n_awaiting_confirmation = reply->n_tokens;
    } else {
        cli->err = (struct err_info)ERR_INFO_INIT;
    }
}

static enum err_code ask(struct cli *cli, Belay__Cli__V1__Status *status)
{
    Agentgateway__V1__GetServerInfoRequest request =
        AGENTGATEWAY__V1__GET_SERVER_INFO_REQUEST__INIT;
    TRY(connection_open(cli));
    const struct gateway_choice *choice = connection_choice(cli);
    status->gateway = choice->gateway->name;
    status->endpoint = choice->gateway->endpoint;
    TRY(connection_call(
        cli,
        "GetServerInfo",
        &request.base,
        &agentgateway__v1__server_info__descriptor,
        &status->server));
    status->reachable = true;
    find_awaiting(cli, status);
    return ERR_OK;
}

static enum err_code run_status(struct cli *cli)
{
    Belay__Cli__V1__Status status = BELAY__CLI__V1__STATUS__INIT;
    enum err_code code = ask(cli, &status);
    if (output_is_structured(cli)) {
        status.error = cli_text(cli, cli->err.text);
        struct err_info kept = cli->err;
        TRY(output_message(cli, &status.base, 0));
        cli->err = kept;
        return code;
    }
    TRY(code);
    AUTO_BUF struct buf text = BUF_INIT(TEXT_BYTES_MAX);
    AUTO_BUF struct buf gateway = BUF_INIT(1024);
    buf_printf(&gateway, "%s, %s", status.gateway, status.endpoint);
    put_line(cli, "Gateway", buf_view(&gateway), &text);
    put_server(cli, status.server, &text);
    put_awaiting(cli, &status, &text);
    put_advice(&status, &text);
    return output_text(cli, buf_view(&text));
}

static const struct cli_example EXAMPLES[] = {
    { "belay status", "Is the server there, who am I, how many agents are online" },
    { "belay status -o json", "The same for a script; the exit status is 69 when it is not" },
};
const struct cli_command CMD_STATUS = {
    .name = "status",
    .summary = "The server, the caller and the fleet in short",
    CLI_LIST(example, EXAMPLES),
    .run = run_status,
};
