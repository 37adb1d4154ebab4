/*
 * The pass over the wire bytes that comes before protobuf-c. What it lets through has a bounded
 * depth, fields of the right wire type, text that is UTF-8 without NUL and, when strict, values
 * that keep the rules of their contract. It keeps its own stack of open messages, so no input makes
 * it recurse.
 */
#include "common/wire/wire_private.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    SLOTS_MAX = 2 * WIRE_TYPE_FIELDS_MAX, /* fields and oneofs of all open messages */
    OWN_KEYS = 48,                        /* map keys held without asking the arena */
    PATH_BYTES = 256,
    QUOTE_BYTES = 64,
    VARINT_BYTES_MAX = 10
};

#define FIELD_NUMBER_MAX ((UINT32_C(1) << 29) - 1)

enum {
    TAG_VARINT = 0,
    TAG_64BIT = 1,
    TAG_LENGTH = 2,
    TAG_32BIT = 5
};

/* What a slot of a field that is not repeated says; of a repeated one it counts the entries. */
enum {
    SLOT_ABSENT = 0,
    SLOT_ZERO = 1,
    SLOT_SET = 2
};

/* A key of a map, to find it twice. */
struct map_key {
    const char *ptr; /* NULL: an integer */
    uint64_t number; /* the integer or the length of the text */
    const struct wire_field *field;
};

struct frame {
    const struct wire_type *type;
    const struct wire_field *field; /* by which the message was entered; NULL at the root */
    const uint8_t *end;
    uint32_t entry; /* its number within a repeated field */
    uint32_t first_slot;
    uint32_t first_key;
    struct str_view key_text;
    uint64_t numbers[2]; /* values of fields 1 and 2: an integer key, or seconds and nanoseconds */
};

struct scan {
    const uint8_t *at;
    struct arena *arena;
    struct err_info *err;
    bool strict;
    bool unknown_fields;
    uint32_t fields_left;
    uint32_t depth;
    uint32_t slot_count;
    uint32_t key_count;
    uint32_t key_capacity;
    struct map_key *keys;
    struct frame frames[WIRE_DEPTH_MAX];
    uint32_t slots[SLOTS_MAX];
    struct map_key own_keys[OWN_KEYS];
};

/* A path in the making; cut at its end. */
struct path {
    char text[PATH_BYTES];
    size_t used;
};

static void path_add(struct path *path, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void path_add(struct path *path, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int length = vsnprintf(path->text + path->used, sizeof(path->text) - path->used, format, args);
    va_end(args);
    size_t left = sizeof(path->text) - path->used - 1;
    path->used += length < 0 ? 0 : ((size_t)length > left ? left : (size_t)length);
}

/* A peer's text for an error: its head, without control characters. */
static const char *quote(struct str_view text, char out[QUOTE_BYTES])
{
    size_t length = text.len < QUOTE_BYTES - 1 ? text.len : QUOTE_BYTES - 1;
    while (length < text.len && length > 0 && ((unsigned char)text.ptr[length] & 0xC0) == 0x80) {
        length--; /* not in the middle of a character */
    }
    bool readable = str_is_utf8(str_from(text.ptr, length), NULL);
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        bool plain = c >= 0x20 && c != 0x7F && (c < 0x80 || readable);
        out[i] = plain ? text.ptr[i] : '?';
    }
    out[length] = '\0';
    return out;
}

static void path_add_field(
    struct path *path, const struct frame *holder, const struct wire_field *field, uint32_t entry)
{
    if (holder->type->map_entry) {
        char text[QUOTE_BYTES];
        bool named = holder->key_text.ptr != NULL && !holder->type->fields[0].secret;
        if (named) {
            path_add(path, "[\"%s\"]", quote(holder->key_text, text));
        } else if (holder->type->fields[0].type != PROTOBUF_C_TYPE_STRING) {
            path_add(path, "[%llu]", (unsigned long long)holder->numbers[0]);
        } else {
            path_add(path, "[%lu]", (unsigned long)holder->entry);
        }
        return;
    }
    path_add(path, "%s%s", path->used == 0 ? "" : ".", field->name);
    if (field->repeated && !field->map && entry != UINT32_MAX) {
        path_add(path, "[%lu]", (unsigned long)entry);
    }
}

