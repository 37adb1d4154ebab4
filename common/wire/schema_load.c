/*
 * Builds a schema from a FileDescriptorSet: names, types, rules, methods. The set is the program's
 * own, so what is wrong with it is refused without much ado.
 */
#include "common/wire/schema_private.h"

#include <google/protobuf/descriptor.pb-c.h>

#include <stdlib.h>

enum {
    SCHEMA_BYTES_MAX = 16 * 1024 * 1024 /* what the descriptors may grow to in memory */
};

typedef Google__Protobuf__FileDescriptorSet pb_file_set;
typedef Google__Protobuf__FileDescriptorProto pb_file;
typedef Google__Protobuf__DescriptorProto pb_message;
typedef Google__Protobuf__FieldDescriptorProto pb_field;
typedef Google__Protobuf__EnumDescriptorProto pb_enum;
typedef Google__Protobuf__ServiceDescriptorProto pb_service;
typedef Google__Protobuf__MethodDescriptorProto pb_method;

/* Every message of the set with its full name; nested ones are appended while the list is walked.
 */
struct message_list {
    struct message_entry {
        const pb_message *message;
        const char *name;
        size_t file;
    } * entries;

    size_t count;
    size_t capacity;
};

static const struct {
    const char *name;
    enum wire_special special;
} specials[] = {
    { "google.protobuf.Timestamp", WIRE_TIMESTAMP },
    { "google.protobuf.Duration", WIRE_DURATION },
    { "google.protobuf.Struct", WIRE_STRUCT },
    { "google.protobuf.Value", WIRE_VALUE },
    { "google.protobuf.ListValue", WIRE_LIST_VALUE },
    { "google.protobuf.DoubleValue", WIRE_WRAPPER },
    { "google.protobuf.FloatValue", WIRE_WRAPPER },
    { "google.protobuf.Int64Value", WIRE_WRAPPER },
    { "google.protobuf.UInt64Value", WIRE_WRAPPER },
    { "google.protobuf.Int32Value", WIRE_WRAPPER },
    { "google.protobuf.UInt32Value", WIRE_WRAPPER },
    { "google.protobuf.BoolValue", WIRE_WRAPPER },
    { "google.protobuf.StringValue", WIRE_WRAPPER },
    { "google.protobuf.BytesValue", WIRE_WRAPPER },
};

/* Indexed by FieldDescriptorProto.Type. */
static const ProtobufCType field_types[] = {
    [1] = PROTOBUF_C_TYPE_DOUBLE,    [2] = PROTOBUF_C_TYPE_FLOAT,
    [3] = PROTOBUF_C_TYPE_INT64,     [4] = PROTOBUF_C_TYPE_UINT64,
    [5] = PROTOBUF_C_TYPE_INT32,     [6] = PROTOBUF_C_TYPE_FIXED64,
    [7] = PROTOBUF_C_TYPE_FIXED32,   [8] = PROTOBUF_C_TYPE_BOOL,
    [9] = PROTOBUF_C_TYPE_STRING,    [11] = PROTOBUF_C_TYPE_MESSAGE,
    [12] = PROTOBUF_C_TYPE_BYTES,    [13] = PROTOBUF_C_TYPE_UINT32,
    [14] = PROTOBUF_C_TYPE_ENUM,     [15] = PROTOBUF_C_TYPE_SFIXED32,
    [16] = PROTOBUF_C_TYPE_SFIXED64, [17] = PROTOBUF_C_TYPE_SINT32,
    [18] = PROTOBUF_C_TYPE_SINT64,
};

static enum wire_special find_special(const char *name)
{
    for (size_t i = 0; i < ARRAY_LENGTH(specials); i++) {
        if (strcmp(name, specials[i].name) == 0) {
            return specials[i].special;
        }
    }
    return WIRE_PLAIN;
}

/* Array in the arena; NULL when the descriptors are larger than a schema may be. */
static void *new_array(struct wire_schema *schema, size_t count, size_t bytes)
{
    return arena_alloc(schema->arena, (count == 0 ? 1 : count) * bytes);
}

/* "package.Message" from ".package.Message" */
static const char *absolute(const char *name)
{
    return name[0] == '.' ? name + 1 : name;
}

