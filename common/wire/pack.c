#include "common/wire/wire.h"

void wire_pack(const ProtobufCMessage *message, struct buf *buf)
{
    char *out = buf_extend(buf, protobuf_c_message_get_packed_size(message));
    if (out != NULL) {
        (void)protobuf_c_message_pack(message, (uint8_t *)out);
    }
}

enum err_code wire_pack_within(
    const ProtobufCMessage *message, const char *name, struct buf *buf, struct err_info *err)
{
    size_t bytes = protobuf_c_message_get_packed_size(message);
    size_t room = buf->cap - buf->len;
    if (bytes > room) {
        return ERR_SET(err, ERR_INVALID, "%s: %zu bytes, at most %zu", name, bytes, room);
    }
    wire_pack(message, buf);
    return buf_ok(buf) ? ERR_OK : ERR_SET(err, ERR_NOMEM, "out of memory");
}
