#include "cmd/cli/sandbox/follow.h"

#include "cmd/cli/interrupt.h"
#include "cmd/cli/term/text.h"
#include "common/rpc/client.h"

#include <signal.h>
#include <stdatomic.h>
#include <unistd.h>

enum {
    ARENA_BYTES = 64 * 1024 * 1024, /* of one message: it grows when it is taken apart */
    LINE_BYTES_MAX = 1024 * 1024,
    TAIL_LINES = 2000
};

/* After the main program's end its last lines may still be on their way, by another stream of the
 * agent: the watch ends when nothing came for QUIET_US. */
#define QUIET_US US_PER_SECOND

struct follow {
    struct cli *cli;
    atomic_int signal;
    _Atomic(struct rpc_client_stream *) stream; /* while a watch is open */
    bool has_progress;
    bool is_ended; /* what was waited for is so; the last lines are read */
    const struct follow_wish *wish;
    struct arena *arena; /* of last alone: a watch may be long */
    Openshell__V1__Sandbox *last;
};

/* ---- what is waited for ---- */

bool follow_is_settled(const Openshell__V1__Sandbox *sandbox)
{
    switch (sandbox->status->phase) {
    case OPENSHELL__V1__SANDBOX_PHASE__SANDBOX_PHASE_READY:
    case OPENSHELL__V1__SANDBOX_PHASE__SANDBOX_PHASE_ERROR:
    case OPENSHELL__V1__SANDBOX_PHASE__SANDBOX_PHASE_STOPPED:
        return true;
    default:
        return false;
    }
}

bool follow_is_ready(const Openshell__V1__Sandbox *sandbox)
{
    return follow_is_settled(sandbox)
        || sandbox->status->phase == OPENSHELL__V1__SANDBOX_PHASE__SANDBOX_PHASE_DELETING;
}

bool follow_has_ended(const Openshell__V1__Sandbox *sandbox)
{
    int code = 0;
    return sandbox_has_exited(sandbox, &code)
        || (follow_is_ready(sandbox)
            && sandbox->status->phase != OPENSHELL__V1__SANDBOX_PHASE__SANDBOX_PHASE_READY);
}

bool follow_is_gone(const Openshell__V1__Sandbox *sandbox)
{
    (void)sandbox;
    return false;
}

/* ---- signals ---- */

static void note_signal(void *context, int signal)
{
    struct follow *follow = context;
    struct rpc_client_stream *stream = atomic_load(&follow->stream);
    if (signal != SIGWINCH) {
        atomic_store(&follow->signal, signal);
        if (stream != NULL) {
            rpc_client_stream_cancel(stream);
        }
    }
}

int follow_signal(const struct follow *follow)
{
    return atomic_load(&follow->signal);
}

struct follow *follow_create(struct cli *cli)
{
    struct follow *follow = mem_alloc(sizeof(*follow));
    int fd = fileno(cli->io->err);
    follow->cli = cli;
    follow->arena = arena_create(ARENA_BYTES);
    follow->has_progress = fd >= 0 && isatty(fd) == 1;
    interrupt_claim(cli->io->interrupt, note_signal, follow);
    return follow;
}

void follow_destroy(struct follow *follow)
{
    if (follow != NULL) {
        interrupt_release(follow->cli->io->interrupt);
        arena_destroy(follow->arena);
        mem_free(follow);
    }
}

/* ---- showing ---- */

/* One line that is written over; NULL takes it away. */
static void show_progress(struct follow *follow, const Openshell__V1__Sandbox *sandbox)
{
    struct cli *cli = follow->cli;
    if (!follow->has_progress || follow->wish->line != NULL) {
        return;
    }
    AUTO_BUF struct buf line = BUF_INIT(LINE_BYTES_MAX);
    if (sandbox != NULL) {
        AUTO_BUF struct buf said = BUF_INIT(LINE_BYTES_MAX);
        buf_printf(
            &said,
            "%s: %s on %s",
            sandbox->metadata->name,
            sandbox_phase_word(cli, sandbox),
            sandbox->status->agent_pod);
        text_escape(buf_view(&said), &line);
    }
    (void)fprintf(cli->io->err, "\r\033[K%s", buf_text(&line));
    (void)fflush(cli->io->err);
}

#define OF_EXEC "exec."

static bool is_of_gateway(const Openshell__V1__SandboxLogLine *line)
{
    return strcmp(line->source, "gateway") == 0;
}

bool follow_is_of_main(const Openshell__V1__SandboxLogLine *line)
{
    return !is_of_gateway(line) && !str_has_prefix(str_of(line->target), STR(OF_EXEC));
}

bool follow_is_error(const Openshell__V1__SandboxLogLine *line)
{
    return strcmp(line->target, "stderr") == 0 || strcmp(line->target, OF_EXEC "stderr") == 0;
}

static const char *program_of(const Openshell__V1__SandboxLogLine *line)
{
    if (is_of_gateway(line)) {
        return line->source;
    }
    for (size_t i = 0; i < line->n_fields; i++) {
        if (strcmp(line->fields[i]->key, "program") == 0) {
            return line->fields[i]->value;
        }
    }
    return "exec";
}