static const char *join(struct wire_schema *schema, const char *scope, const char *name)
{
    return scope == NULL || scope[0] == '\0' ? name
                                             : arena_printf(schema->arena, "%s.%s", scope, name);
}

static void list_add(
    struct message_list *list, const pb_message *message, const char *name, size_t file)
{
    if (list->count == list->capacity) {
        list->capacity = list->capacity == 0 ? 64 : list->capacity * 2;
        list->entries = mem_realloc(list->entries, list->capacity * sizeof(*list->entries));
    }
    list->entries[list->count++] = (struct message_entry){ message, name, file };
}

static enum err_code out_of_space(struct err_info *err)
{
    return ERR_SET(err, ERR_LIMIT, "descriptors: larger than a schema may be");
}

static enum err_code malformed(struct err_info *err, const char *what)
{
    return ERR_SET(err, ERR_CORRUPT, "descriptors: %s", what);
}

static void index_symbol(struct wire_schema *schema, const char *name, size_t file)
{
    (void)map_put(schema->files_by_symbol, str_of(name), &schema->files[file]);
}

/* The set is a sequence of fields 1, one file each: where the bytes of every file are. */
static enum err_code cut_files(
    struct wire_schema *schema, const pb_file_set *set, struct str_view bytes, struct err_info *err)
{
    schema->file_count = set->n_file;
    schema->files = new_array(schema, set->n_file, sizeof(*schema->files));
    if (schema->files == NULL) {
        return out_of_space(err);
    }
    size_t at = 0;
    for (size_t i = 0; i < set->n_file; i++) {
        size_t length = 0;
        unsigned shift = 0;
        if (at >= bytes.len || bytes.ptr[at++] != 0x0A) {
            return malformed(err, "not a FileDescriptorSet");
        }
        for (bool more = true; more && at < bytes.len && shift < 35; shift += 7) {
            unsigned char byte = (unsigned char)bytes.ptr[at++];
            length |= (size_t)(byte & 0x7F) << shift;
            more = (byte & 0x80) != 0;
        }
        if (length > bytes.len - at || set->file[i]->name == NULL) {
            return malformed(err, "a file is cut short or has no name");
        }
        schema->files[i].name = set->file[i]->name;
        schema->files[i].bytes = str_from(bytes.ptr + at, length);
        (void)map_put(schema->files_by_name, str_of(set->file[i]->name), &schema->files[i]);
        at += length;
    }
    return ERR_OK;
}

static enum err_code collect_messages(
    struct wire_schema *schema,
    const pb_file_set *set,
    struct message_list *list,
    struct err_info *err)
{
    for (size_t f = 0; f < set->n_file; f++) {
        for (size_t m = 0; m < set->file[f]->n_message_type; m++) {
            const pb_message *message = set->file[f]->message_type[m];
            list_add(list, message, join(schema, set->file[f]->package, message->name), f);
        }
    }
    for (size_t i = 0; i < list->count; i++) {
        struct message_entry entry = list->entries[i];
        if (entry.name == NULL) {
            return out_of_space(err);
        }
        for (size_t m = 0; m < entry.message->n_nested_type; m++) {
            const pb_message *nested = entry.message->nested_type[m];
            list_add(list, nested, join(schema, entry.name, nested->name), entry.file);
        }
    }
    return ERR_OK;
}

static int compare_values(const void *a, const void *b)
{
    int32_t left = ((const struct wire_enum_value *)a)->number;
    int32_t right = ((const struct wire_enum_value *)b)->number;
    return (left > right) - (left < right);
}

static enum err_code add_enum(
    struct wire_schema *schema,
    const pb_enum *source,
    const char *scope,
    size_t file,
    struct err_info *err)
{
    const char *name = join(schema, scope, source->name);
    struct wire_enum_value *values = new_array(schema, source->n_value, sizeof(*values));
    if (name == NULL || values == NULL) {
        return out_of_space(err);
    }
    for (size_t i = 0; i < source->n_value; i++) {
        values[i].number = source->value[i]->number;
        values[i].name = source->value[i]->name;
    }
    qsort(values, source->n_value, sizeof(*values), compare_values);
    struct wire_enum *target = &schema->enums[schema->enum_count++];
    *target = (struct wire_enum){ name, values, source->n_value };
    (void)map_put(schema->enums_by_name, str_of(name), target);
    index_symbol(schema, name, file);
    return ERR_OK;
}

