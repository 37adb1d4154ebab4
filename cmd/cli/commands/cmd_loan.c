/* belay loan: part of an agent's room for another workspace. */
#include "cmd/cli/amount.h"
#include "cmd/cli/cells.h"
#include "cmd/cli/commands/cmd_command_view.h"
#include "cmd/cli/commands/commands.h"
#include "cmd/cli/connection.h"

#include "proto/agentgateway/v1/admin.pb-c.h"

typedef Agentgateway__V1__Loan loan_type;
typedef Agentgateway__V1__LoanChange change_type;

/* ---- view ---- */

static enum text_style write_state(const struct view_cell *cell, struct buf *out)
{
    const loan_type *loan = cell->item;
    if (loan->state == AGENTGATEWAY__V1__ENROLLMENT_STATE__ENROLLMENT_STATE_CONFIRMED) {
        (void)cells_text(loan->is_online ? "online" : "offline", out);
        return loan->is_online ? TEXT_GOOD : TEXT_BAD;
    }
    (void)cells_text(
        cli_enum_word(cell->cli, &agentgateway__v1__enrollment_state__descriptor, (int)loan->state),
        out);
    return TEXT_WARN;
}

CELL_TEXT(write_id, loan_type, id)
CELL_TEXT(write_agent, loan_type, agent)
CELL_TEXT(write_workspace, loan_type, workspace)
CELL_TEXT(write_borrower, loan_type, to_workspace)
CELL_TEXT(write_name, loan_type, name)
CELL_NUMBER(write_agent_id, loan_type, agent_id)
CELL_TEXT(write_creator, loan_type, created_by)
CELL_AGE(write_created, loan_type, created_at)
CELL_NAME(name_of, loan_type, id)

static const struct view_column COLUMNS[] = {
    { { .title = "ID", .keep = 30 }, 0, write_id },
    { { .title = "AGENT" }, 0, write_agent },
    { { .title = "WORKSPACE" }, VIEW_WIDE, write_workspace },
    { { .title = "TO" }, 0, write_borrower },
    { { .title = "AS" }, 0, write_name },
    { { .title = "AS ID", .right = true }, VIEW_WIDE, write_agent_id },
    { { .title = "STATE", .keep = 9, .min_width = 9 }, 0, write_state },
    { { .title = "CREATED", .right = true }, 0, write_created },
    { { .title = "BY" }, VIEW_WIDE, write_creator },
};
static const struct view VIEW_LOANS = VIEW(COLUMNS, name_of);

/* ---- room ---- */

typedef Agentgateway__V1__LoanRoom room_type;

/* The contract's numbers are checked by the server, which names field and bound. */
static const struct room_option {
    const char *name;
    amount_parse_fn parse;
    const char *example;
    size_t member;
    bool is_wide; /* uint64, else uint32 */
} ROOM[] = {
    { "sandboxes", amount_parse_count, "8", offsetof(room_type, sandboxes), false },
    { "cpu", amount_parse_cpus, "2, 0.5 or 500m", offsetof(room_type, cpu_millis), false },
    { "memory", amount_parse_bytes, "4GiB", offsetof(room_type, memory_bytes), true },
    { "disk", amount_parse_bytes, "20GiB", offsetof(room_type, disk_bytes), true },
};

static enum err_code read_room(struct cli *cli, room_type *room)
{
    for (size_t i = 0; i < ARRAY_LENGTH(ROOM); i++) {
        const struct room_option *option = &ROOM[i];
        const char *text = args_text(cli->args, option->name);
        uint64_t value = 0;
        if (!option->parse(str_of(text), &value) || (!option->is_wide && value > UINT32_MAX)) {
            return cli_usage(
                cli, "--%s: \"%s\" is not like %s", option->name, text, option->example);
        }
        uint32_t narrow = (uint32_t)value;
        memcpy(
            (char *)room + option->member,
            option->is_wide ? (const void *)&value : (const void *)&narrow,
            option->is_wide ? sizeof(value) : sizeof(narrow));
    }
    return ERR_OK;
}

/* ---- commands ---- */

/* With --wait the agent's refusal is the outcome; else its answer is told where to look for. */
static enum err_code finish(struct cli *cli, const change_type *change)
{
    Agentgateway__V1__Command *last = NULL;
    bool is_structured = output_is_structured(cli);
    if (change->loan == NULL) {
        return ERR_SET(&cli->err, ERR_CORRUPT, "the server's answer holds no loan");
    }
    if (change->command == NULL) {
        TRY(output_row(cli, &VIEW_LOANS, &change->loan->base));
        output_note(cli, "The lender is revoked: what is left on its machine stays there.");
        return ERR_OK;
    }
    if (args_flag(cli->args, "wait")) {
        TRY(cmd_command_follow(cli, change->command->id, NULL, &last));
    }
    if (last != NULL && last->state != AGENTGATEWAY__V1__COMMAND_STATE__COMMAND_STATE_SUCCEEDED) {
        return cmd_command_show(cli, last);
    }
    TRY(output_row(cli, &VIEW_LOANS, &change->loan->base));
    if (!is_structured && last == NULL) {
        output_note(cli, "The agent's answer: belay command watch %s", change->command->id);
    }
    return ERR_OK;
}

static enum err_code create(struct cli *cli)
{
    Agentgateway__V1__LendAgentRequest request = AGENTGATEWAY__V1__LEND_AGENT_REQUEST__INIT;
    room_type room = AGENTGATEWAY__V1__LOAN_ROOM__INIT;
    change_type *reply = NULL;
    TRY(read_room(cli, &room));
    request.workspace = connection_workspace(cli);
    request.agent = cli_text(cli, args_word(cli->args, 0));
    request.to_workspace = cli_text(cli, args_text(cli->args, "to"));
    request.name = cli_text(cli, args_text(cli->args, "name"));
    request.room = &room;
    TRY(connection_call(
        cli, "LendAgent", &request.base, &agentgateway__v1__loan_change__descriptor, &reply));
    return finish(cli, reply);
}

