/*
 * ProtoJSON to messages. The document becomes wire bytes, which then take the same way as a peer's:
 * one scan with the rules of the contract, one unpacking. The lengths of nested messages are padded
 * to four bytes, so that they can be filled in when the message ends.
 */
#include "common/wire/json_private.h"
#include "common/wire/wire_private.h"

#include <jansson.h>

#include <float.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>

enum {
    LENGTH_BYTES = 4,
    LENGTHS_MAX = JSON_DEPTH_MAX * 4, /* Struct opens three for one bracket */
    PATH_BYTES = 256,
    NAME_SHOWN = 64,
    GROWTH = 16 /* bytes on the wire for one of JSON, at most */
};

enum frame_kind {
    FRAME_MESSAGE,
    FRAME_ENTRIES,
    FRAME_MAP
};

struct frame {
    enum frame_kind kind;
    const struct wire_type *type;   /* of FRAME_MESSAGE */
    const struct wire_field *field; /* of the others */
    json_t *value;
    void *member; /* where the walk over an object stands */
    size_t entry; /* where the walk over an array stands: the next one */
    const char *name;
    size_t first_length;
    uint64_t seen[WIRE_TYPE_FIELDS_MAX / 64 + 1]; /* fields and, behind them, oneofs */
};

struct decoder {
    struct buf out;
    struct err_info *err;
    size_t depth;
    size_t length_count;
    size_t lengths[LENGTHS_MAX];
    struct frame frames[JSON_DEPTH_MAX];
};

