#include "cmd/cli/commands/cmd_command_view.h"

#include "cmd/cli/cells.h"
#include "cmd/cli/connection.h"
#include "cmd/cli/term/plot.h"
#include "common/rpc/client.h"
#include "common/wire/wire.h"

enum {
    RESULT_BYTES_MAX = 4 * 1024 * 1024
};

/* ---- view ---- */

static enum text_style write_state(const struct view_cell *cell, struct buf *out)
{
    const Agentgateway__V1__Command *command = cell->item;
    (void)cells_text(
        cli_enum_word(cell->cli, &agentgateway__v1__command_state__descriptor, (int)command->state),
        out);
    bool good = command->state == AGENTGATEWAY__V1__COMMAND_STATE__COMMAND_STATE_SUCCEEDED;
    bool open = !cmd_command_is_finished(command);
    return good ? TEXT_GOOD : open ? TEXT_PLAIN : TEXT_BAD;
}

static enum text_style write_code(const struct view_cell *cell, struct buf *out)
{
    const Agentgateway__V1__Command *command = cell->item;
    if (command->code != AGENTGATEWAY__V1__ACK_CODE__ACK_CODE_UNSPECIFIED) {
        (void)cells_text(
            cli_enum_word(cell->cli, &agentgateway__v1__ack_code__descriptor, (int)command->code),
            out);
    }
    return TEXT_PLAIN;
}

CELL_TEXT(write_id, Agentgateway__V1__Command, id)
CELL_TEXT(write_agent, Agentgateway__V1__Command, agent_name)
CELL_TEXT(write_kind, Agentgateway__V1__Command, kind)
CELL_AGE(write_created, Agentgateway__V1__Command, created_at)
CELL_UNTIL(write_expires, Agentgateway__V1__Command, expires_at)
CELL_AGE(write_sent, Agentgateway__V1__Command, sent_at)
CELL_AGE(write_finished, Agentgateway__V1__Command, finished_at)
CELL_TEXT(write_actor, Agentgateway__V1__Command, actor)
CELL_TEXT(write_error, Agentgateway__V1__Command, error_message)
CELL_NUMBER(write_sequence, Agentgateway__V1__Command, sequence)
CELL_TEXT(write_idempotency, Agentgateway__V1__Command, idempotency_key)
CELL_TEXT(write_workspace, Agentgateway__V1__Command, workspace)
CELL_NAME(name_of, Agentgateway__V1__Command, id)

static const struct view_column COLUMNS[] = {
    { { .title = "ID", .keep = 30 }, 0, write_id },
    { { .title = "AGENT" }, 0, write_agent },
    { { .title = "KIND", .keep = 14 }, 0, write_kind },
    { { .title = "STATE", .keep = 9, .min_width = 9 }, 0, write_state },
    { { .title = "CREATED", .right = true }, 0, write_created },
    { { .title = "EXPIRES" }, VIEW_WIDE, write_expires },
    { { .title = "SENT", .right = true }, VIEW_WIDE, write_sent },
    { { .title = "FINISHED", .right = true }, VIEW_WIDE, write_finished },
    { { .title = "BY" }, 0, write_actor },
    { { .title = "CODE" }, VIEW_WIDE, write_code },
    { { .title = "ERROR", .keep = 20 }, 0, write_error },
    { { .title = "SEQUENCE", .right = true }, VIEW_DETAIL, write_sequence },
    { { .title = "IDEMPOTENCY KEY" }, VIEW_DETAIL, write_idempotency },
    { { .title = "WORKSPACE" }, VIEW_DETAIL, write_workspace },
};
const struct view VIEW_COMMANDS = VIEW(COLUMNS, name_of);

/* ---- result ---- */

static const struct table_column SAMPLE_COLUMNS[] = { { .title = "METRIC" },
                                                      { .title = "DEVICE" },
                                                      { .title = "INSTANCE" },
                                                      { .title = "VALUE", .right = true } };

static void add_sample(
    struct table *table,
    const Agentgateway__V1__TelemetrySeries *series,
    const Agentgateway__V1__TelemetrySample *sample)
{
    AUTO_BUF struct buf value = BUF_INIT(128);
    plot_format_value(sample->value, series->unit, &value);
    table_add(table, str_of(series->metric), TEXT_PLAIN);
    table_add(table, str_of(series->device), TEXT_PLAIN);
    table_add(table, str_of(series->instance), TEXT_PLAIN);
    table_add(table, buf_view(&value), TEXT_PLAIN);
}

/* telemetry_now answers with a TelemetryBatch. */
static enum err_code put_samples(
    struct cli *cli, const Agentgateway__V1__Command *command, struct buf *out)
{
    ProtobufCMessage *message = NULL;
    TRY(wire_unpack_lenient(
        cli->schema,
        &agentgateway__v1__telemetry_batch__descriptor,
        command->result.data,
        command->result.len,
        cli->arena,
        &message,
        &cli->err));
    const Agentgateway__V1__TelemetryBatch *batch =
        (const Agentgateway__V1__TelemetryBatch *)(const void *)message;
    AUTO_TABLE struct table *table = table_create(SAMPLE_COLUMNS, ARRAY_LENGTH(SAMPLE_COLUMNS));
    for (size_t i = 0; i < batch->n_samples; i++) {
        if (batch->samples[i]->series < batch->n_series) {
            add_sample(table, batch->series[batch->samples[i]->series], batch->samples[i]);
        }
    }
    struct table_options options = { .headers = cli->output.headers,
                                     .color = cli->output.color,
                                     .width = cli->output.width };
    buf_append_char(out, '\n');
    table_write(table, &options, out);
    return ERR_OK;
}

