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

static void hint_unavailable(struct cli *cli)
{
    const struct gateway_choice *choice = connection_choice(cli);
    if (choice == NULL) {
        output_note(
            cli,
            "  Start one here: belay-server --mode combined. Or name one: belay gateway add NAME "
            "HOST:PORT --ca-sha256 PIN, then belay gateway use NAME.");
        return;
    }
    output_note(
        cli,
        "  Is belay-server running at %s (gateway %s, %s)? See belay status; other servers: belay "
        "gateway list.",
        choice->gateway->endpoint,
        choice->gateway->name,
        choice->origin);
}

static void hint_unauthenticated(struct cli *cli)
{
    const struct gateway_choice *choice = connection_choice(cli);
    bool local = choice == NULL || strcmp(choice->gateway->name, GATEWAY_LOCAL) == 0;
    if (local) {
        output_note(
            cli,
            "  Run as the server's user, or use a gateway with an API key: belay gateway add.");
        return;
    }
    output_note(
        cli,
        "  The key of gateway %s is missing, wrong, expired or revoked. Make one on the server with "
        "belay apikey create, then: belay gateway add %s %s --replace --key-file FILE (or "
        "$BELAY_API_KEY).",
        choice->gateway->name,
        choice->gateway->name,
        choice->gateway->endpoint);
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
        if (connection_choice(cli) != NULL) {
            output_note(cli, "  What this caller may do: belay status (scopes).");
        }
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
    hint(cli, code);
}