static enum err_code fail(const struct decoder *decoder, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

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

static enum err_code fail(const struct decoder *decoder, const char *format, ...)
{
    char path[PATH_BYTES] = "";
    size_t used = 0;
    for (size_t i = 0; i < decoder->depth; i++) {
        const struct frame *frame = &decoder->frames[i];
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

static void put_varint(struct buf *out, uint64_t value)
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

static void put_tag(struct buf *out, uint32_t number, unsigned tag)
{
    put_varint(out, (uint64_t)number << 3 | tag);
}

static void put_text(struct buf *out, uint32_t number, struct str_view text)
{
    put_tag(out, number, 2);
    put_varint(out, text.len);
    buf_append_str(out, text);
}

static enum err_code open_length(struct decoder *decoder)
{
    if (decoder->length_count == LENGTHS_MAX) {
        return fail(decoder, "nested too deep");
    }
    decoder->lengths[decoder->length_count++] = decoder->out.len;
    (void)buf_extend(&decoder->out, LENGTH_BYTES);
    return ERR_OK;
}

/* Fills in the lengths opened since there were `count`. */
static void close_lengths(struct decoder *decoder, size_t count)
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

static enum err_code push(struct decoder *decoder, const struct frame *frame)
{
    if (decoder->depth == JSON_DEPTH_MAX) {
        return fail(decoder, "nested too deep");
    }
    decoder->frames[decoder->depth] = *frame;
    decoder->frames[decoder->depth].name = "";
    decoder->frames[decoder->depth].member =
        frame->kind == FRAME_ENTRIES ? NULL : json_object_iter(frame->value);
    decoder->depth++;
    return ERR_OK;
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
    struct decoder *decoder, const struct wire_field *field, const json_t *value)
{
    bool wide = field->type == PROTOBUF_C_TYPE_INT64 || field->type == PROTOBUF_C_TYPE_SINT64
        || field->type == PROTOBUF_C_TYPE_SFIXED64;
    int64_t number = 0;
    if (!read_signed(value, wide ? INT64_MIN : INT32_MIN, wide ? INT64_MAX : INT32_MAX, &number)) {
        return fail(decoder, "expected a whole number of %d bits", wide ? 64 : 32);
    }
    if (field->type == PROTOBUF_C_TYPE_SFIXED32 || field->type == PROTOBUF_C_TYPE_SFIXED64) {
        put_tag(&decoder->out, field->number, wide ? 1 : 5);
        put_fixed(&decoder->out, (uint64_t)number, wide ? 8 : 4);
        return ERR_OK;
    }
    bool zigzagged = field->type == PROTOBUF_C_TYPE_SINT32 || field->type == PROTOBUF_C_TYPE_SINT64;
    put_tag(&decoder->out, field->number, 0);
    put_varint(&decoder->out, zigzagged ? zigzag(number) : (uint64_t)number);
    return ERR_OK;
}

static enum err_code put_unsigned(
    struct decoder *decoder, const struct wire_field *field, const json_t *value)
{
    bool wide = field->type == PROTOBUF_C_TYPE_UINT64 || field->type == PROTOBUF_C_TYPE_FIXED64;
    uint64_t number = 0;
    if (!read_unsigned(value, wide ? UINT64_MAX : UINT32_MAX, &number)) {
        return fail(decoder, "expected a whole number of %d bits, not negative", wide ? 64 : 32);
    }
    if (field->type == PROTOBUF_C_TYPE_FIXED32 || field->type == PROTOBUF_C_TYPE_FIXED64) {
        put_tag(&decoder->out, field->number, wide ? 1 : 5);
        put_fixed(&decoder->out, number, wide ? 8 : 4);
        return ERR_OK;
    }
    put_tag(&decoder->out, field->number, 0);
    put_varint(&decoder->out, number);
    return ERR_OK;
}

static enum err_code put_real(
    struct decoder *decoder, const struct wire_field *field, const json_t *value)
{
    double number = json_number_value(value);
    if (!json_is_number(value)
        && !(json_is_string(value) && json_parse_double(text_of(value), &number))) {
        return fail(decoder, "expected a number");
    }
    if (field->type == PROTOBUF_C_TYPE_DOUBLE) {
        uint64_t bits = 0;
        memcpy(&bits, &number, sizeof(bits));
        put_tag(&decoder->out, field->number, 1);
        put_fixed(&decoder->out, bits, 8);
        return ERR_OK;
    }
    if (isfinite(number) && fabs(number) > (double)FLT_MAX) {
        return fail(decoder, "does not fit a float");
    }
    float half = (float)number;
    uint32_t bits = 0;
    memcpy(&bits, &half, sizeof(bits));
    put_tag(&decoder->out, field->number, 5);
    put_fixed(&decoder->out, bits, 4);
    return ERR_OK;
}

static enum err_code put_enum(
    struct decoder *decoder, const struct wire_field *field, const json_t *value)
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
        return fail(decoder, "expected a value of %s", field->enumeration->name);
    }
    put_tag(&decoder->out, field->number, 0);
    put_varint(&decoder->out, (uint64_t)number);
    return ERR_OK;
}

static enum err_code put_bytes(
    struct decoder *decoder, const struct wire_field *field, const json_t *value)
{
    if (!json_is_string(value)) {
        return fail(decoder, "expected base64");
    }
    size_t before = decoder->length_count;
    put_tag(&decoder->out, field->number, 2);
    TRY(open_length(decoder));
    if (!json_decode_base64(text_of(value), &decoder->out)) {
        return fail(decoder, "expected base64");
    }
    close_lengths(decoder, before);
    return ERR_OK;
}

static enum err_code put_scalar(
    struct decoder *decoder, const struct wire_field *field, const json_t *value)
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
            return fail(decoder, "expected true or false");
        }
        put_tag(&decoder->out, field->number, 0);
        put_varint(&decoder->out, json_is_true(value) ? 1 : 0);
        return ERR_OK;
    case PROTOBUF_C_TYPE_ENUM:
        return put_enum(decoder, field, value);
    case PROTOBUF_C_TYPE_STRING:
        if (!json_is_string(value)) {
            return fail(decoder, "expected a text");
        }
        put_text(&decoder->out, field->number, text_of(value));
        return ERR_OK;
    case PROTOBUF_C_TYPE_BYTES:
        return put_bytes(decoder, field, value);
    case PROTOBUF_C_TYPE_MESSAGE:
        break;
    }
    return fail(decoder, "expected no message");
}