/* Other answers are shown as text where they are text. */
static void put_result_text(const Agentgateway__V1__Command *command, struct buf *out)
{
    struct str_view result = str_from((const char *)command->result.data, command->result.len);
    buf_append_char(out, '\n');
    if (!str_is_utf8(result, NULL)) {
        buf_printf(out, "(%zu bytes; -o json has them in base64)\n", result.len);
        return;
    }
    struct str_view line = STR_NONE;
    for (bool more = true; more;) {
        more = str_cut(result, '\n', &line, &result);
        text_escape(more ? line : result, out);
        buf_append_char(out, '\n');
        more = more && result.len > 0;
    }
}

static enum err_code put_result(struct cli *cli, const Agentgateway__V1__Command *command)
{
    AUTO_BUF struct buf text = BUF_INIT(RESULT_BYTES_MAX);
    if (command->result.len == 0) {
        return ERR_OK;
    }
    bool samples = strcmp(command->kind, "telemetry_now") == 0;
    if (!samples || put_samples(cli, command, &text) != ERR_OK) {
        cli->err = (struct err_info)ERR_INFO_INIT;
        buf_clear(&text);
        put_result_text(command, &text);
    }
    return output_text(cli, buf_view(&text));
}

/* ---- showing and waiting ---- */

bool cmd_command_is_finished(const Agentgateway__V1__Command *command)
{
    return command->state >= AGENTGATEWAY__V1__COMMAND_STATE__COMMAND_STATE_SUCCEEDED;
}

static enum cli_exit exit_of(const Agentgateway__V1__Command *command)
{
    if (command->state == AGENTGATEWAY__V1__COMMAND_STATE__COMMAND_STATE_EXPIRED) {
        return CLI_EXIT_BUSY;
    }
    bool failed = cmd_command_is_finished(command)
        && command->state != AGENTGATEWAY__V1__COMMAND_STATE__COMMAND_STATE_SUCCEEDED;
    return failed ? CLI_EXIT_FAILED : CLI_EXIT_OK;
}

enum err_code cmd_command_show(struct cli *cli, const Agentgateway__V1__Command *command)
{
    TRY(output_one(cli, &VIEW_COMMANDS, &command->base, 0));
    if (output_is_structured(cli) || cli->output.format == OUTPUT_NAME) {
        return ERR_OK;
    }
    return put_result(cli, command);
}

struct follow {
    struct output_live *live;
    Agentgateway__V1__Command *last;
};

static enum err_code take_change(
    struct cli *cli, void *context, const ProtobufCMessage *message, bool *ret_done)
{
    struct follow *follow = context;
    if (follow->live != NULL) {
        TRY(output_live_row(follow->live, message));
    }
    TRY(cli_copy(cli, message, cli->arena, &follow->last));
    *ret_done = cmd_command_is_finished(follow->last);
    return ERR_OK;
}

enum err_code cmd_command_follow(
    struct cli *cli, const char *id, struct output_live *live, Agentgateway__V1__Command **ret_last)
{
    Agentgateway__V1__WatchCommandRequest request = AGENTGATEWAY__V1__WATCH_COMMAND_REQUEST__INIT;
    struct rpc_client_stream *stream = NULL;
    struct follow follow = { .live = live };
    request.workspace = connection_workspace(cli);
    request.id = cli_text(cli, id);
    TRY(connection_stream(
        cli, "WatchCommand", &request.base, &agentgateway__v1__command__descriptor, &stream));
    enum err_code code = connection_watch(cli, stream, true, take_change, &follow);
    rpc_client_stream_release(stream);
    TRY(code);
    if (follow.last == NULL || !cmd_command_is_finished(follow.last)) {
        return ERR_SET(
            &cli->err,
            ERR_TIMEOUT,
            "command %s has no answer yet; it goes on: belay command watch %s",
            id,
            id);
    }
    cli->exit_status = exit_of(follow.last);
    *ret_last = follow.last;
    return ERR_OK;
}

enum err_code cmd_command_finish(
    struct cli *cli, const Agentgateway__V1__Command *command, bool wait)
{
    Agentgateway__V1__Command *last = NULL;
    if (!wait) {
        TRY(output_row(cli, &VIEW_COMMANDS, &command->base));
        if (!output_is_structured(cli) && !cmd_command_is_finished(command)) {
            output_note(cli, "Its answer: belay command watch %s", command->id);
        }
        return ERR_OK;
    }
    TRY(cmd_command_follow(cli, command->id, NULL, &last));
    return last != NULL ? cmd_command_show(cli, last) : ERR_OK;
}