static enum err_code add_enums(
    struct wire_schema *schema,
    const pb_file_set *set,
    const struct message_list *list,
    struct err_info *err)
{
    size_t count = 0;
    for (size_t f = 0; f < set->n_file; f++) {
        count += set->file[f]->n_enum_type;
    }
    for (size_t i = 0; i < list->count; i++) {
        count += list->entries[i].message->n_enum_type;
    }
    schema->enums = new_array(schema, count, sizeof(*schema->enums));
    if (schema->enums == NULL) {
        return out_of_space(err);
    }
    for (size_t f = 0; f < set->n_file; f++) {
        for (size_t e = 0; e < set->file[f]->n_enum_type; e++) {
            TRY(add_enum(schema, set->file[f]->enum_type[e], set->file[f]->package, f, err));
        }
    }
    for (size_t i = 0; i < list->count; i++) {
        const struct message_entry *entry = &list->entries[i];
        for (size_t e = 0; e < entry->message->n_enum_type; e++) {
            TRY(add_enum(schema, entry->message->enum_type[e], entry->name, entry->file, err));
        }
    }
    return ERR_OK;
}

static enum err_code add_field(
    struct wire_schema *schema,
    const pb_field *source,
    struct wire_field *field,
    struct err_info *err)
{
    unsigned type = source->type;
    if (type >= ARRAY_LENGTH(field_types)
        || type == GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__TYPE__TYPE_GROUP
        || source->name == NULL || source->number < 1) {
        return malformed(err, "a field of an unsupported type");
    }
    field->number = (uint32_t)source->number;
    field->type = field_types[type];
    field->name = source->name;
    field->json_name = source->json_name != NULL ? source->json_name : source->name;
    field->repeated =
        source->label == GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__LABEL__LABEL_REPEATED;
    field->oneof = source->has_oneof_index ? (uint32_t)source->oneof_index + 1 : 0;
    if (field->type == PROTOBUF_C_TYPE_MESSAGE) {
        field->message = wire_schema_find_type(schema, absolute(source->type_name));
        field->map = field->message != NULL && field->message->map_entry;
    } else if (field->type == PROTOBUF_C_TYPE_ENUM) {
        field->enumeration = map_find(schema->enums_by_name, str_of(absolute(source->type_name)));
    }
    if ((field->type == PROTOBUF_C_TYPE_MESSAGE && field->message == NULL)
        || (field->type == PROTOBUF_C_TYPE_ENUM && field->enumeration == NULL)) {
        return ERR_SET(err, ERR_CORRUPT, "descriptors: %s: unknown type", source->name);
    }
    return schema_read_rules(schema->arena, (const ProtobufCMessage *)source->options, field, err);
}

static int compare_fields(const void *a, const void *b)
{
    uint32_t left = ((const struct wire_field *)a)->number;
    uint32_t right = ((const struct wire_field *)b)->number;
    return (left > right) - (left < right);
}

static enum err_code add_oneofs(
    struct wire_schema *schema,
    struct wire_type *type,
    const pb_message *source,
    struct err_info *err)
{
    struct wire_oneof *oneofs = new_array(schema, source->n_oneof_decl, sizeof(*oneofs));
    if (oneofs == NULL) {
        return out_of_space(err);
    }
    for (size_t i = 0; i < source->n_oneof_decl; i++) {
        bool required =
            schema_oneof_required((const ProtobufCMessage *)source->oneof_decl[i]->options);
        AUTO_BUF struct buf members = BUF_INIT(65536);
        for (size_t f = 0; f < source->n_field; f++) {
            if (source->field[f]->has_oneof_index && (size_t)source->field[f]->oneof_index == i) {
                buf_printf(&members, "%s%s", members.len > 0 ? ", " : "", source->field[f]->name);
            }
        }
        oneofs[i].name = source->oneof_decl[i]->name;
        oneofs[i].members = arena_strdup(schema->arena, buf_text(&members));
        oneofs[i].required = required;
        if (oneofs[i].members == NULL || !buf_ok(&members)) {
            return out_of_space(err);
        }
    }
    type->oneofs = oneofs;
    type->oneof_count = source->n_oneof_decl;
    return ERR_OK;
}

