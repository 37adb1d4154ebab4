/* belay sandbox: list, get, delete, stop, start; the other commands have files of their own. */
#include "cmd/cli/commands/commands.h"
#include "cmd/cli/sandbox/commands.h"
#include "cmd/cli/sandbox/follow.h"

enum {
    PAGE_SIZE = 500
};

/* ---- reading ---- */

typedef Openshell__V1__ListSandboxesResponse list_type;

/* The list comes in pages by offset; they become one answer. */
static enum err_code read_page(
    struct cli *cli, Openshell__V1__ListSandboxesRequest *request, list_type *all, bool *ret_last)
{
    list_type *page = NULL;
    TRY(connection_call(
        cli,
        CONNECTION_OPENSHELL "ListSandboxes",
        &request->base,
        &openshell__v1__list_sandboxes_response__descriptor,
        &page));
    size_t count = all->n_sandboxes + page->n_sandboxes;
    Openshell__V1__Sandbox **joined = arena_alloc(cli->arena, (count + 1) * sizeof(void *));
    if (joined == NULL) {
        return ERR_SET(&cli->err, ERR_LIMIT, "the list is larger than memory allows; use --limit");
    }
    if (all->n_sandboxes > 0) {
        memcpy(joined, all->sandboxes, all->n_sandboxes * sizeof(void *));
    }
    for (size_t i = 0; i < page->n_sandboxes; i++) {
        TRY(sandbox_take(cli, page->sandboxes[i], &joined[all->n_sandboxes + i]));
    }
    *ret_last = page->n_sandboxes < request->limit;
    all->sandboxes = joined;
    all->n_sandboxes = count;
    return ERR_OK;
}

static enum err_code list(struct cli *cli)
{
    Openshell__V1__ListSandboxesRequest request = OPENSHELL__V1__LIST_SANDBOXES_REQUEST__INIT;
    list_type *all = cli_message(cli, &openshell__v1__list_sandboxes_response__descriptor);
    size_t limit = (size_t)args_number(cli->args, "limit");
    request.all_workspaces = args_flag(cli->args, "all-workspaces");
    if (request.all_workspaces && args_is_set(cli->args, "workspace")) {
        return cli_usage(cli, "--all-workspaces and --workspace exclude each other");
    }
    request.workspace = request.all_workspaces ? cli_text(cli, "") : connection_workspace(cli);
    request.label_selector = cli_text(cli, args_text(cli->args, "selector"));
    size_t most = PAGE_SIZE;
    for (bool is_last = false; !is_last && (limit == 0 || all->n_sandboxes < limit);) {
        size_t left = limit == 0 ? most : limit - all->n_sandboxes;
        request.offset = (uint32_t)all->n_sandboxes;
        request.limit = (uint32_t)(left < most ? left : most);
        enum err_code code = read_page(cli, &request, all, &is_last);
        if (code != ERR_LIMIT || request.limit == 1) {
            TRY(code);
        } else { /* sandboxes of much to say: fewer of them fit into an answer */
            most = request.limit / 2;
            cli->err = (struct err_info)ERR_INFO_INIT;
        }
    }
    if (all->n_sandboxes == 0 && !output_is_structured(cli)) {
        output_note(cli, "No sandbox here. To make one: belay sandbox create");
    }
    return output_list(cli, &VIEW_SANDBOXES, &all->base, all->sandboxes, all->n_sandboxes);
}

static enum err_code get(struct cli *cli)
{
    Openshell__V1__Sandbox *sandbox = NULL;
    TRY(sandbox_find(cli, args_word(cli->args, 0), &sandbox));
    return output_one(cli, &VIEW_SANDBOXES, &sandbox->base, 0);
}

/* ---- changing ---- */

