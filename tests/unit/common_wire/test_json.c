/*
 * ProtoJSON by example, in both directions, and the words with which documents are refused.
 */
#include "common/wire/wire.h"
#include "test_descriptors.h"
#include "tests/support/test.h"

#include <jansson.h>

#include <belay/test/v1/sink.pb-c.h>
#include <math.h>

struct context {
    struct wire_schema *schema;
    struct arena *arena;
    struct buf out;
    struct err_info err;
};

static int setup(void **state)
{
    struct context *context = mem_alloc(sizeof(*context));
    context->arena = arena_create(1 << 22);
    context->out = (struct buf)BUF_INIT(1 << 22);
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
    buf_deinit(&context->out);
    mem_free(context);
    return 0;
}

static enum err_code read_json(
    struct context *context,
    const ProtobufCMessageDescriptor *type,
    const char *json,
    ProtobufCMessage **message)
{
    return wire_from_json(
        context->schema, type, str_of(json), context->arena, message, &context->err);
}

static const char *write_json(
    struct context *context, const ProtobufCMessage *message, unsigned flags)
{
    buf_clear(&context->out);
    assert_ok_err(
        context->err, wire_to_json(context->schema, message, flags, &context->out, &context->err));
    return buf_text(&context->out);
}

static Belay__Test__V1__Sink *read_sink(struct context *context, const char *json)
{
    ProtobufCMessage *message = NULL;
    assert_ok_err(
        context->err, read_json(context, &belay__test__v1__sink__descriptor, json, &message));
    return (Belay__Test__V1__Sink *)message;
}

/* Documents in the very form that the encoder writes: read, written, the same. */
static void test_documents_read_and_write_alike(void **state)
{
    static const char *const documents[] = {
        "{}",
        "{\"aDouble\":0.1,\"aFloat\":0.1,\"anInt32\":-5,\"anInt64\":\"-9223372036854775808\"}",
        "{\"aUint32\":4294967295,\"aUint64\":\"18446744073709551615\",\"aSint32\":-2147483648}",
        "{\"aSint64\":\"-1\",\"aFixed32\":7,\"aFixed64\":\"8\",\"aSfixed32\":-7,\"aSfixed64\":\"-8\"}",
        "{\"aDouble\":\"NaN\",\"aFloat\":\"-Infinity\"}",
        "{\"aDouble\":1e+300,\"doubleList\":[1,-2.5,0]}",
        "{\"aBool\":true,\"aString\":\"caf\xC3\xA9 \\\"x\\\"\",\"someBytes\":\"AAEC/w==\"}",
        "{\"aColor\":\"COLOR_BLUE\",\"aPoint\":{},\"colorList\":[\"COLOR_RED\",\"COLOR_BELOW\"]}",
        "{\"intList\":[1,-2],\"unpackedList\":[\"5\"],\"boolList\":[true,false]}",
        "{\"stringList\":[\"\",\"b\"],\"bytesList\":[\"\",\"YQ==\"],\"pointList\":[{\"x\":1},{}]}",
        "{\"textMap\":{\"a\":\"1\",\"\":\"\"},\"pointMap\":{\"-3\":{\"y\":2}}}",
        "{\"bytesMap\":{\"18446744073709551615\":\"YWI=\"},\"colorMap\":{\"true\":\"COLOR_RED\"}}",
        "{\"doubleMap\":{\"-9\":1.5}}",
        "{\"choiceText\":\"\"}",
        "{\"choicePoint\":{\"x\":4}}",
        "{\"choiceColor\":\"COLOR_UNSPECIFIED\"}",
        "{\"aTime\":\"2026-11-22T03:46:00.250Z\",\"aDuration\":\"-1.000000001s\"}",
        "{\"aTime\":\"1970-01-01T00:00:00Z\",\"aDuration\":\"0s\"}",
        "{\"aTime\":\"9999-12-31T23:59:59.999999999Z\",\"aDuration\":\"1.500s\"}",
        "{\"aStruct\":{\"a\":1,\"b\":[true,null,\"x\",{\"c\":{}}],\"d\":[]}}",
        "{\"aStruct\":{},\"aValue\":null,\"aList\":[]}",
        "{\"aValue\":[1,[2,[3]]],\"aList\":[{},\"s\"],\"anEmpty\":{}}",
        "{\"aBoolValue\":false,\"anInt64Value\":\"0\",\"aStringValue\":\"s\",\"aBytesValue\":\"\"}",
        "{\"aDoubleValue\":2.5,\"aUint32Value\":3,\"timeList\":[\"2000-02-29T00:00:00Z\"]}",
        "{\"valueMap\":{\"n\":null,\"l\":[1]},\"@other\":\"o\",\"maybe\":0}",
        "{\"aNode\":{\"name\":\"a\",\"child\":{\"child\":{}}}}",
    };
    struct context *context = *state;
    for (size_t i = 0; i < ARRAY_LENGTH(documents); i++) {
        Belay__Test__V1__Sink *sink = read_sink(context, documents[i]);
        assert_string_equal(write_json(context, &sink->base, 0), documents[i]);
    }
}

