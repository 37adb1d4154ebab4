/*
 * Properties over random messages of every kind of field: packed, unpacked and packed again they
 * are the same bytes; so they are by way of JSON. The seed of a failing round is printed.
 */
#include "common/wire/wire.h"
#include "test_descriptors.h"
#include "tests/support/test.h"

#include <belay/test/v1/sink.pb-c.h>
#include <stdio.h>

enum {
    ROUNDS = 400,
    DEPTH = 5
};

struct context {
    struct wire_schema *schema;
    struct arena *arena;
    uint64_t random;
};

static int setup(void **state)
{
    struct context *context = mem_alloc(sizeof(*context));
    struct err_info err = ERR_INFO_INIT;
    context->arena = arena_create(1 << 24);
    assert_ok_err(
        err, wire_schema_load(test_descriptors, test_descriptors_size, &context->schema, &err));
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

/* xorshift64* */
static uint64_t draw(struct context *context)
{
    context->random ^= context->random >> 12;
    context->random ^= context->random << 25;
    context->random ^= context->random >> 27;
    return context->random * UINT64_C(2685821657736338717);
}

static uint64_t below(struct context *context, uint64_t bound)
{
    return (draw(context) >> 8) % bound;
}

/* Small as often as large, so that zeros and every length of varint turn up. */
static uint64_t draw_number(struct context *context)
{
    return draw(context) >> below(context, 64);
}

static char *draw_text(struct context *context)
{
    static const char *const parts[] = { "",  "a", "\xC3\xA9", "\"", "\n", "\xF0\x9F\x98\x80",
                                         "/", "x" };
    return arena_printf(
        context->arena,
        "%s%s%s",
        parts[below(context, 8)],
        parts[below(context, 8)],
        parts[below(context, 8)]);
}

static ProtobufCMessage *draw_message(
    struct context *context, const ProtobufCMessageDescriptor *type, unsigned depth);

static void draw_special(struct context *context, ProtobufCMessage *message)
{
    if (message->descriptor == &google__protobuf__timestamp__descriptor) {
        Google__Protobuf__Timestamp *time = (Google__Protobuf__Timestamp *)message;
        time->seconds = (int64_t)below(context, 253402300800);
        time->nanos = (int32_t)below(context, 1000000000);
    } else if (message->descriptor == &google__protobuf__duration__descriptor) {
        Google__Protobuf__Duration *span = (Google__Protobuf__Duration *)message;
        bool negative = below(context, 2) == 0;
        span->seconds = (int64_t)below(context, 315576000000) * (negative ? -1 : 1);
        span->nanos = (int32_t)below(context, 1000000000) * (negative ? -1 : 1);
    } else if (message->descriptor == &google__protobuf__value__descriptor) {
        Google__Protobuf__Value *value = (Google__Protobuf__Value *)message;
        if (value->kind_case == GOOGLE__PROTOBUF__VALUE__KIND__NOT_SET) {
            value->kind_case = GOOGLE__PROTOBUF__VALUE__KIND_NUMBER_VALUE;
            value->number_value = (double)below(context, 1000) / 8;
        }
    }
}

/* Writes one value to where it belongs. */
static void draw_value(
    struct context *context, const ProtobufCFieldDescriptor *field, void *out, unsigned depth)
{
    const ProtobufCEnumDescriptor *values = field->descriptor;
    uint64_t number = draw_number(context);
    int32_t half = (int32_t)(uint32_t)number;
    double real = (double)(int64_t)number / 16;
    float small = (float)(int16_t)(uint16_t)number / 7.0F;
    protobuf_c_boolean truth = (protobuf_c_boolean)(number & 1);
    ProtobufCBinaryData bytes = { below(context, 6), NULL };
    char *text = NULL;
    switch (field->type) {
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
        memcpy(out, &half, sizeof(half));
        break;
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
        memcpy(out, &number, sizeof(number));
        break;
    case PROTOBUF_C_TYPE_FLOAT:
        memcpy(out, &small, sizeof(small));
        break;
    case PROTOBUF_C_TYPE_DOUBLE:
        memcpy(out, &real, sizeof(real));
        break;
    case PROTOBUF_C_TYPE_BOOL:
        memcpy(out, &truth, sizeof(truth));
        break;
    case PROTOBUF_C_TYPE_ENUM:
        memcpy(out, &values->values[below(context, values->n_values)].value, sizeof(int));
        break;
    case PROTOBUF_C_TYPE_STRING:
        text = draw_text(context);
        memcpy(out, &text, sizeof(text));
        break;
    case PROTOBUF_C_TYPE_BYTES:
        bytes.data = arena_dup(context->arena, &context->random, 8);
        memcpy(out, &bytes, sizeof(bytes));
        break;
    case PROTOBUF_C_TYPE_MESSAGE:
        *(ProtobufCMessage **)out = draw_message(context, field->descriptor, depth + 1);
        break;
    }
}

static size_t element_bytes(ProtobufCType type)
{
    switch (type) {
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_DOUBLE:
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_MESSAGE:
        return 8;
    case PROTOBUF_C_TYPE_BYTES:
        return sizeof(ProtobufCBinaryData);
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
    case PROTOBUF_C_TYPE_FLOAT:
    case PROTOBUF_C_TYPE_BOOL:
    case PROTOBUF_C_TYPE_ENUM:
        break;
    }
    return 4;
}

static bool is_entry(const ProtobufCFieldDescriptor *field)
{
    const ProtobufCMessageDescriptor *type = field->descriptor;
    return field->type == PROTOBUF_C_TYPE_MESSAGE
        && str_has_suffix(str_of(type->short_name), STR("Entry"));
}

static void draw_list(
    struct context *context, const ProtobufCFieldDescriptor *field, char *base, unsigned depth)
{
    /* One entry in a map, whose random keys could meet; up to three elsewhere. */
    size_t count = below(context, is_entry(field) ? 2 : 4);
    size_t size = element_bytes(field->type);
    char *array = arena_alloc(context->arena, count * size);
    for (size_t i = 0; i < count; i++) {
        draw_value(context, field, array + i * size, depth);
    }
    memcpy(base + field->quantifier_offset, &count, sizeof(count));
    memcpy(base + field->offset, &array, sizeof(array));
}

static void draw_field(
    struct context *context, const ProtobufCFieldDescriptor *field, char *base, unsigned depth)
{
    bool entry = str_has_suffix(
        str_of(((const ProtobufCMessage *)(const void *)base)->descriptor->short_name),
        STR("Entry"));
    bool skip = below(context, 2) == 0 && !entry;
    if (skip || (depth >= DEPTH && field->type == PROTOBUF_C_TYPE_MESSAGE && !entry)) {
        return;
    }
    if (field->label == PROTOBUF_C_LABEL_REPEATED) {
        draw_list(context, field, base, depth);
        return;
    }
    if ((field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0) {
        uint32_t *which = (uint32_t *)(void *)(base + field->quantifier_offset);
        if (*which != 0) {
            return;
        }
        *which = field->id;
    }
    draw_value(context, field, base + field->offset, depth);
}

static ProtobufCMessage *draw_message(
    struct context *context, const ProtobufCMessageDescriptor *type, unsigned depth)
{
    ProtobufCMessage *message = wire_new(context->arena, type);
    bool timed = type == &google__protobuf__timestamp__descriptor
        || type == &google__protobuf__duration__descriptor;
    for (unsigned i = 0; i < type->n_fields && !timed; i++) {
        draw_field(context, &type->fields[i], (char *)message, depth);
    }
    draw_special(context, message);
    return message;
}

static void check_packed(
    struct context *context, const struct buf *expected, const ProtobufCMessage *message)
{
    AUTO_BUF struct buf again = BUF_INIT(1 << 22);
    (void)context;
    wire_pack(message, &again);
    assert_true(buf_ok(&again));
    assert_int_equal(again.len, expected->len);
    if (expected->len > 0) {
        assert_memory_equal(again.data, expected->data, expected->len);
    }
}

static void round_trip(struct context *context, const struct buf *packed, bool lenient)
{
    struct err_info err = ERR_INFO_INIT;
    ProtobufCMessage *message = NULL;
    const ProtobufCMessageDescriptor *type = &belay__test__v1__sink__descriptor;
    if (lenient) {
        assert_ok_err(
            err,
            wire_unpack_lenient(
                context->schema, type, packed->data, packed->len, context->arena, &message, &err));
    } else {
        assert_ok_err(
            err,
            wire_unpack(
                context->schema, type, packed->data, packed->len, context->arena, &message, &err));
    }
    check_packed(context, packed, message);
}

static void json_trip(struct context *context, const struct buf *packed, unsigned flags)
{
    struct err_info err = ERR_INFO_INIT;
    ProtobufCMessage *message = NULL;
    ProtobufCMessage *again = NULL;
    AUTO_BUF struct buf json = BUF_INIT(1 << 22);
    const ProtobufCMessageDescriptor *type = &belay__test__v1__sink__descriptor;
    assert_ok_err(
        err,
        wire_unpack(
            context->schema, type, packed->data, packed->len, context->arena, &message, &err));
    assert_ok_err(err, wire_to_json(context->schema, message, flags, &json, &err));
    enum err_code code =
        wire_from_json(context->schema, type, buf_view(&json), context->arena, &again, &err);
    if (code != ERR_OK) {
        print_error("%.1000s\n", buf_text(&json));
    }
    assert_ok_err(err, code);
    check_packed(context, packed, again);
}

static void test_random_messages_come_back(void **state)
{
    struct context *context = *state;
    static const unsigned flags[] = { 0,
                                      WIRE_JSON_INDENT,
                                      WIRE_JSON_PROTO_NAMES | WIRE_JSON_DEFAULTS,
                                      WIRE_JSON_INDENT | WIRE_JSON_DEFAULTS };
    AUTO_BUF struct buf packed = BUF_INIT(1 << 22);
    for (uint64_t seed = 1; seed <= ROUNDS; seed++) {
        context->random = seed * UINT64_C(0x9E3779B97F4A7C15);
        arena_reset(context->arena);
        buf_clear(&packed);
        ProtobufCMessage *message = draw_message(context, &belay__test__v1__sink__descriptor, 0);
        wire_pack(message, &packed);
        round_trip(context, &packed, false);
        round_trip(context, &packed, true);
        json_trip(context, &packed, flags[seed % 4] | WIRE_JSON_SHOW_SECRETS);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_random_messages_come_back, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
