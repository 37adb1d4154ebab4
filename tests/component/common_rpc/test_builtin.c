/* The services the server adds by itself, and what keeps it from starting. */
#include "belay_descriptors.h"
#include "tests/component/common_rpc/fixture.h"

#include <stdio.h>

typedef Grpc__Health__V1__HealthCheckRequest health_request;
typedef Grpc__Health__V1__HealthCheckResponse health_response;
typedef Grpc__Reflection__V1__ServerReflectionRequest reflection_request;
typedef Grpc__Reflection__V1__ServerReflectionResponse reflection_response;

enum {
    SERVING = 1,
    NOT_SERVING = 2,
    SERVICE_UNKNOWN = 3
};

static enum err_code check(struct world *world, const char *service, int *ret_status)
{
    struct err_info err = ERR_INFO_INIT;
    AUTO_ARENA struct arena *arena = arena_create(64 * 1024);
    health_request request;
    grpc__health__v1__health_check_request__init(&request);
    request.service = arena_strdup(arena, service);
    ProtobufCMessage *reply = NULL;
    TRY(rpc_channel_call(
        world->channel,
        "/grpc.health.v1.Health/Check",
        &request.base,
        &grpc__health__v1__health_check_response__descriptor,
        NULL,
        arena,
        &reply,
        &err));
    *ret_status = (int)((health_response *)reply)->status;
    return ERR_OK;
}

static void test_health_check(void **state)
{
    (void)state;
    struct world world;
    world_create(&world, 0);
    int status = 0;
    assert_ok(check(&world, "", &status));
    assert_int_equal(status, NOT_SERVING);
    rpc_server_set_serving(world.server, true);
    assert_ok(check(&world, "", &status));
    assert_int_equal(status, SERVING);
    assert_ok(check(&world, "agentgateway.v1.AgentGatewayService", &status));
    assert_int_equal(status, SERVING);
    assert_code(ERR_NOT_FOUND, check(&world, "no.Such", &status));
    world_destroy(&world);
}

static struct rpc_client_stream *watch(struct world *world, const char *service)
{
    struct err_info err = ERR_INFO_INIT;
    struct rpc_client_stream *stream = NULL;
    assert_ok_err(
        err,
        rpc_client_stream_open(
            world->channel,
            "/grpc.health.v1.Health/Watch",
            &grpc__health__v1__health_check_response__descriptor,
            NULL,
            NULL,
            NULL,
            NULL,
            &stream,
            &err));
    char text[128];
    (void)snprintf(text, sizeof(text), "%s", service);
    health_request request;
    grpc__health__v1__health_check_request__init(&request);
    request.service = text;
    assert_ok(rpc_client_stream_send(stream, &request.base));
    rpc_client_stream_half_close(stream);
    return stream;
}

static int next_status(struct rpc_client_stream *stream)
{
    struct err_info err = ERR_INFO_INIT;
    AUTO_ARENA struct arena *arena = arena_create(64 * 1024);
    ProtobufCMessage *message = NULL;
    assert_ok_err(err, rpc_client_stream_read(stream, world_soon(), arena, &message, &err));
    return (int)((health_response *)message)->status;
}

static void test_health_watch_tells_changes_until_the_drain(void **state)
{
    (void)state;
    struct world world;
    world_create(&world, 0);
    struct rpc_client_stream *all = watch(&world, "");
    struct rpc_client_stream *unknown = watch(&world, "no.Such");
    assert_int_equal(next_status(all), NOT_SERVING);
    assert_int_equal(next_status(unknown), SERVICE_UNKNOWN);
    rpc_server_set_serving(world.server, true);
    assert_int_equal(next_status(all), SERVING);
    rpc_server_set_serving(world.server, true);
    rpc_server_set_serving(world.server, false);
    assert_int_equal(next_status(all), NOT_SERVING);
    rpc_server_drain(world.server, 5 * US_PER_SECOND);
    struct err_info err = ERR_INFO_INIT;
    AUTO_ARENA struct arena *arena = arena_create(64 * 1024);
    ProtobufCMessage *message = NULL;
    assert_code(ERR_UNAVAILABLE, rpc_client_stream_read(all, world_soon(), arena, &message, &err));
    rpc_client_stream_release(all);
    rpc_client_stream_release(unknown);
    world_destroy(&world);
}

