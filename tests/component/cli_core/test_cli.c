/*
 * The command line against a server of this test: whole runs (argv in, output and exit status out)
 * over a Unix socket, with a few methods of AgentAdminService that answer fixed data. It shows what
 * the client side does with good, bad, hostile and missing answers.
 */
#include "belay_descriptors.h"
#include "cmd/cli/cli.h"
#include "cmd/cli/term/text.h"
#include "common/base/cleanup.h"
#include "common/base/log.h"
#include "common/crypto/secret.h"
#include "common/rpc/client.h"
#include "common/rpc/server.h"
#include "common/wire/wire.h"
#include "tests/support/open_gate.h"
#include "tests/support/test.h"

#include "proto/agentgateway/v1/admin.pb-c.h"

#include <stdlib.h>
#include <sys/stat.h>

#define START (INT64_C(1767225600)) /* 2026-01-01T00:00:00Z */

enum {
    METHODS_MAX = 64,
    AGENTS = 5,
    HOSTILE = 4
};

struct world {
    char *dir;
    char *socket;
    char *config;
    struct wire_schema *schema;
    struct rpc_server *server;
    struct rpc_method rows[METHODS_MAX];
    struct rpc_table table;
    struct test_clock clock;
    bool no_socket; /* the environment names none */
    const char *key;
    char *out;
    char *err;
    int status;
};

/* ---- the server ---- */

static void *new_message(struct rpc_call *call, const ProtobufCMessageDescriptor *type)
{
    return wire_new(rpc_call_arena(call), type);
}

static char *text(struct rpc_call *call, const char *value)
{
    return arena_strdup(rpc_call_arena(call), value);
}

static Google__Protobuf__Timestamp *seconds(struct arena *arena, int64_t value)
{
    Google__Protobuf__Timestamp *time = wire_new(arena, &google__protobuf__timestamp__descriptor);
    time->seconds = value;
    return time;
}

static enum err_code serve_info(
    struct rpc_call *call,
    const ProtobufCMessage *request,
    ProtobufCMessage **ret,
    struct err_info *err)
{
    Agentgateway__V1__ServerInfo *info =
        new_message(call, &agentgateway__v1__server_info__descriptor);
    unsigned count = 0;
    struct str_view key = rpc_call_metadata(call, "authorization", &count);
    (void)request;
    if (str_equal(key, STR("Bearer blk_wrong"))) {
        return ERR_SET(err, ERR_UNAUTHENTICATED, "the API key is not valid");
    }
    info->version = text(call, "9.9.9");
    info->mode = text(call, "combined");
    info->database = text(call, "sqlite");
    info->principal = text(call, count > 0 ? "key:key_1" : "user:local/0");
    info->workspace = text(call, "default");
    info->agents = AGENTS;
    info->agents_online = 3;
    info->started_at = seconds(rpc_call_arena(call), START - 7200);
    *ret = &info->base;
    return ERR_OK;
}

static Agentgateway__V1__Agent *agent_of(struct arena *arena, int64_t id)
{
    Agentgateway__V1__Agent *agent = wire_new(arena, &agentgateway__v1__agent__descriptor);
    agent->id = id;
    agent->name = id == HOSTILE ? arena_strdup(arena, "evil\033[2J")
                                : arena_printf(arena, "node-%d", (int)id);
    agent->workspace = arena_strdup(arena, "default");
    agent->state = AGENTGATEWAY__V1__AGENT_STATE__AGENT_STATE_CONFIRMED;
    agent->online = id % 2 == 1;
    agent->version = arena_strdup(arena, "0.1.0");
    agent->last_seen_at = seconds(arena, START - id * 60);
    return agent;
}

