/*
 * Internet addresses: strict parsing, ranges, and what kind of place an address is. An address that
 * carries another one (IPv4-mapped, NAT64, 6to4, Teredo, ISATAP) is judged by both: what a gateway
 * would unpack on the way decides as much as what is written. Pure.
 */
#ifndef COMMON_SYS_IP_H
#define COMMON_SYS_IP_H

#include "common/base/str.h"

#include <sys/socket.h>

enum {
    IP_TEXT_BYTES = 46,
    IP_BYTES_MAX = 16
};

struct ip_address {
    int family;                  /* AF_INET or AF_INET6 */
    uint8_t bytes[IP_BYTES_MAX]; /* network order; IPv4: the first four, the rest 0 */
};

struct ip_range {
    struct ip_address base;
    unsigned bits; /* of the prefix */
};

enum ip_kind {
    IP_PUBLIC,
    IP_PRIVATE, /* somebody's own network, or set aside: only for who may name it */
    IP_NEVER    /* loopback, link-local, metadata services, multicast, nowhere */
};

/* Four decimal numbers without leading zeros, or IPv6 without a zone. IPv4-mapped becomes IPv4. */
bool ip_parse(struct str_view text, struct ip_address *ret_address);
char *ip_format(const struct ip_address *address, char out[IP_TEXT_BYTES]); /* out */

/* "10.0.0.0/8", or one address. ERR_INVALID: malformed, or bits set behind the prefix. */
enum err_code ip_range_parse(struct str_view text, struct ip_range *ret_range) MUST_CHECK;
bool ip_is_in(const struct ip_address *address, const struct ip_range *range);
bool ip_equal(const struct ip_address *a, const struct ip_address *b);

/* ret_name (may be NULL): what the address is in, such as "loopback"; static text. */
enum ip_kind ip_kind(const struct ip_address *address, const char **ret_name);

socklen_t ip_to_socket(
    const struct ip_address *address, unsigned port, struct sockaddr_storage *ret_socket);
/* false: of another family. */
bool ip_from_socket(
    const struct sockaddr *socket, struct ip_address *ret_address, unsigned *ret_port);

#endif
