#include "common/wire/wire_private.h"

static void *allocate(void *data, size_t bytes)
{
    struct wire_allocator *allocator = data;
    void *pointer = arena_alloc(allocator->arena, bytes);
    if (pointer == NULL) {
        allocator->refused = true;
        allocator->out_of_memory = bytes <= arena_left_bytes(allocator->arena);
    }
    return pointer;
}

static void release(void *data, void *pointer)
{
    (void)data; /* the arena frees everything at once */
    (void)pointer;
}

void wire_allocator_init(struct wire_allocator *allocator, struct arena *arena)
{
    *allocator = (struct wire_allocator){
        .base = { .alloc = allocate, .free = release, .allocator_data = allocator },
        .arena = arena,
    };
}

/* Where the walk over the messages inside a message stands. */
struct walk_frame {
    ProtobufCMessage *message;
    unsigned field;
    size_t entry;
};

/* The next message held by the frame's message, or NULL at its end. */
static ProtobufCMessage *next_part(struct walk_frame *frame)
{
    const ProtobufCMessageDescriptor *type = frame->message->descriptor;
    char *base = (char *)frame->message;
    for (; frame->field < type->n_fields; frame->field++, frame->entry = 0) {
        const ProtobufCFieldDescriptor *field = &type->fields[frame->field];
        if (field->type != PROTOBUF_C_TYPE_MESSAGE) {
            continue;
        }
        const void *member = base + field->offset;
        const void *quantifier = base + field->quantifier_offset;
        if (field->label == PROTOBUF_C_LABEL_REPEATED) {
            if (frame->entry < *(const size_t *)quantifier) {
                return (*(ProtobufCMessage *const *const *)member)[frame->entry++];
            }
            continue;
        }
        bool here = (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) == 0
            || *(const uint32_t *)quantifier == field->id;
        ProtobufCMessage *part = here ? *(ProtobufCMessage *const *)member : NULL;
        if (part != NULL && frame->entry++ == 0) {
            return part;
        }
    }
    return NULL;
}

/* Unknown fields of a message and its parts, which the scan has bounded in depth, are forgotten. */
static void drop_unknown_fields(ProtobufCMessage *message)
{
    struct walk_frame frames[WIRE_DEPTH_MAX + 1];
    size_t depth = 1;
    frames[0] = (struct walk_frame){ message, 0, 0 };
    message->n_unknown_fields = 0;
    message->unknown_fields = NULL;
    while (depth > 0) {
        ProtobufCMessage *part = next_part(&frames[depth - 1]);
        if (part == NULL) {
            depth--;
        } else if (depth < ARRAY_LENGTH(frames)) {
            part->n_unknown_fields = 0;
            part->unknown_fields = NULL;
            frames[depth++] = (struct walk_frame){ part, 0, 0 };
        }
    }
}

static enum err_code not_in_schema(const ProtobufCMessageDescriptor *type, struct err_info *err)
{
    return ERR_SET(err, ERR_INTERNAL, "%s: not in the schema", type->name);
}

/* Unpacks what the scan has let through. */
static enum err_code build(
    const ProtobufCMessageDescriptor *type,
    struct str_view data,
    const struct wire_scan_result *scanned,
    struct arena *arena,
    ProtobufCMessage **ret_message,
    struct err_info *err)
{
    struct wire_allocator allocator;
    wire_allocator_init(&allocator, arena);
    ProtobufCMessage *message = protobuf_c_message_unpack(
        type, &allocator.base, data.len, (const uint8_t *)(data.len == 0 ? "" : data.ptr));
    if (message == NULL && allocator.out_of_memory) {
        return ERR_SET(err, ERR_NOMEM, "out of memory");
    }
    if (message == NULL && allocator.refused) {
        return ERR_SET(err, ERR_LIMIT, "%s: larger than a message may be", type->short_name);
    }
    if (message == NULL) {
        return ERR_SET(err, ERR_INVALID, "%s: malformed", type->short_name);
    }
    if (scanned->unknown_fields) {
        drop_unknown_fields(message);
    }
    *ret_message = message;
    return ERR_OK;
}

/* All seven belong to every call. NOLINTNEXTLINE(readability-function-size) */
enum err_code wire_unpack(
    const struct wire_schema *schema,
    const ProtobufCMessageDescriptor *type,
    const void *data,
    size_t bytes,
    struct arena *arena,
    ProtobufCMessage **ret_message,
    struct err_info *err)
{
    struct wire_scan_result scanned = { false };
    const struct wire_type *known = wire_schema_find_type(schema, type->name);
    if (known == NULL) {
        return not_in_schema(type, err);
    }
    TRY(wire_scan(known, str_from(data, bytes), true, arena, &scanned, err));
    return build(type, str_from(data, bytes), &scanned, arena, ret_message, err);
}

/* As wire_unpack. NOLINTNEXTLINE(readability-function-size) */
enum err_code wire_unpack_lenient(
    const struct wire_schema *schema,
    const ProtobufCMessageDescriptor *type,
    const void *data,
    size_t bytes,
    struct arena *arena,
    ProtobufCMessage **ret_message,
    struct err_info *err)
{
    struct wire_scan_result scanned = { false };
    const struct wire_type *known = wire_schema_find_type(schema, type->name);
    if (known == NULL) {
        return not_in_schema(type, err);
    }
    TRY(wire_scan(known, str_from(data, bytes), false, arena, &scanned, err));
    return build(type, str_from(data, bytes), &scanned, arena, ret_message, err);
}

void *wire_new(struct arena *arena, const ProtobufCMessageDescriptor *type)
{
    ProtobufCMessage *message = arena_alloc(arena, type->sizeof_message);
    if (message != NULL) {
        protobuf_c_message_init(type, message);
    }
    return message;
}
