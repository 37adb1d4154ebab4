/*
 * Names of hosts: as a request writes them, and as a rule does. One form only: lower case, without
 * the dot at the end. What programs read in different ways is refused: a number that is no dotted
 * quad (octal, hexadecimal, short forms), bytes beyond ASCII (a name in punycode is good), empty
 * labels. Pure.
 */
#ifndef COMMON_SYS_HOST_H
#define COMMON_SYS_HOST_H

#include "common/sys/ip.h"

enum {
    HOST_NAME_BYTES_MAX = 253,
    HOST_LABEL_BYTES_MAX = 63,
    HOST_PORT_MAX = 65535
};

struct host {
    char name[HOST_NAME_BYTES_MAX + 1]; /* of an address: as ip_format writes it */
    bool is_address;
    struct ip_address address;
};

enum host_match {
    HOST_EXACT,
    HOST_ONE_LABEL, /* *.name */
    HOST_LABELS     /* **.name: one label or more */
};

struct host_pattern {
    enum host_match match;
    struct host host; /* of what follows the stars */
};

/* A name, an IPv4 address, or an IPv6 address in brackets. NULL: good; else what is wrong. */
const char *host_parse(struct str_view text, struct host *ret_host);
/* The same, and "*.name" and "**.name"; brackets around IPv6 may be left out. */
const char *host_pattern_parse(struct str_view text, struct host_pattern *ret_pattern);
bool host_matches(const struct host *host, const struct host_pattern *pattern);

/* 1 to 65535, digits alone. */
bool host_parse_port(struct str_view text, unsigned *ret_port);

/* "host:port"; without a port it is default_port (0: a port must be there). */
const char *host_parse_authority(
    struct str_view text, unsigned default_port, struct host *ret_host, unsigned *ret_port);

#endif
