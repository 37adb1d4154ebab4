/*
 * The pass over the wire bytes that comes before protobuf-c. What it lets through has a bounded
 * depth, fields of the right wire type, text that is UTF-8 without NUL and, when strict, values
 * that keep the rules of their contract. It keeps its own stack of open messages, so no input makes
 * it recurse.
 */
#include "common/wire/scan_private.h"

enum {
    VARINT_BYTES_MAX = 10,
    KEY_BYTES_MAX = 5 /* protobuf-c reads no longer ones, padded or not */
};

#define FIELD_NUMBER_MAX ((UINT32_C(1) << 29) - 1)

static bool read_varint(struct scan *scan, const uint8_t *end, uint64_t *ret_value)
{
    uint64_t value = 0;
    const uint8_t *at = scan->at;
    for (unsigned i = 0; i < VARINT_BYTES_MAX && at < end; i++) {
        uint8_t byte = *at++;
        value |= (uint64_t)(byte & 0x7F) << (7 * i);
        if ((byte & 0x80) == 0) {
            scan->at = at;
            *ret_value = value;
            return i < VARINT_BYTES_MAX - 1 || byte <= 1;
        }
    }
    return false;
}

static uint64_t read_fixed(const uint8_t *at, unsigned bytes)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < bytes; i++) {
        value |= (uint64_t)at[i] << (8 * i);
    }
    return value;
}

/* Enters a message; its bytes follow. */
static enum err_code push(
    struct scan *scan,
    const struct wire_type *type,
    const struct wire_field *field,
    const uint8_t *end)
{
    uint32_t slots = (uint32_t)(type->field_count + type->oneof_count);
    if (scan->depth == WIRE_DEPTH_MAX || slots > SLOTS_MAX - scan->slot_count) {
        return scan_fail(scan, field, "nested deeper than 32 messages");
    }
    struct scan_frame *frame = &scan->frames[scan->depth];
    frame->type = type;
    frame->field = field;
    frame->end = end;
    frame->entry = scan->depth > 0 && field->repeated ? *scan_slot(scan, field) - 1 : UINT32_MAX;
    frame->first_slot = scan->slot_count;
    frame->first_key = scan->key_count;
    frame->key_text = STR_NONE;
    frame->numbers[0] = 0;
    frame->numbers[1] = 0;
    memset(&scan->slots[scan->slot_count], 0, slots * sizeof(scan->slots[0]));
    scan->slot_count += slots;
    scan->depth++;
    return ERR_OK;
}

/* Counts one value of a field and checks that it may have one more. */
static enum err_code count_value(struct scan *scan, const struct wire_field *field, uint32_t state)
{
    if (scan->fields_left == 0) {
        return scan_fail(scan, field, "more fields than a message may hold");
    }
    scan->fields_left--;
    uint32_t *slot = scan_slot(scan, field);
    if (field->repeated) {
        if (scan->strict && *slot >= field->entries_max) {
            return scan_fail_at(
                scan,
                field,
                UINT32_MAX,
                "more than %lu entries",
                (unsigned long)field->entries_max);
        }
        (*slot)++;
        return ERR_OK;
    }
    if (field->type == PROTOBUF_C_TYPE_MESSAGE && *slot != SLOT_ABSENT) {
        return scan_fail(scan, field, "given twice");
    }
    *slot = state;
    if (field->oneof != 0) {
        struct scan_frame *frame = scan_top(scan);
        size_t index = frame->type->field_count + field->oneof - 1;
        uint32_t *member = &scan->slots[frame->first_slot + index];
        if (*member != 0 && *member != field->number) {
            return scan_fail_at(
                scan,
                field,
                UINT32_MAX,
                "at most one of %s",
                frame->type->oneofs[field->oneof - 1].members);
        }
        *member = field->number;
    }
    return ERR_OK;
}

static uint64_t unzigzag(uint64_t value)
{
    return (value >> 1) ^ (~(value & 1) + 1);
}

/*
 * The number as protobuf-c will read it, sign-extended to 64 bits. false: it does not fit 32 bits
 * and would be cut.
 */