static enum err_code add_fields(
    struct wire_schema *schema,
    struct wire_type *type,
    const pb_message *source,
    struct err_info *err)
{
    if (source->n_field + source->n_oneof_decl > WIRE_TYPE_FIELDS_MAX) {
        return ERR_SET(err, ERR_CORRUPT, "descriptors: %s: too many fields", type->name);
    }
    struct wire_field *fields = new_array(schema, source->n_field, sizeof(*fields));
    if (fields == NULL) {
        return out_of_space(err);
    }
    for (size_t i = 0; i < source->n_field; i++) {
        if (source->field[i]->oneof_index < 0
            || (source->field[i]->has_oneof_index
                && (size_t)source->field[i]->oneof_index >= source->n_oneof_decl)) {
            return malformed(err, "a field of no oneof");
        }
        enum err_code code = add_field(schema, source->field[i], &fields[i], err);
        if (code != ERR_OK) {
            err_prefix(err, "%s", type->name);
            return code;
        }
    }
    for (size_t i = 0; type->special == WIRE_VALUE && i < source->n_field; i++) {
        if (fields[i].type == PROTOBUF_C_TYPE_STRING) {
            fields[i].text_max = WIRE_VALUE_CHARS_MAX; /* its descriptor can carry no rules */
        }
    }
    qsort(fields, source->n_field, sizeof(*fields), compare_fields);
    type->fields = fields;
    type->field_count = source->n_field;
    return add_oneofs(schema, type, source, err);
}

static enum err_code add_types(
    struct wire_schema *schema, const struct message_list *list, struct err_info *err)
{
    schema->types = new_array(schema, list->count, sizeof(*schema->types));
    if (schema->types == NULL) {
        return out_of_space(err);
    }
    schema->type_count = list->count;
    for (size_t i = 0; i < list->count; i++) {
        const struct message_entry *entry = &list->entries[i];
        struct wire_type *type = &schema->types[i];
        type->name = entry->name;
        type->special = find_special(entry->name);
        type->map_entry = entry->message->options != NULL && entry->message->options->map_entry;
        (void)map_put(schema->types_by_name, str_of(type->name), type);
        index_symbol(schema, type->name, entry->file);
    }
    for (size_t i = 0; i < list->count; i++) {
        TRY(add_fields(schema, &schema->types[i], list->entries[i].message, err));
    }
    return ERR_OK;
}

/* The rules of a map bind the texts of its entries, which are messages of their own. */
static enum err_code spread_map_rules(const struct wire_field *map, struct err_info *err)
{
    const struct wire_type *entry = map->message;
    if (entry->field_count != 2 || entry->fields[0].number != 1 || entry->fields[1].number != 2) {
        return malformed(err, "a map entry without key and value");
    }
    struct wire_field *fields = entry->fields;
    for (size_t i = 0; i < 2; i++) {
        if (schema_is_text(&fields[i]) && map->text_max != 0) {
            fields[i].text_max = map->text_max;
        }
        fields[i].secret = map->secret;
    }
    fields[0].format = map->format;
    fields[1].format =
        map->format == WIRE_FORMAT_LABEL_KEY ? WIRE_FORMAT_LABEL_VALUE : WIRE_FORMAT_ANY;
    return ERR_OK;
}

static enum err_code finish_types(struct wire_schema *schema, struct err_info *err)
{
    for (size_t i = 0; i < schema->type_count; i++) {
        const struct wire_type *type = &schema->types[i];
        for (size_t f = 0; f < type->field_count; f++) {
            const struct wire_field *field = &type->fields[f];
            if (field->map) {
                TRY(spread_map_rules(field, err));
            } else if (field->format == WIRE_FORMAT_LABEL_KEY && !type->map_entry) {
                return ERR_SET(
                    err,
                    ERR_CORRUPT,
                    "descriptors: %s.%s: LABELS is for maps",
                    type->name,
                    field->name);
            }
        }
    }
    return ERR_OK;
}

