/* belay sandbox policy: what a sandbox may do, its revisions, and changing it. */
#include "cmd/cli/cells.h"
#include "cmd/cli/commands/commands.h"
#include "cmd/cli/sandbox/commands.h"
#include "cmd/cli/sandbox/policy_file.h"
#include "cmd/cli/sandbox/sandbox_view.h"
#include "common/sys/loop.h"

enum {
    PAGE_SIZE = 500,
    LOOK_MS = 50
};

/* How long an agent that is there takes at most, and how often one looks. */
#define LOAD_US (INT64_C(30) * US_PER_SECOND)

/* ---- revisions ---- */

typedef Openshell__V1__SandboxPolicyRevision revision_type;

static enum text_style write_status(const struct view_cell *cell, struct buf *out)
{
    const revision_type *revision = cell->item;
    (void)cells_text(
        cli_enum_word(cell->cli, &openshell__v1__policy_status__descriptor, (int)revision->status),
        out);
    switch (revision->status) {
    case OPENSHELL__V1__POLICY_STATUS__POLICY_STATUS_LOADED:
        return TEXT_GOOD;
    case OPENSHELL__V1__POLICY_STATUS__POLICY_STATUS_FAILED:
        return TEXT_BAD;
    default:
        return TEXT_PLAIN;
    }
}

static enum text_style write_created(const struct view_cell *cell, struct buf *out)
{
    return cells_age_ms(cell, ((const revision_type *)cell->item)->created_at_ms, out);
}

static enum text_style write_loaded(const struct view_cell *cell, struct buf *out)
{
    return cells_age_ms(cell, ((const revision_type *)cell->item)->loaded_at_ms, out);
}

CELL_NUMBER(write_version, revision_type, version)
CELL_TEXT(write_hash, revision_type, policy_hash)
CELL_TEXT(write_error, revision_type, load_error)
CELL_PAIRS(write_provenance, revision_type, provenance)

static void name_of(const void *item, struct buf *out)
{
    buf_printf(out, "%u", ((const revision_type *)item)->version);
}

static const struct view_column COLUMNS[] = {
    { { .title = "REVISION", .right = true }, 0, write_version },
    { { .title = "STATUS", .keep = 10 }, 0, write_status },
    { { .title = "AGE", .right = true }, 0, write_created },
    { { .title = "LOADED", .right = true }, 0, write_loaded },
    { { .title = "HASH" }, VIEW_WIDE, write_hash },
    { { .title = "PROVENANCE" }, VIEW_WIDE, write_provenance },
    { { .title = "ERROR", .keep = 20 }, 0, write_error },
};
static const struct view VIEW_REVISIONS = VIEW(COLUMNS, name_of);

/* ---- commands ---- */

static enum err_code read_revision(
    struct cli *cli, uint32_t version, Openshell__V1__GetSandboxPolicyStatusResponse **ret_reply)
{
    Openshell__V1__GetSandboxPolicyStatusRequest request =
        OPENSHELL__V1__GET_SANDBOX_POLICY_STATUS_REQUEST__INIT;
    request.workspace = connection_workspace(cli);
    request.name = cli_text(cli, args_word(cli->args, 0));
    request.version = version;
    TRY(connection_call(
        cli,
        CONNECTION_OPENSHELL "GetSandboxPolicyStatus",
        &request.base,
        &openshell__v1__get_sandbox_policy_status_response__descriptor,
        ret_reply));
    if ((*ret_reply)->revision == NULL || (*ret_reply)->revision->policy == NULL) {
        return ERR_SET(&cli->err, ERR_CORRUPT, "the server's answer holds no policy");
    }
    return ERR_OK;
}

static enum err_code get(struct cli *cli)
{
    Openshell__V1__GetSandboxPolicyStatusResponse *reply = NULL;
    TRY(read_revision(cli, (uint32_t)args_number(cli->args, "revision"), &reply));
    if (cli->output.format == OUTPUT_NAME || cli->output.format == OUTPUT_WIDE) {
        return output_row(cli, &VIEW_REVISIONS, &reply->revision->base);
    }
    return policy_file_write(cli, reply->revision->policy);
}

typedef Openshell__V1__ListSandboxPoliciesResponse list_type;

/* The list comes in pages by offset; they become one answer. */
static enum err_code read_page(
    struct cli *cli,
    Openshell__V1__ListSandboxPoliciesRequest *request,
    list_type *all,
    bool *ret_last)
{
    list_type *page = NULL;
    TRY(connection_call(
        cli,
        CONNECTION_OPENSHELL "ListSandboxPolicies",
        &request->base,
        &openshell__v1__list_sandbox_policies_response__descriptor,
        &page));
    size_t count = all->n_revisions + page->n_revisions;
    revision_type **joined = arena_alloc(cli->arena, (count + 1) * sizeof(void *));
    if (joined == NULL) {
        return ERR_SET(&cli->err, ERR_LIMIT, "the list is larger than memory allows; use --limit");
    }
    if (all->n_revisions > 0) {
        memcpy(joined, all->revisions, all->n_revisions * sizeof(void *));
    }
    if (page->n_revisions > 0) {
        memcpy(joined + all->n_revisions, page->revisions, page->n_revisions * sizeof(void *));
    }
    *ret_last = page->n_revisions < request->limit;
    all->revisions = joined;
    all->n_revisions = count;
    return ERR_OK;
}