/* Two agents per page, whatever was asked. */
static enum err_code serve_agents(
    struct rpc_call *call,
    const ProtobufCMessage *request,
    ProtobufCMessage **ret,
    struct err_info *err)
{
    const Agentgateway__V1__ListAgentsRequest *list =
        (const Agentgateway__V1__ListAgentsRequest *)(const void *)request;
    struct arena *arena = rpc_call_arena(call);
    Agentgateway__V1__ListAgentsResponse *reply =
        new_message(call, &agentgateway__v1__list_agents_response__descriptor);
    uint64_t first = 1;
    (void)err;
    if (list->page_token[0] != 0) {
        assert_ok(str_parse_uint64(str_of(list->page_token), AGENTS, &first));
    }
    reply->agents = arena_alloc(arena, 2 * sizeof(void *));
    for (uint64_t id = first; id < first + 2 && id <= AGENTS; id++) {
        reply->agents[reply->n_agents++] = agent_of(arena, (int64_t)id);
    }
    if (first + 2 <= AGENTS) {
        reply->next_page_token = arena_printf(arena, "%d", (int)first + 2);
    }
    *ret = &reply->base;
    return ERR_OK;
}

static enum err_code serve_agent(
    struct rpc_call *call,
    const ProtobufCMessage *request,
    ProtobufCMessage **ret,
    struct err_info *err)
{
    const char *name = ((const Agentgateway__V1__GetAgentRequest *)(const void *)request)->agent;
    (void)call;
    if (strcmp(name, "denied") == 0) {
        return ERR_SET(err, ERR_DENIED, "needs the scope agent:read");
    }
    if (strcmp(name, "busy") == 0) {
        return ERR_SET(err, ERR_LIMIT, "too many calls");
    }
    if (strcmp(name, "away") == 0) {
        return ERR_SET(err, ERR_UNAVAILABLE, "the agent went away before the end");
    }
    if (strcmp(name, "invalid") == 0) {
        return ERR_SET(err, ERR_INVALID, "agent: 256 characters, at most 255");
    }
    if (strcmp(name, "conflict") == 0) {
        return ERR_SET(err, ERR_PRECONDITION, "the agent is revoked");
    }
    if (strncmp(name, "node-", 5) != 0) {
        return ERR_SET(err, ERR_NOT_FOUND, "no agent \"%s\"", name);
    }
    *ret = &agent_of(rpc_call_arena(call), name[5] - '0')->base;
    return ERR_OK;
}

static enum err_code serve_update(
    struct rpc_call *call,
    const ProtobufCMessage *request,
    ProtobufCMessage **ret,
    struct err_info *err)
{
    const Agentgateway__V1__UpdateAgentRequest *update =
        (const Agentgateway__V1__UpdateAgentRequest *)(const void *)request;
    Agentgateway__V1__Agent *agent = agent_of(rpc_call_arena(call), 1);
    (void)err;
    agent->name = arena_printf(
        rpc_call_arena(call),
        "set=%zu:%s removed=%zu:%s",
        update->n_set_labels,
        update->n_set_labels > 0 ? update->set_labels[0]->key : "",
        update->n_remove_labels,
        update->n_remove_labels > 0 ? update->remove_labels[0] : "");
    agent->cordoned = update->cordoned;
    *ret = &agent->base;
    return ERR_OK;
}

static enum err_code serve_token(
    struct rpc_call *call,
    const ProtobufCMessage *request,
    ProtobufCMessage **ret,
    struct err_info *err)
{
    const Agentgateway__V1__CreateEnrollmentTokenRequest *create =
        (const Agentgateway__V1__CreateEnrollmentTokenRequest *)(const void *)request;
    Agentgateway__V1__CreateEnrollmentTokenResponse *reply =
        new_message(call, &agentgateway__v1__create_enrollment_token_response__descriptor);
    (void)err;
    assert_int_equal(create->ttl_seconds, 7200);
    reply->token = new_message(call, &agentgateway__v1__enrollment_token__descriptor);
    reply->token->id = text(call, "enr_1");
    reply->join_string = text(call, "belay-join:fixed");
    reply->secret = text(call, "blt_fixed");
    *ret = &reply->base;
    return ERR_OK;
}

