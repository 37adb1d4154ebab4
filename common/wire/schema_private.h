/*
 * Body of a schema: filled by schema_load.c, read by schema.c. All of it but the maps is in the
 * arena.
 */
#ifndef COMMON_WIRE_SCHEMA_PRIVATE_H
#define COMMON_WIRE_SCHEMA_PRIVATE_H

#include "common/base/map.h"
#include "common/wire/wire_private.h"

struct schema_file {
    const char *name;
    struct str_view bytes;
};

struct wire_schema {
    struct arena *arena;
    struct schema_file *files;
    size_t file_count;
    struct wire_type *types;
    size_t type_count;
    struct wire_enum *enums;
    size_t enum_count;
    struct wire_method *methods;
    size_t method_count;
    const char **services;
    size_t service_count;
    struct map *types_by_name;
    struct map *enums_by_name;
    struct map *methods_by_path;
    struct map *files_by_name;
    struct map *files_by_symbol;
};

/* Sets the bounds of a field whose name, type and label are known: its rules, or the defaults. */
enum err_code schema_read_rules(
    struct arena *arena,
    const ProtobufCMessage *options,
    struct wire_field *field,
    struct err_info *err);
bool schema_oneof_required(const ProtobufCMessage *options);
bool schema_is_text(const struct wire_field *field); /* string or bytes */

#endif
