/*
 * grpc.reflection v1 and v1alpha from the embedded descriptors. Both are the same bytes on the
 * wire, so one handler with the types of v1 serves both.
 */
#include "common/rpc/rpc_private.h"
#include "common/wire/wire.h"

#include "proto/grpc/reflection/v1/reflection.pb-c.h"

typedef Grpc__Reflection__V1__ServerReflectionRequest reflection_request;
typedef Grpc__Reflection__V1__ServerReflectionResponse reflection_response;
typedef Grpc__Reflection__V1__ServiceResponse service_entry;
typedef Grpc__Reflection__V1__ListServiceResponse service_list;
typedef Grpc__Reflection__V1__FileDescriptorResponse file_list;
typedef Grpc__Reflection__V1__ErrorResponse error_reply;

/* Longer than any name of ours, and a peer makes the server echo it. */
enum {
    REFLECTION_REQUEST_MAX = 4096
};

static char *unconst(const char *text)
{
    union {
        const char *in;
        char *out;
    } value = { .in = text };

    return value.out;
}

static void set_error(
    struct rpc_call *call, reflection_response *reply, enum rpc_status status, const char *text)
{
    error_reply *error =
        wire_new(rpc_call_arena(call), &grpc__reflection__v1__error_response__descriptor);
    if (error != NULL) {
        error->error_code = (int32_t)status;
        error->error_message = unconst(text);
        reply->message_response_case =
            GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_ERROR_RESPONSE;
        reply->error_response = error;
    }
}

static void set_file(struct rpc_call *call, reflection_response *reply, struct str_view file)
{
    struct arena *arena = rpc_call_arena(call);
    if (file.ptr == NULL) {
        set_error(call, reply, RPC_NOT_FOUND, "not found");
        return;
    }
    file_list *list = wire_new(arena, &grpc__reflection__v1__file_descriptor_response__descriptor);
    ProtobufCBinaryData *bytes = arena_alloc(arena, sizeof(*bytes));
    uint8_t *copy = arena_dup(arena, file.ptr, file.len);
    if (list == NULL || bytes == NULL || copy == NULL) {
        return;
    }
    *bytes = (ProtobufCBinaryData){ .len = file.len, .data = copy };
    list->n_file_descriptor_proto = 1;
    list->file_descriptor_proto = bytes;
    reply->message_response_case =
        GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_FILE_DESCRIPTOR_RESPONSE;
    reply->file_descriptor_response = list;
}

static void set_services(struct rpc_call *call, reflection_response *reply)
{
    const struct wire_schema *schema = call->server->options.schema;
    struct arena *arena = rpc_call_arena(call);
    size_t all = wire_schema_service_count(schema);
    service_list *list = wire_new(arena, &grpc__reflection__v1__list_service_response__descriptor);
    service_entry **entries = arena_alloc(arena, (all + 1) * sizeof(service_entry *));
    if (list == NULL || entries == NULL) {
        return;
    }
    list->service = entries;
    for (size_t i = 0; i < all; i++) {
        const char *name = wire_schema_service(schema, i);
        if (!rpc_server_has_service(call->server, str_of(name))) {
            continue;
        }
        service_entry *entry = wire_new(arena, &grpc__reflection__v1__service_response__descriptor);
        if (entry == NULL) {
            return;
        }
        entry->name = unconst(name);
        entries[list->n_service++] = entry;
    }
    reply->message_response_case =
        GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_LIST_SERVICES_RESPONSE;
    reply->list_services_response = list;
}

static void fill(
    struct rpc_call *call, const reflection_request *request, reflection_response *reply)
{
    const struct wire_schema *schema = call->server->options.schema;
    switch (request->message_request_case) {
    case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_FILE_BY_FILENAME:
        set_file(call, reply, wire_schema_file_by_name(schema, str_of(request->file_by_filename)));
        return;
    case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_FILE_CONTAINING_SYMBOL:
        set_file(
            call,
            reply,
            wire_schema_file_of_symbol(schema, str_of(request->file_containing_symbol)));
        return;
    case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_LIST_SERVICES:
        set_services(call, reply);
        return;
    case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_FILE_CONTAINING_EXTENSION:
    case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_ALL_EXTENSION_NUMBERS_OF_TYPE:
        set_error(call, reply, RPC_UNIMPLEMENTED, "extensions are not served");
        return;
    case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST__NOT_SET:
    default: /* protobuf-c adds a member of its own to the enum */
        set_error(call, reply, RPC_INVALID_ARGUMENT, "the request asks for nothing");
        return;
    }
}

static enum err_code open_reflection(
    struct rpc_stream *stream, void **ret_state, struct err_info *err)
{
    (void)stream;
    (void)err;
    *ret_state = NULL;
    return ERR_OK;
}

static void answer(struct rpc_stream *stream, void *state, const ProtobufCMessage *message)
{
    (void)state;
    struct rpc_call *call = rpc_stream_call(stream);
    const reflection_request *request = (const reflection_request *)message;
    reflection_response *reply = wire_new(
        rpc_call_arena(call), &grpc__reflection__v1__server_reflection_response__descriptor);
    if (reply == NULL) {
        rpc_stream_finish(stream, ERR_NOMEM, NULL);
        return;
    }
    reflection_request echo = *request;
    reply->valid_host = echo.host;
    reply->original_request = &echo;
    fill(call, request, reply);
    enum err_code code = rpc_stream_send(stream, &reply->base);
    if (code != ERR_OK) {
        rpc_stream_finish(stream, code, "the caller does not read");
    }
}

static void finish(struct rpc_stream *stream, void *state)
{
    (void)state;
    rpc_stream_finish(stream, ERR_OK, NULL);
}

static void close_reflection(struct rpc_stream *stream, void *state)
{
    (void)stream;
    (void)state;
}

struct rpc_table rpc_reflection_table(void)
{
    static const struct rpc_stream_ops ops = {
        .open = open_reflection,
        .message = answer,
        .half_closed = finish,
        .closed = close_reflection,
    };
#define ROW(method_path)                                                                           \
    {                                                                                              \
        .path = (method_path),                                                                     \
        .input = &grpc__reflection__v1__server_reflection_request__descriptor,                     \
        .output = &grpc__reflection__v1__server_reflection_response__descriptor, .kind = RPC_BIDI, \
        .max_request_bytes = REFLECTION_REQUEST_MAX, .deadline_cap_us = 10 * US_PER_MINUTE,        \
        .stream = &ops, .policy = &rpc_builtin_policy,                                             \
    }
    static const struct rpc_method rows[] = {
        ROW("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"),
        ROW("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"),
    };
#undef ROW
    return (struct rpc_table){ rows, ARRAY_LENGTH(rows) };
}