/* Other forms of the same, as other writers have them. */
static void test_other_forms_are_understood(void **state)
{
    static const struct {
        const char *given;
        const char *written;
    } cases[] = {
        { " { \"a_string\" : \"x\" } ", "{\"aString\":\"x\"}" },
        { "{\"anInt32\":\"7\",\"anInt64\":7,\"aUint64\":7}",
          "{\"anInt32\":7,\"anInt64\":\"7\",\"aUint64\":\"7\"}" },
        { "{\"anInt32\":7.0,\"aUint32\":1e3}", "{\"anInt32\":7,\"aUint32\":1000}" },
        { "{\"aDouble\":\"1.5\",\"aFloat\":3}", "{\"aDouble\":1.5,\"aFloat\":3}" },
        { "{\"aColor\":7}", "{\"aColor\":\"COLOR_BLUE\"}" },
        { "{\"someBytes\":\"-_8\"}", "{\"someBytes\":\"+/8=\"}" },
        { "{\"aString\":null,\"intList\":null,\"textMap\":null,\"aPoint\":null}", "{}" },
        { "{\"choiceText\":null,\"choiceNumber\":\"1\"}", "{\"choiceNumber\":\"1\"}" },
        { "{\"aTime\":\"2026-11-22T05:46:00+02:00\"}", "{\"aTime\":\"2026-11-22T03:46:00Z\"}" },
        { "{\"aTime\":\"2026-11-22T03:46:00.123456789Z\"}",
          "{\"aTime\":\"2026-11-22T03:46:00.123456789Z\"}" },
        { "{\"aDuration\":\"1.5s\"}", "{\"aDuration\":\"1.500s\"}" },
        { "{\"aColor\":\"COLOR_UNSPECIFIED\",\"aBool\":false,\"intList\":[]}", "{}" },
    };
    struct context *context = *state;
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        Belay__Test__V1__Sink *sink = read_sink(context, cases[i].given);
        assert_string_equal(write_json(context, &sink->base, 0), cases[i].written);
    }
}

