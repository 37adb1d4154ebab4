#include "cmd/server/http/address.h"

#include "common/sys/fd.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    BACKLOG = 64,
    HOST_BYTES = 64
};

union socket_address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

/* Host and port around the last colon; an IPv6 host stands in brackets. */
static bool split(struct str_view address, char host[HOST_BYTES], uint16_t *ret_port)
{
    const char *colon = address.len == 0 ? NULL : memrchr(address.ptr, ':', address.len);
    if (colon == NULL) {
        return false;
    }
    size_t before = (size_t)(colon - address.ptr);
    struct str_view name = str_from(address.ptr, before);
    uint64_t port = 0;
    if (str_parse_uint64(str_from(colon + 1, address.len - before - 1), UINT16_MAX, &port)
        != ERR_OK) {
        return false;
    }
    if (name.len >= 2 && name.ptr[0] == '[' && name.ptr[name.len - 1] == ']') {
        name = str_from(name.ptr + 1, name.len - 2);
    } else if (name.len > 0 && memchr(name.ptr, ':', name.len) != NULL) {
        return false;
    }
    *ret_port = (uint16_t)port;
    return str_copy(name, host, HOST_BYTES) == ERR_OK;
}

static socklen_t parse(const char *text, union socket_address *address)
{
    char host[HOST_BYTES];
    uint16_t port = 0;
    if (!split(str_of(text), host, &port)) {
        return 0;
    }
    const char *numeric = host[0] == '\0' ? "0.0.0.0" : host;
    if (str_equal(str_of(host), STR("localhost"))) {
        numeric = "127.0.0.1";
    }
    *address = (union socket_address){ 0 };
    if (inet_pton(AF_INET, numeric, &address->v4.sin_addr) == 1) {
        address->v4.sin_family = AF_INET;
        address->v4.sin_port = htons(port);
        return sizeof(address->v4);
    }
    if (inet_pton(AF_INET6, numeric, &address->v6.sin6_addr) == 1) {
        address->v6.sin6_family = AF_INET6;
        address->v6.sin6_port = htons(port);
        return sizeof(address->v6);
    }
    return 0;
}

static enum err_code refuse(const char *address, int number, struct err_info *err)
{
    enum err_code code = number == EADDRINUSE ? ERR_EXISTS
        : number == EACCES || number == EPERM ? ERR_DENIED
                                              : ERR_UNAVAILABLE;
    return ERR_SET_ERRNO(err, code, number, "cannot listen on %s", address);
}

enum err_code http_address_listen(
    const char *address, int *ret_fd, uint16_t *ret_port, struct err_info *err)
{
    union socket_address bound;
    socklen_t bytes = parse(address, &bound);
    if (bytes == 0) {
        return ERR_SET(
            err,
            ERR_INVALID,
            "\"%.80s\" is not an address to listen on: write 127.0.0.1:9090 or [::1]:9090",
            address);
    }
    const int on = 1;
    AUTO_FD int fd = socket(bound.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0) {
        return refuse(address, errno, err);
    }
    if (bound.any.sa_family == AF_INET6
        && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)) != 0) {
        return refuse(address, errno, err);
    }
    if (bind(fd, &bound.any, bytes) != 0 || listen(fd, BACKLOG) != 0
        || getsockname(fd, &bound.any, &bytes) != 0) {
        return refuse(address, errno, err);
    }
    *ret_port = ntohs(bound.any.sa_family == AF_INET6 ? bound.v6.sin6_port : bound.v4.sin_port);
    *ret_fd = fd_steal(&fd);
    return ERR_OK;
}
