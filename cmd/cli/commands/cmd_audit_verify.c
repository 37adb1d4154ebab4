/* belay audit verify: whether a record was taken away, changed or put in. */
#include "cmd/cli/audit_walk.h"
#include "cmd/cli/commands/commands.h"
#include "cmd/cli/connection.h"
#include "common/base/cleanup.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

enum {
    PAGE_RECORDS = 1000,
    PAGE_BYTES = 64 * 1024 * 1024,
    TOKEN_BYTES = 512
};

typedef Agentgateway__V1__ListAuditRecordsRequest request_type;
typedef Agentgateway__V1__ListAuditRecordsResponse reply_type;

/* A line on a terminal, over the one before: how far it is; NULL: nothing any more. */
static void show_progress(const struct cli *cli, const struct audit_walk *walk)
{
    int fd = fileno(cli->io->err);
    if (fd < 0 || isatty(fd) != 1) {
        return;
    }
    (void)fprintf(cli->io->err, "\r\033[K");
    if (walk != NULL) {
        (void)fprintf(
            cli->io->err,
            "%" PRId64 " of %" PRId64 " records are left",
            walk->last.sequence - 1,
            walk->newest.sequence);
    }
    (void)fflush(cli->io->err);
}

/* One page, and where the next begins: "" at the end. */
static enum err_code read_page(
    struct cli *cli,
    struct arena *arena,
    struct audit_walk *walk,
    request_type *request,
    char next[TOKEN_BYTES + 1])
{
    reply_type *reply = NULL;
    TRY(connection_call_in(
        cli,
        arena,
        "agentgateway.v1.AgentAdminService/ListAuditRecords",
        &request->base,
        &agentgateway__v1__list_audit_records_response__descriptor,
        &reply));
    if (reply->n_records == 0 && reply->next_page_token[0] != '\0') {
        return ERR_SET(
            &cli->err, ERR_CORRUPT, "the server gives an empty page that names a next one");
    }
    for (size_t i = 0; i < reply->n_records; i++) {
        TRY(audit_walk_next(walk, reply->records[i], &cli->err));
    }
    return str_copy(str_of(reply->next_page_token), next, TOKEN_BYTES + 1) == ERR_OK
        ? ERR_OK
        : ERR_SET(&cli->err, ERR_CORRUPT, "the server's page token is too long");
}

static enum err_code read_pages(struct cli *cli, struct audit_walk *walk)
{
    AUTO_ARENA struct arena *arena = arena_create(PAGE_BYTES);
    char token[TOKEN_BYTES + 1] = "";
    request_type request = AGENTGATEWAY__V1__LIST_AUDIT_RECORDS_REQUEST__INIT;
    enum err_code code = ERR_OK;
    request.workspace = connection_workspace(cli);
    request.page_size = PAGE_RECORDS;
    request.page_token = token;
    do {
        code = read_page(cli, arena, walk, &request, token);
        arena_reset(arena);
        show_progress(cli, code == ERR_OK && token[0] != '\0' ? walk : NULL);
    } while (code == ERR_OK && token[0] != '\0');
    return code;
}

static enum err_code say(struct cli *cli, const struct audit_head *newest)
{
    AUTO_BUF struct buf head = BUF_INIT(128);
    AUTO_BUF struct buf text = BUF_INIT(512);
    audit_head_write(newest, &head);
    if (cli->output.format == OUTPUT_NAME) {
        return output_line(cli, buf_view(&head));
    }
    if (output_is_structured(cli)) {
        buf_printf(&text, "{\"records\":%" PRId64 ",\"head\":", newest->sequence);
        buf_append_json(&text, buf_view(&head));
        buf_append_char(&text, '}');
        return output_json(cli, buf_view(&text), cli->output.format == OUTPUT_YAML);
    }
    if (newest->sequence == 0) {
        return output_line(cli, STR("There is no audit record yet."));
    }
    buf_printf(
        &text,
        "%" PRId64 " records, none missing, none changed since it was written. Keep the head\n%s\n"
        "elsewhere: verify --head finds a chain that was written anew.\n",
        newest->sequence,
        buf_text(&head));
    return output_text(cli, buf_view(&text));
}

static enum err_code verify(struct cli *cli)
{
    AUTO_AUDIT_WALK struct audit_walk walk = AUDIT_WALK_INIT;
    const char *kept = args_text(cli->args, "head");
    if (kept != NULL && audit_head_parse(kept, &walk.kept) != ERR_OK) {
        return cli_usage(
            cli, "--head: a record's number, a colon and its hash of 64 hexadecimal digits");
    }
    TRY(connection_open(cli));
    TRY(read_pages(cli, &walk));
    TRY(audit_walk_end(&walk, &cli->err));
    return say(cli, &walk.newest);
}

static const struct cli_option OPTIONS[] = {
    { .name = "head",
      .type = CLI_TEXT,
      .argument = "N:HASH",
      .help = "What an earlier verify said: record N must still have this hash" },
};
const struct cli_command CMD_AUDIT_VERIFY = {
    .name = "verify",
    .summary = "Compute the chain of hashes anew: a record that is missing or changed shows",
    CLI_LIST(option, OPTIONS),
    .run = verify,
};