static void test_wrong_documents_are_refused_by_path(void **state)
{
    static const struct {
        const char *json;
        const char *text;
    } cases[] = {
        { "", "JSON line 1, column 0: ends too early" },
        { "{", "JSON line 1, column 1: ends too early" },
        { "{} x", "JSON line 1, column 4: something follows the document" },
        { "{\"aString\":\"a\",\"aString\":\"b\"}",
          "JSON line 1, column 24: a member stands twice" },
        { "{\"aString\":\"\\u0000\"}", "JSON line 1, column 19: holds a NUL" },
        { "[]", "expected an object" },
        { "{\"a_string\":\"a\",\"aString\":\"b\"}", "aString: given twice" },
        { "{\"nothing\":1}", "nothing: unknown member" },
        { "{\"no\\nthing\":1}", "no?thing: unknown member" },
        { "{\"aPoint\":{\"z\":1}}", "aPoint.z: unknown member" },
        { "{\"aPiont\":{}}", "aPiont: unknown member; did you mean \"aPoint\"?" },
        { "{\"pointList\":[{},{\"x\":\"a\"}]}",
          "pointList[1].x: expected a whole number of 32 bits" },
        { "{\"pointMap\":{\"4\":{\"x\":1.5}}}",
          "pointMap[\"4\"].x: expected a whole number of 32 bits" },
        { "{\"pointMap\":{\"a\":{}}}", "pointMap[\"a\"]: expected a whole number of 32 bits" },
        { "{\"colorMap\":{\"yes\":1}}", "colorMap[\"yes\"]: expected a key of true or false" },
        { "{\"pointList\":[null]}", "pointList[0]: null is no entry" },
        { "{\"pointList\":{}}", "pointList: expected an array" },
        { "{\"textMap\":[]}", "textMap: expected an object" },
        { "{\"anInt32\":2147483648}", "anInt32: expected a whole number of 32 bits" },
        { "{\"aUint32\":-1}", "aUint32: expected a whole number of 32 bits, not negative" },
        { "{\"aUint64\":\"18446744073709551616\"}",
          "aUint64: expected a whole number of 64 bits, not negative" },
        { "{\"aUint64\":\" 1\"}", "aUint64: expected a whole number of 64 bits, not negative" },
        { "{\"aUint64\":18446744073709551615}", "JSON line 1, column 31: a number out of range" },
        { "{\"aFloat\":1e39}", "aFloat: does not fit a float" },
        { "{\"aDouble\":\"0x10\"}", "aDouble: expected a number" },
        { "{\"aBool\":1}", "aBool: expected true or false" },
        { "{\"aString\":1}", "aString: expected a text" },
        { "{\"someBytes\":\"a\"}", "someBytes: expected base64" },
        { "{\"someBytes\":\"a?==\"}", "someBytes: expected base64" },
        { "{\"aColor\":\"RED\"}", "aColor: expected a value of belay.test.v1.Color" },
        { "{\"aColor\":9}", "a_color: unknown value 9" },
        { "{\"choiceText\":\"a\",\"choiceNumber\":1}",
          "choiceNumber: at most one of choice_text, choice_number, choice_point, choice_color" },
        { "{\"aTime\":\"yesterday\"}", "aTime: expected a time such as \"2026-11-22T03:46:00Z\"" },
        { "{\"aTime\":\"1969-12-31T23:59:59Z\"}",
          "aTime: expected a time such as \"2026-11-22T03:46:00Z\"" },
        { "{\"aDuration\":\"1.5\"}", "aDuration: expected a duration such as \"1.5s\"" },
        { "{\"aDuration\":\"--1s\"}", "aDuration: expected a duration such as \"1.5s\"" },
        { "{\"aStruct\":[]}", "aStruct: expected an object" },
        { "{\"aList\":{}}", "aList: expected an array" },
        { "{\"stringList\":[\"a\",\"b\",\"c\",\"d\",\"e\"]}", "string_list: more than 4 entries" },
        { "{\"stringList\":[\"123456789\"]}", "string_list[0]: 9 characters, at most 8" },
    };
    struct context *context = *state;
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        ProtobufCMessage *message = NULL;
        enum err_code code =
            read_json(context, &belay__test__v1__sink__descriptor, cases[i].json, &message);
        assert_code(ERR_INVALID, code);
        assert_string_equal(context->err.text, cases[i].text);
        assert_null(message);
    }
}

