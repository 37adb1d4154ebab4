/*
 * Inside the scan: the open messages and where the pass stands. scan.c walks, scan_check.c judges
 * what it meets, scan_error.c says where.
 */
#ifndef COMMON_WIRE_SCAN_PRIVATE_H
#define COMMON_WIRE_SCAN_PRIVATE_H

#include "common/wire/wire_private.h"

enum {
    SLOTS_MAX = 2 * WIRE_TYPE_FIELDS_MAX, /* fields and oneofs of all open messages */
    OWN_KEYS = 48,                        /* map keys held without asking the arena */
    SCAN_QUOTE_BYTES = 64
};

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
struct scan_key {
    const char *ptr; /* NULL: an integer */
    uint64_t number; /* the integer or the length of the text */
    const struct wire_field *field;
};

struct scan_frame {
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
    struct scan_key *keys;
    struct scan_frame frames[WIRE_DEPTH_MAX];
    uint32_t slots[SLOTS_MAX];
    struct scan_key own_keys[OWN_KEYS];
};

static inline struct scan_frame *scan_top(struct scan *scan)
{
    return &scan->frames[scan->depth - 1];
}

static inline uint32_t *scan_slot(struct scan *scan, const struct wire_field *field)
{
    struct scan_frame *frame = scan_top(scan);
    return &scan->slots[frame->first_slot + (uint32_t)(field - frame->type->fields)];
}

/* Number of the value that is being read, for a path. */
static inline uint32_t scan_entry(struct scan *scan, const struct wire_field *field)
{
    return field->repeated ? *scan_slot(scan, field) - 1 : UINT32_MAX;
}

/* Wire type of a number's own; TAG_LENGTH for what has a length. */
unsigned wire_tag_of(ProtobufCType type);

/*
 * ERR_INVALID with the path of the innermost message and a field of it (NULL: the message). entry
 * is the value's number in a repeated field, UINT32_MAX the field as a whole.
 */
enum err_code scan_fail_at(
    const struct scan *scan,
    const struct wire_field *field,
    uint32_t entry,
    const char *format,
    ...) __attribute__((format(printf, 4, 5), cold));
enum err_code scan_fail(const struct scan *scan, const struct wire_field *field, const char *text);

/* A peer's text for an error: its head, without control characters; returns out. */
const char *scan_quote(struct str_view text, char out[SCAN_QUOTE_BYTES]);

/* A text that has been counted: UTF-8, NUL and, when strict, the rules. */
enum err_code scan_check_string(
    struct scan *scan, const struct wire_field *field, struct str_view text);
enum err_code scan_check_size(
    struct scan *scan, const struct wire_field *field, size_t size, const char *unit);

/* A counted number, sign-extended to 64 bits, or the bits of a real one. */
enum err_code scan_check_number(struct scan *scan, const struct wire_field *field, uint64_t value);
enum err_code scan_check_real(struct scan *scan, const struct wire_field *field, uint64_t bits);

/* A message at its end: what must be there, times, and keys that appear twice. */
enum err_code scan_check_whole(struct scan *scan, const struct scan_frame *frame);
enum err_code scan_check_keys(struct scan *scan, const struct scan_frame *frame);

#endif
