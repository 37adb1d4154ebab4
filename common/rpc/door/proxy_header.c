#include "common/rpc/door/proxy_header.h"

#include <string.h>

enum {
    SIGNATURE_BYTES = 12,
    COMMAND_AT = 12,
    FAMILY_AT = 13,
    LENGTH_AT = 14,
    COMMAND_LOCAL = 0x20, /* with the version, 2 */
    COMMAND_PROXY = 0x21,
    TCP_OVER_IPV4 = 0x11,
    TCP_OVER_IPV6 = 0x21,
    IPV4_BYTES = 12, /* both addresses, both ports */
    IPV6_BYTES = 36,
    FIELD_HEAD_BYTES = 3,
};

static const uint8_t signature[SIGNATURE_BYTES] = { 0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d,
                                                    0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a };

static size_t uint16_at(const uint8_t *data)
{
    return (size_t)(data[0] << 8 | data[1]);
}

enum err_code proxy_header_measure(const uint8_t *data, size_t bytes, size_t *ret_bytes)
{
    if (memcmp(data, signature, bytes < SIGNATURE_BYTES ? bytes : SIGNATURE_BYTES) != 0) {
        return ERR_INVALID;
    }
    *ret_bytes = PROXY_HEADER_HEAD_BYTES;
    if (bytes >= PROXY_HEADER_HEAD_BYTES) {
        *ret_bytes += uint16_at(data + LENGTH_AT);
    }
    return *ret_bytes > PROXY_HEADER_BYTES_MAX ? ERR_INVALID : ERR_OK;
}

static bool are_fields(const uint8_t *data, size_t bytes)
{
    while (bytes >= FIELD_HEAD_BYTES) {
        size_t whole = FIELD_HEAD_BYTES + uint16_at(data + 1);
        if (whole > bytes) {
            return false;
        }
        data += whole;
        bytes -= whole;
    }
    return bytes == 0;
}

static enum err_code parse_client(
    uint8_t family, const uint8_t *data, size_t bytes, struct proxy_header *header)
{
    size_t addresses = family == TCP_OVER_IPV4 ? IPV4_BYTES : IPV6_BYTES;
    if ((family != TCP_OVER_IPV4 && family != TCP_OVER_IPV6) || bytes < addresses
        || !are_fields(data + addresses, bytes - addresses)) {
        return ERR_INVALID;
    }
    if (family == TCP_OVER_IPV4) {
        network_map_ipv4(data, header->address);
    } else {
        memcpy(header->address, data, sizeof(header->address));
    }
    /* Last the two ports, the client's first. */
    header->port = (uint16_t)uint16_at(data + addresses - 4);
    return ERR_OK;
}

enum err_code proxy_header_parse(const uint8_t *data, size_t bytes, struct proxy_header *ret_header)
{
    struct proxy_header header = { .is_local = false };
    size_t wanted = 0;
    if (bytes < PROXY_HEADER_HEAD_BYTES) {
        return ERR_INVALID;
    }
    TRY(proxy_header_measure(data, bytes, &wanted));
    if (wanted != bytes) {
        return ERR_INVALID;
    }
    if (data[COMMAND_AT] == COMMAND_PROXY) {
        TRY(parse_client(
            data[FAMILY_AT],
            data + PROXY_HEADER_HEAD_BYTES,
            bytes - PROXY_HEADER_HEAD_BYTES,
            &header));
    } else if (data[COMMAND_AT] == COMMAND_LOCAL) {
        header.is_local = true; /* whatever family it names: nothing of it is read */
    } else {
        return ERR_INVALID;
    }
    *ret_header = header;
    return ERR_OK;
}