/* Where the scan is, and the field of the innermost message (NULL: the message itself). */
static void path_build(
    const struct scan *scan, const struct wire_field *field, uint32_t entry, struct path *path)
{
    path->used = 0;
    path->text[0] = '\0';
    for (uint32_t i = 1; i < scan->depth; i++) {
        path_add_field(path, &scan->frames[i - 1], scan->frames[i].field, scan->frames[i].entry);
    }
    const struct frame *top = &scan->frames[scan->depth - 1];
    bool is_key = field != NULL && top->type->map_entry && field->number == 1;
    if (field != NULL && !is_key) {
        path_add_field(path, top, field, entry);
    }
    if (path->used == 0) {
        path_add(path, "%s", scan->frames[0].type->name);
    }
}

/* entry: number of the value in a repeated field, or UINT32_MAX for the field as a whole. */
static enum err_code fail_at(
    const struct scan *scan,
    const struct wire_field *field,
    uint32_t entry,
    const char *format,
    ...) __attribute__((format(printf, 4, 5), noinline, cold));

static enum err_code fail_at(
    const struct scan *scan,
    const struct wire_field *field,
    uint32_t entry,
    const char *format,
    ...)
{
    if (scan->err == NULL) {
        return ERR_INVALID;
    }
    struct path path;
    path_build(scan, field, entry, &path);
    char text[ERR_TEXT_BYTES - PATH_BYTES];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    return ERR_SET(scan->err, ERR_INVALID, "%s: %s", path.text, text);
}

static enum err_code fail(const struct scan *scan, const struct wire_field *field, const char *text)
{
    return fail_at(scan, field, UINT32_MAX, "%s", text);
}

static struct frame *top_of(struct scan *scan)
{
    return &scan->frames[scan->depth - 1];
}

static uint32_t *slot_of(struct scan *scan, const struct wire_field *field)
{
    struct frame *frame = top_of(scan);
    return &scan->slots[frame->first_slot + (uint32_t)(field - frame->type->fields)];
}