static void test_depth_and_size_are_bounded(void **state)
{
    struct context *context = *state;
    AUTO_BUF struct buf json = BUF_INIT(1 << 20);
    ProtobufCMessage *message = NULL;
    buf_append_str(&json, STR("{\"aValue\":"));
    for (int i = 0; i < 12; i++) {
        buf_append_char(&json, '[');
    }
    for (int i = 0; i < 12; i++) {
        buf_append_char(&json, ']');
    }
    buf_append_char(&json, '}');
    assert_ok_err(
        context->err,
        read_json(context, &belay__test__v1__sink__descriptor, buf_text(&json), &message));
    buf_clear(&json);
    buf_append_str(&json, STR("{\"aValue\":"));
    for (int i = 0; i < 20; i++) {
        buf_append_char(&json, '[');
    }
    for (int i = 0; i < 20; i++) {
        buf_append_char(&json, ']');
    }
    buf_append_char(&json, '}');
    assert_code(
        ERR_INVALID,
        read_json(context, &belay__test__v1__sink__descriptor, buf_text(&json), &message));
    assert_non_null(strstr(context->err.text, "nested deeper than 32 messages"));
    buf_clear(&json);
    for (int i = 0; i < 100000; i++) {
        buf_append_char(&json, '[');
    }
    assert_code(
        ERR_INVALID,
        read_json(context, &belay__test__v1__sink__descriptor, buf_text(&json), &message));
    assert_string_equal(context->err.text, "JSON: nested deeper than 64");
    buf_clear(&json);
    buf_append_str(&json, STR("{\"pointList\":[{}"));
    for (int i = 0; i < 70000; i++) {
        buf_append_str(&json, STR(",{}"));
    }
    buf_append_str(&json, STR("]}"));
    assert_code(
        ERR_LIMIT,
        read_json(context, &belay__test__v1__sink__descriptor, buf_text(&json), &message));
}

static void test_secrets_are_left_out_unless_asked_for(void **state)
{
    struct context *context = *state;
    Belay__Test__V1__Ruled ruled = BELAY__TEST__V1__RULED__INIT;
    char password[] = "hunter2";
    ruled.password = password;
    assert_string_equal(write_json(context, &ruled.base, 0), "{}");
    assert_null(strstr(write_json(context, &ruled.base, WIRE_JSON_DEFAULTS), "password"));
    assert_string_equal(
        write_json(context, &ruled.base, WIRE_JSON_SHOW_SECRETS), "{\"password\":\"hunter2\"}");
}

static void test_flags_shape_the_text(void **state)
{
    struct context *context = *state;
    Belay__Test__V1__Sink *sink = read_sink(
        context,
        "{\"anInt32\":1,\"pointList\":[{\"x\":1},{}],\"textMap\":{\"a\":\"b\"},\"aList\":[]}");
    assert_string_equal(
        write_json(context, &sink->base, WIRE_JSON_INDENT | WIRE_JSON_PROTO_NAMES),
        "{\n"
        "  \"an_int32\": 1,\n"
        "  \"point_list\": [\n"
        "    {\n"
        "      \"x\": 1\n"
        "    },\n"
        "    {}\n"
        "  ],\n"
        "  \"text_map\": {\n"
        "    \"a\": \"b\"\n"
        "  },\n"
        "  \"a_list\": []\n"
        "}");
    Belay__Test__V1__Point point = BELAY__TEST__V1__POINT__INIT;
    assert_string_equal(write_json(context, &point.base, WIRE_JSON_DEFAULTS), "{\"x\":0,\"y\":0}");
    Belay__Test__V1__Ruled3 lists = BELAY__TEST__V1__RULED3__INIT;
    assert_string_equal(write_json(context, &lists.base, WIRE_JSON_DEFAULTS), "{\"numbers\":[]}");
    Belay__Test__V1__Node node = BELAY__TEST__V1__NODE__INIT;
    assert_string_equal(write_json(context, &node.base, WIRE_JSON_DEFAULTS), "{\"name\":\"\"}");
}

static void test_unknown_enum_values_are_written_as_numbers(void **state)
{
    struct context *context = *state;
    Belay__Test__V1__Sink sink = BELAY__TEST__V1__SINK__INIT;
    sink.a_color = (Belay__Test__V1__Color)99;
    assert_string_equal(write_json(context, &sink.base, 0), "{\"aColor\":99}");
}

