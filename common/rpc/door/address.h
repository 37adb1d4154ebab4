/* Network addresses as text: "host:port" and "[v6]:port". */
#ifndef COMMON_RPC_DOOR_ADDRESS_H
#define COMMON_RPC_DOOR_ADDRESS_H

#include "common/base/err.h"
#include "common/base/str.h"

enum {
    ADDRESS_HOST_BYTES = 256
};

/* host without brackets, NUL-terminated; ERR_INVALID: no host, no port, or a bare IPv6 address. */
enum err_code address_parse(
    struct str_view text, char ret_host[ADDRESS_HOST_BYTES], uint16_t *ret_port) MUST_CHECK;
/* The same of what a listener is given, with what is wrong. */
enum err_code address_parse_listen(
    const char *text, char ret_host[ADDRESS_HOST_BYTES], uint16_t *ret_port, struct err_info *err)
    MUST_CHECK;

#endif
