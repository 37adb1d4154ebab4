/*
 * What the schema says of the real contracts, and what every contract must keep: no type that holds
 * itself, no groups, no presence flags, and a bound on everything that a request can carry.
 */
#include "belay_descriptors.h"
#include "common/base/map.h"
#include "common/wire/wire_private.h"
#include "tests/support/test.h"

#include <google/protobuf/descriptor.pb-c.h>

struct context {
    struct wire_schema *schema;
    struct arena *arena;
    const Google__Protobuf__FileDescriptorSet *set;
};

static int setup(void **state)
{
    struct context *context = mem_alloc(sizeof(*context));
    struct err_info err = ERR_INFO_INIT;
    assert_ok_err(
        err, wire_schema_load(belay_descriptors, belay_descriptors_size, &context->schema, &err));
    context->arena = arena_create(1 << 24);
    ProtobufCMessage *set = NULL;
    assert_ok_err(
        err,
        wire_unpack_lenient(
            context->schema,
            &google__protobuf__file_descriptor_set__descriptor,
            belay_descriptors,
            belay_descriptors_size,
            context->arena,
            &set,
            &err));
    context->set = (const Google__Protobuf__FileDescriptorSet *)set;
    *state = context;
    return 0;
}

static int teardown(void **state)
{
    struct context *context = *state;
    wire_schema_destroy(context->schema);
    arena_destroy(context->arena);
    mem_free(context);
    return 0;
}

static void test_methods_are_found_with_their_streaming(void **state)
{
    struct context *context = *state;
    const struct wire_method *method = wire_schema_find_method(
        context->schema, "/agentgateway.v1.AgentGatewayService/ControlStream");
    assert_non_null(method);
    assert_true(method->client_streaming && method->server_streaming);
    assert_string_equal(method->input, "agentgateway.v1.ControlStreamRequest");
    method = wire_schema_find_method(
        context->schema, "/agentgateway.v1.AgentGatewayService/UploadTelemetry");
    assert_true(method->client_streaming && !method->server_streaming);
    method = wire_schema_find_method(context->schema, "/grpc.health.v1.Health/Watch");
    assert_true(!method->client_streaming && method->server_streaming);
    assert_null(
        wire_schema_find_method(context->schema, "/agentgateway.v1.AgentGatewayService/None"));
    for (size_t i = 0; i < wire_schema_method_count(context->schema); i++) {
        method = wire_schema_method(context->schema, i);
        assert_ptr_equal(method, wire_schema_find_method(context->schema, method->path));
    }
    assert_null(wire_schema_method(context->schema, wire_schema_method_count(context->schema)));
}

static void test_files_are_found_for_reflection(void **state)
{
    struct context *context = *state;
    static const char *const symbols[] = {
        "agentgateway.v1.AgentGatewayService",
        "agentgateway.v1.AgentGatewayService.Register",
        "agentgateway.v1.RegisterRequest",
        "agentgateway.v1.Severity",
        "agentgateway.v1.RegisterRequest.LabelsEntry",
    };
    struct str_view file =
        wire_schema_file_by_name(context->schema, STR("agentgateway/v1/agentgateway.proto"));
    assert_non_null(file.ptr);
    for (size_t i = 0; i < ARRAY_LENGTH(symbols); i++) {
        struct str_view found = wire_schema_file_of_symbol(context->schema, str_of(symbols[i]));
        assert_ptr_equal(found.ptr, file.ptr);
        assert_int_equal(found.len, file.len);
    }
    ProtobufCMessage *message = NULL;
    assert_ok(wire_unpack_lenient(
        context->schema,
        &google__protobuf__file_descriptor_proto__descriptor,
        file.ptr,
        file.len,
        context->arena,
        &message,
        NULL));
    assert_string_equal(
        ((const Google__Protobuf__FileDescriptorProto *)message)->name,
        "agentgateway/v1/agentgateway.proto");
    assert_null(wire_schema_file_of_symbol(context->schema, STR("agentgateway.v1.Nothing")).ptr);
    assert_null(wire_schema_file_by_name(context->schema, STR("nothing.proto")).ptr);
}

