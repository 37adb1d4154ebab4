/*
 * Internet addresses: strict parsing, ranges, and what kind of place an address is. An address that
 * carries another one (IPv4-mapped, NAT64, 6to4, Teredo, ISATAP) is judged by both: what a gateway
 * would unpack on the way decides as much as what is written. Pure.
 */
#ifndef COMMON_SYS_ADDRESS_H
#define COMMON_SYS_ADDRESS_H

#include "common/base/str.h"

#include <sys/socket.h>

enum {
    ADDRESS_TEXT_BYTES = 46,
    ADDRESS_BYTES_MAX = 16
};

struct address {
    int family;                       /* AF_INET or AF_INET6 */
    uint8_t bytes[ADDRESS_BYTES_MAX]; /* network order; IPv4: the first four, the rest 0 */
};

struct address_range {
    struct address base;
    unsigned bits; /* of the prefix */
};

enum address_kind {
    ADDRESS_PUBLIC,
    ADDRESS_PRIVATE, /* somebody's own network, or set aside: only for who may name it */
    ADDRESS_NEVER    /* loopback, link-local, metadata services, multicast, nowhere */
};

/* Four decimal numbers without leading zeros, or IPv6 without a zone. IPv4-mapped becomes IPv4. */
bool address_parse(struct str_view text, struct address *ret_address);
char *address_format(const struct address *address, char out[ADDRESS_TEXT_BYTES]); /* out */

/* "10.0.0.0/8", or one address. ERR_INVALID: malformed, or bits set behind the prefix. */
enum err_code address_range_parse(struct str_view text, struct address_range *ret_range) MUST_CHECK;
bool address_is_in(const struct address *address, const struct address_range *range);
bool address_equal(const struct address *a, const struct address *b);

/* ret_name (may be NULL): what the address is in, such as "loopback"; static text. */
enum address_kind address_kind(const struct address *address, const char **ret_name);

socklen_t address_to_socket(
    const struct address *address, unsigned port, struct sockaddr_storage *ret_socket);
/* false: of another family. */
bool address_from_socket(
    const struct sockaddr *socket, struct address *ret_address, unsigned *ret_port);

#endif
