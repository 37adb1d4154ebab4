/* belay sandbox forward: ports of this machine that lead into a sandbox. */
#include "cmd/cli/sandbox/commands.h"
#include "cmd/cli/sandbox/sandbox_view.h"
#include "cmd/cli/session/forward.h"

static enum err_code forward(struct cli *cli)
{
    Openshell__V1__Sandbox *sandbox = NULL;
    size_t count = args_word_count(cli->args) - 1;
    struct forward_spec *specs = arena_alloc(cli->arena, count * sizeof(*specs));
    for (size_t i = 0; i < count; i++) {
        const char *word = args_word(cli->args, i + 1);
        if (forward_spec_parse(str_of(word), &specs[i], &cli->err) != ERR_OK) {
            return cli_usage(cli, "%s: %s", word, arena_strdup(cli->arena, cli->err.text));
        }
    }
    TRY(sandbox_find_ready(cli, args_word(cli->args, 0), &sandbox));
    const struct forward_wish wish = {
        .sandbox_id = sandbox->metadata->id,
        .name = sandbox->metadata->name,
        .specs = specs,
        .spec_count = count,
    };
    return forward_run(cli, &wish);
}

static const struct cli_argument ARGUMENTS[] = {
    ARGUMENT_SANDBOX,
    { .name = "LOCAL:REMOTE",
      .flags = CLI_REPEAT,
      .help = "Port here and port in the sandbox: 8080:80, 127.0.0.1:8080:80, :80 (any free one)" },
};
static const struct cli_example EXAMPLES[] = {
    { "belay sandbox forward web 8080:80", "http://127.0.0.1:8080 is port 80 in the sandbox" },
    { "belay sandbox forward web :80 :5432 -o name", "Free ports, printed for a script" },
};
const struct cli_command CMD_SANDBOX_FORWARD = {
    .name = "forward",
    .summary = "Make ports of a sandbox reachable here",
    .description =
        "It listens on this machine's loopback unless another address is given, prints each "
        "address once it listens, and goes on until Ctrl-C. In the sandbox the program is reached "
        "by its loopback. At most 16 connections are open at once; further ones wait.",
    CLI_LIST(argument, ARGUMENTS),
    CLI_LIST(example, EXAMPLES),
    .run = forward,
};