static enum err_code serve_query(
    struct rpc_call *call,
    const ProtobufCMessage *request,
    ProtobufCMessage **ret,
    struct err_info *err)
{
    struct arena *arena = rpc_call_arena(call);
    Agentgateway__V1__QueryTelemetryResponse *reply =
        new_message(call, &agentgateway__v1__query_telemetry_response__descriptor);
    Agentgateway__V1__TelemetrySeriesData *series =
        new_message(call, &agentgateway__v1__telemetry_series_data__descriptor);
    (void)request;
    (void)err;
    reply->metric = text(call, "host.cpu.busy");
    reply->series = arena_alloc(arena, sizeof(void *));
    reply->series[0] = series;
    reply->n_series = 1;
    series->agent_id = 1;
    series->agent_name = text(call, "node-1");
    series->unit = text(call, "ratio");
    series->rows = arena_alloc(arena, 60 * sizeof(void *));
    for (int i = 0; i < 60; i++) {
        Agentgateway__V1__TelemetryRow *row =
            new_message(call, &agentgateway__v1__telemetry_row__descriptor);
        row->time = seconds(arena, START - 600 + i * 10);
        row->value = (double)i / 60;
        series->rows[series->n_rows++] = row;
    }
    *ret = &reply->base;
    return ERR_OK;
}

static Agentgateway__V1__Command *command_of(struct arena *arena, const char *id)
{
    Agentgateway__V1__Command *command = wire_new(arena, &agentgateway__v1__command__descriptor);
    command->id = arena_strdup(arena, id);
    command->kind = arena_strdup(arena, "device_command");
    command->state = AGENTGATEWAY__V1__COMMAND_STATE__COMMAND_STATE_QUEUED;
    return command;
}

/* The command's id tells WatchCommand how it will end. */
static enum err_code serve_send(
    struct rpc_call *call,
    const ProtobufCMessage *request,
    ProtobufCMessage **ret,
    struct err_info *err)
{
    const Agentgateway__V1__SendCommandRequest *send =
        (const Agentgateway__V1__SendCommandRequest *)(const void *)request;
    (void)err;
    assert_string_not_equal(send->idempotency_key, "");
    *ret = &command_of(
                rpc_call_arena(call), strcmp(send->agent, "node-2") == 0 ? "cmd_bad" : "cmd_good")
                ->base;
    return ERR_OK;
}

static enum err_code open_stream(struct rpc_stream *stream, void **ret_state, struct err_info *err)
{
    (void)stream;
    (void)err;
    *ret_state = NULL;
    return ERR_OK;
}

static void close_stream(struct rpc_stream *stream, void *state)
{
    (void)stream;
    (void)state;
}

static void watch_command(struct rpc_stream *stream, void *state, const ProtobufCMessage *message)
{
    const char *id = ((const Agentgateway__V1__WatchCommandRequest *)(const void *)message)->id;
    Agentgateway__V1__Command *command = command_of(rpc_call_arena(rpc_stream_call(stream)), id);
    (void)state;
    if (strcmp(id, "cmd_missing") == 0) {
        rpc_stream_finish(stream, ERR_NOT_FOUND, "no such command");
        return;
    }
    assert_ok(rpc_stream_send(stream, &command->base));
    command->state = strcmp(id, "cmd_bad") == 0
        ? AGENTGATEWAY__V1__COMMAND_STATE__COMMAND_STATE_FAILED
        : AGENTGATEWAY__V1__COMMAND_STATE__COMMAND_STATE_SUCCEEDED;
    command->result.data =
        (uint8_t *)arena_strdup(rpc_call_arena(rpc_stream_call(stream)), "blink\033[2J");
    command->result.len = 9;
    assert_ok(rpc_stream_send(stream, &command->base));
    rpc_stream_finish(stream, ERR_OK, NULL);
}

static void watch_agents(struct rpc_stream *stream, void *state, const ProtobufCMessage *message)
{
    struct arena *arena = rpc_call_arena(rpc_stream_call(stream));
    Agentgateway__V1__AgentChange change = AGENTGATEWAY__V1__AGENT_CHANGE__INIT;
    (void)state;
    (void)message;
    change.agent = agent_of(arena, 1);
    assert_ok(rpc_stream_send(stream, &change.base));
    change.agent = NULL;
    change.initial_done = true;
    assert_ok(rpc_stream_send(stream, &change.base));
    rpc_stream_finish(stream, ERR_OK, NULL); /* the server goes away */
}

