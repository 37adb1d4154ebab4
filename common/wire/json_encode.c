/*
 * Messages to ProtoJSON, driven by the descriptors of protobuf-c (where a value is) and by the
 * schema (what it is called). Keeps its own stack of open messages.
 */
#include "common/wire/json_private.h"
#include "common/wire/wire_private.h"

#include <google/protobuf/duration.pb-c.h>
#include <google/protobuf/struct.pb-c.h>
#include <google/protobuf/timestamp.pb-c.h>

#include <math.h>

struct frame {
    const ProtobufCMessage *message;
    const struct wire_type *type;
    size_t field;
    size_t entry; /* values of the field already written */
    bool open;    /* the field's own bracket is */
    bool any;     /* something stands in the message's bracket */
    bool bare;    /* Struct and ListValue: their only field stands for them */
};

struct encoder {
    struct buf *out;
    unsigned flags;
    struct err_info *err;
    size_t depth;
    size_t indent;
    struct frame frames[JSON_DEPTH_MAX];
};

static void new_line(struct encoder *encoder)
{
    if ((encoder->flags & WIRE_JSON_INDENT) == 0) {
        return;
    }
    buf_append_char(encoder->out, '\n');
    for (size_t i = 0; i < encoder->indent; i++) {
        buf_append(encoder->out, "  ", 2);
    }
}

static void open_bracket(struct encoder *encoder, char bracket)
{
    buf_append_char(encoder->out, bracket);
    encoder->indent++;
}

static void close_bracket(struct encoder *encoder, char bracket, bool any)
{
    encoder->indent--;
    if (any) {
        new_line(encoder);
    }
    buf_append_char(encoder->out, bracket);
}

static void next_item(struct encoder *encoder, bool any)
{
    if (any) {
        buf_append_char(encoder->out, ',');
    }
    new_line(encoder);
}

static void colon(struct encoder *encoder)
{
    buf_append_str(encoder->out, (encoder->flags & WIRE_JSON_INDENT) != 0 ? STR(": ") : STR(":"));
}

static enum err_code push(
    struct encoder *encoder, const ProtobufCMessage *message, const struct wire_type *type)
{
    bool bare = type->special == WIRE_STRUCT || type->special == WIRE_LIST_VALUE;
    if (encoder->depth == JSON_DEPTH_MAX) {
        return ERR_SET(encoder->err, ERR_LIMIT, "%s: nested too deep for JSON", type->name);
    }
    if (message->descriptor->n_fields != type->field_count) {
        return ERR_SET(encoder->err, ERR_INTERNAL, "%s: not as in the schema", type->name);
    }
    encoder->frames[encoder->depth++] =
        (struct frame){ .message = message, .type = type, .bare = bare };
    if (!bare) {
        open_bracket(encoder, '{');
    }
    return ERR_OK;
}

static enum err_code write_scalar(
    struct encoder *encoder, const struct wire_field *field, const void *value);

/* The only field of a wrapper, which has no presence of its own. */
static enum err_code write_wrapper(
    struct encoder *encoder, const ProtobufCMessage *message, const struct wire_type *type)
{
    const char *base = (const char *)message;
    return write_scalar(encoder, &type->fields[0], base + message->descriptor->fields[0].offset);
}

static enum err_code begin_message(
    struct encoder *encoder, const ProtobufCMessage *message, const struct wire_type *type);

