/*
 * Values of a JSON document as wire bytes. The lengths of nested messages are padded to four bytes,
 * so that they can be filled in when the message ends.
 */
#include "common/wire/json_decode_private.h"

#include <float.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>

enum {
    LENGTH_BYTES = 4,
    PATH_BYTES = 256,
    NAME_SHOWN = 64
};

static size_t path_append(char *path, size_t used, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static size_t path_append(char *path, size_t used, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int length = vsnprintf(path + used, PATH_BYTES - used, format, args);
    va_end(args);
    size_t left = PATH_BYTES - used - 1;
    return used + (length < 0 ? 0 : ((size_t)length > left ? left : (size_t)length));
}

static void clean(char *text)
{
    for (; *text != '\0'; text++) {
        if ((unsigned char)*text < 0x20 || *text == 0x7F) {
            *text = '?';
        }
    }
}

enum err_code json_fail(const struct json_decoder *decoder, const char *format, ...)
{
    char path[PATH_BYTES] = "";
    size_t used = 0;
    for (size_t i = 0; i < decoder->depth; i++) {
        const struct json_frame *frame = &decoder->frames[i];
        if (frame->kind == FRAME_ENTRIES) {
            used = path_append(path, used, "[%zu]", frame->entry - 1);
        } else if (frame->kind == FRAME_MAP) {
            used = path_append(path, used, "[\"%.*s\"]", NAME_SHOWN, frame->name);
        } else {
            used = path_append(path, used, "%s%.*s", used > 0 ? "." : "", NAME_SHOWN, frame->name);
        }
    }
    clean(path);
    char text[ERR_TEXT_BYTES - PATH_BYTES];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    return ERR_SET(decoder->err, ERR_INVALID, "%s%s%s", path, used > 0 ? ": " : "", text);
}

void json_put_varint(struct buf *out, uint64_t value)
{
    char bytes[10];
    size_t count = 0;
    for (; value > 0x7F; value >>= 7) {
        bytes[count++] = (char)(uint8_t)(value | 0x80);
    }
    bytes[count++] = (char)value;
    buf_append(out, bytes, count);
}

static void put_fixed(struct buf *out, uint64_t value, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++) {
        buf_append_char(out, (char)(uint8_t)(value >> (8 * i)));
    }
}

void json_put_tag(struct buf *out, uint32_t number, unsigned tag)
{
    json_put_varint(out, (uint64_t)number << 3 | tag);
}

void json_put_text(struct buf *out, uint32_t number, struct str_view text)
{
    json_put_tag(out, number, 2);
    json_put_varint(out, text.len);
    buf_append_str(out, text);
}

enum err_code json_open_length(struct json_decoder *decoder)
{
    if (decoder->length_count == LENGTHS_MAX) {
        return json_fail(decoder, "nested too deep");
    }
    decoder->lengths[decoder->length_count++] = decoder->out.len;
    (void)buf_extend(&decoder->out, LENGTH_BYTES);
    return ERR_OK;
}

/* Fills in the lengths opened since there were `count`. */
void json_close_lengths(struct json_decoder *decoder, size_t count)
{
    while (decoder->length_count > count) {
        size_t at = decoder->lengths[--decoder->length_count];
        if (!buf_ok(&decoder->out) || decoder->out.data == NULL) {
            continue;
        }
        size_t length = decoder->out.len - at - LENGTH_BYTES;
        for (size_t i = 0; i < LENGTH_BYTES; i++) {
            uint8_t more = i + 1 < LENGTH_BYTES ? 0x80 : 0;
            decoder->out.data[at + i] = (char)(uint8_t)(((length >> (7 * i)) & 0x7F) | more);
        }
    }
}

static struct str_view text_of(const json_t *value)
{
    return str_from(json_string_value(value), json_string_length(value));
}