enum err_code follow_put_line(
    struct cli *cli, void *context, const Openshell__V1__SandboxLogLine *line)
{
    (void)context;
    AUTO_BUF struct buf said = BUF_INIT(LINE_BYTES_MAX);
    AUTO_BUF struct buf text = BUF_INIT(LINE_BYTES_MAX);
    bool is_error = follow_is_error(line);
    int fd = fileno(is_error ? cli->io->err : cli->io->out);
    if (!follow_is_of_main(line)) {
        buf_printf(&said, "[%s] ", program_of(line));
    }
    buf_append_str(&said, str_of(line->message));
    if (fd >= 0 && isatty(fd) == 1) {
        text_escape(buf_view(&said), &text);
    } else {
        buf_append_str(&text, buf_view(&said));
    }
    buf_append_char(&text, '\n');
    if (!is_error) {
        return output_text(cli, buf_view(&text));
    }
    (void)fwrite(buf_text(&text), 1, text.len, cli->io->err);
    return ERR_OK;
}

/* ---- the watch ---- */

static enum err_code take(struct follow *follow, const ProtobufCMessage *message)
{
    const Openshell__V1__SandboxStreamEvent *event =
        (const Openshell__V1__SandboxStreamEvent *)(const void *)message;
    struct cli *cli = follow->cli;
    if (event->payload_case == OPENSHELL__V1__SANDBOX_STREAM_EVENT__PAYLOAD_LOG) {
        return follow->wish->line == NULL
            ? ERR_OK
            : follow->wish->line(cli, follow->wish->context, event->log);
    }
    if (event->payload_case != OPENSHELL__V1__SANDBOX_STREAM_EVENT__PAYLOAD_SANDBOX) {
        return ERR_OK;
    }
    Openshell__V1__Sandbox *seen = NULL;
    follow->last = NULL;
    arena_reset(follow->arena);
    TRY(cli_copy(cli, &event->sandbox->base, follow->arena, &seen));
    TRY(sandbox_take(cli, seen, &follow->last));
    show_progress(follow, follow->last);
    follow->is_ended = follow->is_ended || follow->wish->until(follow->last);
    return ERR_OK;
}

static struct mono_us after(const struct follow *follow, int64_t us)
{
    return (struct mono_us){ clock_mono(follow->cli->io->clock).value + us };
}

static enum err_code read_watch(struct follow *follow, struct rpc_client_stream *stream)
{
    struct cli *cli = follow->cli;
    AUTO_ARENA struct arena *arena = arena_create(ARENA_BYTES);
    const struct mono_us limit = args_is_set(cli->args, "timeout")
        ? after(follow, args_number(cli->args, "timeout"))
        : (struct mono_us){ INT64_MAX };
    while (!follow->is_ended || follow->wish->line != NULL) {
        ProtobufCMessage *message = NULL;
        struct mono_us deadline = follow->is_ended ? after(follow, QUIET_US) : limit;
        arena_reset(arena);
        enum err_code code = rpc_client_stream_read(stream, deadline, arena, &message, &cli->err);
        if (code == ERR_TIMEOUT && follow->is_ended) {
            break;
        }
        if (connection_is_stream_end(stream, code)) {
            follow->last = NULL; /* the server ends a watch when the sandbox is gone */
            break;
        }
        TRY(code);
        TRY(take(follow, message));
    }
    cli->err = (struct err_info)ERR_INFO_INIT;
    return ERR_OK;
}

enum err_code follow_run(
    struct follow *follow, const struct follow_wish *wish, Openshell__V1__Sandbox **ret_last)
{
    struct cli *cli = follow->cli;
    Openshell__V1__WatchSandboxRequest request = OPENSHELL__V1__WATCH_SANDBOX_REQUEST__INIT;
    struct rpc_client_stream *stream = NULL;
    char *programs = cli_text(cli, "sandbox");
    request.log_tail_lines = TAIL_LINES;
    request.log_sources = &programs;
    request.n_log_sources = 1;
    if (wish->log != NULL) {
        request = *wish->log;
    }
    request.id = cli_text(cli, wish->sandbox->metadata->id);
    request.follow_status = true;
    request.follow_logs = wish->line != NULL;
    follow->wish = wish;
    follow->is_ended = false;
    follow->last = NULL;
    TRY(connection_stream(
        cli,
        CONNECTION_OPENSHELL "WatchSandbox",
        &request.base,
        &openshell__v1__sandbox_stream_event__descriptor,
        &stream));
    atomic_store(&follow->stream, stream);
    enum err_code code = follow_signal(follow) != 0 ? ERR_CANCELED : read_watch(follow, stream);
    interrupt_release(cli->io->interrupt); /* nobody may cancel what is released now */
    atomic_store(&follow->stream, NULL);
    rpc_client_stream_release(stream);
    if (follow_signal(follow) == 0) {
        interrupt_claim(cli->io->interrupt, note_signal, follow);
    }
    show_progress(follow, NULL);
    if (follow_signal(follow) != 0) {
        return ERR_SET(&cli->err, ERR_CANCELED, "interrupted");
    }
    TRY(code);
    *ret_last = NULL;
    return follow->last == NULL ? ERR_OK : cli_copy(cli, &follow->last->base, cli->arena, ret_last);
}
