/*
 * Runs /bin/true in a sandbox again and again, one after the other, with Belay's own client
 * library, and prints how long each took, from the request to the exit code, in microseconds:
 *
 *     bench_exec_client TARGET SANDBOX_ID WARM COUNT
 *
 * WARM of them come first and are not printed.
 */
#include "common/rpc/client.h"

#include "belay_descriptors.h"
#include "common/base/cleanup.h"
#include "common/base/time.h"
#include "common/wire/wire.h"

#include "proto/openshell/v1/openshell.pb-c.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    EVENT_BYTES = 64 * 1024,
    RUNS_MAX = 1000000
};

static const int64_t patience_us = 30 * US_PER_SECOND;

/* Until the stream's end; its last event is the exit. */
static enum err_code read_exit(struct rpc_client_stream *stream, struct err_info *err)
{
    AUTO_ARENA struct arena *arena = arena_create(EVENT_BYTES);
    struct mono_us deadline = { clock_mono(clock_system()).value + patience_us };
    bool is_good = false;
    for (;;) {
        ProtobufCMessage *message = NULL;
        enum err_code code = rpc_client_stream_read(stream, deadline, arena, &message, err);
        if (code != ERR_OK) {
            return code == ERR_NOT_FOUND && is_good && rpc_client_stream_ended_ok(stream) ? ERR_OK
                : code == ERR_NOT_FOUND
                ? ERR_SET(err, ERR_INTERNAL, "the program did not exit with 0")
                : code;
        }
        const Openshell__V1__ExecSandboxEvent *event =
            (const Openshell__V1__ExecSandboxEvent *)(const void *)message;
        is_good = event->payload_case == OPENSHELL__V1__EXEC_SANDBOX_EVENT__PAYLOAD_EXIT
            && event->exit->exit_code == 0;
    }
}

static enum err_code run(struct rpc_channel *channel, char *sandbox_id, struct err_info *err)
{
    char program[] = "/bin/true";
    char *command[] = { program };
    Openshell__V1__ExecSandboxRequest request = OPENSHELL__V1__EXEC_SANDBOX_REQUEST__INIT;
    const struct rpc_call_options options = { .wait_for_ready = true, .speaks_first = true };
    struct rpc_client_stream *stream = NULL;
    request.sandbox_id = sandbox_id;
    request.command = command;
    request.n_command = ARRAY_LENGTH(command);
    TRY(rpc_client_stream_open(
        channel,
        "/openshell.v1.OpenShell/ExecSandbox",
        &openshell__v1__exec_sandbox_event__descriptor,
        &options,
        NULL,
        NULL,
        NULL,
        &stream,
        err));
    enum err_code code = rpc_client_stream_send_last(stream, &request.base);
    if (code == ERR_OK) {
        code = read_exit(stream, err);
    }
    rpc_client_stream_release(stream);
    return code;
}

static enum err_code run_all(
    struct rpc_channel *channel,
    char *sandbox_id,
    uint64_t warm,
    uint64_t count,
    struct err_info *err)
{
    for (uint64_t i = 0; i < warm + count; i++) {
        struct mono_us began = clock_mono(clock_system());
        TRY(run(channel, sandbox_id, err));
        int64_t took = clock_mono(clock_system()).value - began.value;
        if (i >= warm) {
            (void)printf("%lld\n", (long long)took);
        }
    }
    return ERR_OK;
}

static enum err_code measure(char *const *arguments, struct err_info *err)
{
    const struct rpc_channel_options options = { .target = arguments[1] };
    struct wire_schema *schema = NULL;
    struct rpc_client *client = NULL;
    struct rpc_channel *channel = NULL;
    uint64_t warm = 0;
    uint64_t count = 0;
    if (str_parse_uint64(str_of(arguments[3]), RUNS_MAX, &warm) != ERR_OK
        || str_parse_uint64(str_of(arguments[4]), RUNS_MAX, &count) != ERR_OK) {
        return ERR_SET(err, ERR_INVALID, "WARM and COUNT are numbers up to %d", RUNS_MAX);
    }
    TRY(wire_schema_load(belay_descriptors, belay_descriptors_size, &schema, err));
    enum err_code code = rpc_client_create(schema, &client, err);
    if (code == ERR_OK) {
        code = rpc_channel_create(client, &options, &channel, err);
    }
    if (code == ERR_OK) {
        code = run_all(channel, arguments[2], warm, count, err);
    }
    rpc_channel_destroy(channel);
    rpc_client_destroy(client);
    wire_schema_destroy(schema);
    return code;
}

int main(int argc, char **argv)
{
    struct err_info err = ERR_INFO_INIT;
    if (argc != 5) {
        (void)fputs("usage: bench_exec_client TARGET SANDBOX_ID WARM COUNT\n", stderr);
        return 2;
    }
    if (measure(argv, &err) != ERR_OK) {
        (void)fprintf(stderr, "bench_exec_client: %s\n", err.text);
        return EXIT_FAILURE;
    }
    return EXIT_SUCCESS;
}
