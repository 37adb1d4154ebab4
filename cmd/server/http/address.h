/* A listening TCP socket from the text of an address. No name is looked up. */
#ifndef CMD_SERVER_HTTP_ADDRESS_H
#define CMD_SERVER_HTTP_ADDRESS_H

#include "common/base/str.h"

/*
 * "127.0.0.1:80", "[::1]:80", "localhost:80", ":80" (all of IPv4); port 0 takes a free one.
 * Non-blocking and close-on-exec. ERR_INVALID, ERR_EXISTS (in use), ERR_DENIED, ERR_UNAVAILABLE.
 */
enum err_code http_address_listen(
    const char *address, int *ret_fd, uint16_t *ret_port, struct err_info *err) MUST_CHECK;

#endif