static enum err_code history(struct cli *cli)
{
    Openshell__V1__ListSandboxPoliciesRequest request =
        OPENSHELL__V1__LIST_SANDBOX_POLICIES_REQUEST__INIT;
    list_type *all = cli_message(cli, &openshell__v1__list_sandbox_policies_response__descriptor);
    size_t limit = (size_t)args_number(cli->args, "limit");
    request.workspace = connection_workspace(cli);
    request.name = cli_text(cli, args_word(cli->args, 0));
    for (bool is_last = false; !is_last && (limit == 0 || all->n_revisions < limit);) {
        size_t left = limit == 0 ? PAGE_SIZE : limit - all->n_revisions;
        request.offset = (uint32_t)all->n_revisions;
        request.limit = (uint32_t)(left < PAGE_SIZE ? left : PAGE_SIZE);
        TRY(read_page(cli, &request, all, &is_last));
    }
    return output_list(cli, &VIEW_REVISIONS, &all->base, all->revisions, all->n_revisions);
}

static bool is_pending(const revision_type *revision)
{
    return revision->status == OPENSHELL__V1__POLICY_STATUS__POLICY_STATUS_PENDING
        || revision->status == OPENSHELL__V1__POLICY_STATUS__POLICY_STATUS_UNSPECIFIED;
}

/* The agent's word on a revision. */
static enum err_code look_until_loaded(
    struct cli *cli,
    struct loop *loop,
    uint32_t version,
    Openshell__V1__GetSandboxPolicyStatusResponse **ret_reply)
{
    int64_t most = args_is_set(cli->args, "timeout") ? args_number(cli->args, "timeout") : LOAD_US;
    int64_t deadline = clock_mono(cli->io->clock).value + most;
    TRY(read_revision(cli, version, ret_reply));
    while (is_pending((*ret_reply)->revision)) {
        if (clock_mono(cli->io->clock).value > deadline) {
            return ERR_SET(
                &cli->err,
                ERR_TIMEOUT,
                "the agent has not loaded revision %u yet; it will when it is there",
                version);
        }
        loop_step(loop, LOOK_MS);
        TRY(read_revision(cli, version, ret_reply));
    }
    return ERR_OK;
}

static enum err_code wait_loaded(
    struct cli *cli, uint32_t version, Openshell__V1__GetSandboxPolicyStatusResponse **ret_reply)
{
    struct loop *loop = NULL;
    TRY(loop_create(cli->io->clock, &loop, &cli->err));
    enum err_code code = look_until_loaded(cli, loop, version, ret_reply);
    loop_destroy(loop);
    return code;
}

static enum err_code set(struct cli *cli)
{
    Openshell__V1__UpdateConfigRequest request = OPENSHELL__V1__UPDATE_CONFIG_REQUEST__INIT;
    Openshell__V1__UpdateConfigResponse *reply = NULL;
    Openshell__V1__GetSandboxPolicyStatusResponse *status = NULL;
    TRY(policy_file_read(cli, args_word(cli->args, 1), &request.policy));
    request.workspace = connection_workspace(cli);
    request.name = cli_text(cli, args_word(cli->args, 0));
    TRY(connection_call(
        cli,
        CONNECTION_OPENSHELL "UpdateConfig",
        &request.base,
        &openshell__v1__update_config_response__descriptor,
        &reply));
    if (args_flag(cli->args, "wait")) {
        TRY(wait_loaded(cli, reply->version, &status));
    } else {
        TRY(read_revision(cli, reply->version, &status));
    }
    bool has_failed =
        status->revision->status == OPENSHELL__V1__POLICY_STATUS__POLICY_STATUS_FAILED;
    cli->exit_status = has_failed ? CLI_EXIT_FAILED : CLI_EXIT_OK;
    return output_row(cli, &VIEW_REVISIONS, &status->revision->base);
}

/* ---- table ---- */

static const struct cli_argument ARGUMENTS[] = { ARGUMENT_SANDBOX };
static const struct cli_option GET_OPTIONS[] = {
    { .name = "revision",
      .type = CLI_INT,
      .argument = "N",
      .min = 1,
      .max = INT32_MAX,
      .help = "This revision; the newest without it" },
};
static const struct cli_example GET_EXAMPLES[] = {
    { "belay sandbox policy get web > policy.yaml", "To change it and set it again" },
};
static const struct cli_command GET = {
    .name = "get",
    .summary = "Show its policy, as YAML unless -o json is given",
    CLI_LIST(argument, ARGUMENTS),
    CLI_LIST(option, GET_OPTIONS),
    CLI_LIST(example, GET_EXAMPLES),
    .run = get,
};

static const struct cli_argument SET_ARGUMENTS[] = {
    ARGUMENT_SANDBOX,
    { .name = "FILE",
      .complete = CLI_COMPLETE_FILE,
      .help = "The whole policy in YAML or JSON; - is standard input" },
};
static const struct cli_option SET_OPTIONS[] = {
    { .name = "wait",
      .type = CLI_FLAG,
      .help = "Wait for the agent's word on it; at most --timeout" },
};
static const struct cli_command SET = {
    .name = "set",
    .summary = "Give it a new policy",
    .description =
        "Network rules change while it runs. Filesystem, landlock and process are fixed when a "
        "sandbox is made and have to be the same. A policy equal to the newest makes no revision.",
    CLI_LIST(argument, SET_ARGUMENTS),
    CLI_LIST(option, SET_OPTIONS),
    .run = set,
};

static const struct cli_option HISTORY_OPTIONS[] = { OPTION_LIMIT("100") };
static const struct cli_command HISTORY = {
    .name = "history",
    .summary = "List its policy's revisions, newest first",
    CLI_LIST(argument, ARGUMENTS),
    CLI_LIST(option, HISTORY_OPTIONS),
    .run = history,
};

static const struct cli_command *const COMMANDS[] = { &GET, &SET, &HISTORY };
const struct cli_command CMD_SANDBOX_POLICY = {
    .name = "policy",
    .summary = "What it may do, and the revisions of that",
    CLI_LIST(command, COMMANDS),
};
