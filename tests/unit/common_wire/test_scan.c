/*
 * wire_unpack over hand-made bytes: what the scan lets through, and the words with which it
 * refuses.
 */
#include "belay_descriptors.h"
#include "common/wire/wire.h"
#include "test_descriptors.h"
#include "tests/support/test.h"

#include "proto/agentgateway/v1/agentgateway.pb-c.h"

#include <belay/test/v1/sink.pb-c.h>
#include <stdio.h>

struct context {
    struct wire_schema *schema;
    struct arena *arena;
    struct buf bytes;
    struct err_info err;
};

static int setup(void **state)
{
    struct context *context = mem_alloc(sizeof(*context));
    context->arena = arena_create(1 << 22);
    context->bytes = (struct buf)BUF_INIT(1 << 22);
    assert_ok_err(
        context->err,
        wire_schema_load(test_descriptors, test_descriptors_size, &context->schema, &context->err));
    *state = context;
    return 0;
}

static int teardown(void **state)
{
    struct context *context = *state;
    wire_schema_destroy(context->schema);
    arena_destroy(context->arena);
    buf_deinit(&context->bytes);
    mem_free(context);
    return 0;
}

static enum err_code unpack_bytes(
    struct context *context, const ProtobufCMessageDescriptor *type, ProtobufCMessage **message)
{
    struct str_view data = buf_view(&context->bytes);
    return wire_unpack(
        context->schema, type, data.ptr, data.len, context->arena, message, &context->err);
}

static enum err_code unpack_message(struct context *context, const ProtobufCMessage *message)
{
    buf_clear(&context->bytes);
    wire_pack(message, &context->bytes);
    ProtobufCMessage *copy = NULL;
    return unpack_bytes(context, message->descriptor, &copy);
}

static Belay__Test__V1__Ruled valid_ruled(void)
{
    static Belay__Test__V1__Point point = BELAY__TEST__V1__POINT__INIT;
    static uint8_t key[32];
    static char first[] = "a";
    static char second[] = "b";
    static char *tags[] = { first, second };
    static char dns[] = "edge-1";
    static char printable[] = "ok";
    static char host[] = "h";
    Belay__Test__V1__Ruled ruled = BELAY__TEST__V1__RULED__INIT;
    ruled.dns = dns;
    ruled.printable = printable;
    ruled.key = (ProtobufCBinaryData){ sizeof(key), key };
    ruled.tags = tags;
    ruled.n_tags = 2;
    ruled.level = 1;
    ruled.color = BELAY__TEST__V1__COLOR__COLOR_RED;
    ruled.point = &point;
    ruled.target_case = BELAY__TEST__V1__RULED__TARGET_HOST;
    ruled.host = host;
    return ruled;
}

#define assert_refused(context, message, expected)                             \
    do {                                                                       \
        assert_code(ERR_INVALID, unpack_message((context), &(message)->base)); \
        assert_string_equal((context)->err.text, (expected));                  \
    } while (0)

static void test_a_valid_message_passes(void **state)
{
    struct context *context = *state;
    Belay__Test__V1__Ruled ruled = valid_ruled();
    assert_ok_err(context->err, unpack_message(context, &ruled.base));
}

static void test_text_rules_name_field_and_bound(void **state)
{
    struct context *context = *state;
    Belay__Test__V1__Ruled ruled = valid_ruled();
    char text[128];
    memset(text, 'x', sizeof(text));
    text[64] = '\0';
    ruled.dns = text;
    assert_refused(context, &ruled, "dns: 64 characters, at most 63");
    ruled.dns = NULL;
    assert_refused(context, &ruled, "dns: required");
    assert_ok(str_copy(STR("Edge"), text, sizeof(text)));
    ruled.dns = text;
    assert_refused(context, &ruled, "dns: \"Edge\" is not a DNS label");
    ruled = valid_ruled();
    assert_ok(str_copy(STR("\xC3\xA9"), text, sizeof(text)));
    ruled.printable = text;
    assert_refused(context, &ruled, "printable: 1 characters, at least 2");
    assert_ok(str_copy(STR("a\tb"), text, sizeof(text)));
    assert_refused(context, &ruled, "printable: \"a?b\" holds control characters");
    ruled = valid_ruled();
    ruled.password = text;
    assert_refused(context, &ruled, "password: holds control characters");
    ruled = valid_ruled();
    ruled.key.len = 31;
    assert_refused(context, &ruled, "key: 31 bytes, exactly 32");
    ruled.key.len = 0;
    assert_refused(context, &ruled, "key: required");
}

