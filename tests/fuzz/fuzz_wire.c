/* links: common_wire test_proto */
/*
 * A peer's bytes. The first one chooses the type; the rest are scanned and unpacked, strictly and
 * leniently. What passes must pack, and unpack again to the same.
 */
#include "belay_descriptors.h"
#include "common/wire/wire.h"
#include "test_descriptors.h"

#include <agentgateway/v1/agentgateway.pb-c.h>
#include <belay/test/v1/sink.pb-c.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    ARENA_BYTES = 1 << 22
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
    if (!holds) {
        abort();
    }
}

static struct wire_schema *load(const void *descriptors, size_t bytes)
{
    struct wire_schema *schema = NULL;
    check(wire_schema_load(descriptors, bytes, &schema, NULL) == ERR_OK);
    return schema;
}

/* Kept between inputs: building it costs more than a thousand of them. */
static const struct wire_schema *schema_of(bool test)
{
    static struct wire_schema *schemas[2];
    if (schemas[0] == NULL) {
        schemas[0] = load(belay_descriptors, belay_descriptors_size);
        schemas[1] = load(test_descriptors, test_descriptors_size);
    }
    return schemas[test ? 1 : 0];
}

static bool unpack(
    bool strict,
    const struct wire_schema *schema,
    const ProtobufCMessageDescriptor *type,
    struct str_view data,
    struct arena *arena,
    ProtobufCMessage **ret_message)
{
    struct err_info err = ERR_INFO_INIT;
    char malformed[128];
    (void)snprintf(malformed, sizeof(malformed), "%s: malformed", type->short_name);
    enum err_code code = strict
        ? wire_unpack(schema, type, data.ptr, data.len, arena, ret_message, &err)
        : wire_unpack_lenient(schema, type, data.ptr, data.len, arena, ret_message, &err);
    check(code == ERR_OK || err.text[0] != '\0');
    /* protobuf-c must take whatever the scan lets through. */
    check(code == ERR_OK || !str_equal(str_of(err.text), str_of(malformed)));
    return code == ERR_OK;
}

static void try_type(
    bool strict, bool test, const ProtobufCMessageDescriptor *type, struct str_view data)
{
    AUTO_ARENA struct arena *arena = arena_create(ARENA_BYTES);
    AUTO_BUF struct buf first = BUF_INIT(ARENA_BYTES);
    AUTO_BUF struct buf second = BUF_INIT(ARENA_BYTES);
    ProtobufCMessage *message = NULL;
    const struct wire_schema *schema = schema_of(test);
    if (!unpack(strict, schema, type, data, arena, &message)) {
        return;
    }
    check(message->n_unknown_fields == 0);
    wire_pack(message, &first);
    arena_reset(arena);
    check(unpack(strict, schema, type, buf_view(&first), arena, &message));
    wire_pack(message, &second);
    check(str_equal(buf_view(&first), buf_view(&second)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const ProtobufCMessageDescriptor *const types[] = {
        &belay__test__v1__sink__descriptor,
        &belay__test__v1__ruled__descriptor,
        &agentgateway__v1__register_request__descriptor,
        &agentgateway__v1__control_stream_request__descriptor,
        &agentgateway__v1__agent_command__descriptor,
        &agentgateway__v1__telemetry_batch__descriptor,
        &agentgateway__v1__event_batch__descriptor,
    };
    if (size == 0) {
        return 0;
    }
    size_t index = data[0] % ARRAY_LENGTH(types);
    struct str_view rest = str_from((const char *)data + 1, size - 1);
    try_type(true, index < 2, types[index], rest);
    try_type(false, index < 2, types[index], rest);
    return 0;
}
