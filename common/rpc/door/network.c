#include "common/rpc/door/network.h"

#include <arpa/inet.h>
#include <string.h>

enum {
    BITS_MAX = 128,
    IPV4_BITS_MAX = 32,
};

static const uint8_t ipv4_head[NETWORK_IPV4_AT] = { [10] = 0xff, [11] = 0xff };

void network_map_ipv4(const uint8_t ipv4[4], uint8_t ret_address[NETWORK_ADDRESS_BYTES])
{
    memcpy(ret_address, ipv4_head, sizeof(ipv4_head));
    memcpy(ret_address + NETWORK_IPV4_AT, ipv4, 4);
}

bool network_is_ipv4(const uint8_t address[NETWORK_ADDRESS_BYTES])
{
    return memcmp(address, ipv4_head, sizeof(ipv4_head)) == 0;
}

/* ret_bits: how long a prefix of this family can be. */
static enum err_code parse_address(
    struct str_view text, uint8_t ret_address[NETWORK_ADDRESS_BYTES], unsigned *ret_bits)
{
    char copied[INET6_ADDRSTRLEN];
    uint8_t ipv4[4];
    TRY(str_copy(text, copied, sizeof(copied)));
    if (inet_pton(AF_INET, copied, ipv4) == 1) {
        network_map_ipv4(ipv4, ret_address);
        *ret_bits = IPV4_BITS_MAX;
        return ERR_OK;
    }
    *ret_bits = BITS_MAX;
    return inet_pton(AF_INET6, copied, ret_address) == 1 ? ERR_OK : ERR_INVALID;
}

static bool has_bits_beyond(const struct network *network)
{
    for (unsigned bit = network->bits; bit < BITS_MAX; bit++) {
        if ((network->address[bit / 8] & (0x80u >> bit % 8)) != 0) {
            return true;
        }
    }
    return false;
}

enum err_code network_parse(struct str_view text, struct network *ret_network, struct err_info *err)
{
    struct network network = { .bits = BITS_MAX };
    struct str_view address = text;
    struct str_view digits = STR_NONE;
    unsigned longest = 0;
    const char *slash = text.len == 0 ? NULL : memchr(text.ptr, '/', text.len);
    if (slash != NULL) {
        size_t at = (size_t)(slash - text.ptr);
        address = str_from(text.ptr, at);
        digits = str_from(slash + 1, text.len - at - 1);
    }
    if (parse_address(address, network.address, &longest) != ERR_OK) {
        return ERR_SET(
            err,
            ERR_INVALID,
            "\"%.*s\" is not a network such as 192.0.2.0/24 or 2001:db8::/32",
            STR_ARG(text));
    }
    uint64_t bits = longest;
    if (slash != NULL && str_parse_uint64(digits, longest, &bits) != ERR_OK) {
        return ERR_SET(
            err, ERR_INVALID, "\"%.*s\": a prefix of 0 to %u expected", STR_ARG(text), longest);
    }
    network.bits = BITS_MAX - longest + (unsigned)bits;
    if (has_bits_beyond(&network)) {
        return ERR_SET(
            err, ERR_INVALID, "\"%.*s\": the address has bits beyond its prefix", STR_ARG(text));
    }
    *ret_network = network;
    return ERR_OK;
}

bool network_has(const struct network *network, const uint8_t address[NETWORK_ADDRESS_BYTES])
{
    unsigned whole = network->bits / 8;
    unsigned rest = network->bits % 8;
    if (memcmp(network->address, address, whole) != 0) {
        return false;
    }
    uint8_t mask = (uint8_t)(0xff00u >> rest);
    return rest == 0 || (network->address[whole] & mask) == (address[whole] & mask);
}
