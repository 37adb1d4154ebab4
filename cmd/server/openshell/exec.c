/* ExecSandbox and ExecSandboxInteractive: one command in a sandbox, its streams and its exit. */
#include "cmd/server/openshell/operator_half.h"
#include "cmd/server/openshell/streams.h"
#include "cmd/server/sandbox/spec.h"
#include "common/wire/wire.h"

enum {
    ENVIRONMENT_MAX = 128,
    COLUMNS = 80,
    ROWS = 24,
    CHUNK_BYTES = 64 * 1024,
    TERMINAL_MOST = 65535
};

typedef Openshell__V1__ExecSandboxRequest exec_type;
typedef Openshell__V1__ExecSandboxInput input_type;
typedef Agentgateway__V1__RelayExec__EnvironmentEntry entry_type;

static enum err_code send_event(
    struct rpc_stream *stream, const struct relay_frame *frame, bool *ret_last)
{
    Openshell__V1__ExecSandboxEvent event = OPENSHELL__V1__EXEC_SANDBOX_EVENT__INIT;
    Openshell__V1__ExecSandboxStdout output = OPENSHELL__V1__EXEC_SANDBOX_STDOUT__INIT;
    Openshell__V1__ExecSandboxStderr errors = OPENSHELL__V1__EXEC_SANDBOX_STDERR__INIT;
    Openshell__V1__ExecSandboxExit ended = OPENSHELL__V1__EXEC_SANDBOX_EXIT__INIT;
    const ProtobufCBinaryData data = { frame->bytes.len, CONST_CAST(uint8_t *, frame->bytes.ptr) };
    switch (frame->kind) {
    case RELAY_DATA:
        event.payload_case = OPENSHELL__V1__EXEC_SANDBOX_EVENT__PAYLOAD_STDOUT;
        event.stdout = &output;
        output.data = data;
        break;
    case RELAY_ERRORS:
        event.payload_case = OPENSHELL__V1__EXEC_SANDBOX_EVENT__PAYLOAD_STDERR;
        event.stderr = &errors;
        errors.data = data;
        break;
    case RELAY_EXIT:
        event.payload_case = OPENSHELL__V1__EXEC_SANDBOX_EVENT__PAYLOAD_EXIT;
        event.exit = &ended;
        ended.exit_code = (int32_t)frame->a;
        *ret_last = true;
        break;
    default:
        return ERR_OK;
    }
    return *ret_last ? rpc_stream_send_last(stream, &event.base)
                     : rpc_stream_send(stream, &event.base);
}

static enum err_code fill_environment(
    struct arena *arena,
    const exec_type *request,
    Agentgateway__V1__RelayExec *exec,
    struct err_info *err)
{
    const char *pairs[2 * (ENVIRONMENT_MAX + 1)];
    size_t count = request->n_environment;
    for (size_t i = 0; i < count && i <= ENVIRONMENT_MAX; i++) {
        pairs[2 * i] = request->environment[i]->key;
        pairs[2 * i + 1] = request->environment[i]->value;
    }
    TRY(spec_check_environment("environment", pairs, count, err));
    exec->environment = arena_alloc(arena, (count + 1) * sizeof(void *));
    for (size_t i = 0; exec->environment != NULL && i < count; i++) {
        entry_type *entry =
            wire_new(arena, &agentgateway__v1__relay_exec__environment_entry__descriptor);
        if (entry == NULL) {
            return ERR_SET(err, ERR_LIMIT, "the request is too large");
        }
        entry->key = request->environment[i]->key;
        entry->value = request->environment[i]->value;
        exec->environment[exec->n_environment++] = entry;
    }
    return exec->environment == NULL ? ERR_SET(err, ERR_LIMIT, "the request is too large") : ERR_OK;
}

static enum err_code check_start(const exec_type *request, struct err_info *err)
{
    if (request->command[0][0] == '\0') {
        return ERR_SET(err, ERR_INVALID, "command: the program's name is empty");
    }
    if (request->workdir[0] != '\0' && request->workdir[0] != '/') {
        return ERR_SET(err, ERR_INVALID, "workdir: an absolute path is needed");
    }
    if (request->cols > TERMINAL_MOST || request->rows > TERMINAL_MOST) {
        return ERR_SET(err, ERR_INVALID, "cols and rows: at most %d", TERMINAL_MOST);
    }
    return ERR_OK;
}