static enum err_code add_method(
    struct wire_schema *schema, const char *service, const pb_method *source, struct err_info *err)
{
    struct wire_method *method = &schema->methods[schema->method_count++];
    method->path = arena_printf(schema->arena, "/%s/%s", service, source->name);
    method->input = absolute(source->input_type);
    method->output = absolute(source->output_type);
    method->client_streaming = source->client_streaming;
    method->server_streaming = source->server_streaming;
    if (method->path == NULL) {
        return out_of_space(err);
    }
    if (wire_schema_find_type(schema, method->input) == NULL
        || wire_schema_find_type(schema, method->output) == NULL) {
        return ERR_SET(err, ERR_CORRUPT, "descriptors: %s: unknown type", method->path);
    }
    (void)map_put(schema->methods_by_path, str_of(method->path), method);
    return ERR_OK;
}

static enum err_code add_service(
    struct wire_schema *schema,
    const pb_file *file,
    const pb_service *source,
    size_t index,
    struct err_info *err)
{
    const char *name = join(schema, file->package, source->name);
    if (name == NULL) {
        return out_of_space(err);
    }
    schema->services[schema->service_count++] = name;
    index_symbol(schema, name, index);
    for (size_t m = 0; m < source->n_method; m++) {
        const char *symbol = join(schema, name, source->method[m]->name);
        if (symbol == NULL) {
            return out_of_space(err);
        }
        index_symbol(schema, symbol, index);
        TRY(add_method(schema, name, source->method[m], err));
    }
    return ERR_OK;
}

static enum err_code add_services(
    struct wire_schema *schema, const pb_file_set *set, struct err_info *err)
{
    size_t services = 0;
    size_t methods = 0;
    for (size_t f = 0; f < set->n_file; f++) {
        services += set->file[f]->n_service;
        for (size_t s = 0; s < set->file[f]->n_service; s++) {
            methods += set->file[f]->service[s]->n_method;
        }
    }
    schema->services = new_array(schema, services, sizeof(*schema->services));
    schema->methods = new_array(schema, methods, sizeof(*schema->methods));
    if (schema->services == NULL || schema->methods == NULL) {
        return out_of_space(err);
    }
    for (size_t f = 0; f < set->n_file; f++) {
        for (size_t s = 0; s < set->file[f]->n_service; s++) {
            TRY(add_service(schema, set->file[f], set->file[f]->service[s], f, err));
        }
    }
    return ERR_OK;
}

static enum err_code build(
    struct wire_schema *schema,
    struct str_view bytes,
    struct message_list *list,
    struct err_info *err)
{
    struct wire_allocator allocator;
    wire_allocator_init(&allocator, schema->arena);
    ProtobufCMessage *message = protobuf_c_message_unpack(
        &google__protobuf__file_descriptor_set__descriptor,
        &allocator.base,
        bytes.len,
        (const uint8_t *)bytes.ptr);
    if (message == NULL) {
        return allocator.refused ? out_of_space(err) : malformed(err, "not a FileDescriptorSet");
    }
    const pb_file_set *set = (const pb_file_set *)message;
    TRY(cut_files(schema, set, bytes, err));
    TRY(collect_messages(schema, set, list, err));
    TRY(add_enums(schema, set, list, err));
    TRY(add_types(schema, list, err));
    TRY(finish_types(schema, err));
    return add_services(schema, set, err);
}

enum err_code wire_schema_load(
    const void *descriptor_set, size_t bytes, struct wire_schema **ret_schema, struct err_info *err)
{
    struct wire_schema *schema = mem_alloc(sizeof(*schema));
    schema->arena = arena_create(SCHEMA_BYTES_MAX);
    schema->types_by_name = map_create();
    schema->enums_by_name = map_create();
    schema->methods_by_path = map_create();
    schema->files_by_name = map_create();
    schema->files_by_symbol = map_create();
    struct message_list list = { NULL, 0, 0 };
    const char *copy = arena_dup(schema->arena, descriptor_set, bytes);
    enum err_code code =
        copy == NULL ? out_of_space(err) : build(schema, str_from(copy, bytes), &list, err);
    mem_free(list.entries);
    if (code != ERR_OK) {
        wire_schema_destroy(schema);
        return code;
    }
    *ret_schema = schema;
    return ERR_OK;
}