static enum err_code begin_value(
    struct encoder *encoder, const ProtobufCMessage *message, const struct wire_type *type)
{
    const Google__Protobuf__Value *value = (const Google__Protobuf__Value *)message;
    switch (value->kind_case) {
    case GOOGLE__PROTOBUF__VALUE__KIND_NUMBER_VALUE:
        if (!isfinite(value->number_value)) { /* it would read back as a text */
            return ERR_SET(encoder->err, ERR_INVALID, "%s: not a finite number", type->name);
        }
        json_append_double(encoder->out, value->number_value);
        return ERR_OK;
    case GOOGLE__PROTOBUF__VALUE__KIND_STRING_VALUE:
        buf_append_json(encoder->out, str_of(value->string_value));
        return ERR_OK;
    case GOOGLE__PROTOBUF__VALUE__KIND_BOOL_VALUE:
        buf_append_str(encoder->out, value->bool_value ? STR("true") : STR("false"));
        return ERR_OK;
    case GOOGLE__PROTOBUF__VALUE__KIND_STRUCT_VALUE:
        return push(encoder, &value->struct_value->base, wire_type_find(type, 5)->message);
    case GOOGLE__PROTOBUF__VALUE__KIND_LIST_VALUE:
        return push(encoder, &value->list_value->base, wire_type_find(type, 6)->message);
    case GOOGLE__PROTOBUF__VALUE__KIND__NOT_SET:
    case GOOGLE__PROTOBUF__VALUE__KIND_NULL_VALUE:
    case _GOOGLE__PROTOBUF__VALUE__KIND__CASE_IS_INT_SIZE:
        break;
    }
    buf_append(encoder->out, "null", 4);
    return ERR_OK;
}

static enum err_code begin_message(
    struct encoder *encoder, const ProtobufCMessage *message, const struct wire_type *type)
{
    const Google__Protobuf__Timestamp *time = (const Google__Protobuf__Timestamp *)message;
    const Google__Protobuf__Duration *span = (const Google__Protobuf__Duration *)message;
    bool fits = true;
    switch (type->special) {
    case WIRE_PLAIN:
    case WIRE_STRUCT:
    case WIRE_LIST_VALUE:
        return push(encoder, message, type);
    case WIRE_VALUE:
        return begin_value(encoder, message, type);
    case WIRE_WRAPPER:
        return write_wrapper(encoder, message, type);
    case WIRE_TIMESTAMP:
        fits = json_append_timestamp(encoder->out, time->seconds, time->nanos);
        break;
    case WIRE_DURATION:
        fits = json_append_duration(encoder->out, span->seconds, span->nanos);
        break;
    }
    return fits ? ERR_OK : ERR_SET(encoder->err, ERR_INVALID, "%s: out of range", type->name);
}

static void write_enum(struct encoder *encoder, const struct wire_enum *enumeration, int32_t number)
{
    const char *name = wire_enum_find(enumeration, number);
    if (strcmp(enumeration->name, "google.protobuf.NullValue") == 0) {
        buf_append(encoder->out, "null", 4);
    } else if (name != NULL) {
        buf_printf(encoder->out, "\"%s\"", name);
    } else {
        buf_printf(encoder->out, "%ld", (long)number);
    }
}

static enum err_code write_scalar(
    struct encoder *encoder, const struct wire_field *field, const void *value)
{
    struct buf *out = encoder->out;
    const ProtobufCBinaryData *data = value;
    switch (field->type) {
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
        buf_printf(out, "%ld", (long)*(const int32_t *)value);
        break;
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
        buf_printf(out, "%lu", (unsigned long)*(const uint32_t *)value);
        break;
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
        buf_printf(out, "\"%lld\"", (long long)*(const int64_t *)value);
        break;
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
        buf_printf(out, "\"%llu\"", (unsigned long long)*(const uint64_t *)value);
        break;
    case PROTOBUF_C_TYPE_FLOAT:
        json_append_float(out, *(const float *)value);
        break;
    case PROTOBUF_C_TYPE_DOUBLE:
        json_append_double(out, *(const double *)value);
        break;
    case PROTOBUF_C_TYPE_BOOL:
        buf_append_str(out, *(const protobuf_c_boolean *)value ? STR("true") : STR("false"));
        break;
    case PROTOBUF_C_TYPE_ENUM:
        write_enum(encoder, field->enumeration, *(const int32_t *)value);
        break;
    case PROTOBUF_C_TYPE_STRING:
        buf_append_json(out, str_of(*(const char *const *)value));
        break;
    case PROTOBUF_C_TYPE_BYTES:
        json_append_base64(out, data->data, data->len);
        break;
    case PROTOBUF_C_TYPE_MESSAGE:
        return ERR_SET(encoder->err, ERR_INTERNAL, "%s: a message is no scalar", field->name);
    }
    return ERR_OK;
}