static void watch_telemetry(struct rpc_stream *stream, void *state, const ProtobufCMessage *message)
{
    struct arena *arena = rpc_call_arena(rpc_stream_call(stream));
    Agentgateway__V1__TelemetryPoint point = AGENTGATEWAY__V1__TELEMETRY_POINT__INIT;
    (void)state;
    (void)message;
    point.agent_id = 1;
    point.agent_name = arena_strdup(arena, "node-1");
    point.unit = arena_strdup(arena, "ratio");
    point.time = seconds(arena, START - 1);
    point.value = 0.25;
    assert_ok(rpc_stream_send(stream, &point.base)); /* and then nothing: the stream stays open */
}

static enum err_code refuse(
    struct rpc_call *call,
    const ProtobufCMessage *request,
    ProtobufCMessage **ret,
    struct err_info *err)
{
    (void)call;
    (void)request;
    (void)ret;
    return ERR_SET(err, ERR_UNSUPPORTED, "not in this test");
}

static void refuse_stream(struct rpc_stream *stream, void *state, const ProtobufCMessage *message)
{
    (void)state;
    (void)message;
    rpc_stream_finish(stream, ERR_UNSUPPORTED, "not in this test");
}

static const struct rpc_stream_ops WATCH_COMMAND = { .open = open_stream,
                                                     .message = watch_command,
                                                     .closed = close_stream };
static const struct rpc_stream_ops WATCH_AGENTS = { .open = open_stream,
                                                    .message = watch_agents,
                                                    .closed = close_stream };
static const struct rpc_stream_ops WATCH_TELEMETRY = { .open = open_stream,
                                                       .message = watch_telemetry,
                                                       .closed = close_stream };
static const struct rpc_stream_ops REFUSE_STREAM = { .open = open_stream,
                                                     .message = refuse_stream,
                                                     .closed = close_stream };

static const struct {
    const char *name;
    rpc_unary_fn unary;
    const struct rpc_stream_ops *stream;
} SERVED[] = {
    { "GetServerInfo", serve_info, NULL },
    { "ListAgents", serve_agents, NULL },
    { "GetAgent", serve_agent, NULL },
    { "UpdateAgent", serve_update, NULL },
    { "CreateEnrollmentToken", serve_token, NULL },
    { "QueryTelemetry", serve_query, NULL },
    { "SendCommand", serve_send, NULL },
    { "WatchCommand", NULL, &WATCH_COMMAND },
    { "WatchAgents", NULL, &WATCH_AGENTS },
    { "WatchTelemetry", NULL, &WATCH_TELEMETRY },
};

static void fill_rows(struct world *world)
{
    const ProtobufCServiceDescriptor *service = &agentgateway__v1__agent_admin_service__descriptor;
    for (unsigned i = 0; i < service->n_methods; i++) {
        struct rpc_method *row = &world->rows[i];
        char path[128];
        (void)snprintf(path, sizeof(path), "/%s/%s", service->name, service->methods[i].name);
        const struct wire_method *method = wire_schema_find_method(world->schema, path);
        *row =
            (struct rpc_method){ .path = method->path,
                                 .input = service->methods[i].input,
                                 .output = service->methods[i].output,
                                 .kind = method->server_streaming ? RPC_SERVER_STREAM : RPC_UNARY,
                                 .max_request_bytes = 1 << 20,
                                 .unary = method->server_streaming ? NULL : refuse,
                                 .stream = method->server_streaming ? &REFUSE_STREAM : NULL,
                                 .policy = world };
        for (size_t s = 0; s < ARRAY_LENGTH(SERVED); s++) {
            if (strcmp(SERVED[s].name, service->methods[i].name) == 0) {
                row->unary = SERVED[s].unary;
                row->stream = SERVED[s].stream;
            }
        }
    }
    world->table = (struct rpc_table){ world->rows, service->n_methods };
}