static void test_what_has_no_json_is_refused(void **state)
{
    struct context *context = *state;
    Belay__Test__V1__Sink sink = BELAY__TEST__V1__SINK__INIT;
    Google__Protobuf__Timestamp time = GOOGLE__PROTOBUF__TIMESTAMP__INIT;
    Google__Protobuf__Value value = GOOGLE__PROTOBUF__VALUE__INIT;
    time.seconds = -5;
    sink.a_time = &time;
    AUTO_BUF struct buf out = BUF_INIT(4096);
    assert_code(ERR_INVALID, wire_to_json(context->schema, &sink.base, 0, &out, &context->err));
    assert_string_equal(context->err.text, "google.protobuf.Timestamp: out of range");
    assert_string_equal(buf_text(&out), ""); /* nothing half-written */
    sink.a_time = NULL;
    sink.a_value = &value;
    value.kind_case = GOOGLE__PROTOBUF__VALUE__KIND_NUMBER_VALUE;
    value.number_value = HUGE_VAL;
    buf_clear(&out);
    assert_code(ERR_INVALID, wire_to_json(context->schema, &sink.base, 0, &out, &context->err));
    AUTO_BUF struct buf tiny = BUF_INIT(4);
    sink.a_value = NULL;
    sink.an_int32 = 12345;
    assert_code(ERR_LIMIT, wire_to_json(context->schema, &sink.base, 0, &tiny, &context->err));
}

static void test_rules_hold_for_json(void **state)
{
    struct context *context = *state;
    ProtobufCMessage *message = NULL;
    assert_code(
        ERR_INVALID,
        read_json(context, &belay__test__v1__ruled__descriptor, "{\"dns\":\"A\"}", &message));
    assert_string_equal(context->err.text, "dns: \"A\" is not a DNS label");
}

static const char sweep_json[] =
    "{\"aString\":\"x\",\"textMap\":{\"a\":\"b\"},\"intList\":[1,2],\"aStruct\":{\"a\":[1,{}]},"
    "\"someBytes\":\"AAEC\",\"pointMap\":{\"4\":{\"x\":1}}}";

static bool convert_once(void *argument)
{
    struct context *context = argument;
    AUTO_ARENA struct arena *arena = arena_create(1 << 20);
    AUTO_BUF struct buf out = BUF_INIT(4096);
    ProtobufCMessage *message = NULL;
    struct err_info err = ERR_INFO_INIT;
    enum err_code code = wire_from_json(
        context->schema,
        &belay__test__v1__sink__descriptor,
        str_of(sweep_json),
        arena,
        &message,
        &err);
    if (code == ERR_OK) {
        code = wire_to_json(context->schema, message, 0, &out, &err);
    }
    if (code == ERR_INVALID) { /* jansson takes a token that it has no memory for as malformed */
        assert_non_null(strstr(err.text, "malformed"));
        return false;
    }
    assert_true(code == ERR_OK || code == ERR_NOMEM || code == ERR_LIMIT);
    return code == ERR_OK;
}

static void test_conversion_survives_failed_allocations(void **state)
{
    json_set_alloc_funcs(mem_try_alloc, mem_free);
    test_allocation_sweep(convert_once, *state, 1000);
    json_set_alloc_funcs(malloc, free);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_documents_read_and_write_alike),
        TEST(test_other_forms_are_understood),
        TEST(test_wrong_documents_are_refused_by_path),
        TEST(test_depth_and_size_are_bounded),
        TEST(test_secrets_are_left_out_unless_asked_for),
        TEST(test_flags_shape_the_text),
        TEST(test_unknown_enum_values_are_written_as_numbers),
        TEST(test_what_has_no_json_is_refused),
        TEST(test_rules_hold_for_json),
        TEST(test_conversion_survives_failed_allocations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
