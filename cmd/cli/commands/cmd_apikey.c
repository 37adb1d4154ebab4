/* belay apikey: keys for people and programs that are not on the server's machine. */
#include "cmd/cli/cells.h"
#include "cmd/cli/commands/commands.h"
#include "cmd/cli/connection.h"

#include "proto/agentgateway/v1/admin.pb-c.h"

static enum text_style write_state(const struct view_cell *cell, struct buf *out)
{
    const Agentgateway__V1__ApiKey *key = cell->item;
    int64_t us = 0;
    bool revoked = cells_time_us(key->revoked_at, &us);
    bool expired = cells_time_us(key->expires_at, &us) && us <= cell->now.value;
    (void)cells_text(revoked ? "revoked" : expired ? "expired" : "active", out);
    return revoked || expired ? TEXT_DIM : TEXT_GOOD;
}

CELL_TEXT(write_id, Agentgateway__V1__ApiKey, id)
CELL_TEXT(write_name, Agentgateway__V1__ApiKey, name)
CELL_TEXTS(write_scopes, Agentgateway__V1__ApiKey, scopes)
CELL_UNTIL(write_expires, Agentgateway__V1__ApiKey, expires_at)
CELL_AGE(write_used, Agentgateway__V1__ApiKey, last_used_at)
CELL_TEXT(write_creator, Agentgateway__V1__ApiKey, created_by)
CELL_AGE(write_created, Agentgateway__V1__ApiKey, created_at)
CELL_TEXT(write_workspace, Agentgateway__V1__ApiKey, workspace)
CELL_NAME(name_of, Agentgateway__V1__ApiKey, id)

static const struct view_column COLUMNS[] = {
    { { .title = "ID", .keep = 30 }, 0, write_id },
    { { .title = "NAME" }, 0, write_name },
    { { .title = "STATE" }, 0, write_state },
    { { .title = "SCOPES" }, 0, write_scopes },
    { { .title = "EXPIRES" }, 0, write_expires },
    { { .title = "USED", .right = true }, 0, write_used },
    { { .title = "BY" }, VIEW_WIDE, write_creator },
    { { .title = "CREATED" }, VIEW_WIDE, write_created },
    { { .title = "WORKSPACE" }, VIEW_WIDE, write_workspace },
};
static const struct view VIEW_KEYS = VIEW(COLUMNS, name_of);

static enum err_code create(struct cli *cli)
{
    Agentgateway__V1__CreateApiKeyRequest request = AGENTGATEWAY__V1__CREATE_API_KEY_REQUEST__INIT;
    Agentgateway__V1__CreateApiKeyResponse *reply = NULL;
    request.workspace = connection_workspace(cli);
    request.name = cli_text(cli, args_word(cli->args, 0));
    request.ttl_seconds = (uint32_t)(args_number(cli->args, "ttl") / US_PER_SECOND);
    request.n_scopes = args_count(cli->args, "scope");
    request.scopes = arena_alloc(cli->arena, request.n_scopes * sizeof(char *));
    for (size_t i = 0; i < request.n_scopes; i++) {
        request.scopes[i] = cli_text(cli, args_item(cli->args, "scope", i));
    }
    TRY(connection_call(
        cli,
        "CreateApiKey",
        &request.base,
        &agentgateway__v1__create_api_key_response__descriptor,
        &reply));
    if (output_is_structured(cli)) {
        return output_message(cli, &reply->base, OUTPUT_SECRETS);
    }
    if (reply->key == NULL) {
        return ERR_SET(&cli->err, ERR_CORRUPT, "the server's answer holds no key");
    }
    if (cli->output.format == OUTPUT_NAME) {
        return output_one(cli, &VIEW_KEYS, &reply->key->base, 0);
    }
    AUTO_BUF struct buf text = BUF_INIT(65536);
    text_escape(str_of(reply->secret), &text);
    buf_append_char(&text, '\n');
    TRY(output_text(cli, buf_view(&text)));
    output_note(
        cli, "This key (%s) is shown once. Keep it in a file of mode 0600, then:", reply->key->id);
    output_note(cli, "  belay gateway add NAME HOST:PORT --ca-sha256 PIN --key-file FILE");
    return ERR_OK;
}

static enum err_code list(struct cli *cli)
{
    Agentgateway__V1__ListApiKeysRequest request = AGENTGATEWAY__V1__LIST_API_KEYS_REQUEST__INIT;
    Agentgateway__V1__ListApiKeysResponse *reply = NULL;
    request.workspace = connection_workspace(cli);
    TRY(connection_list(
        cli,
        "ListApiKeys",
        &request.base,
        &agentgateway__v1__list_api_keys_response__descriptor,
        (size_t)args_number(cli->args, "limit"),
        &reply));
    return output_list(cli, &VIEW_KEYS, &reply->base, reply->keys, reply->n_keys);
}

static enum err_code revoke(struct cli *cli)
{
    Agentgateway__V1__RevokeApiKeyRequest request = AGENTGATEWAY__V1__REVOKE_API_KEY_REQUEST__INIT;
    Agentgateway__V1__ApiKey *reply = NULL;
    request.workspace = connection_workspace(cli);
    request.id = cli_text(cli, args_word(cli->args, 0));
    TRY(connection_call(
        cli, "RevokeApiKey", &request.base, &agentgateway__v1__api_key__descriptor, &reply));
    return output_row(cli, &VIEW_KEYS, &reply->base);
}

static const struct cli_argument CREATE_ARGUMENTS[] = {
    { .name = "NAME", .help = "What it is for; people read it in lists and the audit trail" },
};
static const struct cli_option CREATE_OPTIONS[] = {
    { .name = "scope",
      .letter = 's',
      .type = CLI_TEXT,
      .flags = CLI_REPEAT | CLI_REQUIRED,
      .argument = "SCOPE",
      .min = 1,
      .max = 64,
      .help = "What the key may do: agent:read, telemetry:read, ..., * for everything" },
    { .name = "ttl",
      .type = CLI_DURATION,
      .argument = "TIME",
      .fallback = "90d",
      .min = US_PER_SECOND,
      .max = 3650 * US_PER_DAY,
      .help = "How long it works" },
};
static const struct cli_example CREATE_EXAMPLES[] = {
    { "belay apikey create grafana --scope telemetry:read --ttl 365d",
      "A key that can only read figures" },
};
static const struct cli_command CREATE = {
    .name = "create",
    .summary = "Make a key; it is shown once",
    CLI_LIST(argument, CREATE_ARGUMENTS),
    CLI_LIST(option, CREATE_OPTIONS),
    CLI_LIST(example, CREATE_EXAMPLES),
    .run = create,
};
static const struct cli_option LIST_OPTIONS[] = { OPTION_LIMIT("0") };
static const struct cli_command LIST = {
    .name = "list",
    .alias = "ls",
    .summary = "List keys, without their secrets",
    CLI_LIST(option, LIST_OPTIONS),
    .run = list,
};
static const struct cli_argument REVOKE_ARGUMENTS[] = {
    { .name = "ID", .complete = CLI_COMPLETE_APIKEY, .help = "Id of a key (key_...)" },
};
static const struct cli_command REVOKE = {
    .name = "revoke",
    .summary = "Make a key worthless at once",
    CLI_LIST(argument, REVOKE_ARGUMENTS),
    .run = revoke,
};
static const struct cli_command *const COMMANDS[] = { &CREATE, &LIST, &REVOKE };
const struct cli_command CMD_APIKEY = {
    .name = "apikey",
    .alias = "apikeys",
    .summary = "Keys for callers that are not on the server's machine",
    CLI_LIST(command, COMMANDS),
};