/* ---- runs ---- */

static const char *env_of(void *context, const char *name)
{
    const struct world *world = context;
    if (strcmp(name, "BELAY_SOCKET") == 0) {
        return world->no_socket ? NULL : world->socket;
    }
    if (strcmp(name, "BELAY_API_KEY") == 0) {
        return world->key;
    }
    return strcmp(name, "XDG_CONFIG_HOME") == 0 ? world->config : NULL;
}

/* Runs one line, words separated by single spaces; output, messages and status stay in world. */
static void belay_in(struct world *world, const char *line, const char *input)
{
    size_t sizes[2] = { 0, 0 };
    mem_free(world->out);
    mem_free(world->err);
    struct arena *arena = arena_create(1 << 16);
    char *argv[32] = { arena_strdup(arena, "belay") };
    int argc = 1;
    struct str_view rest = str_of(line);
    struct str_view word = STR_NONE;
    for (bool more = true; more;) {
        more = str_cut(rest, ' ', &word, &rest);
        argv[argc++] = arena_str_dup(arena, more ? word : rest);
    }
    char *out = NULL;
    char *err = NULL;
    AUTO_FREE char *given = mem_strdup(input);
    struct cli_io io = { .in = fmemopen(given, strlen(given) + 1, "r"),
                         .out = open_memstream(&out, &sizes[0]),
                         .err = open_memstream(&err, &sizes[1]),
                         .env = env_of,
                         .env_context = world,
                         .clock = &world->clock.clock };
    world->status = cli_run(&io, argc, argv);
    (void)fclose(io.in);
    (void)fclose(io.out);
    (void)fclose(io.err);
    world->out = mem_strdup(out);
    world->err = mem_strdup(err);
    free(out);
    free(err);
    arena_destroy(arena);
}

static void belay(struct world *world, const char *line)
{
    belay_in(world, line, "x");
}

static void expect_status(struct world *world, const char *line, int status)
{
    belay(world, line);
    if (world->status != status) {
        print_error("belay %s: status %d\n%s%s\n", line, world->status, world->out, world->err);
    }
    assert_int_equal(world->status, status);
}

static void assert_contains(const char *haystack, const char *needle)
{
    if (strstr(haystack, needle) == NULL) {
        print_error("\"%s\" lacks \"%s\"\n", haystack, needle);
    }
    assert_non_null(strstr(haystack, needle));
}

static int setup(void **state)
{
    struct world *world = mem_alloc(sizeof(*world));
    struct err_info err = ERR_INFO_INIT;
    world->dir = test_dir_create();
    world->socket = mem_printf("unix:%s/s", world->dir);
    world->config = mem_printf("%s/config", world->dir);
    test_clock_init(&world->clock);
    world->clock.clock.mono = clock_system()->mono; /* deadlines are real ones */
    assert_ok_err(
        err, wire_schema_load(belay_descriptors, belay_descriptors_size, &world->schema, &err));
    fill_rows(world);
    struct rpc_server_options options = { .schema = world->schema,
                                          .tables = &world->table,
                                          .table_count = 1,
                                          .gate = OPEN_GATE,
                                          .service = world,
                                          .pollers = 1,
                                          .workers = 1 };
    struct rpc_listen_options listen = { .name = "operators", .address = world->socket };
    assert_ok_err(err, rpc_server_create(&options, &world->server, &err));
    assert_ok_err(err, rpc_server_listen(world->server, &listen, NULL, &err));
    assert_ok_err(err, rpc_server_start(world->server, &err));
    *state = world;
    return 0;
}

static int teardown(void **state)
{
    struct world *world = *state;
    rpc_server_destroy(world->server);
    wire_schema_destroy(world->schema);
    test_dir_remove(world->dir);
    mem_free(world->socket);
    mem_free(world->config);
    mem_free(world->out);
    mem_free(world->err);
    mem_free(world);
    return 0;
}