static void test_rules_and_names_are_read(void **state)
{
    struct context *context = *state;
    const struct wire_type *type =
        wire_schema_find_type(context->schema, "agentgateway.v1.RegisterRequest");
    assert_non_null(type);
    const struct wire_field *token = wire_type_find(type, 1);
    assert_string_equal(token->json_name, "enrollmentToken");
    assert_true(token->secret);
    assert_int_equal(token->text_min, 20);
    assert_int_equal(token->text_max, 512);
    const struct wire_field *labels = wire_type_find(type, 5);
    assert_true(labels->map && labels->repeated);
    assert_int_equal(labels->entries_max, 64);
    assert_null(wire_type_find(type, 99));
    type = wire_schema_find_type(context->schema, "agentgateway.v1.ControlStreamRequest");
    assert_int_equal(type->oneof_count, 1);
    assert_true(type->oneofs[0].required);
    assert_string_equal(
        type->oneofs[0].members, "hello, ack, sandbox_report, capacity, sandbox_readings");
    assert_null(wire_schema_find_type(context->schema, "agentgateway.v1.None"));
}

static bool is_google(const char *name)
{
    return str_has_prefix(str_of(name), STR("google."));
}

static void test_contracts_are_proto3_without_presence_flags(void **state)
{
    struct context *context = *state;
    for (size_t f = 0; f < context->set->n_file; f++) {
        const Google__Protobuf__FileDescriptorProto *file = context->set->file[f];
        if (str_has_prefix(str_of(file->name), STR("google/"))) {
            continue;
        }
        assert_string_equal(file->syntax, "proto3");
        for (size_t s = 0; s < file->n_service; s++) {
            assert_true(file->service[s]->n_method > 0);
        }
        for (size_t m = 0; m < file->n_message_type; m++) {
            const Google__Protobuf__DescriptorProto *message = file->message_type[m];
            for (size_t i = 0; i < message->n_field; i++) {
                assert_false(message->field[i]->proto3_optional);
            }
        }
    }
}

/* Depth of the deepest message below one; a type that holds itself goes past every bound. */
static unsigned depth_below(const struct wire_schema *schema, const struct wire_type *type)
{
    const struct wire_type *path[WIRE_DEPTH_MAX + 1] = { type };
    size_t next[WIRE_DEPTH_MAX + 1] = { 0 };
    unsigned depth = 1;
    unsigned deepest = 1;
    (void)schema;
    while (depth > 0) {
        const struct wire_type *top = path[depth - 1];
        if (next[depth - 1] == top->field_count) {
            depth--;
            continue;
        }
        const struct wire_field *field = &top->fields[next[depth - 1]++];
        if (field->message == NULL || is_google(field->message->name)) {
            continue; /* Struct holds itself: the scan bounds how deep a message of it may go */
        }
        if (depth > WIRE_DEPTH_MAX) {
            return depth;
        }
        path[depth] = field->message;
        next[depth] = 0;
        depth++;
        deepest = depth > deepest ? depth : deepest;
    }
    return deepest;
}

static void test_no_contract_holds_itself(void **state)
{
    struct context *context = *state;
    for (size_t i = 0; i < wire_schema_type_count(context->schema); i++) {
        const struct wire_type *type = wire_schema_type(context->schema, i);
        if (!is_google(type->name) && depth_below(context->schema, type) > WIRE_DEPTH_MAX) {
            fail_msg("%s: holds itself, or goes deeper than %d", type->name, WIRE_DEPTH_MAX);
        }
    }
}

static bool is_unbounded(const struct wire_field *field)
{
    bool sized = field->repeated || field->type == PROTOBUF_C_TYPE_STRING
        || field->type == PROTOBUF_C_TYPE_BYTES;
    return sized && !field->has_max;
}