static void test_entries_are_counted(void **state)
{
    struct context *context = *state;
    Belay__Test__V1__Ruled ruled = valid_ruled();
    char text[] = "abcde";
    char *tags[] = { text, text, text, text };
    ruled.tags = tags;
    ruled.n_tags = 4;
    assert_refused(context, &ruled, "tags[0]: 5 characters, at most 4");
    text[1] = '\0';
    assert_refused(context, &ruled, "tags: more than 3 entries");
    ruled.n_tags = 1;
    assert_refused(context, &ruled, "tags: 1 entries, at least 2");
    ruled.n_tags = 0;
    assert_refused(context, &ruled, "tags: required");
    ruled.n_tags = 3;
    assert_ok_err(context->err, unpack_message(context, &ruled.base));
}

static void test_number_rules(void **state)
{
    struct context *context = *state;
    Belay__Test__V1__Ruled ruled = valid_ruled();
    ruled.percent = 101;
    assert_refused(context, &ruled, "percent: 101, at most 100");
    ruled.percent = -1;
    assert_refused(context, &ruled, "percent: -1, at least 0");
    ruled = valid_ruled();
    ruled.level = 0;
    assert_refused(context, &ruled, "level: 0, at least 1");
    ruled = valid_ruled();
    ruled.size = UINT64_MAX;
    assert_refused(context, &ruled, "size: 18446744073709551615, at most 1000");
    ruled = valid_ruled();
    ruled.ratio = 1.5;
    assert_refused(context, &ruled, "ratio: 1.5, at most 1");
    ruled.ratio = -1;
    assert_ok_err(context->err, unpack_message(context, &ruled.base));
}

static void test_required_things(void **state)
{
    struct context *context = *state;
    Belay__Test__V1__Ruled ruled = valid_ruled();
    ruled.color = BELAY__TEST__V1__COLOR__COLOR_UNSPECIFIED;
    assert_refused(context, &ruled, "color: required");
    ruled.color = (Belay__Test__V1__Color)9;
    assert_refused(context, &ruled, "color: unknown value 9");
    ruled = valid_ruled();
    ruled.point = NULL;
    assert_refused(context, &ruled, "point: required");
    ruled = valid_ruled();
    ruled.target_case = BELAY__TEST__V1__RULED__TARGET__NOT_SET;
    assert_refused(context, &ruled, "target: one of host, place is required");
}

static void test_labels(void **state)
{
    struct context *context = *state;
    Belay__Test__V1__Ruled ruled = valid_ruled();
    Belay__Test__V1__Ruled__LabelsEntry a = BELAY__TEST__V1__RULED__LABELS_ENTRY__INIT;
    Belay__Test__V1__Ruled__LabelsEntry b = BELAY__TEST__V1__RULED__LABELS_ENTRY__INIT;
    Belay__Test__V1__Ruled__LabelsEntry *labels[] = { &a, &b };
    char bad[] = "a b";
    char good[] = "belay.example/site";
    char value[] = "x";
    ruled.labels = labels;
    ruled.n_labels = 1;
    a.key = bad;
    a.value = value;
    assert_refused(context, &ruled, "labels: key \"a b\" is not a label key");
    a.key = good;
    assert_ok_err(context->err, unpack_message(context, &ruled.base));
    a.value = bad;
    assert_refused(context, &ruled, "labels[\"belay.example/site\"]: \"a b\" is not a label value");
    a.value = value;
    b.key = good;
    b.value = value;
    ruled.n_labels = 2;
    assert_refused(context, &ruled, "labels: key \"belay.example/site\" appears twice");
    b.key = NULL;
    assert_refused(context, &ruled, "labels: key \"\" is not a label key");
}

