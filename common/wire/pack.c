#include "common/wire/wire.h"

void wire_pack(const ProtobufCMessage *message, struct buf *buf)
{
    char *out = buf_extend(buf, protobuf_c_message_get_packed_size(message));
    if (out != NULL) {
        (void)protobuf_c_message_pack(message, (uint8_t *)out);
    }
}
