/*
 * The header of HAProxy's PROXY protocol, version 2, with which a proxy tells for whom it has
 * opened a TCP connection:
 *
 *     signature (12), version and command (1), family and transport (1), length (2),
 *     addresses of family, then fields of type (1), length (2), value
 *
 * Only what is needed and well formed is taken: version 2; LOCAL, or PROXY with TCP over IPv4 or
 * IPv6; at most PROXY_HEADER_BYTES_MAX. Fields are passed over, but must fill the length.
 */
#ifndef COMMON_RPC_DOOR_PROXY_HEADER_H
#define COMMON_RPC_DOOR_PROXY_HEADER_H

#include "common/rpc/door/network.h"

enum {
    PROXY_HEADER_HEAD_BYTES = 16,
    PROXY_HEADER_BYTES_MAX = 1024,
};

struct proxy_header {
    bool is_local; /* the proxy speaks for itself (it checks us); no address then */
    uint8_t address[NETWORK_ADDRESS_BYTES]; /* of the client */
    uint16_t port;
};

/*
 * ret_bytes: how many bytes the header has from its beginning on, as far as these first ones
 * (bytes >= 1) tell: PROXY_HEADER_HEAD_BYTES until they are there. ERR_INVALID: no header begins
 * like that.
 */
enum err_code proxy_header_measure(const uint8_t *data, size_t bytes, size_t *ret_bytes) MUST_CHECK;

/* A whole header, of as many bytes as proxy_header_measure says. */
enum err_code proxy_header_parse(const uint8_t *data, size_t bytes, struct proxy_header *ret_header)
    MUST_CHECK;

#endif