static bool number_of(ProtobufCType type, uint64_t raw, uint64_t *ret_value)
{
    switch (type) {
    case PROTOBUF_C_TYPE_SINT32:
        *ret_value = unzigzag(raw);
        return raw <= UINT32_MAX;
    case PROTOBUF_C_TYPE_SINT64:
        *ret_value = unzigzag(raw);
        return true;
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_ENUM:
    case PROTOBUF_C_TYPE_SFIXED32:
        *ret_value = (uint64_t)(int64_t)(int32_t)(uint32_t)raw;
        return raw <= UINT32_MAX || raw == *ret_value;
    case PROTOBUF_C_TYPE_UINT32:
        *ret_value = raw;
        return raw <= UINT32_MAX;
    case PROTOBUF_C_TYPE_BOOL:
        *ret_value = raw != 0;
        return true;
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_FIXED32:
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_FLOAT:
    case PROTOBUF_C_TYPE_DOUBLE:
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_BYTES:
    case PROTOBUF_C_TYPE_MESSAGE:
        break;
    }
    *ret_value = raw;
    return true;
}

/* One number, alone or out of a packed run. */
static enum err_code take_number(struct scan *scan, const struct wire_field *field, uint64_t raw)
{
    TRY(count_value(scan, field, raw != 0 ? SLOT_SET : SLOT_ZERO));
    if (field->type == PROTOBUF_C_TYPE_DOUBLE || field->type == PROTOBUF_C_TYPE_FLOAT) {
        return scan->strict ? scan_check_real(scan, field, raw) : ERR_OK;
    }
    uint64_t value = 0;
    if (!number_of(field->type, raw, &value)) {
        return scan_fail_at(scan, field, scan_entry(scan, field), "does not fit 32 bits");
    }
    if (field->number <= 2) {
        scan_top(scan)->numbers[field->number - 1] = value;
    }
    if (!scan->strict) {
        return ERR_OK;
    }
    if (field->type == PROTOBUF_C_TYPE_ENUM
        && wire_enum_find(field->enumeration, (int32_t)(uint32_t)value) == NULL) {
        return scan_fail_at(
            scan,
            field,
            scan_entry(scan, field),
            "unknown value %ld",
            (long)(int32_t)(uint32_t)value);
    }
    return scan_check_number(scan, field, value);
}

/* Reads a number of the given wire type; false: the bytes end within it. */
static bool read_number(struct scan *scan, const uint8_t *end, unsigned tag, uint64_t *ret_raw)
{
    if (tag == TAG_VARINT) {
        return read_varint(scan, end, ret_raw);
    }
    unsigned bytes = tag == TAG_64BIT ? 8 : 4;
    if ((size_t)(end - scan->at) < bytes) {
        return false;
    }
    *ret_raw = read_fixed(scan->at, bytes);
    scan->at += bytes;
    return true;
}

static enum err_code take_packed(
    struct scan *scan, const struct wire_field *field, const uint8_t *end)
{
    unsigned tag = wire_tag_of(field->type);
    while (scan->at < end) {
        uint64_t raw = 0;
        if (!read_number(scan, end, tag, &raw)) {
            return scan_fail(scan, field, "cut short");
        }
        TRY(take_number(scan, field, raw));
    }
    return ERR_OK;
}

static enum err_code take_text(
    struct scan *scan, const struct wire_field *field, struct str_view text)
{
    TRY(count_value(scan, field, text.len > 0 ? SLOT_SET : SLOT_ZERO));
    scan->at += text.len;
    struct scan_frame *frame = scan_top(scan);
    if (field->type == PROTOBUF_C_TYPE_STRING) {
        TRY(scan_check_string(scan, field, text));
        if (frame->type->map_entry && field->number == 1) {
            frame->key_text = text;
        }
        return ERR_OK;
    }
    return scan->strict ? scan_check_size(scan, field, text.len, "bytes") : ERR_OK;
}

/* Whatever has a length: text, bytes, a message, numbers in a row. */
static enum err_code take_length(struct scan *scan, const struct wire_field *field)
{
    const struct scan_frame *frame = scan_top(scan);
    uint64_t length = 0;
    if (!read_varint(scan, frame->end, &length) || length > (uint64_t)(frame->end - scan->at)) {
        return scan_fail(scan, field, "cut short");
    }
    const uint8_t *end = scan->at + length;
    if (field == NULL) {
        scan->at = end;
        return ERR_OK;
    }
    if (field->type == PROTOBUF_C_TYPE_MESSAGE) {
        TRY(count_value(scan, field, SLOT_SET));
        return push(scan, field->message, field, end);
    }
    if (field->type == PROTOBUF_C_TYPE_STRING || field->type == PROTOBUF_C_TYPE_BYTES) {
        return take_text(scan, field, str_from((const char *)scan->at, (size_t)length));
    }
    return take_packed(scan, field, end);
}

