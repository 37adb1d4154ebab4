#include "cmd/server/sandbox/labels.h"

#include "common/wire/wire.h"

#include "proto/openshell/v1/openshell.pb-c.h"

const void *labels_read(const struct wire_schema *schema, const char *json, struct arena *arena)
{
    ProtobufCMessage *meta = NULL;
    const char *text = arena_printf(arena, "{\"labels\":%s}", json);
    bool is_read = text != NULL
        && wire_from_json(
               schema,
               &openshell__datamodel__v1__object_meta__descriptor,
               str_of(text),
               arena,
               &meta,
               NULL)
            == ERR_OK;
    return is_read ? meta : NULL;
}

struct str_view labels_find(const void *labels, struct str_view key)
{
    const Openshell__Datamodel__V1__ObjectMeta *meta = labels;
    for (size_t i = 0; meta != NULL && i < meta->n_labels; i++) {
        if (str_equal(str_of(meta->labels[i]->key), key)) {
            return str_of(meta->labels[i]->value);
        }
    }
    return STR_NONE;
}