static size_t scalar_bytes(ProtobufCType type)
{
    switch (type) {
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
    case PROTOBUF_C_TYPE_FLOAT:
    case PROTOBUF_C_TYPE_ENUM:
        return sizeof(int32_t);
    case PROTOBUF_C_TYPE_BOOL:
        return sizeof(protobuf_c_boolean);
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_DOUBLE:
        return sizeof(int64_t);
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_MESSAGE:
        return sizeof(void *);
    case PROTOBUF_C_TYPE_BYTES:
        break;
    }
    return sizeof(ProtobufCBinaryData);
}

static bool is_zero(const void *value, ProtobufCType type)
{
    static const char zeros[sizeof(int64_t)];
    const ProtobufCBinaryData *data = value;
    if (type == PROTOBUF_C_TYPE_STRING) {
        const char *text = *(const char *const *)value;
        return text == NULL || text[0] == '\0';
    }
    return type == PROTOBUF_C_TYPE_BYTES ? data->len == 0
                                         : memcmp(value, zeros, scalar_bytes(type)) == 0;
}

/* How many values of a field there are to write: entries, or one or none. */
static size_t count_values(
    const struct encoder *encoder, const ProtobufCMessage *message, size_t index)
{
    const ProtobufCFieldDescriptor *field = &message->descriptor->fields[index];
    const char *member = (const char *)message + field->offset;
    const char *quantifier = (const char *)message + field->quantifier_offset;
    bool pointer = field->type == PROTOBUF_C_TYPE_MESSAGE || field->type == PROTOBUF_C_TYPE_STRING;
    if (field->label == PROTOBUF_C_LABEL_REPEATED) {
        return *(const size_t *)(const void *)quantifier;
    }
    if ((field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0) {
        return *(const uint32_t *)(const void *)quantifier == field->id ? 1 : 0;
    }
    if (field->type == PROTOBUF_C_TYPE_MESSAGE
        || (field->label == PROTOBUF_C_LABEL_OPTIONAL && pointer)) {
        const void *target = *(const void *const *)(const void *)member;
        return target != NULL && target != field->default_value ? 1 : 0;
    }
    if (field->label == PROTOBUF_C_LABEL_OPTIONAL) {
        return *(const protobuf_c_boolean *)(const void *)quantifier ? 1 : 0;
    }
    bool wanted = (encoder->flags & WIRE_JSON_DEFAULTS) != 0;
    return wanted || !is_zero(member, field->type) ? 1 : 0;
}

static const void *value_at(const ProtobufCMessage *message, size_t index, size_t entry)
{
    const ProtobufCFieldDescriptor *field = &message->descriptor->fields[index];
    const char *member = (const char *)message + field->offset;
    if (field->label != PROTOBUF_C_LABEL_REPEATED) {
        return member;
    }
    return *(const char *const *)(const void *)member + entry * scalar_bytes(field->type);
}

static enum err_code write_key(
    struct encoder *encoder, const ProtobufCMessage *entry, const struct wire_type *type)
{
    const void *value = (const char *)entry + entry->descriptor->fields[0].offset;
    size_t start = encoder->out->len;
    TRY(write_scalar(encoder, &type->fields[0], value));
    if (buf_ok(encoder->out) && encoder->out->data[start] != '"') { /* bool and 32-bit keys */
        char number[32];
        struct str_view plain = str_from(encoder->out->data + start, encoder->out->len - start);
        TRY(str_copy(plain, number, sizeof(number)));
        encoder->out->len = start;
        buf_printf(encoder->out, "\"%s\"", number);
    }
    colon(encoder);
    return ERR_OK;
}

/* One value of a field; a message is only begun. */
static enum err_code write_value(
    struct encoder *encoder, const struct wire_field *field, const void *value)
{
    if (field->type != PROTOBUF_C_TYPE_MESSAGE) {
        return write_scalar(encoder, field, value);
    }
    const ProtobufCMessage *message = *(const ProtobufCMessage *const *)value;
    if (message == NULL) {
        buf_append_str(
            encoder->out, field->message->special == WIRE_PLAIN ? STR("{}") : STR("null"));
        return ERR_OK;
    }
    if (!field->map) {
        return begin_message(encoder, message, field->message);
    }
    TRY(write_key(encoder, message, field->message));
    const struct wire_field *inner = &field->message->fields[1];
    const void *held = (const char *)message + message->descriptor->fields[1].offset;
    if (inner->type != PROTOBUF_C_TYPE_MESSAGE) {
        return write_scalar(encoder, inner, held);
    }
    const ProtobufCMessage *part = *(const ProtobufCMessage *const *)held;
    if (part == NULL) {
        buf_append_str(
            encoder->out, inner->message->special == WIRE_PLAIN ? STR("{}") : STR("null"));
        return ERR_OK;
    }
    return begin_message(encoder, part, inner->message);
}

static void open_field(struct encoder *encoder, struct frame *frame, const struct wire_field *field)
{
    if (!frame->bare) {
        next_item(encoder, frame->any);
        frame->any = true;
        bool proto = (encoder->flags & WIRE_JSON_PROTO_NAMES) != 0;
        buf_append_json(encoder->out, str_of(proto ? field->name : field->json_name));
        colon(encoder);
    }
    if (field->repeated) {
        open_bracket(encoder, field->map ? '{' : '[');
    }
    frame->open = true;
}

/* Writes the next value of the innermost message, or leaves it. */
static enum err_code step(struct encoder *encoder)
{
    struct frame *frame = &encoder->frames[encoder->depth - 1];
    if (frame->field == frame->type->field_count) {
        if (!frame->bare) {
            close_bracket(encoder, '}', frame->any);
        }
        encoder->depth--;
        return ERR_OK;
    }
    const struct wire_field *field = &frame->type->fields[frame->field];
    bool hidden = field->secret && (encoder->flags & WIRE_JSON_SHOW_SECRETS) == 0;
    size_t count = hidden ? 0 : count_values(encoder, frame->message, frame->field);
    bool shown = count > 0 || frame->bare
        || (!hidden && field->repeated && (encoder->flags & WIRE_JSON_DEFAULTS) != 0);
    if (!frame->open && shown) {
        open_field(encoder, frame, field);
    }
    if (frame->entry < count) {
        if (field->repeated) {
            next_item(encoder, frame->entry > 0);
        }
        return write_value(encoder, field, value_at(frame->message, frame->field, frame->entry++));
    }
    if (frame->open && field->repeated) {
        close_bracket(encoder, field->map ? '}' : ']', count > 0);
    }
    frame->open = false;
    frame->entry = 0;
    frame->field++;
    return ERR_OK;
}

enum err_code wire_to_json(
    const struct wire_schema *schema,
    const ProtobufCMessage *message,
    unsigned flags,
    struct buf *buf,
    struct err_info *err)
{
    const struct wire_type *type = wire_schema_find_type(schema, message->descriptor->name);
    if (type == NULL) {
        return ERR_SET(err, ERR_INTERNAL, "%s: not in the schema", message->descriptor->name);
    }
    struct encoder encoder;
    encoder.out = buf;
    encoder.flags = flags;
    encoder.err = err;
    encoder.depth = 0;
    encoder.indent = 0;
    size_t before = buf->len;
    enum err_code code = begin_message(&encoder, message, type);
    while (code == ERR_OK && encoder.depth > 0 && buf_ok(buf)) {
        code = step(&encoder);
    }
    if (code == ERR_OK && buf_ok(buf)) {
        return ERR_OK;
    }
    buf->len = before; /* nothing half-written */
    if (buf->data != NULL) {
        buf->data[before] = '\0';
    }
    return code != ERR_OK ? code : ERR_SET(err, ERR_LIMIT, "%s: too large as JSON", type->name);
}