static enum err_code wait_for(
    struct cli *cli,
    const Openshell__V1__Sandbox *sandbox,
    follow_until_fn until,
    Openshell__V1__Sandbox **ret_last)
{
    AUTO_FOLLOW struct follow *follow = follow_create(cli);
    const struct follow_wish wish = { .sandbox = sandbox, .until = until };
    enum err_code code = follow_run(follow, &wish, ret_last);
    if (code == ERR_CANCELED && follow_signal(follow) != 0) {
        cli->signal = follow_signal(follow);
        return ERR_CANCELED;
    }
    return code;
}

static enum err_code delete_one(struct cli *cli, const char *name)
{
    Openshell__V1__DeleteSandboxRequest request = OPENSHELL__V1__DELETE_SANDBOX_REQUEST__INIT;
    Openshell__V1__DeleteSandboxResponse *reply = NULL;
    Openshell__V1__Sandbox *sandbox = NULL;
    Openshell__V1__Sandbox *last = NULL;
    bool wants_end = args_flag(cli->args, "wait");
    if (wants_end) {
        TRY(sandbox_find(cli, name, &sandbox));
    }
    request.workspace = connection_workspace(cli);
    request.name = cli_text(cli, name);
    TRY(connection_call(
        cli,
        CONNECTION_OPENSHELL "DeleteSandbox",
        &request.base,
        &openshell__v1__delete_sandbox_response__descriptor,
        &reply));
    enum err_code code = wants_end ? wait_for(cli, sandbox, follow_is_gone, &last) : ERR_OK;
    TRY(code == ERR_NOT_FOUND ? ERR_OK : code); /* it was gone before the watch stood */
    output_note(
        cli, "%s %s.", name, wants_end || args_flag(cli->args, "force") ? "is gone" : "is going");
    return ERR_OK;
}

/* Every name is tried; the first error is the answer, the others are said at once. */
static enum err_code delete_all(struct cli *cli)
{
    enum err_code first = ERR_OK;
    struct err_info first_error = ERR_INFO_INIT;
    if (args_flag(cli->args, "force")) {
        TRY(connection_add_header(cli, "belay-force", "true"));
    }
    for (size_t i = 0; i < args_word_count(cli->args); i++) {
        enum err_code code = delete_one(cli, args_word(cli->args, i));
        if (code == ERR_CANCELED) {
            return code;
        }
        if (code != ERR_OK && first == ERR_OK) {
            first = code;
            first_error = cli->err;
            err_prefix(&first_error, "%s", args_word(cli->args, i));
        } else if (code != ERR_OK) {
            output_note(cli, "belay: %s: %s", args_word(cli->args, i), cli->err.text);
        }
    }
    cli->err = first_error;
    return first;
}

static enum err_code order(struct cli *cli, const char *method, ProtobufCMessage *request)
{
    Openshell__V1__SandboxResponse *reply = NULL;
    Openshell__V1__Sandbox *sandbox = NULL;
    TRY(connection_call(
        cli, method, request, &openshell__v1__sandbox_response__descriptor, &reply));
    TRY(sandbox_take(cli, reply->sandbox, &sandbox));
    if (args_flag(cli->args, "wait")) {
        Openshell__V1__Sandbox *last = NULL;
        TRY(wait_for(cli, sandbox, follow_is_settled, &last));
        sandbox = last == NULL ? sandbox : last;
        bool has_failed =
            sandbox->status->phase == OPENSHELL__V1__SANDBOX_PHASE__SANDBOX_PHASE_ERROR;
        cli->exit_status = has_failed ? CLI_EXIT_FAILED : CLI_EXIT_OK;
    }
    return output_row(cli, &VIEW_SANDBOXES, &sandbox->base);
}

static enum err_code stop(struct cli *cli)
{
    Openshell__V1__StopSandboxRequest request = OPENSHELL__V1__STOP_SANDBOX_REQUEST__INIT;
    request.workspace = connection_workspace(cli);
    request.name = cli_text(cli, args_word(cli->args, 0));
    return order(cli, CONNECTION_OPENSHELL "StopSandbox", &request.base);
}