/* Prints the fields of a request's types that name no maximum, each type once. */
static size_t count_unbounded(const struct wire_type *root, struct map *seen)
{
    const struct wire_type *open[256] = { root };
    size_t count = 1;
    size_t unbounded = 0;
    while (count > 0) {
        const struct wire_type *type = open[--count];
        if (is_google(type->name) || map_put(seen, str_of(type->name), seen) != NULL) {
            continue;
        }
        for (size_t i = 0; i < type->field_count; i++) {
            const struct wire_field *field = &type->fields[i];
            if (!type->map_entry && is_unbounded(field)) {
                print_error("%s.%s: no maximum in its rules\n", type->name, field->name);
                unbounded++;
            }
            if (field->message != NULL) {
                assert_true(count < ARRAY_LENGTH(open));
                open[count++] = field->message;
            }
        }
    }
    return unbounded;
}

static void test_every_request_is_bounded(void **state)
{
    struct context *context = *state;
    struct map *seen = map_create();
    size_t unbounded = 0;
    size_t methods = 0;
    for (size_t i = 0; i < wire_schema_method_count(context->schema); i++) {
        const struct wire_method *method = wire_schema_method(context->schema, i);
        if (str_has_prefix(str_of(method->input), STR("agentgateway.v1."))) {
            methods++;
            unbounded +=
                count_unbounded(wire_schema_find_type(context->schema, method->input), seen);
        }
    }
    /* What travels inside opaque payloads, and comes from agents and operators as well. */
    static const char *const payloads[] = { "agentgateway.v1.TelemetryBatch",
                                            "agentgateway.v1.EventBatch",
                                            "agentgateway.v1.AgentCommand" };
    for (size_t i = 0; i < ARRAY_LENGTH(payloads); i++) {
        unbounded += count_unbounded(wire_schema_find_type(context->schema, payloads[i]), seen);
    }
    map_destroy(seen, NULL);
    assert_true(methods >= 7);
    assert_int_equal(unbounded, 0);
}

static void test_malformed_descriptors_are_refused(void **state)
{
    (void)state;
    struct wire_schema *schema = NULL;
    struct err_info err = ERR_INFO_INIT;
    assert_code(ERR_CORRUPT, wire_schema_load("\xFF\xFF", 2, &schema, &err));
    assert_code(ERR_CORRUPT, wire_schema_load("\x0A\x00", 2, &schema, &err));
    assert_code(ERR_CORRUPT, wire_schema_load(belay_descriptors, 100, &schema, &err));
    /* A file whose message holds a field of a type that is nowhere. */
    static const char unknown[] =
        "\x0A\x1D\x0A\x01"
        "f\x22\x18\x0A\x01M\x12\x13\x0A\x01x\x18\x01\x20\x01\x28\x0B\x32\x08.no.Type";
    assert_code(ERR_CORRUPT, wire_schema_load(unknown, sizeof(unknown) - 1, &schema, &err));
    assert_string_equal(err.text, "M: descriptors: x: unknown type");
    assert_null(schema);
    wire_schema_destroy(NULL);
}

static void test_loading_survives_failed_allocations(void **state)
{
    (void)state;
    struct wire_schema *schema = NULL;
    enum err_code code = ERR_LIMIT;
    for (long count = 0; code != ERR_OK && count < 100000; count += 397) {
        mem_fail_after(count);
        code = wire_schema_load(belay_descriptors, belay_descriptors_size, &schema, NULL);
        mem_fail_after(-1);
    }
    assert_ok(code);
    wire_schema_destroy(schema);
}

