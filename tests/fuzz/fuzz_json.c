/* links: common_wire test_proto */
/* A person's document: what is read can be written, and reads back as the same message. */
#include "common/wire/wire.h"
#include "test_descriptors.h"

#include <belay/test/v1/sink.pb-c.h>
#include <stdlib.h>

enum {
    ARENA_BYTES = 1 << 22
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
    if (!holds) {
        abort();
    }
}

static const struct wire_schema *schema(void)
{
    static struct wire_schema *loaded; /* kept between inputs */
    if (loaded == NULL) {
        check(wire_schema_load(test_descriptors, test_descriptors_size, &loaded, NULL) == ERR_OK);
    }
    return loaded;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO_ARENA struct arena *arena = arena_create(ARENA_BYTES);
    AUTO_BUF struct buf json = BUF_INIT(ARENA_BYTES);
    AUTO_BUF struct buf first = BUF_INIT(ARENA_BYTES);
    AUTO_BUF struct buf second = BUF_INIT(ARENA_BYTES);
    struct str_view text = str_from((const char *)data, size);
    const ProtobufCMessageDescriptor *type = &belay__test__v1__sink__descriptor;
    ProtobufCMessage *message = NULL;
    struct err_info err = ERR_INFO_INIT;
    if (wire_from_json(schema(), type, text, arena, &message, &err) != ERR_OK) {
        check(err.text[0] != '\0');
        return 0;
    }
    wire_pack(message, &first);
    check(buf_ok(&first));
    enum err_code code = wire_to_json(schema(), message, WIRE_JSON_SHOW_SECRETS, &json, &err);
    check(code == ERR_OK);
    check(wire_from_json(schema(), type, buf_view(&json), arena, &message, &err) == ERR_OK);
    wire_pack(message, &second);
    check(str_equal(buf_view(&first), buf_view(&second)));
    return 0;
}