/* One field of the innermost message. */
static enum err_code take_field(struct scan *scan)
{
    const struct scan_frame *frame = scan_top(scan);
    const uint8_t *start = scan->at;
    uint64_t key = 0;
    if (!read_varint(scan, frame->end, &key) || scan->at - start > KEY_BYTES_MAX || key >> 3 == 0
        || key >> 3 > FIELD_NUMBER_MAX) {
        return scan_fail(scan, NULL, "malformed field number");
    }
    unsigned tag = (unsigned)(key & 7);
    const struct wire_field *field = wire_type_find(frame->type, (uint32_t)(key >> 3));
    if (field == NULL) {
        scan->unknown_fields = true;
        if (scan->fields_left-- == 0) {
            return scan_fail(scan, NULL, "more fields than a message may hold");
        }
    }
    if (tag != TAG_VARINT && tag != TAG_64BIT && tag != TAG_LENGTH && tag != TAG_32BIT) {
        return scan_fail(scan, field, "groups are not supported");
    }
    bool packed = field != NULL && field->repeated && tag == TAG_LENGTH;
    if (field != NULL && tag != wire_tag_of(field->type) && !packed) {
        return scan_fail(scan, field, "of another type than the contract's");
    }
    if (tag == TAG_LENGTH) {
        return take_length(scan, field);
    }
    uint64_t raw = 0;
    if (!read_number(scan, frame->end, tag, &raw)) {
        return scan_fail(scan, field, "cut short");
    }
    return field == NULL ? ERR_OK : take_number(scan, field, raw);
}

/* The key of an entry that has ended is kept for the map's holder, which is innermost again. */
static enum err_code keep_key(struct scan *scan, const struct scan_frame *entry)
{
    if (scan->key_count == scan->key_capacity) {
        uint32_t capacity = scan->key_capacity * 2;
        struct scan_key *keys = arena_alloc(scan->arena, capacity * sizeof(*keys));
        if (keys == NULL) {
            return ERR_SET(scan->err, ERR_LIMIT, "%s: more keys than fit", entry->field->name);
        }
        memcpy(keys, scan->keys, scan->key_count * sizeof(*keys));
        scan->keys = keys;
        scan->key_capacity = capacity;
    }
    struct scan_key *key = &scan->keys[scan->key_count++];
    bool text = entry->type->fields[0].type == PROTOBUF_C_TYPE_STRING;
    key->field = entry->field;
    key->ptr = text ? (entry->key_text.ptr == NULL ? "" : entry->key_text.ptr) : NULL;
    key->number = text ? entry->key_text.len : entry->numbers[0];
    return ERR_OK;
}

/* Leaves the innermost message, whose bytes are used up. */
static enum err_code pop(struct scan *scan)
{
    struct scan_frame *frame = scan_top(scan);
    const struct wire_type *type = frame->type;
    if (scan->strict) {
        TRY(scan_check_whole(scan, frame));
    }
    TRY(scan_check_keys(scan, frame));
    if (type->map_entry && type->fields[1].type == PROTOBUF_C_TYPE_MESSAGE
        && scan->slots[frame->first_slot + 1] == SLOT_ABSENT) {
        return scan_fail(scan, &type->fields[1], "an entry without a value");
    }
    scan->slot_count = frame->first_slot;
    scan->key_count = frame->first_key;
    scan->depth--;
    return type->map_entry && scan->depth > 0 ? keep_key(scan, frame) : ERR_OK;
}

enum err_code wire_scan(
    const struct wire_type *type,
    struct str_view data,
    bool strict,
    struct arena *arena,
    struct wire_scan_result *ret_result,
    struct err_info *err)
{
    struct scan scan;
    scan.at = (const uint8_t *)(data.len == 0 ? "" : data.ptr);
    scan.arena = arena;
    scan.err = err;
    scan.strict = strict;
    scan.unknown_fields = false;
    scan.fields_left = WIRE_FIELDS_MAX;
    scan.depth = 0;
    scan.slot_count = 0;
    scan.key_count = 0;
    scan.key_capacity = OWN_KEYS;
    scan.keys = scan.own_keys;
    TRY(push(&scan, type, NULL, scan.at + data.len));
    while (scan.depth > 0) {
        if (scan.at == scan_top(&scan)->end) {
            TRY(pop(&scan));
        } else {
            TRY(take_field(&scan));
        }
    }
    ret_result->unknown_fields = scan.unknown_fields;
    return ERR_OK;
}
