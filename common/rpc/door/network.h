/* Addresses of IPv4 and IPv6 as sixteen bytes (IPv4 as ::ffff:a.b.c.d), and ranges of them. */
#ifndef COMMON_RPC_DOOR_NETWORK_H
#define COMMON_RPC_DOOR_NETWORK_H

#include "common/base/str.h"

enum {
    NETWORK_ADDRESS_BYTES = 16,
    NETWORK_IPV4_AT = 12, /* where the four bytes of an IPv4 address stand */
};

struct network {
    uint8_t address[NETWORK_ADDRESS_BYTES];
    unsigned bits; /* of the sixteen bytes, 0 to 128 */
};

/* ret_address: ::ffff:a.b.c.d of four bytes in network order. */
void network_map_ipv4(const uint8_t ipv4[4], uint8_t ret_address[NETWORK_ADDRESS_BYTES]);
bool network_is_ipv4(const uint8_t address[NETWORK_ADDRESS_BYTES]);

/*
 * "192.0.2.0/24", "2001:db8::/32", or an address alone. ERR_INVALID, with what is wrong: also for
 * bits beyond the prefix that are not zero, since then it is not clear what was meant.
 */
enum err_code network_parse(struct str_view text, struct network *ret_network, struct err_info *err)
    MUST_CHECK;

bool network_has(const struct network *network, const uint8_t address[NETWORK_ADDRESS_BYTES]);

#endif