static reflection_response *ask(
    struct world *world, const char *path, reflection_request *request, struct arena *arena)
{
    struct err_info err = ERR_INFO_INIT;
    struct rpc_client_stream *stream = NULL;
    assert_ok_err(
        err,
        rpc_client_stream_open(
            world->channel,
            path,
            &grpc__reflection__v1__server_reflection_response__descriptor,
            NULL,
            NULL,
            NULL,
            NULL,
            &stream,
            &err));
    assert_ok(rpc_client_stream_send(stream, &request->base));
    rpc_client_stream_half_close(stream);
    ProtobufCMessage *message = NULL;
    assert_ok_err(err, rpc_client_stream_read(stream, world_soon(), arena, &message, &err));
    ProtobufCMessage *none = NULL;
    assert_code(ERR_NOT_FOUND, rpc_client_stream_read(stream, world_soon(), arena, &none, &err));
    rpc_client_stream_release(stream);
    return (reflection_response *)message;
}

static void reflect(struct world *world, const char *path)
{
    AUTO_ARENA struct arena *arena = arena_create(16 * 1024 * 1024);
    char everything[] = "*";
    char symbol[] = "agentgateway.v1.RegisterRequest";
    char nothing[] = "no.Such";
    reflection_request request;
    grpc__reflection__v1__server_reflection_request__init(&request);
    request.message_request_case =
        GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_LIST_SERVICES;
    request.list_services = everything;
    reflection_response *reply = ask(world, path, &request, arena);
    assert_int_equal(
        reply->message_response_case,
        GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_LIST_SERVICES_RESPONSE);
    assert_int_equal(reply->list_services_response->n_service, 4);
    request.message_request_case =
        GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_FILE_CONTAINING_SYMBOL;
    request.file_containing_symbol = symbol;
    reply = ask(world, path, &request, arena);
    assert_int_equal(
        reply->message_response_case,
        GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_FILE_DESCRIPTOR_RESPONSE);
    const ProtobufCBinaryData *file = reply->file_descriptor_response->file_descriptor_proto;
    assert_non_null(memmem(file->data, file->len, "agentgateway", 12));
    request.file_containing_symbol = nothing;
    reply = ask(world, path, &request, arena);
    assert_int_equal(
        reply->message_response_case,
        GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_ERROR_RESPONSE);
    assert_int_equal(reply->error_response->error_code, RPC_NOT_FOUND);
}

static void test_reflection_in_both_versions(void **state)
{
    (void)state;
    struct world world;
    world_create(&world, 0);
    reflect(&world, "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo");
    reflect(&world, "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo");
    world_destroy(&world);
}

static enum err_code admit(
    void *context, struct rpc_call *call, bool may_block, struct err_info *err)
{
    (void)context;
    (void)call;
    (void)may_block;
    return ERR_SET(err, ERR_DENIED, "no");
}

static enum err_code try_rows(const struct rpc_method *rows, size_t count, struct err_info *err)
{
    struct wire_schema *schema = NULL;
    assert_ok(wire_schema_load(belay_descriptors, belay_descriptors_size, &schema, err));
    const struct rpc_table table = { rows, count };
    const struct rpc_server_options options = {
        .schema = schema,
        .tables = &table,
        .table_count = 1,
        .gate = { .admit = admit },
    };
    struct rpc_server *server = NULL;
    enum err_code code = rpc_server_create(&options, &server, err);
    rpc_server_destroy(code == ERR_OK ? server : NULL);
    wire_schema_destroy(schema);
    return code;
}

static void test_rows_that_disagree_with_the_contract_refuse_the_start(void **state)
{
    (void)state;
    struct err_info err = ERR_INFO_INIT;
    const struct rpc_table *table = world_table();
    struct rpc_method rows[16];
    assert_true(table->count < 16);
    memcpy(rows, table->rows, table->count * sizeof(rows[0]));
    assert_ok_err(err, try_rows(rows, table->count, &err));
    assert_code(ERR_PRECONDITION, try_rows(rows, table->count - 1, &err));
    assert_non_null(strstr(err.text, "RelayStream"));
    rows[0].input = rows[1].input;
    assert_code(ERR_PRECONDITION, try_rows(rows, table->count, &err));
    assert_non_null(strstr(err.text, "Register"));
    rows[0] = table->rows[0];
    rows[0].policy = NULL;
    assert_code(ERR_PRECONDITION, try_rows(rows, table->count, &err));
    rows[0] = table->rows[0];
    rows[0].kind = RPC_BIDI;
    rows[0].stream = table->rows[table->count - 1].stream;
    assert_code(ERR_PRECONDITION, try_rows(rows, table->count, &err));
    rows[0] = rows[1];
    assert_code(ERR_PRECONDITION, try_rows(rows, table->count, &err));
    rows[0] = table->rows[0];
    rows[0].path = GATEWAY "Unknown";
    assert_code(ERR_PRECONDITION, try_rows(rows, table->count, &err));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_health_check),
        cmocka_unit_test(test_health_watch_tells_changes_until_the_drain),
        cmocka_unit_test(test_reflection_in_both_versions),
        cmocka_unit_test(test_rows_that_disagree_with_the_contract_refuse_the_start),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