static void test_paths_lead_into_lists_and_maps(void **state)
{
    struct context *context = *state;
    Belay__Test__V1__Ruled ruled = valid_ruled();
    Belay__Test__V1__Ruled3 third = BELAY__TEST__V1__RULED3__INIT;
    Belay__Test__V1__Ruled2__InnerEntry entry = BELAY__TEST__V1__RULED2__INNER_ENTRY__INIT;
    Belay__Test__V1__Ruled2__InnerEntry *inner[] = { &entry };
    Belay__Test__V1__Ruled2 second = BELAY__TEST__V1__RULED2__INIT;
    Belay__Test__V1__Ruled2 plain = BELAY__TEST__V1__RULED2__INIT;
    Belay__Test__V1__Ruled2 *parts[] = { &plain, &second };
    char name[] = "n";
    uint32_t numbers[] = { 1, 9, 10 };
    third.numbers = numbers;
    third.n_numbers = 3;
    entry.key = name;
    entry.value = &third;
    second.name = name;
    plain.name = name;
    second.inner = inner;
    second.n_inner = 1;
    ruled.parts = parts;
    ruled.n_parts = 2;
    assert_refused(context, &ruled, "parts[1].inner[\"n\"].numbers[2]: 10, at most 9");
    second.name = NULL;
    third.n_numbers = 2;
    assert_refused(context, &ruled, "parts[1].name: required");
}

static void test_times_are_bounded(void **state)
{
    struct context *context = *state;
    Belay__Test__V1__Ruled ruled = valid_ruled();
    Google__Protobuf__Timestamp at = GOOGLE__PROTOBUF__TIMESTAMP__INIT;
    Google__Protobuf__Duration span = GOOGLE__PROTOBUF__DURATION__INIT;
    ruled.at = &at;
    at.seconds = -1;
    assert_refused(context, &ruled, "at: not a time between the years 1970 and 9999");
    at.seconds = INT64_C(253402300800);
    assert_refused(context, &ruled, "at: not a time between the years 1970 and 9999");
    at.seconds = INT64_C(253402300799);
    at.nanos = 1000000000;
    assert_refused(context, &ruled, "at: not a time between the years 1970 and 9999");
    at.nanos = 999999999;
    assert_ok_err(context->err, unpack_message(context, &ruled.base));
    ruled.span = &span;
    span.seconds = 1;
    span.nanos = -1;
    assert_refused(context, &ruled, "span: not a duration");
}

static enum err_code unpack_raw(struct context *context, struct str_view raw, bool lenient)
{
    ProtobufCMessage *message = NULL;
    const ProtobufCMessageDescriptor *type = &belay__test__v1__sink__descriptor;
    enum err_code code = lenient
        ? wire_unpack_lenient(
            context->schema, type, raw.ptr, raw.len, context->arena, &message, &context->err)
        : wire_unpack(
            context->schema, type, raw.ptr, raw.len, context->arena, &message, &context->err);
    assert_true((code == ERR_OK) == (message != NULL));
    return code;
}

static void test_malformed_bytes_are_refused(void **state)
{
    static const struct {
        struct str_view bytes;
        const char *text;
    } cases[] = {
        { { "\x72\x05"
            "ab",
            4 },
          "a_string: cut short" },
        { { "\x72\x02\xC3\x28", 4 }, "a_string: not UTF-8" },
        { { "\x72\x03"
            "a\0b",
            5 },
          "a_string: holds a NUL" },
        { { "\x72", 1 }, "a_string: cut short" },
        { { "\x70\x01", 2 }, "a_string: of another type than the contract's" },
        { { "\x73", 1 }, "a_string: groups are not supported" },
        { { "\xFB\x7F", 2 }, "belay.test.v1.Sink: groups are not supported" },
        { { "\x18", 1 }, "an_int32: cut short" },
        { { "\x18\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x7F", 11 }, "an_int32: cut short" },
        { { "\x18\x80\x80\x80\x80\x10", 6 }, "an_int32: does not fit 32 bits" },
        { { "\x28\x80\x80\x80\x80\x10", 6 }, "a_uint32: does not fit 32 bits" },
        { { "\x00\x01", 2 }, "belay.test.v1.Sink: malformed field number" },
        { { "\x09\x01\x02", 3 }, "a_double: cut short" },
        { { "\x1A\x01\x01", 3 }, "an_int32: of another type than the contract's" },
        { { "\x92\x01\x02\x01\x80", 5 }, "int_list: cut short" },
        { { "\x8A\x01\x00\x8A\x01\x00", 6 }, "a_point: given twice" },
        { { "\xFA\x01\x01x\x80\x02\x05", 7 },
          "choice_number: at most one of choice_text, choice_number, choice_point, choice_color" },
        { { "\xDA\x01\x02\x08\x05", 5 }, "point_map[5]: an entry without a value" },
        { { "\xDA\x01\x04\x08\x05\x12\x00\xDA\x01\x04\x08\x05\x12\x00", 14 },
          "point_map: a key appears twice" },
    };
    struct context *context = *state;
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        assert_code(ERR_INVALID, unpack_raw(context, cases[i].bytes, false));
        assert_string_equal(context->err.text, cases[i].text);
        assert_code(ERR_INVALID, unpack_raw(context, cases[i].bytes, true));
        assert_string_equal(context->err.text, cases[i].text);
    }
}