/* ---- tests ---- */

static void test_status_in_words_and_json(void **state)
{
    struct world *world = *state;
    expect_status(world, "status", 0);
    assert_contains(world->out, "belay-server 9.9.9, combined on sqlite");
    assert_contains(world->out, "5, 3 online");
    assert_contains(world->out, "user:local/0");
    expect_status(world, "status -o json", 0);
    assert_contains(world->out, "\"reachable\": true");
    assert_contains(world->out, "\"agentsOnline\": \"3\"");
    expect_status(world, "status -o yaml", 0);
    assert_contains(world->out, "server:\n  serverId: \"\"\n  version: \"9.9.9\"\n");
}

static void test_lists_join_their_pages(void **state)
{
    struct world *world = *state;
    expect_status(world, "agent list -o name", 0);
    assert_string_equal(world->out, "node-1\nnode-2\nnode-3\nevil\\x1b[2J\nnode-5\n");
    expect_status(world, "agent list -o name --limit 3", 0);
    assert_contains(world->out, "node-3\n");
    assert_contains(world->err, "there are more: --limit");
    expect_status(world, "agent list", 0);
    assert_contains(world->out, "NAME ");
    assert_contains(world->out, "online");
    assert_null(strchr(world->out, 033));
    expect_status(world, "agent list --no-headers -o wide", 0);
    assert_null(strstr(world->out, "NAME"));
    expect_status(world, "agent list -o json", 0);
    assert_contains(world->out, "\"nextPageToken\": \"\"");
    assert_contains(world->out, "\"name\": \"node-5\"");
}

static void test_one_object_in_detail(void **state)
{
    struct world *world = *state;
    expect_status(world, "agent get node-1", 0);
    assert_contains(world->out, "NAME:");
    assert_contains(world->out, "2025-12-31T23:59:00Z (60s ago)");
    expect_status(world, "agent get node-1 -o yaml", 0);
    assert_contains(world->out, "id: \"1\"\nname: node-1\n");
    expect_status(world, "agent label node-1 site=north rack-", 0);
    assert_contains(world->out, "set=1:site removed=1:rack");
    expect_status(world, "agent cordon node-1", 0);
    assert_contains(world->out, "online,cordoned");
}

static void test_errors_have_a_status_and_advice(void **state)
{
    struct world *world = *state;
    expect_status(world, "agent get nobody", 2);
    assert_contains(world->err, "belay: no agent \"nobody\"\n  The list command");
    expect_status(world, "agent get denied", 3);
    assert_contains(world->err, "agent:read");
    expect_status(world, "agent get invalid", 4);
    assert_contains(world->err, "at most 255");
    expect_status(world, "agent get conflict", 5);
    expect_status(world, "agent get busy", 75);
    expect_status(world, "agent get away", 69);
    assert_contains(world->err, "Try again in a moment.");
    assert_null(strstr(world->err, "Is belay-server running"));
    expect_status(world, "device list", 1);
    expect_status(world, "agent get", 64);
    assert_contains(world->err, "See: belay agent get --help");
    expect_status(world, "agent label node-1 nonsense", 64);
    expect_status(world, "agent revoke node-1", 64);
    expect_status(world, "agent get node-1 --gateway nowhere", 2);
    assert_string_equal(world->out, "");
}

static void test_an_unreachable_server_is_told_apart(void **state)
{
    struct world *world = *state;
    rpc_server_destroy(world->server);
    world->server = NULL;
    expect_status(world, "agent list", 69);
    assert_contains(world->err, "cannot reach the server at unix:");
    assert_contains(world->err, "Is belay-server running");
    expect_status(world, "status -o json", 69);
    assert_contains(world->out, "\"reachable\": false");
    world->no_socket = true;
    expect_status(world, "status", 69);
    assert_contains(world->err, "no server to talk to");
}