/* Number of the value that is being read, for a path. */
static uint32_t entry_of(struct scan *scan, const struct wire_field *field)
{
    return field->repeated ? *slot_of(scan, field) - 1 : UINT32_MAX;
}

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
        return fail(scan, field, "nested deeper than 32 messages");
    }
    struct frame *frame = &scan->frames[scan->depth];
    frame->type = type;
    frame->field = field;
    frame->end = end;
    frame->entry = scan->depth > 0 && field->repeated ? *slot_of(scan, field) - 1 : UINT32_MAX;
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
        return fail(scan, field, "more fields than a message may hold");
    }
    scan->fields_left--;
    uint32_t *slot = slot_of(scan, field);
    if (field->repeated) {
        if (scan->strict && *slot >= field->entries_max) {
            return fail_at(
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
        return fail(scan, field, "given twice");
    }
    *slot = state;
    if (field->oneof != 0) {
        struct frame *frame = top_of(scan);
        size_t index = frame->type->field_count + field->oneof - 1;
        uint32_t *member = &scan->slots[frame->first_slot + index];
        if (*member != 0 && *member != field->number) {
            return fail_at(
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

static enum err_code check_text_size(
    struct scan *scan, const struct wire_field *field, size_t size, const char *unit)
{
    if (size >= field->text_min && size <= field->text_max) {
        return ERR_OK;
    }
    uint32_t entry = entry_of(scan, field);
    if (size == 0) {
        return fail_at(scan, field, entry, "required");
    }
    if (field->text_min == field->text_max) {
        return fail_at(
            scan, field, entry, "%zu %s, exactly %lu", size, unit, (unsigned long)field->text_max);
    }
    bool more = size > field->text_max;
    return fail_at(
        scan,
        field,
        entry,
        "%zu %s, %s %lu",
        size,
        unit,
        more ? "at most" : "at least",
        (unsigned long)(more ? field->text_max : field->text_min));
}

static enum err_code check_format(
    struct scan *scan, const struct wire_field *field, struct str_view text)
{
    const char *problem = wire_format_problem(field->format, text);
    if (problem == NULL) {
        return ERR_OK;
    }
    char shown[QUOTE_BYTES];
    const struct frame *frame = top_of(scan);
    bool is_key = frame->type->map_entry && field->number == 1;
    if (field->secret) {
        return fail_at(scan, field, entry_of(scan, field), "%s", problem);
    }
    return fail_at(
        scan,
        field,
        entry_of(scan, field),
        "%s\"%s\" %s",
        is_key ? "key " : "",
        quote(text, shown),
        problem);
}

static enum err_code check_string(
    struct scan *scan, const struct wire_field *field, struct str_view text)
{
    size_t chars = 0;
    if (!str_is_utf8(text, &chars)) {
        return fail_at(scan, field, entry_of(scan, field), "not UTF-8");
    }
    if (text.len > 0 && memchr(text.ptr, '\0', text.len) != NULL) {
        return fail_at(scan, field, entry_of(scan, field), "holds a NUL");
    }
    if (!scan->strict) {
        return ERR_OK;
    }
    TRY(check_text_size(scan, field, chars, "characters"));
    bool skipped = text.len == 0 && field->format != WIRE_FORMAT_LABEL_KEY;
    return skipped ? ERR_OK : check_format(scan, field, text);
}

/* Value of a number as text, for an error; out of the hot path. */
static enum err_code fail_bound(
    struct scan *scan, const struct wire_field *field, uint64_t value, bool is_unsigned, bool low)
{
    char shown[32];
    if (is_unsigned) {
        (void)snprintf(shown, sizeof(shown), "%llu", (unsigned long long)value);
    } else {
        (void)snprintf(shown, sizeof(shown), "%lld", (long long)value);
    }
    return fail_at(
        scan,
        field,
        entry_of(scan, field),
        "%s, %s %lld",
        shown,
        low ? "at least" : "at most",
        (long long)(low ? field->least : field->most));
}

static enum err_code check_real(struct scan *scan, const struct wire_field *field, double value)
{
    if (!field->has_least && !field->has_most) {
        return ERR_OK;
    }
    bool low = field->has_least && !(value >= (double)field->least);
    bool high = field->has_most && !(value <= (double)field->most);
    if (!low && !high) {
        return ERR_OK;
    }
    return fail_at(
        scan,
        field,
        entry_of(scan, field),
        "%g, %s %lld",
        value,
        low ? "at least" : "at most",
        (long long)(low ? field->least : field->most));
}

static double real_of(ProtobufCType type, uint64_t bits)
{
    if (type == PROTOBUF_C_TYPE_FLOAT) {
        uint32_t half = (uint32_t)bits;
        float value = 0;
        memcpy(&value, &half, sizeof(value));
        return (double)value;
    }
    double value = 0;
    memcpy(&value, &bits, sizeof(value));
    return value;
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

static bool is_unsigned_type(ProtobufCType type)
{
    return type == PROTOBUF_C_TYPE_UINT32 || type == PROTOBUF_C_TYPE_FIXED32
        || type == PROTOBUF_C_TYPE_UINT64 || type == PROTOBUF_C_TYPE_FIXED64
        || type == PROTOBUF_C_TYPE_BOOL;
}

static enum err_code check_bounds(struct scan *scan, const struct wire_field *field, uint64_t value)
{
    bool is_unsigned = is_unsigned_type(field->type);
    bool huge = is_unsigned && value > INT64_MAX;
    if (field->has_least && !huge && (int64_t)value < field->least) {
        return fail_bound(scan, field, value, is_unsigned, true);
    }
    if (field->has_most && (huge || (int64_t)value > field->most)) {
        return fail_bound(scan, field, value, is_unsigned, false);
    }
    return ERR_OK;
}

/* One number, alone or out of a packed run. */
static enum err_code take_number(struct scan *scan, const struct wire_field *field, uint64_t raw)
{
    TRY(count_value(scan, field, raw != 0 ? SLOT_SET : SLOT_ZERO));
    if (field->type == PROTOBUF_C_TYPE_DOUBLE || field->type == PROTOBUF_C_TYPE_FLOAT) {
        return scan->strict ? check_real(scan, field, real_of(field->type, raw)) : ERR_OK;
    }
    uint64_t value = 0;
    if (!number_of(field->type, raw, &value)) {
        return fail_at(scan, field, entry_of(scan, field), "does not fit 32 bits");
    }
    if (field->number <= 2) {
        top_of(scan)->numbers[field->number - 1] = value;
    }
    if (!scan->strict) {
        return ERR_OK;
    }
    if (field->type == PROTOBUF_C_TYPE_ENUM
        && wire_enum_find(field->enumeration, (int32_t)(uint32_t)value) == NULL) {
        return fail_at(
            scan,
            field,
            entry_of(scan, field),
            "unknown value %ld",
            (long)(int32_t)(uint32_t)value);
    }
    return check_bounds(scan, field, value);
}

/* Wire type of a number's own; TAG_LENGTH for what has a length. */
static unsigned tag_of(ProtobufCType type)
{
    switch (type) {
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_BOOL:
    case PROTOBUF_C_TYPE_ENUM:
        return TAG_VARINT;
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_FIXED32:
    case PROTOBUF_C_TYPE_FLOAT:
        return TAG_32BIT;
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_DOUBLE:
        return TAG_64BIT;
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_BYTES:
    case PROTOBUF_C_TYPE_MESSAGE:
        break;
    }
    return TAG_LENGTH;
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
    unsigned tag = tag_of(field->type);
    while (scan->at < end) {
        uint64_t raw = 0;
        if (!read_number(scan, end, tag, &raw)) {
            return fail(scan, field, "cut short");
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
    struct frame *frame = top_of(scan);
    if (field->type == PROTOBUF_C_TYPE_STRING) {
        TRY(check_string(scan, field, text));
        if (frame->type->map_entry && field->number == 1) {
            frame->key_text = text;
        }
        return ERR_OK;
    }
    return scan->strict ? check_text_size(scan, field, text.len, "bytes") : ERR_OK;
}

/* Whatever has a length: text, bytes, a message, numbers in a row. */
static enum err_code take_length(struct scan *scan, const struct wire_field *field)
{
    const struct frame *frame = top_of(scan);
    uint64_t length = 0;
    if (!read_varint(scan, frame->end, &length) || length > (uint64_t)(frame->end - scan->at)) {
        return fail(scan, field, "cut short");
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
    const struct frame *frame = top_of(scan);
    uint64_t key = 0;
    if (!read_varint(scan, frame->end, &key) || key >> 3 == 0 || key >> 3 > FIELD_NUMBER_MAX) {
        return fail(scan, NULL, "malformed field number");
    }
    unsigned tag = (unsigned)(key & 7);
    const struct wire_field *field = wire_type_find(frame->type, (uint32_t)(key >> 3));
    if (field == NULL) {
        scan->unknown_fields = true;
        if (scan->fields_left-- == 0) {
            return fail(scan, NULL, "more fields than a message may hold");
        }
    }
    if (tag != TAG_VARINT && tag != TAG_64BIT && tag != TAG_LENGTH && tag != TAG_32BIT) {
        return fail(scan, field, "groups are not supported");
    }
    bool packed = field != NULL && field->repeated && tag == TAG_LENGTH;
    if (field != NULL && tag != tag_of(field->type) && !packed) {
        return fail(scan, field, "of another type than the contract's");
    }
    if (tag == TAG_LENGTH) {
        return take_length(scan, field);
    }
    uint64_t raw = 0;
    if (!read_number(scan, frame->end, tag, &raw)) {
        return fail(scan, field, "cut short");
    }
    return field == NULL ? ERR_OK : take_number(scan, field, raw);
}

static int compare_keys(const struct map_key *a, const struct map_key *b)
{
    if (a->field != b->field) {
        return a->field->number < b->field->number ? -1 : 1;
    }
    if (a->number != b->number) {
        return a->number < b->number ? -1 : 1;
    }
    return a->ptr == NULL || a->number == 0 ? 0 : memcmp(a->ptr, b->ptr, (size_t)a->number);
}

/* Shell sort: in place, no allocation, n log^2 n whatever the order. */
static void sort_keys(struct map_key *keys, size_t count)
{
    size_t gap = 1;
    while (gap < count / 2) {
        gap = gap * 2 + 1;
    }
    for (; gap > 0; gap /= 2) {
        for (size_t i = gap; i < count; i++) {
            struct map_key moved = keys[i];
            size_t at = i;
            for (; at >= gap && compare_keys(&keys[at - gap], &moved) > 0; at -= gap) {
                keys[at] = keys[at - gap];
            }
            keys[at] = moved;
        }
    }
}

static enum err_code check_keys(struct scan *scan, const struct frame *frame)
{
    struct map_key *keys = scan->keys + frame->first_key;
    size_t count = scan->key_count - frame->first_key;
    if (count < 2) {
        return ERR_OK;
    }
    sort_keys(keys, count);
    for (size_t i = 1; i < count; i++) {
        if (compare_keys(&keys[i - 1], &keys[i]) != 0) {
            continue;
        }
        char shown[QUOTE_BYTES];
        if (keys[i].ptr == NULL || keys[i].field->secret) {
            return fail(scan, keys[i].field, "a key appears twice");
        }
        struct str_view text = str_from(keys[i].ptr, (size_t)keys[i].number);
        return fail_at(
            scan, keys[i].field, UINT32_MAX, "key \"%s\" appears twice", quote(text, shown));
    }
    return ERR_OK;
}

/* The key of an entry that has ended is kept for the map's holder, which is innermost again. */
static enum err_code keep_key(struct scan *scan, const struct frame *entry)
{
    if (scan->key_count == scan->key_capacity) {
        uint32_t capacity = scan->key_capacity * 2;
        struct map_key *keys = arena_alloc(scan->arena, capacity * sizeof(*keys));
        if (keys == NULL) {
            return ERR_SET(scan->err, ERR_LIMIT, "%s: more keys than fit", entry->field->name);
        }
        memcpy(keys, scan->keys, scan->key_count * sizeof(*keys));
        scan->keys = keys;
        scan->key_capacity = capacity;
    }
    struct map_key *key = &scan->keys[scan->key_count++];
    bool text = entry->type->fields[0].type == PROTOBUF_C_TYPE_STRING;
    key->field = entry->field;
    key->ptr = text ? (entry->key_text.ptr == NULL ? "" : entry->key_text.ptr) : NULL;
    key->number = text ? entry->key_text.len : entry->numbers[0];
    return ERR_OK;
}

static enum err_code check_time(const struct scan *scan, const struct frame *frame)
{
    int64_t seconds = (int64_t)frame->numbers[0];
    int64_t nanos = (int64_t)frame->numbers[1];
    if (frame->type->special == WIRE_TIMESTAMP
        && (seconds < 0 || seconds > WIRE_TIMESTAMP_SECONDS_MAX || nanos < 0
            || nanos > 999999999)) {
        return fail(scan, NULL, "not a time between the years 1970 and 9999");
    }
    bool opposed = (seconds < 0 && nanos > 0) || (seconds > 0 && nanos < 0);
    if (frame->type->special == WIRE_DURATION
        && (seconds < -WIRE_DURATION_SECONDS_MAX || seconds > WIRE_DURATION_SECONDS_MAX
            || nanos < -999999999 || nanos > 999999999 || opposed)) {
        return fail(scan, NULL, "not a duration");
    }
    return ERR_OK;
}

static bool is_number(const struct wire_field *field)
{
    return tag_of(field->type) != TAG_LENGTH;
}

/* What must be there and is not; strict only. */
static enum err_code check_presence(
    struct scan *scan, const struct wire_field *field, uint32_t slot)
{
    if (field->repeated) {
        if (slot >= field->entries_min && (slot > 0 || !field->required)) {
            return ERR_OK;
        }
        return slot == 0 ? fail(scan, field, "required")
                         : fail_at(
                             scan,
                             field,
                             UINT32_MAX,
                             "%lu entries, at least %lu",
                             (unsigned long)slot,
                             (unsigned long)field->entries_min);
    }
    if (slot == SLOT_SET || field->oneof != 0) {
        return ERR_OK;
    }
    if (field->required || (slot == SLOT_ABSENT && field->text_min > 0)) {
        return fail(scan, field, "required");
    }
    if (slot == SLOT_ABSENT && field->has_least && field->least > 0 && is_number(field)) {
        return fail_at(scan, field, UINT32_MAX, "0, at least %lld", (long long)field->least);
    }
    return ERR_OK;
}

static enum err_code check_whole(struct scan *scan, const struct frame *frame)
{
    const struct wire_type *type = frame->type;
    const uint32_t *slots = &scan->slots[frame->first_slot];
    for (size_t i = 0; i < type->field_count; i++) {
        if (slots[i] != SLOT_SET || type->fields[i].repeated) {
            TRY(check_presence(scan, &type->fields[i], slots[i]));
        }
    }
    for (size_t i = 0; i < type->oneof_count; i++) {
        const struct wire_oneof *oneof = &type->oneofs[i];
        if (oneof->required && slots[type->field_count + i] == 0) {
            struct wire_field shown = { .name = oneof->name };
            return fail_at(scan, &shown, UINT32_MAX, "one of %s is required", oneof->members);
        }
    }
    if (type->map_entry && frame->key_text.len == 0
        && type->fields[0].format == WIRE_FORMAT_LABEL_KEY) {
        return check_format(scan, &type->fields[0], STR(""));
    }
    return type->special == WIRE_PLAIN ? ERR_OK : check_time(scan, frame);
}

/* Leaves the innermost message, whose bytes are used up. */
static enum err_code pop(struct scan *scan)
{
    struct frame *frame = top_of(scan);
    const struct wire_type *type = frame->type;
    if (scan->strict) {
        TRY(check_whole(scan, frame));
    }
    TRY(check_keys(scan, frame));
    if (type->map_entry && type->fields[1].type == PROTOBUF_C_TYPE_MESSAGE
        && scan->slots[frame->first_slot + 1] == SLOT_ABSENT) {
        return fail(scan, &type->fields[1], "an entry without a value");
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
        if (scan.at == top_of(&scan)->end) {
            TRY(pop(&scan));
        } else {
            TRY(take_field(&scan));
        }
    }
    ret_result->unknown_fields = scan.unknown_fields;
    return ERR_OK;
}