static void test_negative_numbers_come_in_both_lengths(void **state)
{
    struct context *context = *state;
    assert_ok(unpack_raw(context, STR("\x18\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01"), false));
    assert_ok(unpack_raw(context, STR("\x18\xFF\xFF\xFF\xFF\x0F"), false));
}

static void test_unknown_fields_are_dropped(void **state)
{
    struct context *context = *state;
    /* field 1000 in the message and in its point, a number, a text, and both fixed sizes */
    static const char raw[] = "\xC0\x3E\x01\xC2\x3E\x01x\xC1\x3E"
                              "12345678\xC5\x3E"
                              "1234\x8A\x01\x05\x08\x02\xC0\x3E\x09";
    ProtobufCMessage *message = NULL;
    assert_ok_err(
        context->err,
        wire_unpack(
            context->schema,
            &belay__test__v1__sink__descriptor,
            raw,
            sizeof(raw) - 1,
            context->arena,
            &message,
            &context->err));
    const Belay__Test__V1__Sink *sink = (const Belay__Test__V1__Sink *)message;
    assert_int_equal(sink->base.n_unknown_fields, 0);
    assert_int_equal(sink->a_point->base.n_unknown_fields, 0);
    assert_int_equal(sink->a_point->x, 2);
    wire_pack(message, &context->bytes);
    assert_int_equal(context->bytes.len, 5);
}

static void nest(struct buf *bytes, unsigned depth)
{
    AUTO_BUF struct buf other = BUF_INIT(1 << 20);
    buf_clear(bytes);
    for (unsigned i = 1; i < depth; i++) {
        buf_clear(&other);
        buf_append_char(&other, i + 1 == depth ? (char)0xBA : 0x12);
        if (i + 1 == depth) {
            buf_append_char(&other, 0x03);
        }
        if (bytes->len >= 128) {
            buf_append_char(&other, (char)(0x80 | (bytes->len & 0x7F)));
            buf_append_char(&other, (char)(bytes->len >> 7));
        } else {
            buf_append_char(&other, (char)bytes->len);
        }
        buf_append_str(&other, buf_view(bytes));
        buf_clear(bytes);
        buf_append_str(bytes, buf_view(&other));
    }
}

static void test_depth_is_bounded(void **state)
{
    struct context *context = *state;
    nest(&context->bytes, WIRE_DEPTH_MAX);
    assert_ok(unpack_raw(context, buf_view(&context->bytes), false));
    nest(&context->bytes, WIRE_DEPTH_MAX + 1);
    assert_code(ERR_INVALID, unpack_raw(context, buf_view(&context->bytes), true));
    assert_non_null(strstr(context->err.text, ": nested deeper than 32 messages"));
}

static void test_lenient_keeps_what_a_newer_peer_says(void **state)
{
    struct context *context = *state;
    assert_code(ERR_INVALID, unpack_raw(context, STR("\x80\x01\x09"), false));
    assert_string_equal(context->err.text, "a_color: unknown value 9");
    assert_ok(unpack_raw(context, STR("\x80\x01\x09"), true));
    ProtobufCMessage *message = NULL;
    assert_ok(wire_unpack_lenient(
        context->schema,
        &belay__test__v1__ruled__descriptor,
        "",
        0,
        context->arena,
        &message,
        NULL));
    assert_code(
        ERR_INVALID,
        wire_unpack(
            context->schema,
            &belay__test__v1__ruled__descriptor,
            "",
            0,
            context->arena,
            &message,
            NULL));
}

static void test_the_arena_bounds_a_message(void **state)
{
    struct context *context = *state;
    AUTO_ARENA struct arena *small = arena_create(4096);
    buf_clear(&context->bytes);
    for (int i = 0; i < 900; i++) {
        buf_append(&context->bytes, "\xCA\x01\x00", 3); /* an empty point */
    }
    ProtobufCMessage *message = NULL;
    assert_code(
        ERR_LIMIT,
        wire_unpack(
            context->schema,
            &belay__test__v1__sink__descriptor,
            context->bytes.data,
            context->bytes.len,
            small,
            &message,
            &context->err));
    assert_null(message);
}

