#include "cmd/cli/session/session.h"

#include "cmd/cli/connection.h"
#include "cmd/cli/interrupt.h"
#include "cmd/cli/session/escape.h"
#include "cmd/cli/session/sink.h"
#include "cmd/cli/session/terminal.h"
#include "common/sys/input.h"
#include "common/sys/loop.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <unistd.h>

enum {
    READ_BYTES = 64 * 1024,
    TYPED_BYTES = 2 * READ_BYTES, /* a held "~" may come back */
    HELD_BYTES = READ_BYTES,      /* typed while nobody takes it */
    UNSENT_MAX = 4                /* messages on their way before input waits */
};

struct session {
    struct cli *cli;
    struct session_wish *wish;
    struct loop *loop;
    struct rpc_client_stream *stream;
    struct terminal *terminal; /* NULL: our input is none, or none was asked for */
    struct escape escape;
    struct input *input; /* NULL: ended */
    struct sink *out;
    struct sink *errors;
    int in_fd;
    char *bytes; /* READ_BYTES: what is read at once */
    unsigned unsent;
    struct buf held; /* typed meanwhile */
    bool has_answer; /* anything came from the program */
    bool has_exit;
    int exit_code;
    bool is_closed;
    bool is_left;           /* by ~. */
    bool is_output_broken;  /* ours: a full disk, or nobody reads */
    atomic_int last_signal; /* that ends us */
    enum err_code code;     /* of the stream's end, or of what broke here */
    struct err_info err;
};

/* ---- the end ---- */

static void stop(struct session *session, enum err_code code)
{
    if (session->code == ERR_OK) {
        session->code = code;
    }
    loop_stop(session->loop);
}

/* The stream is over and everything it brought is written. */
static void stop_when_done(struct session *session)
{
    if (session->is_closed && sink_waiting(session->out) == 0
        && sink_waiting(session->errors) == 0) {
        loop_stop(session->loop);
    }
}

static void on_drained(void *context)
{
    struct session *session = context;
    if (sink_is_broken(session->out)) {
        session->is_output_broken = true;
        stop(session, ERR_CANCELED);
    } else if (sink_waiting(session->out) == 0 && sink_waiting(session->errors) == 0) {
        rpc_client_stream_pause(session->stream, false);
        stop_when_done(session);
    }
}

/* ---- from the program ---- */

static void put(struct session *session, struct sink *sink, const ProtobufCBinaryData *data)
{
    enum err_code code =
        sink_put(sink, str_from((const char *)data->data, data->len), &session->err);
    if (code != ERR_OK && sink == session->out) {
        session->is_output_broken = true;
        stop(session, code);
    }
    if (sink_waiting(sink) > 0) {
        rpc_client_stream_pause(session->stream, true);
    }
}

static void put_errors(struct session *session, const ProtobufCBinaryData *data)
{
    const struct session_files *files = session->wish->files;
    if (files == NULL) {
        put(session, session->errors, data);
        return;
    }
    size_t room = SESSION_ERRORS_MAX - files->errors->len;
    buf_append(files->errors, data->data, data->len < room ? data->len : room);
}

static void on_message(void *context, const ProtobufCMessage *message)
{
    struct session *session = context;
    const Openshell__V1__ExecSandboxEvent *event =
        (const Openshell__V1__ExecSandboxEvent *)(const void *)message;
    session->has_answer = true;
    switch (event->payload_case) {
    case OPENSHELL__V1__EXEC_SANDBOX_EVENT__PAYLOAD_STDOUT:
        put(session, session->out, &event->stdout->data);
        break;
    case OPENSHELL__V1__EXEC_SANDBOX_EVENT__PAYLOAD_STDERR:
        put_errors(session, &event->stderr->data);
        break;
    case OPENSHELL__V1__EXEC_SANDBOX_EVENT__PAYLOAD_EXIT:
        session->has_exit = true;
        session->exit_code = event->exit->exit_code;
        break;
    default:
        break;
    }
}

static void on_closed(void *context, enum err_code code, const struct err_info *err)
{
    struct session *session = context;
    session->is_closed = true;
    if (code != ERR_OK && session->code == ERR_OK && !session->has_exit) {
        session->code = code;
        session->err = *err;
    }
    stop_when_done(session);
}

/* ---- to the program ---- */

static bool send(struct session *session, Openshell__V1__ExecSandboxInput *input)
{
    if (session->is_closed || rpc_client_stream_send(session->stream, &input->base) != ERR_OK) {
        return false; /* its end is on the way and says why */
    }
    session->unsent++;
    return true;
}

