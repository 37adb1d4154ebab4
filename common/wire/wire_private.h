/*
 * Inside common/wire: the schema as the scanner and the JSON codec read it. Everything here is
 * built once by schema.c in the schema's own arena and never changes afterwards.
 */
#ifndef COMMON_WIRE_WIRE_PRIVATE_H
#define COMMON_WIRE_WIRE_PRIVATE_H

#include "common/wire/wire.h"

enum {
    WIRE_STRING_CHARS_MAX = 4096, /* where a field names no maximum */
    WIRE_VALUE_CHARS_MAX =
        65536, /* of google.protobuf.Value: whoever holds a Struct bounds it whole */
    WIRE_BYTES_MAX = 1048576,
    WIRE_ENTRIES_MAX = 1000,
    WIRE_TYPE_FIELDS_MAX = 512, /* fields and oneofs that one type may have */
    WIRE_FIELDS_MAX = 1048576   /* of one message with all its parts */
};

/* google.protobuf.Timestamp: 1970-01-01 to 9999-12-31; Duration: 10,000 years either way. */
#define WIRE_TIMESTAMP_SECONDS_MAX INT64_C(253402300799)
#define WIRE_DURATION_SECONDS_MAX  INT64_C(315576000000)

enum wire_format {
    WIRE_FORMAT_ANY,
    WIRE_FORMAT_DNS_LABEL,
    WIRE_FORMAT_LABEL_KEY,
    WIRE_FORMAT_LABEL_VALUE,
    WIRE_FORMAT_IDENTIFIER,
    WIRE_FORMAT_PRINTABLE,
    WIRE_FORMAT_SELECTOR,
    WIRE_FORMAT_FINGERPRINT
};

/* Messages with a JSON form or bounds of their own. */
enum wire_special {
    WIRE_PLAIN,
    WIRE_TIMESTAMP,
    WIRE_DURATION,
    WIRE_STRUCT,
    WIRE_VALUE,
    WIRE_LIST_VALUE,
    WIRE_WRAPPER
};

struct wire_enum_value {
    int32_t number;
    const char *name;
};

struct wire_enum {
    const char *name;
    const struct wire_enum_value *values; /* by number; of an alias the first name declared */
    size_t value_count;
};

struct wire_field {
    uint32_t number;
    ProtobufCType type;
    const char *name;
    const char *json_name;
    const struct wire_type *message; /* of a message field */
    const struct wire_enum *enumeration;
    uint32_t oneof; /* index into the type's oneofs + 1; 0: in none */
    bool repeated;  /* maps too */
    bool map;
    bool ruled;   /* carries (belay.v1.rules) */
    bool has_max; /* the rules name a maximum (entries, characters or bytes) */
    bool required;
    bool secret;
    enum wire_format
        format;        /* of every text in the field; a map's formats stand on its entry's fields */
    uint32_t text_min; /* characters or bytes of every text */
    uint32_t text_max;
    uint32_t entries_min;
    uint32_t entries_max;
    bool has_least;
    bool has_most;
    int64_t least;
    int64_t most;
};

struct wire_oneof {
    const char *name;
    const char *members; /* "hello, ack, capacity" */
    bool required;
};

struct wire_type {
    const char *name; /* "package.Message" */
    enum wire_special special;
    bool map_entry;
    struct wire_field *fields; /* by number, as in the descriptor of protobuf-c */
    size_t field_count;
    const struct wire_oneof *oneofs;
    size_t oneof_count;
};

const struct wire_type *wire_schema_find_type(const struct wire_schema *schema, const char *name);
size_t wire_schema_type_count(const struct wire_schema *schema);
const struct wire_type *wire_schema_type(const struct wire_schema *schema, size_t index);

/* NULL: no such number. */
const struct wire_field *wire_type_find(const struct wire_type *type, uint32_t number);
const char *wire_enum_find(const struct wire_enum *enumeration, int32_t number);

/* NULL, or what is wrong with a text that is not empty: "is not a label key". */
const char *wire_format_problem(enum wire_format format, struct str_view text);

struct wire_scan_result {
    bool unknown_fields; /* some were seen and passed over */
};

/* One pass over the wire bytes. Allocates from the arena only for maps of more than a few dozen
 * entries. */
enum err_code wire_scan(
    const struct wire_type *type,
    struct str_view data,
    bool strict,
    struct arena *arena,
    struct wire_scan_result *ret_result,
    struct err_info *err) MUST_CHECK;

/* An allocator that draws on the arena; its free does nothing. */
struct wire_allocator {
    ProtobufCAllocator base;
    struct arena *arena;
    bool refused; /* an allocation did not fit the arena's cap */
    bool out_of_memory;
};

void wire_allocator_init(struct wire_allocator *allocator, struct arena *arena);

#endif