static enum err_code start(struct cli *cli)
{
    Openshell__V1__StartSandboxRequest request = OPENSHELL__V1__START_SANDBOX_REQUEST__INIT;
    request.workspace = connection_workspace(cli);
    request.name = cli_text(cli, args_word(cli->args, 0));
    return order(cli, CONNECTION_OPENSHELL "StartSandbox", &request.base);
}

/* ---- table ---- */

static const struct cli_option LIST_OPTIONS[] = {
    { .name = "selector",
      .letter = 'l',
      .type = CLI_TEXT,
      .argument = "SELECTOR",
      .help = "Only sandboxes with all of these labels: a=b,c=d" },
    { .name = "all-workspaces",
      .letter = 'A',
      .type = CLI_FLAG,
      .help = "Of every workspace; for the platform's admin" },
    OPTION_LIMIT("0"),
};
static const struct cli_example LIST_EXAMPLES[] = {
    { "belay sandbox list -l team=x", "Those of a team" },
    { "belay sandbox list -o json | jq -r '.sandboxes[].metadata.name'", "For a script" },
};
static const struct cli_command LIST = {
    .name = "list",
    .alias = "ls",
    .summary = "List sandboxes",
    CLI_LIST(option, LIST_OPTIONS),
    CLI_LIST(example, LIST_EXAMPLES),
    .run = list,
};

static const struct cli_argument SANDBOX_ARGUMENTS[] = { ARGUMENT_SANDBOX };
static const struct cli_command GET = {
    .name = "get",
    .summary = "Show one sandbox in detail",
    CLI_LIST(argument, SANDBOX_ARGUMENTS),
    .run = get,
};

static const struct cli_argument DELETE_ARGUMENTS[] = {
    { .name = "SANDBOX",
      .flags = CLI_REPEAT,
      .complete = CLI_COMPLETE_SANDBOX,
      .help = "Name of a sandbox" },
};
static const struct cli_option DELETE_OPTIONS[] = {
    { .name = "wait", .type = CLI_FLAG, .help = "Wait until nothing of it is left" },
    { .name = "force",
      .type = CLI_FLAG,
      .help = "Forget it at once, also when its agent is away and may still hold it" },
};
static const struct cli_command DELETE = {
    .name = "delete",
    .alias = "rm",
    .summary = "End sandboxes and remove all they hold",
    .description = "Everything that runs in it is killed and its files are removed. While its "
                   "agent is away the sandbox stays in phase deleting; it goes when the agent is "
                   "back.",
    CLI_LIST(argument, DELETE_ARGUMENTS),
    CLI_LIST(option, DELETE_OPTIONS),
    .run = delete_all,
};

static const struct cli_option ORDER_OPTIONS[] = {
    { .name = "wait",
      .type = CLI_FLAG,
      .help = "Wait until it is done; at most --timeout, when that is given" },
};
static const struct cli_command STOP = {
    .name = "stop",
    .summary = "End its processes, keep its workspace",
    CLI_LIST(argument, SANDBOX_ARGUMENTS),
    CLI_LIST(option, ORDER_OPTIONS),
    .run = stop,
};
static const struct cli_command START = {
    .name = "start",
    .summary = "Start a stopped sandbox again on its workspace",
    CLI_LIST(argument, SANDBOX_ARGUMENTS),
    CLI_LIST(option, ORDER_OPTIONS),
    .run = start,
};

static const struct cli_command *const COMMANDS[] = {
    &CMD_SANDBOX_CREATE,
    &LIST,
    &GET,
    &CMD_SANDBOX_WATCH,
    &DELETE,
    &STOP,
    &START,
    &CMD_SANDBOX_TOP,
    &CMD_SANDBOX_LOGS,
    &CMD_SANDBOX_EXEC,
    &CMD_SANDBOX_SHELL,
    &CMD_SANDBOX_FORWARD,
    &CMD_SANDBOX_CP,
    &CMD_SANDBOX_POLICY,
};
const struct cli_command CMD_SANDBOX = {
    .name = "sandbox",
    .alias = "sandboxes",
    .summary = "Isolated programs on the agents' machines",
    CLI_LIST(command, COMMANDS),
};
