/* belay audit: who did what. */
#include "cmd/cli/cells.h"
#include "cmd/cli/commands/commands.h"
#include "cmd/cli/connection.h"
#include "common/rpc/client.h"

#include "proto/agentgateway/v1/admin.pb-c.h"

static enum text_style write_decision(const struct view_cell *cell, struct buf *out)
{
    const char *decision = ((const Agentgateway__V1__AuditRecord *)cell->item)->decision;
    (void)cells_text(decision, out);
    return strcmp(decision, "denied") == 0 ? TEXT_BAD
        : strcmp(decision, "failed") == 0  ? TEXT_WARN
                                           : TEXT_PLAIN;
}

CELL_NUMBER(write_sequence, Agentgateway__V1__AuditRecord, sequence)
CELL_TIME(write_time, Agentgateway__V1__AuditRecord, time)
CELL_TEXT(write_actor, Agentgateway__V1__AuditRecord, actor)
CELL_TEXT(write_action, Agentgateway__V1__AuditRecord, action)
CELL_TEXT(write_target, Agentgateway__V1__AuditRecord, target)
CELL_TEXT(write_reason, Agentgateway__V1__AuditRecord, reason)
CELL_TEXT(write_request, Agentgateway__V1__AuditRecord, request_id)
CELL_TEXT(write_source, Agentgateway__V1__AuditRecord, source)
CELL_TEXT(write_hash, Agentgateway__V1__AuditRecord, hash)

static void name_of(const void *item, struct buf *out)
{
    buf_printf(out, "%lld", (long long)((const Agentgateway__V1__AuditRecord *)item)->sequence);
}

static const struct view_column COLUMNS[] = {
    { { .title = "SEQ", .right = true, .min_width = 5 }, 0, write_sequence },
    { { .title = "TIME", .keep = 20, .min_width = 24 }, 0, write_time },
    { { .title = "ACTOR", .min_width = 14 }, 0, write_actor },
    { { .title = "ACTION", .keep = 16, .min_width = 24 }, 0, write_action },
    { { .title = "TARGET", .min_width = 12 }, 0, write_target },
    { { .title = "DECISION", .min_width = 8 }, 0, write_decision },
    { { .title = "SOURCE" }, VIEW_WIDE, write_source },
    { { .title = "REQUEST" }, VIEW_WIDE, write_request },
    { { .title = "REASON" }, 0, write_reason },
    { { .title = "HASH" }, VIEW_WIDE, write_hash },
};
static const struct view VIEW_RECORDS = VIEW(COLUMNS, name_of);

static enum err_code list(struct cli *cli)
{
    Agentgateway__V1__ListAuditRecordsRequest request =
        AGENTGATEWAY__V1__LIST_AUDIT_RECORDS_REQUEST__INIT;
    Agentgateway__V1__ListAuditRecordsResponse *reply = NULL;
    request.workspace = connection_workspace(cli);
    request.start = cli_timestamp(cli, "since");
    request.end = cli_timestamp(cli, "until");
    request.actor_prefix = cli_text(cli, args_text(cli->args, "actor"));
    request.action_prefix = cli_text(cli, args_text(cli->args, "action"));
    TRY(connection_list(
        cli,
        "ListAuditRecords",
        &request.base,
        &agentgateway__v1__list_audit_records_response__descriptor,
        (size_t)args_number(cli->args, "limit"),
        &reply));
    return output_list(cli, &VIEW_RECORDS, &reply->base, reply->records, reply->n_records);
}

static enum err_code show_record(
    struct cli *cli, void *context, const ProtobufCMessage *message, bool *ret_done)
{
    (void)cli;
    *ret_done = false;
    return output_live_row(context, message);
}

static enum err_code watch(struct cli *cli)
{
    Agentgateway__V1__WatchAuditRecordsRequest request =
        AGENTGATEWAY__V1__WATCH_AUDIT_RECORDS_REQUEST__INIT;
    struct rpc_client_stream *stream = NULL;
    request.workspace = connection_workspace(cli);
    request.tail = (uint32_t)args_number(cli->args, "tail");
    TRY(connection_stream(
        cli,
        "WatchAuditRecords",
        &request.base,
        &agentgateway__v1__audit_record__descriptor,
        &stream));
    AUTO_OUTPUT_LIVE struct output_live *live = output_live_create(cli, &VIEW_RECORDS);
    enum err_code code = connection_watch(cli, stream, false, show_record, live);
    rpc_client_stream_release(stream);
    return code;
}

static const struct cli_option LIST_OPTIONS[] = {
    { .name = "since", .type = CLI_TIME, .argument = "TIME", .help = "From this time on" },
    { .name = "until", .type = CLI_TIME, .argument = "TIME", .help = "Before this time" },
    { .name = "actor",
      .type = CLI_TEXT,
      .argument = "PREFIX",
      .help = "Only actors that start so (\"key:\")" },
    { .name = "action",
      .type = CLI_TEXT,
      .argument = "PREFIX",
      .help = "Only actions that start so" },
    OPTION_LIMIT("100"),
};
static const struct cli_command LIST = {
    .name = "list",
    .alias = "ls",
    .summary = "List audit records, newest first",
    CLI_LIST(option, LIST_OPTIONS),
    .run = list,
};
static const struct cli_option WATCH_OPTIONS[] = { OPTION_TAIL };
static const struct cli_command WATCH = {
    .name = "watch",
    .summary = "Show audit records as they are written",
    CLI_LIST(option, WATCH_OPTIONS),
    .run = watch,
};
static const struct cli_command *const COMMANDS[] = { &LIST, &WATCH, &CMD_AUDIT_VERIFY };
const struct cli_command CMD_AUDIT = {
    .name = "audit",
    .summary = "Who did what, and whether it was allowed",
    CLI_LIST(command, COMMANDS),
};
