/*
 * ProtoJSON to messages. The document becomes wire bytes, which then take the same way as a peer's:
 * one scan with the rules of the contract, one unpacking.
 */
#include "common/wire/json_decode_private.h"

enum {
    GROWTH = 16
}; /* bytes on the wire for one of JSON, at most */

static enum err_code push(struct json_decoder *decoder, const struct json_frame *frame)
{
    if (decoder->depth == JSON_DEPTH_MAX) {
        return json_fail(decoder, "nested too deep");
    }
    decoder->frames[decoder->depth] = *frame;
    decoder->frames[decoder->depth].name = "";
    decoder->frames[decoder->depth].member =
        frame->kind == FRAME_ENTRIES ? NULL : json_object_iter(frame->value);
    decoder->depth++;
    return ERR_OK;
}

/* Content of a message whose length is open; a bracket only begins, and its end closes the lengths
 * from first_length on. */
static enum err_code begin_content(
    struct json_decoder *decoder, const struct wire_type *type, json_t *value, size_t first_length);

static enum err_code begin_bracket(
    struct json_decoder *decoder, const struct wire_type *type, json_t *value, size_t first_length)
{
    struct json_frame frame = { .kind = FRAME_MESSAGE, .type = type, .value = value };
    frame.first_length = first_length;
    bool array = type->special == WIRE_LIST_VALUE;
    if (array ? !json_is_array(value) : !json_is_object(value)) {
        return json_fail(decoder, array ? "expected an array" : "expected an object");
    }
    if (type->special != WIRE_PLAIN) {
        frame.kind = array ? FRAME_ENTRIES : FRAME_MAP;
        frame.field = &type->fields[0];
    }
    return push(decoder, &frame);
}

static enum err_code begin_value(
    struct json_decoder *decoder, const struct wire_type *type, json_t *value, size_t first_length)
{
    static const uint32_t members[] = {
        [JSON_OBJECT] = 5, [JSON_ARRAY] = 6, [JSON_STRING] = 3, [JSON_INTEGER] = 2,
        [JSON_REAL] = 2,   [JSON_TRUE] = 4,  [JSON_FALSE] = 4,  [JSON_NULL] = 1,
    };
    const struct wire_field *field = wire_type_find(type, members[json_typeof(value)]);
    if (field->type != PROTOBUF_C_TYPE_MESSAGE) {
        TRY(json_put_scalar(decoder, field, value));
        json_close_lengths(decoder, first_length);
        return ERR_OK;
    }
    json_put_tag(&decoder->out, field->number, 2);
    TRY(json_open_length(decoder));
    return begin_bracket(decoder, field->message, value, first_length);
}

static enum err_code begin_content(
    struct json_decoder *decoder, const struct wire_type *type, json_t *value, size_t first_length)
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
        code = json_put_time(decoder, type->special, value);
        break;
    case WIRE_WRAPPER:
        code = json_put_scalar(decoder, &type->fields[0], value);
        break;
    }
    json_close_lengths(decoder, first_length);
    return code;
}

