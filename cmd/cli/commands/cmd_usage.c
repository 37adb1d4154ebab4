/* belay usage: what sandboxes used. */
#include "cmd/cli/cells.h"
#include "cmd/cli/commands/cmd_telemetry_query.h"
#include "cmd/cli/commands/commands.h"
#include "cmd/cli/connection.h"

#include "proto/agentgateway/v1/admin.pb-c.h"

typedef Agentgateway__V1__UsageRow row_type;
typedef Agentgateway__V1__UsageGroup group_type;

enum {
    EXACT_SECONDS = 100 /* below it tenths are shown */
};

#define GIB_HOUR (3600.0 * 1024 * 1024 * 1024)

/* ---- columns ---- */

static enum text_style put_span(uint64_t us, struct buf *out)
{
    if (us < EXACT_SECONDS * (uint64_t)US_PER_SECOND) {
        buf_printf(out, "%.1fs", (double)us / (double)US_PER_SECOND);
    } else {
        cells_duration((int64_t)us, out);
    }
    return TEXT_PLAIN;
}

static enum text_style put_gib_hours(uint64_t byte_seconds, struct buf *out)
{
    buf_printf(out, "%.3f", (double)byte_seconds / GIB_HOUR);
    return TEXT_PLAIN;
}

CELL_TIME(write_hour, row_type, hour)
CELL_TEXT(write_workspace, row_type, workspace)
CELL_TEXT(write_sandbox, row_type, sandbox_name)
CELL_TEXT(write_id, row_type, sandbox_id)
CELL_TEXT(write_owner, row_type, owner)
CELL_TEXT(write_label, row_type, label_value)
CELL_NUMBER(write_count, row_type, sandboxes)
CELL_DEFINE_(write_running, row_type, put_span(item->running_us, out))
CELL_DEFINE_(write_cpu, row_type, put_span(item->cpu_us, out))
CELL_DEFINE_(write_memory, row_type, put_gib_hours(item->memory_byte_seconds, out))
CELL_DEFINE_(write_disk, row_type, put_gib_hours(item->disk_byte_seconds, out))
CELL_DEFINE_(write_peak, row_type, cells_bytes(item->memory_peak_bytes, out))
CELL_NUMBER(write_processes, row_type, processes_peak)
CELL_DEFINE_(write_read, row_type, cells_bytes(item->read_bytes, out))
CELL_DEFINE_(write_written, row_type, cells_bytes(item->written_bytes, out))
CELL_DEFINE_(write_sent, row_type, cells_bytes(item->sent_bytes, out))
CELL_DEFINE_(write_received, row_type, cells_bytes(item->received_bytes, out))
CELL_AGE(write_until, row_type, until)

static const struct view_column HOUR = { { .title = "HOUR", .keep = 24 }, 0, write_hour };
static const struct view_column WORKSPACE = { { .title = "WORKSPACE" }, 0, write_workspace };
static const struct view_column SANDBOX = { { .title = "SANDBOX" }, 0, write_sandbox };
static const struct view_column ID = { { .title = "ID" }, VIEW_WIDE, write_id };
static const struct view_column OWNER = { { .title = "OWNER" }, 0, write_owner };
static const struct view_column LABEL = { { .title = "LABEL" }, 0, write_label };
static const struct view_column COUNT = { { .title = "SANDBOXES", .right = true }, 0, write_count };
static const struct view_column FIGURES[] = {
    { { .title = "RUNNING", .right = true }, 0, write_running },
    { { .title = "CPU", .right = true }, 0, write_cpu },
    { { .title = "MEMORY GIB-H", .right = true }, 0, write_memory },
    { { .title = "PEAK", .right = true }, 0, write_peak },
    { { .title = "DISK GIB-H", .right = true }, 0, write_disk },
    { { .title = "SENT", .right = true }, 0, write_sent },
    { { .title = "RECEIVED", .right = true }, 0, write_received },
    { { .title = "READ", .right = true }, VIEW_WIDE, write_read },
    { { .title = "WRITTEN", .right = true }, VIEW_WIDE, write_written },
    { { .title = "PROCESSES", .right = true }, VIEW_WIDE, write_processes },
    { { .title = "LAST", .right = true }, VIEW_WIDE, write_until },
};

static void name_of(const void *item, struct buf *out)
{
    const row_type *row = item;
    const char *const names[] = { row->sandbox_name, row->owner, row->label_value, row->workspace };
    for (size_t i = 0; i < ARRAY_LENGTH(names); i++) {
        if (names[i][0] != '\0') {
            buf_append_str(out, str_of(names[i]));
            return;
        }
    }
}

/* What tells the rows apart, then the figures. */
static struct view view_of(struct cli *cli, const Agentgateway__V1__GetUsageRequest *request)
{
    group_type by = request->group_by;
    bool by_sandbox = by == AGENTGATEWAY__V1__USAGE_GROUP__USAGE_GROUP_SANDBOX;
    bool by_owner = by == AGENTGATEWAY__V1__USAGE_GROUP__USAGE_GROUP_OWNER;
    bool by_label = by == AGENTGATEWAY__V1__USAGE_GROUP__USAGE_GROUP_LABEL;
    bool by_workspace = by == AGENTGATEWAY__V1__USAGE_GROUP__USAGE_GROUP_WORKSPACE;

