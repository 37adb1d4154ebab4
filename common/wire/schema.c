#include "common/wire/schema_private.h"

void wire_schema_destroy(struct wire_schema *schema)
{
    if (schema == NULL) {
        return;
    }
    map_destroy(schema->types_by_name, NULL);
    map_destroy(schema->enums_by_name, NULL);
    map_destroy(schema->methods_by_path, NULL);
    map_destroy(schema->files_by_name, NULL);
    map_destroy(schema->files_by_symbol, NULL);
    arena_destroy(schema->arena);
    mem_free(schema);
}

size_t wire_schema_method_count(const struct wire_schema *schema)
{
    return schema->method_count;
}

const struct wire_method *wire_schema_method(const struct wire_schema *schema, size_t index)
{
    return index < schema->method_count ? &schema->methods[index] : NULL;
}

const struct wire_method *wire_schema_find_method(
    const struct wire_schema *schema, const char *path)
{
    return map_find(schema->methods_by_path, str_of(path));
}

size_t wire_schema_service_count(const struct wire_schema *schema)
{
    return schema->service_count;
}

const char *wire_schema_service(const struct wire_schema *schema, size_t index)
{
    return index < schema->service_count ? schema->services[index] : NULL;
}

struct str_view wire_schema_file_of_symbol(const struct wire_schema *schema, struct str_view symbol)
{
    const struct schema_file *file = map_find(schema->files_by_symbol, symbol);
    return file == NULL ? STR_NONE : file->bytes;
}

struct str_view wire_schema_file_by_name(const struct wire_schema *schema, struct str_view name)
{
    const struct schema_file *file = map_find(schema->files_by_name, name);
    return file == NULL ? STR_NONE : file->bytes;
}

const struct wire_type *wire_schema_find_type(const struct wire_schema *schema, const char *name)
{
    return map_find(schema->types_by_name, str_of(name));
}

size_t wire_schema_type_count(const struct wire_schema *schema)
{
    return schema->type_count;
}

const struct wire_type *wire_schema_type(const struct wire_schema *schema, size_t index)
{
    return index < schema->type_count ? &schema->types[index] : NULL;
}

const struct wire_field *wire_type_find(const struct wire_type *type, uint32_t number)
{
    if (number >= 1 && number <= type->field_count && type->fields[number - 1].number == number) {
        return &type->fields[number - 1]; /* numbered without gaps, as most are */
    }
    size_t low = 0;
    size_t high = type->field_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (type->fields[middle].number == number) {
            return &type->fields[middle];
        }
        if (type->fields[middle].number < number) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return NULL;
}

const char *wire_enum_find(const struct wire_enum *enumeration, int32_t number)
{
    size_t low = 0;
    size_t high = enumeration->value_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (enumeration->values[middle].number < number) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    bool found = low < enumeration->value_count && enumeration->values[low].number == number;
    return found ? enumeration->values[low].name : NULL;
}