/* A whole number: an integer, a real without fraction, or either as text. */
static bool read_signed(const json_t *value, int64_t min, int64_t max, int64_t *ret_number)
{
    if (json_is_string(value)) {
        return str_parse_int64(text_of(value), min, max, ret_number) == ERR_OK;
    }
    if (json_is_real(value)) {
        double real = json_real_value(value);
        if (!(real >= -9007199254740992.0 && real <= 9007199254740992.0) || real != floor(real)) {
            return false;
        }
        *ret_number = (int64_t)real;
    } else if (json_is_integer(value)) {
        *ret_number = json_integer_value(value);
    } else {
        return false;
    }
    return *ret_number >= min && *ret_number <= max;
}

static bool read_unsigned(const json_t *value, uint64_t max, uint64_t *ret_number)
{
    if (json_is_string(value)) {
        return str_parse_uint64(text_of(value), max, ret_number) == ERR_OK;
    }
    int64_t number = 0;
    if (!read_signed(value, 0, INT64_MAX, &number) || (uint64_t)number > max) {
        return false;
    }
    *ret_number = (uint64_t)number;
    return true;
}

static uint64_t zigzag(int64_t value)
{
    return ((uint64_t)value << 1) ^ (value < 0 ? UINT64_MAX : 0);
}

static enum err_code put_signed(
    struct json_decoder *decoder, const struct wire_field *field, const json_t *value)
{
    bool wide = field->type == PROTOBUF_C_TYPE_INT64 || field->type == PROTOBUF_C_TYPE_SINT64
        || field->type == PROTOBUF_C_TYPE_SFIXED64;
    int64_t number = 0;
    if (!read_signed(value, wide ? INT64_MIN : INT32_MIN, wide ? INT64_MAX : INT32_MAX, &number)) {
        return json_fail(decoder, "expected a whole number of %d bits", wide ? 64 : 32);
    }
    if (field->type == PROTOBUF_C_TYPE_SFIXED32 || field->type == PROTOBUF_C_TYPE_SFIXED64) {
        json_put_tag(&decoder->out, field->number, wide ? 1 : 5);
        put_fixed(&decoder->out, (uint64_t)number, wide ? 8 : 4);
        return ERR_OK;
    }
    bool zigzagged = field->type == PROTOBUF_C_TYPE_SINT32 || field->type == PROTOBUF_C_TYPE_SINT64;
    json_put_tag(&decoder->out, field->number, 0);
    json_put_varint(&decoder->out, zigzagged ? zigzag(number) : (uint64_t)number);
    return ERR_OK;
}

static enum err_code put_unsigned(
    struct json_decoder *decoder, const struct wire_field *field, const json_t *value)
{
    bool wide = field->type == PROTOBUF_C_TYPE_UINT64 || field->type == PROTOBUF_C_TYPE_FIXED64;
    uint64_t number = 0;
    if (!read_unsigned(value, wide ? UINT64_MAX : UINT32_MAX, &number)) {
        return json_fail(
            decoder, "expected a whole number of %d bits, not negative", wide ? 64 : 32);
    }
    if (field->type == PROTOBUF_C_TYPE_FIXED32 || field->type == PROTOBUF_C_TYPE_FIXED64) {
        json_put_tag(&decoder->out, field->number, wide ? 1 : 5);
        put_fixed(&decoder->out, number, wide ? 8 : 4);
        return ERR_OK;
    }
    json_put_tag(&decoder->out, field->number, 0);
    json_put_varint(&decoder->out, number);
    return ERR_OK;
}

static enum err_code put_real(
    struct json_decoder *decoder, const struct wire_field *field, const json_t *value)
{
    double number = json_number_value(value);
    if (!json_is_number(value)
        && !(json_is_string(value) && json_parse_double(text_of(value), &number))) {
        return json_fail(decoder, "expected a number");
    }
    if (field->type == PROTOBUF_C_TYPE_DOUBLE) {
        uint64_t bits = 0;
        memcpy(&bits, &number, sizeof(bits));
        json_put_tag(&decoder->out, field->number, 1);
        put_fixed(&decoder->out, bits, 8);
        return ERR_OK;
    }
    if (isfinite(number) && fabs(number) > (double)FLT_MAX) {
        return json_fail(decoder, "does not fit a float");
    }
    float half = (float)number;
    uint32_t bits = 0;
    memcpy(&bits, &half, sizeof(bits));
    json_put_tag(&decoder->out, field->number, 5);
    put_fixed(&decoder->out, bits, 4);
    return ERR_OK;
}