    const struct {
        const struct view_column *column;
        bool is_shown;
    } keys[] = {
        { &HOUR, request->hourly },
        { &WORKSPACE, by_workspace || request->all_workspaces },
        { &SANDBOX, by_sandbox },
        { &ID, by_sandbox },
        { &OWNER, by_sandbox || by_owner },
        { &LABEL, by_label },
        { &COUNT, !by_sandbox },
    };

    size_t most = ARRAY_LENGTH(keys) + ARRAY_LENGTH(FIGURES);
    struct view_column *columns = arena_alloc(cli->arena, most * sizeof(*columns));
    size_t count = 0;
    for (size_t i = 0; i < ARRAY_LENGTH(keys); i++) {
        if (keys[i].is_shown) {
            columns[count++] = *keys[i].column;
        }
    }
    memcpy(columns + count, FIGURES, sizeof(FIGURES));
    return (struct view){ columns, count + ARRAY_LENGTH(FIGURES), name_of };
}

/* ---- the command ---- */

static enum err_code fill(struct cli *cli, Agentgateway__V1__GetUsageRequest *request)
{
    const char *label = args_text(cli->args, "by-label");
    request->all_workspaces = args_flag(cli->args, "all-workspaces");
    if (request->all_workspaces && args_is_set(cli->args, "workspace")) {
        return cli_usage(cli, "--all-workspaces and --workspace exclude each other");
    }
    if (label != NULL && args_is_typed(cli->args, "by")) {
        return cli_usage(cli, "--by and --by-label exclude each other");
    }
    request->workspace = request->all_workspaces ? cli_text(cli, "") : connection_workspace(cli);
    request->start = cli_timestamp(cli, "since");
    request->end = cli_timestamp(cli, "until");
    if (request->end == NULL) {
        request->end = cli_timestamp_of(cli, cli_now(cli)); /* the same for every page */
    }
    request->group_by = label != NULL
        ? AGENTGATEWAY__V1__USAGE_GROUP__USAGE_GROUP_LABEL
        : (group_type)cli_enum_value(
            &agentgateway__v1__usage_group__descriptor, args_text(cli->args, "by"));
    request->label_key = cli_text(cli, label);
    request->hourly = args_flag(cli->args, "hourly");
    request->sandbox = cli_text(cli, args_text(cli->args, "sandbox"));
    request->owner = cli_text(cli, args_text(cli->args, "owner"));
    return ERR_OK;
}

static enum err_code run(struct cli *cli)
{
    Agentgateway__V1__GetUsageRequest request = AGENTGATEWAY__V1__GET_USAGE_REQUEST__INIT;
    Agentgateway__V1__GetUsageResponse *reply = NULL;
    TRY(fill(cli, &request));
    const struct view view = view_of(cli, &request);
    TRY(connection_list(
        cli,
        "GetUsage",
        &request.base,
        &agentgateway__v1__get_usage_response__descriptor,
        (size_t)args_number(cli->args, "limit"),
        &reply));
    if (reply->n_rows == 0 && !output_is_structured(cli)) {
        output_note(
            cli, "No sandbox used anything in this time. --since says how far back to look");
    }
    return output_list(cli, &view, &reply->base, reply->rows, reply->n_rows);
}

static const char *const GROUPS[] = { "sandbox", "owner", "workspace", NULL };
static const struct cli_option OPTIONS[] = {
    { .name = "by",
      .type = CLI_CHOICE,
      .argument = "GROUP",
      .fallback = "sandbox",
      .choices = GROUPS,
      .help = "One row for each" },
    { .name = "by-label",
      .type = CLI_TEXT,
      .argument = "KEY",
      .min = 1,
      .max = 317,
      .help = "One row for each value of this label of the sandboxes" },
    { .name = "hourly", .type = CLI_FLAG, .help = "A row for each hour (UTC) besides" },
    OPTION_SINCE("24h"),
    OPTION_UNTIL,
    { .name = "sandbox",
      .type = CLI_TEXT,
      .argument = "SANDBOX",
      .complete = CLI_COMPLETE_SANDBOX,
      .help = "Only of this one, by name or id; also when it is gone" },
    { .name = "owner",
      .type = CLI_TEXT,
      .argument = "OWNER",
      .help = "Only of sandboxes this one made: key:key_..., user:local/0" },
    { .name = "all-workspaces",
      .letter = 'A',
      .type = CLI_FLAG,
      .help = "Of every workspace; for the platform's admin" },
    OPTION_LIMIT("0"),
};
static const struct cli_example EXAMPLES[] = {
    { "belay usage", "Each sandbox of the last day" },
    { "belay usage --by owner --since 30d", "Who used how much this month" },
    { "belay usage --by-label team --hourly -o json", "For a bill, by team and hour" },
};
const struct cli_command CMD_USAGE = {
    .name = "usage",
    .summary = "What sandboxes used",
    .description =
        "CPU time, memory and disk over time (1 GiB for an hour is one GIB-H), the greatest memory "
        "of one sandbox and bytes sent and received. Sandboxes that are gone are in it. Readings "
        "are a minute apart and count where they ended; what is so now shows \"belay sandbox top\". "
        "At most 400 days at once.",
    CLI_LIST(option, OPTIONS),
    CLI_LIST(example, EXAMPLES),
    .run = run,
};
