/* The options of ours that fields and oneofs carry, out of the bytes that protobuf-c keeps of them.
 */
#include "common/wire/schema_private.h"

#include "proto/belay/v1/options.pb-c.h"

enum {
    EXTENSION_FIELD_RULES = 50110,
    EXTENSION_ONEOF_REQUIRED = 50111
};

static const enum wire_format formats[] = {
    [BELAY__V1__FIELD_RULES__FORMAT__ANY] = WIRE_FORMAT_ANY,
    [BELAY__V1__FIELD_RULES__FORMAT__DNS_LABEL] = WIRE_FORMAT_DNS_LABEL,
    [BELAY__V1__FIELD_RULES__FORMAT__LABELS] = WIRE_FORMAT_LABEL_KEY,
    [BELAY__V1__FIELD_RULES__FORMAT__IDENTIFIER] = WIRE_FORMAT_IDENTIFIER,
    [BELAY__V1__FIELD_RULES__FORMAT__PRINTABLE] = WIRE_FORMAT_PRINTABLE,
    [BELAY__V1__FIELD_RULES__FORMAT__SELECTOR] = WIRE_FORMAT_SELECTOR,
    [BELAY__V1__FIELD_RULES__FORMAT__FINGERPRINT] = WIRE_FORMAT_FINGERPRINT,
};

/* Bytes of an extension: protobuf-c keeps it as an unknown field, its length prefix in front. */
static struct str_view find_extension(const ProtobufCMessage *options, unsigned number)
{
    if (options == NULL) {
        return STR_NONE;
    }
    for (unsigned i = 0; i < options->n_unknown_fields; i++) {
        const ProtobufCMessageUnknownField *field = &options->unknown_fields[i];
        if (field->tag == number) {
            return str_from((const char *)field->data, field->len);
        }
    }
    return STR_NONE;
}

static enum err_code read_rules(
    struct arena *arena,
    const ProtobufCMessage *options,
    Belay__V1__FieldRules **ret_rules,
    struct err_info *err)
{
    struct str_view bytes = find_extension(options, EXTENSION_FIELD_RULES);
    if (bytes.ptr == NULL) {
        return ERR_OK;
    }
    size_t prefix = 0;
    while (prefix < bytes.len && (bytes.ptr[prefix] & 0x80) != 0) {
        prefix++;
    }
    prefix++;
    struct wire_allocator allocator;
    wire_allocator_init(&allocator, arena);
    ProtobufCMessage *rules = prefix > bytes.len ? NULL
                                                 : protobuf_c_message_unpack(
                                                     &belay__v1__field_rules__descriptor,
                                                     &allocator.base,
                                                     bytes.len - prefix,
                                                     (const uint8_t *)bytes.ptr + prefix);
    if (rules == NULL) {
        return ERR_SET(err, ERR_CORRUPT, "descriptors: unreadable field rules");
    }
    *ret_rules = (Belay__V1__FieldRules *)rules;
    if ((unsigned)(*ret_rules)->format >= ARRAY_LENGTH(formats)) {
        return ERR_SET(err, ERR_CORRUPT, "descriptors: unknown format in field rules");
    }
    return ERR_OK;
}

bool schema_is_text(const struct wire_field *field)
{
    return field->type == PROTOBUF_C_TYPE_STRING || field->type == PROTOBUF_C_TYPE_BYTES;
}

/*
 * A bound of zero says "not set" in proto3. So { most: 9 } is 0 to 9, { least: 1 } is 1 and up, and
 * a least below zero with no most is up to zero.
 */
static void apply_bounds(struct wire_field *field, const Belay__V1__FieldRules *rules)
{
    bool set = rules->least != 0 || rules->most != 0;
    field->has_least = set;
    field->has_most = set && rules->most >= rules->least;
    field->least = rules->least;
    field->most = rules->most;
}

static void apply_rules(struct wire_field *field, const Belay__V1__FieldRules *rules)
{
    uint32_t text_max = 0;
    if (schema_is_text(field)) {
        text_max = field->type == PROTOBUF_C_TYPE_BYTES ? WIRE_BYTES_MAX : WIRE_STRING_CHARS_MAX;
    }
    field->text_max = text_max;
    field->entries_max = WIRE_ENTRIES_MAX;
    if (rules == NULL) {
        return;
    }
    field->ruled = true;
    field->has_max = rules->max != 0;
    field->required = rules->required;
    field->secret = rules->secret;
    field->format = formats[rules->format];
    apply_bounds(field, rules);
    if (field->repeated) {
        field->entries_min = rules->min;
        field->entries_max = rules->max != 0 ? rules->max : WIRE_ENTRIES_MAX;
        field->text_max = rules->max_each != 0 ? rules->max_each : text_max;
    } else if (schema_is_text(field)) {
        field->text_min = rules->min;
        field->text_max = rules->max != 0 ? rules->max : text_max;
    }
}

enum err_code schema_read_rules(
    struct arena *arena,
    const ProtobufCMessage *options,
    struct wire_field *field,
    struct err_info *err)
{
    Belay__V1__FieldRules *rules = NULL;
    TRY(read_rules(arena, options, &rules, err));
    apply_rules(field, rules);
    return ERR_OK;
}

bool schema_oneof_required(const ProtobufCMessage *options)
{
    struct str_view required = find_extension(options, EXTENSION_ONEOF_REQUIRED);
    return required.len > 0 && required.ptr[0] != 0;
}
