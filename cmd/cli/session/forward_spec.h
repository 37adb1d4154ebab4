/* One forward as it is written on the command line: [HOST:]LOCAL:REMOTE. Pure. */
#ifndef CMD_CLI_SESSION_FORWARD_SPEC_H
#define CMD_CLI_SESSION_FORWARD_SPEC_H

#include "common/base/str.h"

#include <sys/socket.h>

struct forward_spec {
    struct sockaddr_storage local; /* port 0: any that is free */
    socklen_t local_bytes;
    bool is_loopback;
    uint16_t remote;
};

/*
 * "8080:80", "127.0.0.1:8080:80", "[::1]:8080:80", ":80" (a free port), "80" (the same on both
 * sides). Without HOST it is 127.0.0.1. The error names what is wrong.
 */
enum err_code forward_spec_parse(
    struct str_view text, struct forward_spec *ret_spec, struct err_info *err) MUST_CHECK;

enum {
    FORWARD_ADDRESS_BYTES = 64
};

/* "127.0.0.1:8080", "[::1]:8080"; out holds FORWARD_ADDRESS_BYTES; returns out. */
char *forward_address_write(const struct sockaddr_storage *address, char *out);

#endif
