/* belay device: what the agents look after; an agent's host is its first device. */
#include "cmd/cli/cells.h"
#include "cmd/cli/commands/commands.h"
#include "cmd/cli/connection.h"

#include "proto/agentgateway/v1/admin.pb-c.h"

CELL_NUMBER(write_id, Agentgateway__V1__Device, id)
CELL_TEXT(write_name, Agentgateway__V1__Device, name)
CELL_TEXT(write_kind, Agentgateway__V1__Device, kind)
CELL_TEXT(write_agent, Agentgateway__V1__Device, agent_name)
CELL_AGE(write_seen, Agentgateway__V1__Device, last_seen_at)
CELL_PAIRS(write_labels, Agentgateway__V1__Device, labels)
CELL_PAIRS(write_facts, Agentgateway__V1__Device, facts)
CELL_TEXT(write_workspace, Agentgateway__V1__Device, workspace)
CELL_AGE(write_created, Agentgateway__V1__Device, created_at)

static void name_of(const void *item, struct buf *out)
{
    buf_printf(out, "%lld", (long long)((const Agentgateway__V1__Device *)item)->id);
}

static const struct view_column COLUMNS[] = {
    { { .title = "ID", .right = true }, 0, write_id },
    { { .title = "AGENT" }, 0, write_agent },
    { { .title = "NAME" }, 0, write_name },
    { { .title = "KIND" }, 0, write_kind },
    { { .title = "SEEN", .right = true }, 0, write_seen },
    { { .title = "LABELS" }, 0, write_labels },
    { { .title = "FACTS" }, VIEW_WIDE, write_facts },
    { { .title = "WORKSPACE" }, VIEW_DETAIL, write_workspace },
    { { .title = "CREATED" }, VIEW_DETAIL, write_created },
};
static const struct view VIEW_DEVICES = VIEW(COLUMNS, name_of);

static enum err_code list(struct cli *cli)
{
    Agentgateway__V1__ListDevicesRequest request = AGENTGATEWAY__V1__LIST_DEVICES_REQUEST__INIT;
    Agentgateway__V1__ListDevicesResponse *reply = NULL;
    request.workspace = connection_workspace(cli);
    request.agent = cli_text(cli, args_text(cli->args, "agent"));
    TRY(connection_list(
        cli,
        "ListDevices",
        &request.base,
        &agentgateway__v1__list_devices_response__descriptor,
        (size_t)args_number(cli->args, "limit"),
        &reply));
    return output_list(cli, &VIEW_DEVICES, &reply->base, reply->devices, reply->n_devices);
}

static enum err_code get(struct cli *cli)
{
    Agentgateway__V1__GetDeviceRequest request = AGENTGATEWAY__V1__GET_DEVICE_REQUEST__INIT;
    Agentgateway__V1__Device *reply = NULL;
    const char *word = args_word(cli->args, 0);
    request.workspace = connection_workspace(cli);
    if (str_parse_int64(str_of(word), 1, INT64_MAX, &request.id) != ERR_OK) {
        return cli_usage(cli, "ID: \"%s\" is not a device id; belay device list shows them", word);
    }
    TRY(connection_call(
        cli, "GetDevice", &request.base, &agentgateway__v1__device__descriptor, &reply));
    return output_one(cli, &VIEW_DEVICES, &reply->base, 0);
}

static const struct cli_option LIST_OPTIONS[] = { OPTION_AGENT, OPTION_LIMIT("0") };
static const struct cli_command LIST = {
    .name = "list",
    .alias = "ls",
    .summary = "List devices",
    CLI_LIST(option, LIST_OPTIONS),
    .run = list,
};
static const struct cli_argument GET_ARGUMENTS[] = {
    { .name = "ID", .help = "Number of a device" },
};
static const struct cli_command GET = {
    .name = "get",
    .summary = "Show one device in detail",
    CLI_LIST(argument, GET_ARGUMENTS),
    .run = get,
};
static const struct cli_command *const COMMANDS[] = { &LIST, &GET };
const struct cli_command CMD_DEVICE = {
    .name = "device",
    .alias = "devices",
    .summary = "The devices the agents look after",
    CLI_LIST(command, COMMANDS),
};
