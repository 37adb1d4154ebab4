/*
 * Converts Sink messages for check_json.py. Records on standard input: one byte ('j': wire bytes to
 * JSON, 'w': JSON to wire bytes), four bytes of length, big end first, the data. Answers: one byte
 * ('+' or '-'), length, data or error text.
 */
#include "common/wire/wire.h"
#include "test_descriptors.h"

#include <belay/test/v1/sink.pb-c.h>
#include <stdio.h>

enum {
    RECORD_BYTES_MAX = 1 << 22
};

static enum err_code convert(
    const struct wire_schema *schema,
    char mode,
    struct str_view data,
    struct buf *out,
    struct err_info *err)
{
    AUTO_ARENA struct arena *arena = arena_create(RECORD_BYTES_MAX);
    const ProtobufCMessageDescriptor *type = &belay__test__v1__sink__descriptor;
    ProtobufCMessage *message = NULL;
    if (mode == 'w') {
        TRY(wire_from_json(schema, type, data, arena, &message, err));
        wire_pack(message, out);
        return ERR_OK;
    }
    TRY(wire_unpack(schema, type, data.ptr, data.len, arena, &message, err));
    return wire_to_json(schema, message, 0, out, err);
}

static bool read_record(char *ret_mode, struct buf *data)
{
    unsigned char head[5];
    if (fread(head, 1, sizeof(head), stdin) != sizeof(head)) {
        return false;
    }
    *ret_mode = (char)head[0];
    size_t length = 0;
    for (size_t i = 1; i < sizeof(head); i++) {
        length = length << 8 | head[i];
    }
    buf_clear(data);
    char *out = buf_extend(data, length);
    return out != NULL && fread(out, 1, length, stdin) == length;
}

static void write_record(bool good, struct str_view data)
{
    char head[5] = { '-' };
    if (good) {
        head[0] = '+';
    }
    for (size_t i = 1; i < sizeof(head); i++) {
        head[i] = (char)(unsigned char)(data.len >> (8 * (4 - i)));
    }
    (void)fwrite(head, 1, sizeof(head), stdout);
    (void)fwrite(data.ptr, 1, data.len, stdout);
    (void)fflush(stdout);
}

int main(void)
{
    struct wire_schema *schema = NULL;
    AUTO_BUF struct buf data = BUF_INIT(RECORD_BYTES_MAX);
    AUTO_BUF struct buf out = BUF_INIT(RECORD_BYTES_MAX);
    char mode = 0;
    if (wire_schema_load(test_descriptors, test_descriptors_size, &schema, NULL) != ERR_OK) {
        return 1;
    }
    while (read_record(&mode, &data)) {
        struct err_info err = ERR_INFO_INIT;
        buf_clear(&out);
        enum err_code code = convert(schema, mode, buf_view(&data), &out, &err);
        write_record(code == ERR_OK, code == ERR_OK ? buf_view(&out) : str_of(err.text));
    }
    wire_schema_destroy(schema);
    return 0;
}