static enum err_code put_time(
    struct decoder *decoder, enum wire_special special, const json_t *value)
{
    int64_t seconds = 0;
    int32_t nanos = 0;
    bool timestamp = special == WIRE_TIMESTAMP;
    bool valid = json_is_string(value)
        && (timestamp ? json_parse_timestamp(text_of(value), &seconds, &nanos)
                      : json_parse_duration(text_of(value), &seconds, &nanos));
    if (!valid) {
        return fail(
            decoder,
            timestamp ? "expected a time such as \"2026-11-22T03:46:00Z\""
                      : "expected a duration such as \"1.5s\"");
    }
    put_tag(&decoder->out, 1, 0);
    put_varint(&decoder->out, (uint64_t)seconds);
    put_tag(&decoder->out, 2, 0);
    put_varint(&decoder->out, (uint64_t)(int64_t)nanos);
    return ERR_OK;
}

/* Content of a message whose length is open; a bracket only begins, and its end closes the lengths
 * from first_length on. */
static enum err_code begin_content(
    struct decoder *decoder, const struct wire_type *type, json_t *value, size_t first_length);

static enum err_code begin_bracket(
    struct decoder *decoder, const struct wire_type *type, json_t *value, size_t first_length)
{
    struct frame frame = { .kind = FRAME_MESSAGE, .type = type, .value = value };
    frame.first_length = first_length;
    bool array = type->special == WIRE_LIST_VALUE;
    if (array ? !json_is_array(value) : !json_is_object(value)) {
        return fail(decoder, array ? "expected an array" : "expected an object");
    }
    if (type->special != WIRE_PLAIN) {
        frame.kind = array ? FRAME_ENTRIES : FRAME_MAP;
        frame.field = &type->fields[0];
    }
    return push(decoder, &frame);
}

static enum err_code begin_value(
    struct decoder *decoder, const struct wire_type *type, json_t *value, size_t first_length)
{
    static const uint32_t members[] = {
        [JSON_OBJECT] = 5, [JSON_ARRAY] = 6, [JSON_STRING] = 3, [JSON_INTEGER] = 2,
        [JSON_REAL] = 2,   [JSON_TRUE] = 4,  [JSON_FALSE] = 4,  [JSON_NULL] = 1,
    };
    const struct wire_field *field = wire_type_find(type, members[json_typeof(value)]);
    if (field->type != PROTOBUF_C_TYPE_MESSAGE) {
        TRY(put_scalar(decoder, field, value));
        close_lengths(decoder, first_length);
        return ERR_OK;
    }
    put_tag(&decoder->out, field->number, 2);
    TRY(open_length(decoder));
    return begin_bracket(decoder, field->message, value, first_length);
}

static enum err_code begin_content(
    struct decoder *decoder, const struct wire_type *type, json_t *value, size_t first_length)
{
    enum err_code code = ERR_OK;
    switch (type->special) {
    case WIRE_PLAIN:
    case WIRE_STRUCT:
    case WIRE_LIST_VALUE:
        return begin_bracket(decoder, type, value, first_length);
    case WIRE_VALUE:
        return begin_value(decoder, type, value, first_length);
    case WIRE_TIMESTAMP:
    case WIRE_DURATION:
        code = put_time(decoder, type->special, value);
        break;
    case WIRE_WRAPPER:
        code = put_scalar(decoder, &type->fields[0], value);
        break;
    }
    close_lengths(decoder, first_length);
    return code;
}

/* A value with its tag. Lengths from first_length on end with it. */
static enum err_code put_value(
    struct decoder *decoder, const struct wire_field *field, json_t *value, size_t first_length)
{
    if (field->type != PROTOBUF_C_TYPE_MESSAGE) {
        TRY(put_scalar(decoder, field, value));
        close_lengths(decoder, first_length);
        return ERR_OK;
    }
    put_tag(&decoder->out, field->number, 2);
    TRY(open_length(decoder));
    return begin_content(decoder, field->message, value, first_length);
}

/* null is a value only where the contract has one for it. */
static bool takes_null(const struct wire_field *field)
{
    if (field->type == PROTOBUF_C_TYPE_ENUM) {
        return strcmp(field->enumeration->name, "google.protobuf.NullValue") == 0;
    }
    return field->type == PROTOBUF_C_TYPE_MESSAGE && field->message->special == WIRE_VALUE;
}

static const struct wire_field *find_by_name(const struct wire_type *type, const char *name)
{
    for (size_t i = 0; i < type->field_count; i++) {
        const struct wire_field *field = &type->fields[i];
        if (strcmp(name, field->json_name) == 0 || strcmp(name, field->name) == 0) {
            return field;
        }
    }
    return NULL;
}