static void send_bytes(struct session *session, struct str_view bytes)
{
    Openshell__V1__ExecSandboxInput input = OPENSHELL__V1__EXEC_SANDBOX_INPUT__INIT;
    input.payload_case = OPENSHELL__V1__EXEC_SANDBOX_INPUT__PAYLOAD_STDIN;
    input.stdin = (ProtobufCBinaryData){ bytes.len, CONST_CAST(uint8_t *, bytes.ptr) };
    if (bytes.len > 0) {
        (void)send(session, &input);
    }
}

/*
 * What is typed while messages wait is held, and lost beyond a bound, as in a terminal that nobody
 * reads: our keys are seen whatever the program does.
 */
static void send_or_hold(struct session *session, struct str_view bytes)
{
    if (session->unsent < UNSENT_MAX) {
        send_bytes(session, bytes);
        return;
    }
    size_t room = HELD_BYTES - session->held.len;
    buf_append_str(&session->held, str_from(bytes.ptr, bytes.len < room ? bytes.len : room));
}

static void send_held(struct session *session)
{
    send_bytes(session, buf_view(&session->held));
    buf_clear(&session->held);
}

static void end_input(struct session *session)
{
    send_held(session);
    input_destroy(STEAL(session->input));
    rpc_client_stream_half_close(session->stream);
}

static void say(struct session *session, const char *text)
{
    struct err_info ignored = ERR_INFO_INIT;
    (void)!sink_put(session->errors, str_of(text), &ignored);
}

/* False: the session is to end. */
static bool send_typed(struct session *session, struct str_view typed)
{
    AUTO_BUF struct buf kept = BUF_INIT(TYPED_BYTES);
    enum escape_action action = ESCAPE_NONE;
    do {
        action = escape_filter(&session->escape, &typed, &kept);
        if (action == ESCAPE_HELP) {
            say(session,
                "~?\r\nBelay's keys, at the start of a line:\r\n"
                "  ~.  end the session\r\n  ~~  send a ~\r\n  ~?  this text\r\n");
        }
    } while (action == ESCAPE_HELP);
    send_or_hold(session, buf_view(&kept));
    return action != ESCAPE_END;
}

static void on_input(void *context)
{
    struct session *session = context;
    if (session->unsent >= UNSENT_MAX && session->terminal == NULL) {
        (void)!input_pause(session->input, true, &session->err);
        return;
    }
    ssize_t count = read(session->in_fd, session->bytes, READ_BYTES);
    if (count < 0 && (errno == EINTR || errno == EAGAIN)) {
        return;
    }
    if (count <= 0) {
        end_input(session);
        return;
    }
    struct str_view typed = str_from(session->bytes, (size_t)count);
    if (session->terminal == NULL) {
        send_bytes(session, typed);
    } else if (!send_typed(session, typed)) {
        session->is_left = true;
        stop(session, ERR_OK);
    }
}

static void on_writable(void *context)
{
    struct session *session = context;
    session->unsent = 0;
    send_held(session);
    if (session->input != NULL && input_pause(session->input, false, &session->err) != ERR_OK) {
        end_input(session);
    }
}

/* ---- signals ---- */

static void send_size(void *context)
{
    struct session *session = context;
    Openshell__V1__ExecSandboxInput input = OPENSHELL__V1__EXEC_SANDBOX_INPUT__INIT;
    Openshell__V1__ExecSandboxWindowResize size = OPENSHELL__V1__EXEC_SANDBOX_WINDOW_RESIZE__INIT;
    input.payload_case = OPENSHELL__V1__EXEC_SANDBOX_INPUT__PAYLOAD_RESIZE;
    input.resize = &size;
    if (session->input != NULL && terminal_size(session->in_fd, &size.cols, &size.rows)) {
        (void)send(session, &input);
    }
}

static void end_by_signal(void *context)
{
    stop(context, ERR_OK);
}

/* On the interrupt's thread. */
static void on_signal(void *context, int signal)
{
    struct session *session = context;
    if (signal == SIGWINCH) {
        (void)!loop_post(session->loop, send_size, session);
        return;
    }
    atomic_store(&session->last_signal, signal);
    (void)!loop_post(session->loop, end_by_signal, session);
}

/* ---- the run ---- */

static bool post(void *context, void (*fn)(void *argument), void *argument)
{
    return loop_post(context, fn, argument);
}

static enum err_code open_stream(struct session *session)
{
    static const struct rpc_client_stream_ops OPS = { .message = on_message,
                                                      .writable = on_writable,
                                                      .closed = on_closed };
    const struct rpc_executor executor = { post, session->loop };
    const struct connection_listener listener = { &executor, &OPS, session };
    return connection_events(
        session->cli,
        CONNECTION_OPENSHELL "ExecSandboxInteractive",
        &openshell__v1__exec_sandbox_event__descriptor,
        &listener,
        &session->stream);
}