/* Opens the relay and queues the input that came with the request, which the message is or has. */
static void start(
    struct rpc_stream *stream,
    struct operator_half *half,
    const exec_type *request,
    const ProtobufCMessage *message)
{
    struct err_info err = ERR_INFO_INIT;
    struct arena *arena = rpc_call_arena(rpc_stream_call(stream));
    Agentgateway__V1__ControlRelayOpen target = AGENTGATEWAY__V1__CONTROL_RELAY_OPEN__INIT;
    Agentgateway__V1__RelayExec exec = AGENTGATEWAY__V1__RELAY_EXEC__INIT;
    struct relay_wish wish = { .sandbox_id = request->sandbox_id, .target = &target };
    enum err_code code = check_start(request, &err);
    code = code == ERR_OK ? fill_environment(arena, request, &exec, &err) : code;
    code = code == ERR_OK ? operator_half_find_workspace(half, message, &wish.workspace_id, &err)
                          : code;
    if (code != ERR_OK) {
        operator_half_refuse(half, request->sandbox_id, &err);
        return;
    }
    exec.n_command = request->n_command;
    exec.command = request->command;
    exec.workdir = request->workdir;
    exec.tty = request->tty;
    exec.columns = request->cols == 0 ? COLUMNS : request->cols;
    exec.rows = request->rows == 0 ? ROWS : request->rows;
    exec.timeout_seconds = request->timeout_seconds;
    target.target_case = AGENTGATEWAY__V1__CONTROL_RELAY_OPEN__TARGET_EXEC;
    target.exec = &exec;
    operator_half_limit(half, request->timeout_seconds);
    operator_half_open(half, &wish, arena);
    struct str_view rest = str_from((const char *)request->stdin.data, request->stdin.len);
    while (rest.len > 0) {
        size_t bytes = rest.len < CHUNK_BYTES ? rest.len : CHUNK_BYTES;
        const struct relay_frame frame = { .kind = RELAY_DATA, .bytes = { rest.ptr, bytes } };
        operator_half_put(half, &frame);
        rest = str_from(rest.ptr + bytes, rest.len - bytes);
    }
}

static void put_end(struct operator_half *half)
{
    const struct relay_frame frame = { .kind = RELAY_END };
    operator_half_put(half, &frame);
}

static enum err_code exec_open(struct rpc_stream *stream, void **ret_state, struct err_info *err)
{
    (void)err;
    *ret_state = operator_half_create(stream, send_event);
    return ERR_OK;
}

static void exec_message(struct rpc_stream *stream, void *state, const ProtobufCMessage *message)
{
    if (!operator_half_is_open(state)) {
        start(stream, state, (const exec_type *)message, message);
        put_end(state);
    }
}

static void put_input(struct operator_half *half, const input_type *input)
{
    struct relay_frame frame = { .kind = RELAY_DATA };
    if (input->payload_case == OPENSHELL__V1__EXEC_SANDBOX_INPUT__PAYLOAD_RESIZE) {
        frame.kind = RELAY_RESIZE;
        frame.a = input->resize->cols;
        frame.b = input->resize->rows;
        if (frame.a < 1 || frame.b < 1 || frame.a > TERMINAL_MOST || frame.b > TERMINAL_MOST) {
            operator_half_end(half, ERR_INVALID, "resize: cols and rows are 1 to 65535");
            return;
        }
    } else {
        frame.bytes = str_from((const char *)input->stdin.data, input->stdin.len);
    }
    while (frame.bytes.len > CHUNK_BYTES) {
        struct relay_frame piece = frame;
        piece.bytes.len = CHUNK_BYTES;
        operator_half_put(half, &piece);
        frame.bytes = str_from(frame.bytes.ptr + CHUNK_BYTES, frame.bytes.len - CHUNK_BYTES);
    }
    operator_half_put(half, &frame);
}

static void interactive_message(
    struct rpc_stream *stream, void *state, const ProtobufCMessage *message)
{
    const input_type *input = (const input_type *)message;
    bool is_start = input->payload_case == OPENSHELL__V1__EXEC_SANDBOX_INPUT__PAYLOAD_START;
    if (is_start == operator_half_is_open(state)) {
        operator_half_end(
            state,
            ERR_INVALID,
            is_start ? "payload: start comes once, first" : "payload: start must come first");
    } else if (is_start) {
        start(stream, state, input->start, message);
    } else {
        put_input(state, input);
    }
}

static void interactive_half_closed(struct rpc_stream *stream, void *state)
{
    (void)stream;
    put_end(state);
}

static void pump(struct rpc_stream *stream, void *state)
{
    (void)stream;
    operator_half_pump(state);
}

static void tick(struct rpc_stream *stream, void *state)
{
    (void)stream;
    operator_half_tick(state);
}

static void closed(struct rpc_stream *stream, void *state)
{
    (void)stream;
    operator_half_destroy(state);
}

const struct rpc_stream_ops openshell_exec_ops = {
    .open = exec_open,
    .message = exec_message,
    .writable = pump,
    .woken = pump,
    .timer = tick,
    .closed = closed,
};

const struct rpc_stream_ops openshell_interactive_ops = {
    .open = exec_open,
    .message = interactive_message,
    .half_closed = interactive_half_closed,
    .writable = pump,
    .woken = pump,
    .timer = tick,
    .closed = closed,
};