static enum err_code list(struct cli *cli)
{
    Agentgateway__V1__ListLoansRequest request = AGENTGATEWAY__V1__LIST_LOANS_REQUEST__INIT;
    Agentgateway__V1__ListLoansResponse *reply = NULL;
    request.workspace = connection_workspace(cli);
    request.agent = cli_text(cli, args_text(cli->args, "agent"));
    request.with_ended = args_flag(cli->args, "all");
    TRY(connection_list(
        cli,
        "ListLoans",
        &request.base,
        &agentgateway__v1__list_loans_response__descriptor,
        (size_t)args_number(cli->args, "limit"),
        &reply));
    if (reply->n_loans == 0 && !output_is_structured(cli)) {
        output_note(cli, "Nothing is lent here. To lend: belay loan create");
    }
    return output_list(cli, &VIEW_LOANS, &reply->base, reply->loans, reply->n_loans);
}

static enum err_code end(struct cli *cli)
{
    Agentgateway__V1__ReclaimAgentRequest request = AGENTGATEWAY__V1__RECLAIM_AGENT_REQUEST__INIT;
    change_type *reply = NULL;
    if (!args_flag(cli->args, "yes")) {
        return cli_usage(
            cli, "ending a loan deletes the borrower's sandboxes on that agent. Add --yes");
    }
    request.workspace = connection_workspace(cli);
    request.loan_id = cli_text(cli, args_word(cli->args, 0));
    TRY(connection_call(
        cli, "ReclaimAgent", &request.base, &agentgateway__v1__loan_change__descriptor, &reply));
    return finish(cli, reply);
}

/* ---- table ---- */

#define OPTION_ROOM(option_name, placeholder, text)                                                \
    {                                                                                              \
        .name = (option_name), .type = CLI_TEXT, .flags = CLI_REQUIRED, .argument = (placeholder), \
        .help = (text)                                                                             \
    }
#define OPTION_WAIT                                                             \
    {                                                                           \
        .name = "wait", .type = CLI_FLAG, .help = "Wait for the agent's answer" \
    }

static const struct cli_argument CREATE_ARGUMENTS[] = { ARGUMENT_AGENT };
static const struct cli_option CREATE_OPTIONS[] = {
    { .name = "to",
      .type = CLI_TEXT,
      .flags = CLI_REQUIRED,
      .argument = "WORKSPACE",
      .help = "The workspace that borrows" },
    { .name = "name",
      .type = CLI_TEXT,
      .argument = "NAME",
      .help = "Name of the agent there; the lender's without it" },
    OPTION_ROOM("sandboxes", "N", "Sandboxes at the same time that the lender gives up"),
    OPTION_ROOM("cpu", "CPUS", "CPUs that it gives up: 2, 0.5 or 500m"),
    OPTION_ROOM("memory", "SIZE", "Memory that it gives up: 4GiB"),
    OPTION_ROOM("disk", "SIZE", "Disk that it gives up: 20GiB"),
    OPTION_WAIT,
};
static const struct cli_example CREATE_EXAMPLES[] = {
    { "belay loan create node-7 --to team-b --sandboxes 8 --cpu 2 --memory 4GiB --disk 20GiB --wait",
      "team-b gets an agent node-7 of its own, with that much of this one's room" },
};
static const struct cli_command CREATE = {
    .name = "create",
    .summary = "Lend part of an agent's room to another workspace",
    .description =
        "The agent runs a second one beside itself, with keys and a session of its own, that enrolls "
        "in the other workspace and offers there what it was given. Platform admins alone.",
    CLI_LIST(argument, CREATE_ARGUMENTS),
    CLI_LIST(option, CREATE_OPTIONS),
    CLI_LIST(example, CREATE_EXAMPLES),
    .run = create,
};

static const struct cli_option LIST_OPTIONS[] = {
    OPTION_AGENT,
    { .name = "all", .type = CLI_FLAG, .help = "Those that were ended too" },
    OPTION_LIMIT("0"),
};
static const struct cli_command LIST = {
    .name = "list",
    .alias = "ls",
    .summary = "List what the workspace's agents have lent, newest first",
    CLI_LIST(option, LIST_OPTIONS),
    .run = list,
};

static const struct cli_argument END_ARGUMENTS[] = {
    { .name = "ID", .complete = CLI_COMPLETE_LOAN, .help = "Id of a loan (enr_...)" },
};
static const struct cli_option END_OPTIONS[] = {
    { .name = "yes", .type = CLI_FLAG, .help = "Say that it is meant" },
    OPTION_WAIT,
};
static const struct cli_command END = {
    .name = "end",
    .summary = "Take a loan back: the borrower's agent and its sandboxes end",
    .description =
        "The borrower's agent is shut out at once; the lender removes its sandboxes and all it kept "
        "as soon as it hears of it. May be repeated.",
    CLI_LIST(argument, END_ARGUMENTS),
    CLI_LIST(option, END_OPTIONS),
    .run = end,
};

static const struct cli_command *const COMMANDS[] = { &CREATE, &LIST, &END };
const struct cli_command CMD_LOAN = {
    .name = "loan",
    .alias = "loans",
    .summary = "Agents' room lent to other workspaces",
    CLI_LIST(command, COMMANDS),
};