static void test_many_keys_are_compared(void **state)
{
    struct context *context = *state;
    Belay__Test__V1__Sink sink = BELAY__TEST__V1__SINK__INIT;

    enum {
        COUNT = 1000,
        KEY_BYTES = 8
    };

    Belay__Test__V1__Sink__TextMapEntry *text_map[COUNT];
    for (int i = 0; i < COUNT; i++) {
        text_map[i] = wire_new(context->arena, &belay__test__v1__sink__text_map_entry__descriptor);
        text_map[i]->key = arena_alloc(context->arena, KEY_BYTES);
        (void)snprintf(text_map[i]->key, KEY_BYTES, "k%d", i * 7919 % COUNT);
    }
    sink.text_map = text_map;
    sink.n_text_map = COUNT;
    assert_ok_err(context->err, unpack_message(context, &sink.base));
    assert_ok(str_copy(STR("k500"), text_map[7]->key, KEY_BYTES));
    assert_refused(context, &sink, "text_map: key \"k500\" appears twice");
}

static bool unpack_once(void *argument)
{
    struct context *context = argument;
    AUTO_ARENA struct arena *arena = arena_create(1 << 20);
    ProtobufCMessage *message = NULL;
    struct err_info err = ERR_INFO_INIT;
    enum err_code code = wire_unpack(
        context->schema,
        &belay__test__v1__ruled__descriptor,
        context->bytes.data,
        context->bytes.len,
        arena,
        &message,
        &err);
    assert_true(code == ERR_OK || code == ERR_NOMEM);
    return code == ERR_OK;
}

static void test_unpacking_survives_failed_allocations(void **state)
{
    struct context *context = *state;
    Belay__Test__V1__Ruled ruled = valid_ruled();
    wire_pack(&ruled.base, &context->bytes);
    test_allocation_sweep(unpack_once, context, 200);
}

static void test_the_real_contract_loads(void **state)
{
    struct context *context = *state;
    struct wire_schema *schema = NULL;
    assert_ok_err(
        context->err,
        wire_schema_load(belay_descriptors, belay_descriptors_size, &schema, &context->err));
    Agentgateway__V1__BeginAuthHandshakeRequest request =
        AGENTGATEWAY__V1__BEGIN_AUTH_HANDSHAKE_REQUEST__INIT;
    char api_key[] = "key_01234567890123456789";
    uint8_t key[32] = { 1 };
    request.api_key = api_key;
    request.identity_pubkey = (ProtobufCBinaryData){ 31, key };
    wire_pack(&request.base, &context->bytes);
    ProtobufCMessage *message = NULL;
    assert_code(
        ERR_INVALID,
        wire_unpack(
            schema,
            request.base.descriptor,
            context->bytes.data,
            context->bytes.len,
            context->arena,
            &message,
            &context->err));
    assert_string_equal(context->err.text, "identity_pubkey: 31 bytes, exactly 32");
    wire_schema_destroy(schema);
}

static void test_new_messages_have_their_defaults(void **state)
{
    struct context *context = *state;
    Belay__Test__V1__Sink *sink = wire_new(context->arena, &belay__test__v1__sink__descriptor);
    assert_non_null(sink);
    assert_string_equal(sink->a_string, "");
    assert_ptr_equal(sink->base.descriptor, &belay__test__v1__sink__descriptor);
    AUTO_ARENA struct arena *none = arena_create(1);
    assert_null(wire_new(none, &belay__test__v1__sink__descriptor));
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_valid_message_passes),
        TEST(test_text_rules_name_field_and_bound),
        TEST(test_entries_are_counted),
        TEST(test_number_rules),
        TEST(test_required_things),
        TEST(test_labels),
        TEST(test_paths_lead_into_lists_and_maps),
        TEST(test_times_are_bounded),
        TEST(test_malformed_bytes_are_refused),
        TEST(test_negative_numbers_come_in_both_lengths),
        TEST(test_unknown_fields_are_dropped),
        TEST(test_depth_is_bounded),
        TEST(test_lenient_keeps_what_a_newer_peer_says),
        TEST(test_the_arena_bounds_a_message),
        TEST(test_many_keys_are_compared),
        TEST(test_unpacking_survives_failed_allocations),
        TEST(test_the_real_contract_loads),
        TEST(test_new_messages_have_their_defaults),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