/* Marks a field or oneof as seen; false: it was. */
static bool mark(struct frame *frame, size_t index)
{
    uint64_t bit = UINT64_C(1) << (index % 64);
    bool before = (frame->seen[index / 64] & bit) != 0;
    frame->seen[index / 64] |= bit;
    return !before;
}

static enum err_code take_member(
    struct decoder *decoder, struct frame *frame, const char *name, json_t *value)
{
    const struct wire_type *type = frame->type;
    const struct wire_field *field = find_by_name(type, name);
    if (field == NULL) {
        return fail(decoder, "unknown member");
    }
    if (!mark(frame, (size_t)(field - type->fields))) {
        return fail(decoder, "given twice");
    }
    if (json_is_null(value) && (field->repeated || !takes_null(field))) {
        return ERR_OK;
    }
    if (field->oneof != 0 && !mark(frame, type->field_count + field->oneof - 1)) {
        return fail(decoder, "at most one of %s", type->oneofs[field->oneof - 1].members);
    }
    if (!field->repeated) {
        return put_value(decoder, field, value, decoder->length_count);
    }
    if (field->map ? !json_is_object(value) : !json_is_array(value)) {
        return fail(decoder, field->map ? "expected an object" : "expected an array");
    }
    struct frame list = { .kind = field->map ? FRAME_MAP : FRAME_ENTRIES, .field = field };
    list.value = value;
    list.first_length = decoder->length_count;
    return push(decoder, &list);
}

static enum err_code take_entry(
    struct decoder *decoder, const struct wire_field *field, json_t *value)
{
    if (json_is_null(value) && !takes_null(field)) {
        return fail(decoder, "null is no entry");
    }
    return put_value(decoder, field, value, decoder->length_count);
}

/* The key of a map, which JSON knows only as text. */
static enum err_code put_key(
    struct decoder *decoder, const struct wire_field *field, const char *name)
{
    if (field->type == PROTOBUF_C_TYPE_STRING) {
        put_text(&decoder->out, field->number, str_of(name));
        return ERR_OK;
    }
    if (field->type == PROTOBUF_C_TYPE_BOOL) {
        bool truth = strcmp(name, "true") == 0;
        if (!truth && strcmp(name, "false") != 0) {
            return fail(decoder, "expected a key of true or false");
        }
        put_tag(&decoder->out, field->number, 0);
        put_varint(&decoder->out, truth ? 1 : 0);
        return ERR_OK;
    }
    json_t *text = json_string(name);
    if (text == NULL) {
        return ERR_SET(decoder->err, ERR_NOMEM, "out of memory");
    }
    enum err_code code = put_scalar(decoder, field, text);
    json_decref(text);
    return code;
}

static enum err_code take_map_entry(
    struct decoder *decoder, const struct wire_field *field, const char *name, json_t *value)
{
    const struct wire_field *held = &field->message->fields[1];
    if (json_is_null(value) && !takes_null(held)) {
        return fail(decoder, "null is no entry");
    }
    size_t before = decoder->length_count;
    put_tag(&decoder->out, field->number, 2);
    TRY(open_length(decoder));
    TRY(put_key(decoder, &field->message->fields[0], name));
    return put_value(decoder, held, value, before);
}

/* Takes the next member or entry of the innermost bracket, or leaves it. */
static enum err_code step(struct decoder *decoder)
{
    struct frame *frame = &decoder->frames[decoder->depth - 1];
    if (frame->kind == FRAME_ENTRIES && frame->entry < json_array_size(frame->value)) {
        json_t *value = json_array_get(frame->value, frame->entry++);
        return take_entry(decoder, frame->field, value);
    }
    if (frame->kind != FRAME_ENTRIES && frame->member != NULL) {
        json_t *value = json_object_iter_value(frame->member);
        frame->name = json_object_iter_key(frame->member);
        frame->member = json_object_iter_next(frame->value, frame->member);
        return frame->kind == FRAME_MAP ? take_map_entry(decoder, frame->field, frame->name, value)
                                        : take_member(decoder, frame, frame->name, value);
    }
    close_lengths(decoder, frame->first_length);
    decoder->depth--;
    return ERR_OK;
}

