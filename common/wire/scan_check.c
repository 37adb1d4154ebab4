/* What the scan meets against the rules of the contract. */
#include "common/wire/scan_private.h"

#include <stdio.h>

unsigned wire_tag_of(ProtobufCType type)
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

enum err_code scan_check_size(
    struct scan *scan, const struct wire_field *field, size_t size, const char *unit)
{
    if (size >= field->text_min && size <= field->text_max) {
        return ERR_OK;
    }
    uint32_t entry = scan_entry(scan, field);
    if (size == 0) {
        return scan_fail_at(scan, field, entry, "required");
    }
    if (field->text_min == field->text_max) {
        return scan_fail_at(
            scan, field, entry, "%zu %s, exactly %lu", size, unit, (unsigned long)field->text_max);
    }
    bool more = size > field->text_max;
    return scan_fail_at(
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
    char shown[SCAN_QUOTE_BYTES];
    const struct scan_frame *frame = scan_top(scan);
    bool is_key = frame->type->map_entry && field->number == 1;
    if (field->secret) {
        return scan_fail_at(scan, field, scan_entry(scan, field), "%s", problem);
    }
    return scan_fail_at(
        scan,
        field,
        scan_entry(scan, field),
        "%s\"%s\" %s",
        is_key ? "key " : "",
        scan_quote(text, shown),
        problem);
}

enum err_code scan_check_string(
    struct scan *scan, const struct wire_field *field, struct str_view text)
{
    size_t chars = 0;
    if (!str_is_utf8(text, &chars)) {
        return scan_fail_at(scan, field, scan_entry(scan, field), "not UTF-8");
    }
    if (text.len > 0 && memchr(text.ptr, '\0', text.len) != NULL) {
        return scan_fail_at(scan, field, scan_entry(scan, field), "holds a NUL");
    }
    if (!scan->strict) {
        return ERR_OK;
    }
    TRY(scan_check_size(scan, field, chars, "characters"));
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
    return scan_fail_at(
        scan,
        field,
        scan_entry(scan, field),
        "%s, %s %lld",
        shown,
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

enum err_code scan_check_real(struct scan *scan, const struct wire_field *field, uint64_t bits)
{
    double value = real_of(field->type, bits);
    if (!field->has_least && !field->has_most) {
        return ERR_OK;
    }
    bool low = field->has_least && !(value >= (double)field->least);
    bool high = field->has_most && !(value <= (double)field->most);
    if (!low && !high) {
        return ERR_OK;
    }
    return scan_fail_at(
        scan,
        field,
        scan_entry(scan, field),
        "%g, %s %lld",
        value,
        low ? "at least" : "at most",
        (long long)(low ? field->least : field->most));
}

static bool is_unsigned_type(ProtobufCType type)
{
    return type == PROTOBUF_C_TYPE_UINT32 || type == PROTOBUF_C_TYPE_FIXED32
        || type == PROTOBUF_C_TYPE_UINT64 || type == PROTOBUF_C_TYPE_FIXED64
        || type == PROTOBUF_C_TYPE_BOOL;
}

enum err_code scan_check_number(struct scan *scan, const struct wire_field *field, uint64_t value)
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

static int compare_keys(const struct scan_key *a, const struct scan_key *b)
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
static void sort_keys(struct scan_key *keys, size_t count)
{
    size_t gap = 1;
    while (gap < count / 2) {
        gap = gap * 2 + 1;
    }
    for (; gap > 0; gap /= 2) {
        for (size_t i = gap; i < count; i++) {
            struct scan_key moved = keys[i];
            size_t at = i;
            for (; at >= gap && compare_keys(&keys[at - gap], &moved) > 0; at -= gap) {
                keys[at] = keys[at - gap];
            }
            keys[at] = moved;
        }
    }
}

enum err_code scan_check_keys(struct scan *scan, const struct scan_frame *frame)
{
    struct scan_key *keys = scan->keys + frame->first_key;
    size_t count = scan->key_count - frame->first_key;
    if (count < 2) {
        return ERR_OK;
    }
    sort_keys(keys, count);
    for (size_t i = 1; i < count; i++) {
        if (compare_keys(&keys[i - 1], &keys[i]) != 0) {
            continue;
        }
        char shown[SCAN_QUOTE_BYTES];
        if (keys[i].ptr == NULL || keys[i].field->secret) {
            return scan_fail(scan, keys[i].field, "a key appears twice");
        }
        struct str_view text = str_from(keys[i].ptr, (size_t)keys[i].number);
        return scan_fail_at(
            scan, keys[i].field, UINT32_MAX, "key \"%s\" appears twice", scan_quote(text, shown));
    }
    return ERR_OK;
}

static enum err_code check_time(const struct scan *scan, const struct scan_frame *frame)
{
    int64_t seconds = (int64_t)frame->numbers[0];
    int64_t nanos = (int64_t)frame->numbers[1];
    if (frame->type->special == WIRE_TIMESTAMP
        && (seconds < 0 || seconds > WIRE_TIMESTAMP_SECONDS_MAX || nanos < 0
            || nanos > 999999999)) {
        return scan_fail(scan, NULL, "not a time between the years 1970 and 9999");
    }
    bool opposed = (seconds < 0 && nanos > 0) || (seconds > 0 && nanos < 0);
    if (frame->type->special == WIRE_DURATION
        && (seconds < -WIRE_DURATION_SECONDS_MAX || seconds > WIRE_DURATION_SECONDS_MAX
            || nanos < -999999999 || nanos > 999999999 || opposed)) {
        return scan_fail(scan, NULL, "not a duration");
    }
    return ERR_OK;
}

static bool is_number(const struct wire_field *field)
{
    return wire_tag_of(field->type) != TAG_LENGTH;
}

/* What must be there and is not; strict only. */
static enum err_code check_presence(
    struct scan *scan, const struct wire_field *field, uint32_t slot)
{
    if (field->repeated) {
        if (slot >= field->entries_min && (slot > 0 || !field->required)) {
            return ERR_OK;
        }
        return slot == 0 ? scan_fail(scan, field, "required")
                         : scan_fail_at(
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
        return scan_fail(scan, field, "required");
    }
    if (slot == SLOT_ABSENT && field->has_least && field->least > 0 && is_number(field)) {
        return scan_fail_at(scan, field, UINT32_MAX, "0, at least %lld", (long long)field->least);
    }
    return ERR_OK;
}

enum err_code scan_check_whole(struct scan *scan, const struct scan_frame *frame)
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
            return scan_fail_at(scan, &shown, UINT32_MAX, "one of %s is required", oneof->members);
        }
    }
    if (type->map_entry && frame->key_text.len == 0
        && type->fields[0].format == WIRE_FORMAT_LABEL_KEY) {
        return check_format(scan, &type->fields[0], STR(""));
    }
    return type->special == WIRE_PLAIN ? ERR_OK : check_time(scan, frame);
}