static enum err_code put_enum(
    struct json_decoder *decoder, const struct wire_field *field, const json_t *value)
{
    int64_t number = 0;
    bool known = false;
    if (json_is_string(value)) {
        const struct wire_enum *enumeration = field->enumeration;
        for (size_t i = 0; i < enumeration->value_count && !known; i++) {
            known = strcmp(enumeration->values[i].name, json_string_value(value)) == 0;
            number = enumeration->values[i].number;
        }
    } else if (json_is_null(value)) { /* of NullValue */
        known = true;
    } else {
        known = read_signed(value, INT32_MIN, INT32_MAX, &number);
    }
    if (!known) {
        return json_fail(decoder, "expected a value of %s", field->enumeration->name);
    }
    json_put_tag(&decoder->out, field->number, 0);
    json_put_varint(&decoder->out, (uint64_t)number);
    return ERR_OK;
}

static enum err_code put_bytes(
    struct json_decoder *decoder, const struct wire_field *field, const json_t *value)
{
    if (!json_is_string(value)) {
        return json_fail(decoder, "expected base64");
    }
    size_t before = decoder->length_count;
    json_put_tag(&decoder->out, field->number, 2);
    TRY(json_open_length(decoder));
    if (!json_decode_base64(text_of(value), &decoder->out)) {
        return json_fail(decoder, "expected base64");
    }
    json_close_lengths(decoder, before);
    return ERR_OK;
}

enum err_code json_put_scalar(
    struct json_decoder *decoder, const struct wire_field *field, const json_t *value)
{
    switch (field->type) {
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
        return put_signed(decoder, field, value);
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
        return put_unsigned(decoder, field, value);
    case PROTOBUF_C_TYPE_FLOAT:
    case PROTOBUF_C_TYPE_DOUBLE:
        return put_real(decoder, field, value);
    case PROTOBUF_C_TYPE_BOOL:
        if (!json_is_boolean(value)) {
            return json_fail(decoder, "expected true or false");
        }
        json_put_tag(&decoder->out, field->number, 0);
        json_put_varint(&decoder->out, json_is_true(value) ? 1 : 0);
        return ERR_OK;
    case PROTOBUF_C_TYPE_ENUM:
        return put_enum(decoder, field, value);
    case PROTOBUF_C_TYPE_STRING:
        if (!json_is_string(value)) {
            return json_fail(decoder, "expected a text");
        }
        json_put_text(&decoder->out, field->number, text_of(value));
        return ERR_OK;
    case PROTOBUF_C_TYPE_BYTES:
        return put_bytes(decoder, field, value);
    case PROTOBUF_C_TYPE_MESSAGE:
        break;
    }
    return json_fail(decoder, "expected no message");
}

enum err_code json_put_time(
    struct json_decoder *decoder, enum wire_special special, const json_t *value)
{
    int64_t seconds = 0;
    int32_t nanos = 0;
    bool timestamp = special == WIRE_TIMESTAMP;
    bool valid = json_is_string(value)
        && (timestamp ? json_parse_timestamp(text_of(value), &seconds, &nanos)
                      : json_parse_duration(text_of(value), &seconds, &nanos));
    if (!valid) {
        return json_fail(
            decoder,
            timestamp ? "expected a time such as \"2026-11-22T03:46:00Z\""
                      : "expected a duration such as \"1.5s\"");
    }
    json_put_tag(&decoder->out, 1, 0);
    json_put_varint(&decoder->out, (uint64_t)seconds);
    json_put_tag(&decoder->out, 2, 0);
    json_put_varint(&decoder->out, (uint64_t)(int64_t)nanos);
    return ERR_OK;
}