static void test_formats(void **state)
{
    (void)state;

    static const struct {
        enum wire_format format;
        const char *text;
        bool valid;
    } cases[] = {
        { WIRE_FORMAT_DNS_LABEL, "a-1", true },
        { WIRE_FORMAT_DNS_LABEL, "-a", false },
        { WIRE_FORMAT_DNS_LABEL, "a-", false },
        { WIRE_FORMAT_DNS_LABEL, "a_b", false },
        { WIRE_FORMAT_LABEL_KEY, "site", true },
        { WIRE_FORMAT_LABEL_KEY, "A.b_c-9", true },
        { WIRE_FORMAT_LABEL_KEY, "belay.example/site", true },
        { WIRE_FORMAT_LABEL_KEY, "a/b/c", false },
        { WIRE_FORMAT_LABEL_KEY, "/site", false },
        { WIRE_FORMAT_LABEL_KEY, "a..b/site", false },
        { WIRE_FORMAT_LABEL_KEY, "a/", false },
        { WIRE_FORMAT_LABEL_KEY, "_a", false },
        { WIRE_FORMAT_LABEL_KEY, "", false },
        { WIRE_FORMAT_LABEL_VALUE, "", true },
        { WIRE_FORMAT_LABEL_VALUE, "north.1", true },
        { WIRE_FORMAT_LABEL_VALUE, "a b", false },
        { WIRE_FORMAT_IDENTIFIER, "host.cpu/busy:1_a-B", true },
        { WIRE_FORMAT_IDENTIFIER, "a b", false },
        { WIRE_FORMAT_IDENTIFIER, "\xC3\xA9", false },
        { WIRE_FORMAT_PRINTABLE, "caf\xC3\xA9 #1", true },
        { WIRE_FORMAT_PRINTABLE, "a\x7F", false },
        { WIRE_FORMAT_PRINTABLE, "\xC2\x85", false },
        { WIRE_FORMAT_PRINTABLE, "\xC2\xA0", true },
        { WIRE_FORMAT_SELECTOR, "a=b,c!=d,e in (f,g),!h", true },
        { WIRE_FORMAT_SELECTOR, "a==b , e notin ( f , g ) , h", true },
        { WIRE_FORMAT_SELECTOR, "belay.example/site=", true },
        { WIRE_FORMAT_SELECTOR, "a=b,", false },
        { WIRE_FORMAT_SELECTOR, "a in (b", false },
        { WIRE_FORMAT_SELECTOR, "a in b", false },
        { WIRE_FORMAT_SELECTOR, "a in (b))", false },
        { WIRE_FORMAT_SELECTOR, "a=b=c", false },
        { WIRE_FORMAT_SELECTOR, "=b", false },
        { WIRE_FORMAT_SELECTOR, "a near (b)", false },
        { WIRE_FORMAT_SELECTOR, "!", false },
        { WIRE_FORMAT_FINGERPRINT, "ab12-cd34-ef56-0000-1111-2222-3333-4444", true },
        { WIRE_FORMAT_FINGERPRINT, "AB12:cd34:ef56:0000:1111:2222:3333:4444", true },
        { WIRE_FORMAT_FINGERPRINT, "ab12-cd34:ef56-0000-1111-2222-3333-4444", false },
        { WIRE_FORMAT_FINGERPRINT, "ab12-cd34-ef56-0000-1111-2222-3333", false },
        { WIRE_FORMAT_FINGERPRINT, "xb12-cd34-ef56-0000-1111-2222-3333-4444", false },
        { WIRE_FORMAT_ANY, "\x01", true },
    };

    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        const char *problem = wire_format_problem(cases[i].format, str_of(cases[i].text));
        if ((problem == NULL) != cases[i].valid) {
            fail_msg("\"%s\": %s", cases[i].text, problem == NULL ? "passed" : problem);
        }
    }
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_methods_are_found_with_their_streaming),
        TEST(test_files_are_found_for_reflection),
        TEST(test_rules_and_names_are_read),
        TEST(test_contracts_are_proto3_without_presence_flags),
        TEST(test_no_contract_holds_itself),
        TEST(test_every_request_is_bounded),
        cmocka_unit_test(test_malformed_descriptors_are_refused),
        cmocka_unit_test(test_loading_survives_failed_allocations),
        cmocka_unit_test(test_formats),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