static void test_secrets_are_shown_once_and_apart(void **state)
{
    struct world *world = *state;
    expect_status(world, "enroll token --ttl 2h --label a=b", 0);
    assert_string_equal(world->out, "belay-join:fixed\n");
    assert_contains(world->err, "shown once");
    expect_status(world, "enroll token --ttl 2h -o json", 0);
    assert_contains(world->out, "\"joinString\": \"belay-join:fixed\"");
    expect_status(world, "enroll token --ttl 2h --label a=b --label a=c", 64);
    assert_contains(world->err, "\"a\" is given twice");
}

static void test_telemetry_as_rows_and_plot(void **state)
{
    struct world *world = *state;
    expect_status(world, "telemetry query host.cpu.busy", 0);
    assert_contains(world->out, "2025-12-31T23:50:10Z  node-1");
    assert_contains(world->out, "50%");
    expect_status(
        world, "telemetry plot host.cpu.busy --since 10m --ascii --width 60 --height 6", 0);
    assert_contains(world->out, "host.cpu.busy\n100% +");
    assert_contains(world->out, "node-1  last 98.33%  min 0%  max 98.33%");
    expect_status(world, "telemetry plot host.cpu.busy --since 10m", 0);
    assert_contains(world->out, "\xe2");
    expect_status(world, "telemetry plot host.cpu.busy -o json", 0);
    assert_contains(world->out, "\"metric\": \"host.cpu.busy\"");
    expect_status(world, "telemetry plot host.cpu.busy --follow", 64);
    expect_status(world, "telemetry plot host.cpu.busy --since 1h --until 2h", 64);
}

static void test_commands_and_their_answers(void **state)
{
    struct world *world = *state;
    expect_status(world, "command send node-1 device --action identify --param a=b", 0);
    assert_contains(world->err, "belay command watch cmd_good");
    expect_status(world, "command send node-1 device --action identify --wait", 0);
    assert_contains(world->out, "succeeded");
    assert_contains(world->out, "blink\\x1b[2J");
    expect_status(world, "command send node-2 telemetry-now --wait -o json", 1);
    assert_contains(world->out, "COMMAND_STATE_FAILED");
    expect_status(world, "command watch cmd_good", 0);
    assert_contains(world->out, "queued");
    assert_contains(world->out, "succeeded");
    expect_status(world, "command watch cmd_good -o json", 0);
    assert_int_equal(world->out[strlen(world->out) - 1], '\n');
    expect_status(world, "command watch cmd_missing", 2);
    expect_status(world, "command send node-1 set-config", 64);
    expect_status(world, "command send node-1 drain --action identify", 64);
    assert_contains(world->err, "--action belongs to device, not to drain");
    expect_status(world, "command send node-1 device", 64);
}

static void test_a_watch_says_when_the_server_goes(void **state)
{
    struct world *world = *state;
    expect_status(world, "agent watch", 69);
    assert_contains(world->out, "node-1");
    assert_contains(world->err, "the server ended the watch");
    expect_status(world, "agent watch -o json", 69);
    assert_contains(world->out, "\"initialDone\":true}\n");
    expect_status(world, "telemetry watch host. --timeout 300ms -o name", 0);
    assert_string_equal(world->out, "0.25\n");
    expect_status(world, "event watch --timeout 300ms", 1);
}

static mode_t mode_of(const char *path)
{
    struct stat info;
    assert_int_equal(stat(path, &info), 0);
    return info.st_mode & 07777;
}