/* Raw mode only where there is a terminal of ours to type at. */
static enum err_code open_terminal(struct session *session)
{
    struct session_wish *wish = session->wish;
    if (!wish->has_terminal) {
        return ERR_OK;
    }
    wish->start.tty = true;
    (void)terminal_size(session->in_fd, &wish->start.cols, &wish->start.rows);
    if (!wish->has_input || session->in_fd < 0 || isatty(session->in_fd) != 1) {
        return ERR_OK;
    }
    return terminal_open(session->in_fd, &session->terminal, &session->cli->err);
}

static enum err_code start(struct session *session)
{
    struct session_wish *wish = session->wish;
    Openshell__V1__ExecSandboxInput input = OPENSHELL__V1__EXEC_SANDBOX_INPUT__INIT;
    TRY(open_stream(session));
    TRY(open_terminal(session));
    input.payload_case = OPENSHELL__V1__EXEC_SANDBOX_INPUT__PAYLOAD_START;
    input.start = &wish->start;
    if (rpc_client_stream_send(session->stream, &input.base) != ERR_OK) {
        return ERR_SET(&session->cli->err, ERR_INVALID, "the command is too large to be sent");
    }
    if (!wish->has_input || session->in_fd < 0) {
        rpc_client_stream_half_close(session->stream);
        return ERR_OK;
    }
    session->input = input_create(session->loop, session->in_fd, on_input, session);
    return input_pause(session->input, false, &session->cli->err);
}

static void run_loop(struct session *session)
{
    struct interrupt *interrupt = session->terminal == NULL ? NULL : session->cli->io->interrupt;
    interrupt_claim(interrupt, on_signal, session);
    loop_run(session->loop);
    interrupt_release(interrupt);
}

/* The program's status is unknown. */
static enum err_code lose(struct session *session)
{
    session->wish->is_lost = true;
    session->cli->exit_status = (enum cli_exit)SESSION_EXIT_LOST;
    return ERR_OK;
}

/* What became of it, said once the terminal is as it was. */
static enum err_code finish(struct session *session)
{
    struct cli *cli = session->cli;
    const char *name = session->wish->name;
    int signal = atomic_load(&session->last_signal);
    if (signal != 0) {
        cli->signal = signal;
        return ERR_OK;
    }
    if (session->is_left) {
        output_note(cli, "The session in %s is left.", name);
        return lose(session);
    }
    if (session->has_exit && session->code == ERR_OK) {
        cli->exit_status = (enum cli_exit)(session->exit_code & 0xff);
        return ERR_OK;
    }
    if (session->code == ERR_OK) {
        session->code =
            ERR_SET(&session->err, ERR_UNAVAILABLE, "the server ended the session early");
    }
    /* Canceled, but not by us, who would need no words for it. */
    bool is_canceled = session->code == ERR_CANCELED && !session->is_output_broken;
    if (is_canceled || (session->has_answer && !session->is_output_broken)) {
        const char *text = session->err.text;
        const char *said = text[0] != 0 ? text : err_name(session->code);
        bool is_line = session->code == ERR_UNAVAILABLE;
        const char *what = is_line ? "the connection to" : "the session in";
        output_note(cli, "belay: %s %s is lost: %s", what, name, said);
        return lose(session);
    }
    cli->err = session->err;
    return session->code;
}

enum err_code session_run(struct cli *cli, struct session_wish *wish)
{
    struct session session = { .cli = cli, .wish = wish };
    atomic_init(&session.last_signal, 0);
    session.bytes = arena_alloc(cli->arena, READ_BYTES);
    session.held = (struct buf)BUF_INIT(HELD_BYTES);
    session.in_fd = wish->files == NULL ? fileno(cli->io->in) : wish->files->in_fd;
    TRY(connection_open(cli));
    TRY(loop_create(cli->io->clock, &session.loop, &cli->err));
    FILE *out = wish->files == NULL ? cli->io->out : wish->files->out;
    session.out = sink_create(session.loop, out, on_drained, &session);
    session.errors = sink_create(session.loop, cli->io->err, on_drained, &session);
    enum err_code code = start(&session);
    if (code == ERR_OK) {
        run_loop(&session);
    }
    terminal_close(session.terminal);
    rpc_client_stream_release(session.stream);
    input_destroy(session.input);
    sink_destroy(session.out);
    sink_destroy(session.errors);
    buf_deinit(&session.held);
    while (loop_turn(session.loop)) { /* what was posted holds references */
    }
    loop_destroy(session.loop);
    TRY(code);
    return finish(&session);
}
