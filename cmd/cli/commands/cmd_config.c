/* belay config, completion, version, and the hidden makers of man pages and the reference. */
#include "cmd/cli/cells.h"
#include "cmd/cli/commands/commands.h"
#include "cmd/cli/connection.h"
#include "cmd/cli/grammar/docs.h"
#include "common/sys/file.h"

enum {
    DOCS_BYTES_MAX = 4 * 1024 * 1024
};

/* ---- config ---- */

CELL_TEXT(write_folder, Belay__Cli__V1__Configuration, folder)
CELL_TEXT(write_file, Belay__Cli__V1__Configuration, gateways_file)
CELL_NUMBER(write_count, Belay__Cli__V1__Configuration, gateway_count)
CELL_TEXT(write_gateway, Belay__Cli__V1__Configuration, gateway)
CELL_TEXT(write_origin, Belay__Cli__V1__Configuration, gateway_origin)
CELL_TEXT(write_endpoint, Belay__Cli__V1__Configuration, endpoint)
CELL_TEXT(write_workspace, Belay__Cli__V1__Configuration, workspace)
CELL_TEXT(write_output, Belay__Cli__V1__Configuration, output)
CELL_TEXT(write_color, Belay__Cli__V1__Configuration, color)
CELL_TEXT(write_key, Belay__Cli__V1__Configuration, api_key_set ? "(set)" : "(none)")
CELL_NAME(config_name, Belay__Cli__V1__Configuration, gateways_file)

static const struct view_column COLUMNS[] = {
    { { .title = "FOLDER" }, 0, write_folder },
    { { .title = "GATEWAYS FILE" }, 0, write_file },
    { { .title = "GATEWAYS" }, 0, write_count },
    { { .title = "GATEWAY" }, 0, write_gateway },
    { { .title = "CHOSEN BY" }, 0, write_origin },
    { { .title = "ENDPOINT" }, 0, write_endpoint },
    { { .title = "WORKSPACE" }, 0, write_workspace },
    { { .title = "API KEY" }, 0, write_key },
    { { .title = "OUTPUT" }, 0, write_output },
    { { .title = "COLOR" }, 0, write_color },
};
static const struct view VIEW_CONFIG = VIEW(COLUMNS, config_name);

static enum err_code show(struct cli *cli)
{
    Belay__Cli__V1__Configuration config = BELAY__CLI__V1__CONFIGURATION__INIT;
    struct gateway_store *store = NULL;
    struct gateway_choice choice = { NULL, NULL };
    TRY(gateway_store_get(cli, &store));
    config.folder = store->dir;
    config.gateways_file = store->path;
    config.gateway_count = (uint32_t)store->list->n_gateways;
    config.output = cli_text(cli, args_text(cli->args, "output"));
    config.color = cli_text(cli, args_text(cli->args, "color"));
    config.workspace = connection_workspace(cli);
    enum err_code code = gateway_choose(cli, &choice);
    if (code == ERR_OK) {
        config.gateway = choice.gateway->name;
        config.endpoint = choice.gateway->endpoint;
        config.gateway_origin = cli_text(cli, choice.origin);
        config.api_key_set =
            choice.gateway->api_key[0] != 0 || cli_env(cli, "BELAY_API_KEY") != NULL;
    } else if (code != ERR_UNAVAILABLE) {
        return code;
    }
    return output_one(cli, &VIEW_CONFIG, &config.base, 0);
}

static enum err_code path(struct cli *cli)
{
    struct gateway_store *store = NULL;
    TRY(gateway_store_get(cli, &store));
    return output_text(cli, str_of(arena_printf(cli->arena, "%s\n", store->path)));
}

static const struct cli_command PATH = {
    .name = "path",
    .summary = "Print where the gateways are kept",
    .run = path,
};
static const struct cli_command SHOW = {
    .name = "show",
    .summary = "Show what a call would use, and why",
    .run = show,
};
static const struct cli_command *const CONFIG_COMMANDS[] = { &PATH, &SHOW };
const struct cli_command CMD_CONFIG = {
    .name = "config",
    .summary = "What this program would use",
    CLI_LIST(command, CONFIG_COMMANDS),
};

/* ---- completion ---- */

static enum err_code run_completion(struct cli *cli)
{
    const char *shell = args_word(cli->args, 0);
    AUTO_BUF struct buf text = BUF_INIT(DOCS_BYTES_MAX);
    if (strcmp(shell, "bash") == 0) {
        docs_complete_bash(cli->grammar, &text);
    } else if (strcmp(shell, "zsh") == 0) {
        docs_complete_zsh(cli->grammar, &text);
    } else {
        docs_complete_fish(cli->grammar, &text);
    }
    return output_text(cli, buf_view(&text));
}

static const char *const SHELL_CHOICES[] = { "bash", "zsh", "fish", NULL };
static const struct cli_argument COMPLETION_ARGUMENTS[] = {
    { .name = "SHELL", .choices = SHELL_CHOICES, .help = "bash, zsh or fish" },
};
static const struct cli_example COMPLETION_EXAMPLES[] = {
    { "source <(belay completion bash)", "Complete in this shell" },
    { "belay completion fish > ~/.config/fish/completions/belay.fish", "Complete in every fish" },
};
const struct cli_command CMD_COMPLETION = {
    .name = "completion",
    .summary = "Print the completion script of a shell",
    CLI_LIST(argument, COMPLETION_ARGUMENTS),
    CLI_LIST(example, COMPLETION_EXAMPLES),
    .run = run_completion,
};

/* ---- version ---- */

static enum err_code run_version(struct cli *cli)
{
    Belay__Cli__V1__Version version = BELAY__CLI__V1__VERSION__INIT;
    version.version = cli_text(cli, cli->grammar->version);
    version.compiler = cli_text(cli, __VERSION__);
    if (output_is_structured(cli)) {
        return output_message(cli, &version.base, 0);
    }
    return output_text(cli, str_of(arena_printf(cli->arena, "belay %s\n", version.version)));
}

const struct cli_command CMD_VERSION = {
    .name = "version",
    .summary = "Print the version of this program",
    .run = run_version,
};

/* ---- made by the build ---- */

static enum err_code run_man(struct cli *cli)
{
    for (size_t i = 0; i < docs_man_count(cli->grammar); i++) {
        struct cli_path page;
        AUTO_BUF struct buf name = BUF_INIT(256);
        AUTO_BUF struct buf text = BUF_INIT(DOCS_BYTES_MAX);
        docs_man_path(cli->grammar, i, &page, &name);
        docs_man(cli->grammar, &page, &text);
        char *file = arena_printf(cli->arena, "%s/%s.1", args_word(cli->args, 0), buf_text(&name));
        TRY(file_write_atomic(file, text.data, text.len, 0644, &cli->err));
    }
    return ERR_OK;
}

static const struct cli_argument MAN_ARGUMENTS[] = {
    { .name = "FOLDER", .complete = CLI_COMPLETE_FILE, .help = "Folder to write the pages to" },
};
const struct cli_command CMD_MAN = {
    .name = "man",
    .summary = "Write the man pages",
    CLI_LIST(argument, MAN_ARGUMENTS),
    .hidden = true,
    .run = run_man,
};

static enum err_code run_reference(struct cli *cli)
{
    AUTO_BUF struct buf text = BUF_INIT(DOCS_BYTES_MAX);
    docs_markdown(cli->grammar, &text);
    return output_text(cli, buf_view(&text));
}

const struct cli_command CMD_REFERENCE = {
    .name = "reference",
    .summary = "Print the reference page in Markdown",
    .hidden = true,
    .run = run_reference,
};
