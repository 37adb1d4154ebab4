/*
 * Errors for people: the line that says what happened, and one that says what to do next, chosen by
 * the kind of error. Exit statuses come from the same kinds.
 */
#include "cmd/cli/cli.h"
#include "cmd/cli/connection.h"

static const enum cli_exit EXITS[] = {
    [ERR_OK] = CLI_EXIT_OK,
    [ERR_INVALID] = CLI_EXIT_INVALID,
    [ERR_UNAUTHENTICATED] = CLI_EXIT_DENIED,
    [ERR_DENIED] = CLI_EXIT_DENIED,
    [ERR_NOT_FOUND] = CLI_EXIT_NOT_FOUND,
    [ERR_EXISTS] = CLI_EXIT_CONFLICT,
    [ERR_CONFLICT] = CLI_EXIT_CONFLICT,
    [ERR_PRECONDITION] = CLI_EXIT_CONFLICT,
    [ERR_LIMIT] = CLI_EXIT_BUSY,
    [ERR_BUSY] = CLI_EXIT_BUSY,
    [ERR_TIMEOUT] = CLI_EXIT_BUSY,
    [ERR_CANCELED] = CLI_EXIT_FAILED,
    [ERR_CORRUPT] = CLI_EXIT_FAILED,
    [ERR_UNSUPPORTED] = CLI_EXIT_FAILED,
    [ERR_UNAVAILABLE] = CLI_EXIT_UNAVAILABLE,
    [ERR_UNCERTAIN] = CLI_EXIT_FAILED,
    [ERR_NOMEM] = CLI_EXIT_FAILED,
    [ERR_INTERNAL] = CLI_EXIT_FAILED,
};

_Static_assert(ARRAY_LENGTH(EXITS) == ERR_CODE_COUNT, "an exit status for every kind");

enum cli_exit cli_exit_of(enum err_code code)
{
    return EXITS[code];
}

/* "belay gateway add" speaks to a server that is not chosen yet. */
static bool is_adding_gateway(const struct cli *cli)
{
    return strcmp(args_path(cli->args)->steps[1]->name, "gateway") == 0
        && strcmp(args_command(cli->args)->name, "add") == 0;
}

/* The server itself answered, and something behind it is away: an agent, its database. */
static bool has_answered(const struct cli *cli)
{
    return connection_choice(cli) != NULL && !is_adding_gateway(cli)
        && !str_has_prefix(str_of(cli->err.text), STR("cannot reach"));
}

static void hint_unavailable(struct cli *cli)
{
    const struct gateway_choice *choice = connection_choice(cli);
    if (has_answered(cli)) {
        output_note(cli, "  Try again in a moment.");
        return;
    }
    if (is_adding_gateway(cli)) {
        output_note(
            cli,
            "  Is belay-server running there, and is this the port of its --listen? Nothing was kept.");
    } else if (choice == NULL) {
        output_note(
            cli,
            "  Start one here: belay-server --mode combined. Or name one: belay gateway add NAME "
            "HOST:PORT --ca-sha256 PIN, then belay gateway use NAME.");
    } else {
        output_note(
            cli,
            "  Is belay-server running at %s (gateway %s, %s)? Other servers: belay gateway list.",
            choice->gateway->endpoint,
            choice->gateway->name,
            choice->origin);
    }
}

static void hint_unauthenticated(struct cli *cli)
{
    const struct gateway_choice *choice = connection_choice(cli);
    if (choice == NULL || strcmp(choice->gateway->name, GATEWAY_LOCAL) == 0) {
        output_note(
            cli,
            "  Run as the server's user, or use a gateway with an API key: belay gateway add.");
        return;
    }
    const Belay__Cli__V1__Gateway *gateway = choice->gateway;
    output_note(
        cli,
        "  The API key of gateway %s is missing, wrong, expired or revoked. Make one on the server: "
        "belay apikey create NAME --scope SCOPE. Then: belay gateway add %s %s%s%s --replace --key-file "
        "FILE (or set BELAY_API_KEY).",
        gateway->name,
        gateway->name,
        gateway->endpoint,
        gateway->ca_sha256[0] != 0 ? " --ca-sha256 " : "",
        gateway->ca_sha256);
}

static void hint_denied(struct cli *cli)
{
    if (connection_choice(cli) != NULL) {
        output_note(cli, "  What this caller may do: belay status (scopes).");
    } else if (is_adding_gateway(cli) && args_is_set(cli->args, "ca-sha256")) {
        output_note(
            cli,
            "  On the server's machine, belay status shows the CA's SHA-256. Nothing was kept.");
    }
}

static void hint_uncertain(struct cli *cli)
{
    output_note(cli, "  It may have been done. Look before you repeat it.");
}

static void hint(struct cli *cli, enum err_code code)
{
    switch (code) {
    case ERR_UNAVAILABLE:
        hint_unavailable(cli);
        return;
    case ERR_UNAUTHENTICATED:
        hint_unauthenticated(cli);
        return;
    case ERR_DENIED:
        hint_denied(cli);
        return;
    case ERR_NOT_FOUND:
        output_note(
            cli,
            "  The list command of the same group shows what there is; -w picks another workspace.");
        return;
    case ERR_LIMIT:
    case ERR_BUSY:
        output_note(cli, "  Try again in a moment, or ask for less at once.");
        return;
    case ERR_TIMEOUT:
        output_note(cli, "  Allow more time with --timeout.");
        return;
    case ERR_UNCERTAIN:
        hint_uncertain(cli);
        return;
    case ERR_INTERNAL:
    case ERR_NOMEM:
        output_note(cli, "  The server's log has the reason.");
        return;
    case ERR_UNSUPPORTED:
        output_note(
            cli,
            "  The server may be older than this program, or run in another mode: belay status.");
        return;
    case ERR_OK:
    case ERR_INVALID:
    case ERR_EXISTS:
    case ERR_CONFLICT:
    case ERR_PRECONDITION:
    case ERR_CANCELED:
    case ERR_CORRUPT:
    case ERR_CODE_COUNT:
        return;
    }
}

static void explain_usage(struct cli *cli)
{
    AUTO_BUF struct buf path = BUF_INIT(256);
    cli_path_write(args_path(cli->args), ' ', &path);
    output_note(cli, "belay: %s", cli->err.text);
    output_note(cli, "  See: %s --help", buf_text(&path));
}

void cli_explain(struct cli *cli, enum err_code code)
{
    if (cli->usage) {
        explain_usage(cli);
        return;
    }
    if (code == ERR_CANCELED) {
        return; /* the reader of our output went away */
    }
    const char *text = cli->err.text[0] != 0 ? cli->err.text : err_name(code);
    output_note(cli, "belay: %s", text);
    if (cli->err.number == 0) { /* else this machine said it: a file, a port; no server was asked */
        hint(cli, code);
    }
}
