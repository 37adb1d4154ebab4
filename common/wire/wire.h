/*
 * protobuf-c made safe: bounded unpacking into an arena behind a pass over the raw bytes that
 * checks depth, UTF-8, embedded NUL and the rules each field carries in its .proto
 * ((belay.v1.rules)).
 */
#ifndef COMMON_WIRE_WIRE_H
#define COMMON_WIRE_WIRE_H

#include "common/base/arena.h"
#include "common/base/buf.h"

#include <protobuf-c/protobuf-c.h>

enum {
    WIRE_DEPTH_MAX = 32
};

/* What the descriptors of protobuf-c leave out, read from an embedded FileDescriptorSet. Immutable;
 * any thread. */
struct wire_schema;

enum err_code wire_schema_load(
    const void *descriptor_set, size_t bytes, struct wire_schema **ret_schema, struct err_info *err)
    MUST_CHECK;
void wire_schema_destroy(struct wire_schema *schema);

struct wire_method {
    const char *path;  /* "/package.Service/Method" */
    const char *input; /* full message names */
    const char *output;
    bool client_streaming;
    bool server_streaming;
};

size_t wire_schema_method_count(const struct wire_schema *schema);
const struct wire_method *wire_schema_method(const struct wire_schema *schema, size_t index);
const struct wire_method *wire_schema_find_method(
    const struct wire_schema *schema, const char *path);
size_t wire_schema_service_count(const struct wire_schema *schema);
const char *wire_schema_service(const struct wire_schema *schema, size_t index); /* full name */

/* Serialised FileDescriptorProto of the file that defines a symbol ("package.Message") or has a
 * name; STR_NONE: unknown. For reflection. */
struct str_view wire_schema_file_of_symbol(
    const struct wire_schema *schema, struct str_view symbol);
struct str_view wire_schema_file_by_name(const struct wire_schema *schema, struct str_view name);

/*
 * Checks and unpacks. ERR_INVALID names the field and the bound ("name: 256 characters, at most
 * 255"). ERR_LIMIT: the arena's cap. Unknown fields are dropped. The message lives in the arena:
 * never free it.
 */
enum err_code wire_unpack(
    const struct wire_schema *schema,
    const ProtobufCMessageDescriptor *type,
    const void *data,
    size_t bytes,
    struct arena *arena,
    ProtobufCMessage **ret_message,
    struct err_info *err) MUST_CHECK;

/* As wire_unpack without the belay.v1 field rules (still depth, UTF-8, NUL, budget): for stored
 * data and for replies of a server that may be newer. */
enum err_code wire_unpack_lenient(
    const struct wire_schema *schema,
    const ProtobufCMessageDescriptor *type,
    const void *data,
    size_t bytes,
    struct arena *arena,
    ProtobufCMessage **ret_message,
    struct err_info *err) MUST_CHECK;

/* Appends the packed form. */
void wire_pack(const ProtobufCMessage *message, struct buf *buf);
/* The same for whoever has to say why it failed: ERR_INVALID, by this name of it, what is larger
 * than the room that the buffer has; ERR_NOMEM: it is not too large. */
enum err_code wire_pack_within(
    const ProtobufCMessage *message, const char *name, struct buf *buf, struct err_info *err)
    MUST_CHECK;

/* Zeroed and initialised message in the arena; NULL past its cap. */
void *wire_new(struct arena *arena, const ProtobufCMessageDescriptor *type);

/* Whether a key and its value are a label as Kubernetes writes them: what LABELS fields hold. */
bool wire_is_label(struct str_view key, struct str_view value);

enum wire_json_flags {
    WIRE_JSON_INDENT = 1,      /* two spaces */
    WIRE_JSON_DEFAULTS = 2,    /* fields with default values too */
    WIRE_JSON_PROTO_NAMES = 4, /* snake_case instead of json names */
    WIRE_JSON_SHOW_SECRETS = 8 /* else secret fields are left out */
};

/* ProtoJSON: 64-bit integers as strings, enums by name, bytes in base64, Timestamp, Duration,
 * Struct, wrappers, maps, oneofs. */
enum err_code wire_to_json(
    const struct wire_schema *schema,
    const ProtobufCMessage *message,
    unsigned flags,
    struct buf *buf,
    struct err_info *err) MUST_CHECK;

/* Strict: unknown members, duplicates and wrong types are ERR_INVALID naming the path. The field
 * rules are checked as by wire_unpack. */
enum err_code wire_from_json(
    const struct wire_schema *schema,
    const ProtobufCMessageDescriptor *type,
    struct str_view json,
    struct arena *arena,
    ProtobufCMessage **ret_message,
    struct err_info *err) MUST_CHECK;

#endif
