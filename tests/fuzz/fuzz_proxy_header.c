/* links: common_rpc */
/*
 * A proxy's header under any input, as the door takes it: measured byte by byte, then parsed. What
 * is measured never shrinks and has its bound; what is parsed names a client or is local; and what
 * one byte more or less changes the length of is refused.
 */
#include "common/rpc/door/proxy_header.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool is_so)
{
    if (!is_so) {
        abort();
    }
}

/* How many bytes the door would read; 0: refused. */
static size_t measure(const uint8_t *data, size_t size)
{
    size_t wanted = PROXY_HEADER_HEAD_BYTES;
    for (size_t have = 1; have <= size; have++) {
        size_t now = 0;
        if (proxy_header_measure(data, have, &now) != ERR_OK) {
            return 0;
        }
        must(now >= wanted && now <= PROXY_HEADER_BYTES_MAX);
        wanted = now;
        if (have == wanted) {
            return wanted;
        }
    }
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct proxy_header header;
    struct network network;
    size_t whole = measure(data, size);
    if (whole > 0 && proxy_header_parse(data, whole, &header) == ERR_OK) {
        must(data[12] == 0x20 || data[12] == 0x21);
        must(header.is_local == (data[12] == 0x20));
        must(!header.is_local || header.port == 0);
        must(proxy_header_parse(data, whole - 1, &header) != ERR_OK);
        must(size == whole || proxy_header_parse(data, whole + 1, &header) != ERR_OK);
    }
    struct err_info err = ERR_INFO_INIT;
    if (network_parse(str_from((const char *)data, size), &network, &err) == ERR_OK) {
        must(network.bits <= 128 && network_has(&network, network.address));
    }
    return 0;
}