/* jansson recurses, so brackets are counted before it sees them. */
static bool is_shallow(struct str_view json)
{
    size_t depth = 0;
    bool quoted = false;
    for (size_t i = 0; i < json.len; i++) {
        char c = json.ptr[i];
        if (quoted) {
            i += c == '\\' ? 1 : 0;
            quoted = c != '"';
        } else if (c == '[' || c == '{') {
            if (++depth > JSON_DEPTH_MAX) {
                return false;
            }
        } else if ((c == ']' || c == '}') && depth > 0) {
            depth--;
        } else {
            quoted = c == '"';
        }
    }
    return true;
}

/* jansson's own words quote the input, which may hold a secret. */
static enum err_code parse_failed(const json_error_t *error, struct err_info *err)
{
    const char *reason = "malformed";
    if (error->text[0] == '\0') { /* it gives up without a word only when memory is out */
        return ERR_SET(err, ERR_NOMEM, "out of memory");
    }
    switch (json_error_code(error)) {
    case json_error_out_of_memory:
        return ERR_SET(err, ERR_NOMEM, "out of memory");
    case json_error_duplicate_key:
        reason = "a member stands twice";
        break;
    case json_error_premature_end_of_input:
        reason = "ends too early";
        break;
    case json_error_end_of_input_expected:
        reason = "something follows the document";
        break;
    case json_error_invalid_utf8:
        reason = "not UTF-8";
        break;
    case json_error_null_character:
    case json_error_null_byte_in_key:
        reason = "holds a NUL";
        break;
    case json_error_numeric_overflow:
        reason = "a number out of range";
        break;
    case json_error_unknown:
    case json_error_cannot_open_file:
    case json_error_stack_overflow:
    case json_error_invalid_argument:
    case json_error_invalid_syntax:
    case json_error_invalid_format:
    case json_error_wrong_type:
    case json_error_null_value:
    case json_error_item_not_found:
    case json_error_index_out_of_range:
        break;
    }
    return ERR_SET(
        err, ERR_INVALID, "JSON line %d, column %d: %s", error->line, error->column, reason);
}

/* The document as wire bytes in decoder->out. */
static enum err_code convert(
    struct decoder *decoder, const struct wire_type *type, json_t *document)
{
    TRY(begin_content(decoder, type, document, 0));
    while (decoder->depth > 0) {
        TRY(step(decoder));
    }
    return buf_ok(&decoder->out) ? ERR_OK : ERR_SET(decoder->err, ERR_NOMEM, "out of memory");
}

enum err_code wire_from_json(
    const struct wire_schema *schema,
    const ProtobufCMessageDescriptor *type,
    struct str_view json,
    struct arena *arena,
    ProtobufCMessage **ret_message,
    struct err_info *err)
{
    const struct wire_type *known = wire_schema_find_type(schema, type->name);
    if (known == NULL) {
        return ERR_SET(err, ERR_INTERNAL, "%s: not in the schema", type->name);
    }
    if (json.ptr == NULL) {
        json = STR("");
    }
    if (json.len > JSON_BYTES_MAX) {
        return ERR_SET(err, ERR_LIMIT, "JSON: %zu bytes, at most %d", json.len, JSON_BYTES_MAX);
    }
    if (!is_shallow(json)) {
        return ERR_SET(err, ERR_INVALID, "JSON: nested deeper than %d", JSON_DEPTH_MAX);
    }
    json_error_t error;
    json_t *document =
        json_loadb(json.ptr, json.len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
    if (document == NULL) {
        return parse_failed(&error, err);
    }
    struct decoder *decoder = mem_try_alloc(sizeof(*decoder));
    if (decoder == NULL) {
        json_decref(document);
        return ERR_SET(err, ERR_NOMEM, "out of memory");
    }
    decoder->out = (struct buf)BUF_INIT(json.len * GROWTH + 64);
    decoder->err = err;
    enum err_code code = convert(decoder, known, document);
    json_decref(document);
    if (code == ERR_OK) {
        struct str_view bytes = buf_view(&decoder->out);
        code = wire_unpack(schema, type, bytes.ptr, bytes.len, arena, ret_message, err);
    }
    buf_deinit(&decoder->out);
    mem_free(decoder);
    return code;
}