/* A value with its tag. Lengths from first_length on end with it. */
static enum err_code put_value(
    struct json_decoder *decoder,
    const struct wire_field *field,
    json_t *value,
    size_t first_length)
{
    if (field->type != PROTOBUF_C_TYPE_MESSAGE) {
        TRY(json_put_scalar(decoder, field, value));
        json_close_lengths(decoder, first_length);
        return ERR_OK;
    }
    json_put_tag(&decoder->out, field->number, 2);
    TRY(json_open_length(decoder));
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

/* A name goes by with a slip of a key or two: the field that was meant, perhaps. */
static enum err_code fail_unknown(
    const struct json_decoder *decoder, const struct wire_type *type, const char *name)
{
    const char *nearest = NULL;
    unsigned best = 3;
    for (size_t i = 0; i < type->field_count; i++) {
        unsigned distance = str_distance(str_of(name), str_of(type->fields[i].json_name));
        if (distance < best && distance <= strlen(name) / 2) {
            best = distance;
            nearest = type->fields[i].json_name;
        }
    }
    return nearest == NULL ? json_fail(decoder, "unknown member")
                           : json_fail(decoder, "unknown member; did you mean \"%s\"?", nearest);
}

/* Marks a field or oneof as seen; false: it was. */
static bool mark(struct json_frame *frame, size_t index)
{
    uint64_t bit = UINT64_C(1) << (index % 64);
    bool before = (frame->seen[index / 64] & bit) != 0;
    frame->seen[index / 64] |= bit;
    return !before;
}

static enum err_code take_member(
    struct json_decoder *decoder, struct json_frame *frame, const char *name, json_t *value)
{
    const struct wire_type *type = frame->type;
    const struct wire_field *field = find_by_name(type, name);
    if (field == NULL) {
        return fail_unknown(decoder, type, name);
    }
    if (!mark(frame, (size_t)(field - type->fields))) {
        return json_fail(decoder, "given twice");
    }
    if (json_is_null(value) && (field->repeated || !takes_null(field))) {
        return ERR_OK;
    }
    if (field->oneof != 0 && !mark(frame, type->field_count + field->oneof - 1)) {
        return json_fail(decoder, "at most one of %s", type->oneofs[field->oneof - 1].members);
    }
    if (!field->repeated) {
        return put_value(decoder, field, value, decoder->length_count);
    }
    if (field->map ? !json_is_object(value) : !json_is_array(value)) {
        return json_fail(decoder, field->map ? "expected an object" : "expected an array");
    }
    struct json_frame list = { .kind = field->map ? FRAME_MAP : FRAME_ENTRIES, .field = field };
    list.value = value;
    list.first_length = decoder->length_count;
    return push(decoder, &list);
}

static enum err_code take_entry(
    struct json_decoder *decoder, const struct wire_field *field, json_t *value)
{
    if (json_is_null(value) && !takes_null(field)) {
        return json_fail(decoder, "null is no entry");
    }
    return put_value(decoder, field, value, decoder->length_count);
}

/* The key of a map, which JSON knows only as text. */
static enum err_code put_key(
    struct json_decoder *decoder, const struct wire_field *field, const char *name)
{
    if (field->type == PROTOBUF_C_TYPE_STRING) {
        json_put_text(&decoder->out, field->number, str_of(name));
        return ERR_OK;
    }
    if (field->type == PROTOBUF_C_TYPE_BOOL) {
        bool truth = strcmp(name, "true") == 0;
        if (!truth && strcmp(name, "false") != 0) {
            return json_fail(decoder, "expected a key of true or false");
        }
        json_put_tag(&decoder->out, field->number, 0);
        json_put_varint(&decoder->out, truth ? 1 : 0);
        return ERR_OK;
    }
    json_t *text = json_string(name);
    if (text == NULL) {
        return ERR_SET(decoder->err, ERR_NOMEM, "out of memory");
    }
    enum err_code code = json_put_scalar(decoder, field, text);
    json_decref(text);
    return code;
}

static enum err_code take_map_entry(
    struct json_decoder *decoder, const struct wire_field *field, const char *name, json_t *value)
{
    const struct wire_field *held = &field->message->fields[1];
    if (json_is_null(value) && !takes_null(held)) {
        return json_fail(decoder, "null is no entry");
    }
    size_t before = decoder->length_count;
    json_put_tag(&decoder->out, field->number, 2);
    TRY(json_open_length(decoder));
    TRY(put_key(decoder, &field->message->fields[0], name));
    return put_value(decoder, held, value, before);
}

/* Takes the next member or entry of the innermost bracket, or leaves it. */
static enum err_code step(struct json_decoder *decoder)
{
    struct json_frame *frame = &decoder->frames[decoder->depth - 1];
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
    json_close_lengths(decoder, frame->first_length);
    decoder->depth--;
    return ERR_OK;
}

/* jansson recurses, and holds the whole document: both are bounded before it sees the text. */
static enum err_code check_shape(struct str_view json, struct err_info *err)
{
    size_t depth = 0;
    size_t deepest = 0;
    size_t brackets = 0;
    size_t commas = 0;
    bool quoted = false;
    for (size_t i = 0; i < json.len; i++) {
        char c = json.ptr[i];
        if (quoted) {
            i += c == '\\' ? 1 : 0;
            quoted = c != '"';
            continue;
        }
        quoted = c == '"';
        commas += c == ',' ? 1 : 0;
        if (c == '[' || c == '{') {
            brackets++;
            depth++;
            deepest = depth > deepest ? depth : deepest;
        } else if ((c == ']' || c == '}') && depth > 0) {
            depth--;
        }
    }
    if (deepest > JSON_DEPTH_MAX) {
        return ERR_SET(err, ERR_INVALID, "JSON: nested deeper than %d", JSON_DEPTH_MAX);
    }
    if (brackets > JSON_BRACKETS_MAX || commas > JSON_VALUES_MAX) {
        return ERR_SET(err, ERR_LIMIT, "JSON: more values than a document may hold");
    }
    return ERR_OK;
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
    struct json_decoder *decoder, const struct wire_type *type, json_t *document)
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
    TRY(check_shape(json, err));
    json_error_t error;
    json_t *document =
        json_loadb(json.ptr, json.len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
    if (document == NULL) {
        return parse_failed(&error, err);
    }
    struct json_decoder *decoder = mem_try_alloc(sizeof(*decoder));
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