static void test_gateways_are_kept_privately(void **state)
{
    struct world *world = *state;
    AUTO_FREE char *file = mem_printf("%s/belay/gateways.json", world->config);
    AUTO_FREE char *dir = mem_printf("%s/belay", world->config);
    AUTO_FREE char *add = mem_printf("gateway add lab %s --key-stdin", world->socket);
    world->no_socket = true;
    belay_in(world, add, "blk_secret\n");
    assert_int_equal(world->status, 0);
    assert_contains(world->err, "you are key:key_1");
    assert_int_equal(mode_of(file), 0600);
    assert_int_equal(mode_of(dir), 0700);
    expect_status(world, "gateway list", 0);
    assert_contains(world->out, "lab *");
    assert_contains(world->out, "stored");
    expect_status(world, "gateway list -o json", 0);
    assert_null(strstr(world->out, "blk_secret"));
    expect_status(world, "status", 0);
    assert_contains(world->out, "key:key_1");
    expect_status(world, "config show", 0);
    assert_contains(world->out, "belay gateway use");
    assert_null(strstr(world->out, "blk_secret"));
    belay_in(world, add, "blk_secret\n");
    assert_int_equal(world->status, 5);
    world->key = "blk_wrong";
    expect_status(world, "status", 3);
    assert_contains(world->err, "The API key of gateway lab");
    world->key = NULL;
    assert_int_equal(chmod(file, 0644), 0);
    expect_status(world, "gateway list", 3);
    assert_contains(world->err, "chmod");
    assert_int_equal(chmod(file, 0600), 0);
    expect_status(world, "gateway remove lab", 0);
    expect_status(world, "gateway remove lab", 2);
    expect_status(world, "gateway list -o name", 0);
    assert_string_equal(world->out, "");
}

static void test_a_gateway_needs_to_be_trusted(void **state)
{
    struct world *world = *state;
    expect_status(world, "gateway add x example.com:7443", 64);
    assert_contains(world->err, "--ca-sha256 PIN");
    expect_status(world, "gateway add x example.com:7443 --plaintext", 3);
    assert_contains(world->err, "this machine only");
    expect_status(world, "gateway add x example.com", 64);
    expect_status(world, "gateway add X_ unix:/x", 64);
    expect_status(world, "gateway add local unix:/x", 64);
    expect_status(world, "gateway add x h:1 --ca-sha256 12", 64);
    expect_status(world, "gateway add x h:1 --ca-file /nonexistent", 2);
    expect_status(world, "gateway add x unix:/nonexistent", 69);
    expect_status(world, "gateway list -o name", 0);
    assert_string_equal(world->out, "");
}

static void test_a_damaged_file_is_named(void **state)
{
    struct world *world = *state;
    AUTO_FREE char *file = mem_printf("%s/belay/gateways.json", world->config);
    expect_status(world, "gateway add x unix:/nonexistent --no-verify", 0);
    FILE *stream = fopen(file, "w");
    assert_non_null(stream);
    (void)fputs("{\"gateways\": 7}", stream);
    (void)fclose(stream);
    expect_status(world, "gateway list", 1);
    assert_contains(world->err, "gateways.json");
}

static void test_what_needs_no_server(void **state)
{
    struct world *world = *state;
    world->no_socket = true;
    expect_status(world, "version", 0);
    assert_contains(world->out, "belay ");
    expect_status(world, "version -o json", 0);
    expect_status(world, "completion bash", 0);
    expect_status(world, "reference", 0);
    expect_status(world, "config path", 0);
    expect_status(world, "agent --help", 0);
    expect_status(world, "help agent list", 0);
    expect_status(world, "completion powershell", 64);
}

int main(void)
{
    struct err_info err = ERR_INFO_INIT;
    text_use_utf8();
    log_set_level(LOG_OFF);
    if (crypto_start(&err) != ERR_OK) {
        return 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_status_in_words_and_json, setup, teardown),
        cmocka_unit_test_setup_teardown(test_lists_join_their_pages, setup, teardown),
        cmocka_unit_test_setup_teardown(test_one_object_in_detail, setup, teardown),
        cmocka_unit_test_setup_teardown(test_errors_have_a_status_and_advice, setup, teardown),
        cmocka_unit_test_setup_teardown(test_an_unreachable_server_is_told_apart, setup, teardown),
        cmocka_unit_test_setup_teardown(test_secrets_are_shown_once_and_apart, setup, teardown),
        cmocka_unit_test_setup_teardown(test_telemetry_as_rows_and_plot, setup, teardown),
        cmocka_unit_test_setup_teardown(test_commands_and_their_answers, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_watch_says_when_the_server_goes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_gateways_are_kept_privately, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_gateway_needs_to_be_trusted, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_damaged_file_is_named, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_needs_no_server, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
