#include "cmd/cli/session/forward_spec.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>

/* At the last colon: what is before, and what follows. */
static bool cut_last(struct str_view text, struct str_view *head, struct str_view *rest)
{
    for (size_t i = text.len; i > 0; i--) {
        if (text.ptr[i - 1] == ':') {
            *head = str_from(text.ptr, i - 1);
            *rest = str_from(text.ptr + i, text.len - i);
            return true;
        }
    }
    return false;
}

static enum err_code parse_port(
    struct str_view text, uint64_t least, uint16_t *ret_port, struct err_info *err)
{
    uint64_t port = 0;
    if (str_parse_uint64(text, UINT16_MAX, &port) != ERR_OK || port < least) {
        return ERR_SET(
            err, ERR_INVALID, "\"%.*s\" is not a port (1 to %d)", STR_ARG(text), UINT16_MAX);
    }
    *ret_port = (uint16_t)port;
    return ERR_OK;
}

static enum err_code set_address(
    struct str_view host, uint16_t port, struct forward_spec *spec, struct err_info *err)
{
    char text[INET6_ADDRSTRLEN];
    struct sockaddr_in *v4 = (struct sockaddr_in *)&spec->local;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&spec->local;
    bool has_brackets = host.len > 2 && host.ptr[0] == '[' && host.ptr[host.len - 1] == ']';
    struct str_view bare = has_brackets ? str_from(host.ptr + 1, host.len - 2) : host;
    if (str_equal(host, STR("localhost"))) {
        bare = STR("127.0.0.1");
    }
    bool fits = str_copy(bare, text, sizeof(text)) == ERR_OK;
    if (fits && has_brackets && inet_pton(AF_INET6, text, &v6->sin6_addr) == 1) {
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons(port);
        spec->local_bytes = sizeof(*v6);
        spec->is_loopback = IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr);
        return ERR_OK;
    }
    if (fits && !has_brackets && inet_pton(AF_INET, text, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons(port);
        spec->local_bytes = sizeof(*v4);
        spec->is_loopback = ntohl(v4->sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
        return ERR_OK;
    }
    return ERR_SET(
        err,
        ERR_INVALID,
        "\"%.*s\" is not an address of this machine (127.0.0.1, [::1])",
        STR_ARG(host));
}

enum err_code forward_spec_parse(
    struct str_view text, struct forward_spec *ret_spec, struct err_info *err)
{
    struct forward_spec spec = { .local_bytes = 0 };
    struct str_view rest = STR_NONE;
    struct str_view remote = text;
    struct str_view local = text;
    struct str_view host = STR("127.0.0.1");
    uint16_t port = 0;
    bool has_local = cut_last(text, &rest, &remote);
    if (has_local && !cut_last(rest, &host, &local)) {
        local = rest;
    }
    TRY(parse_port(remote, 1, &spec.remote, err));
    if (local.len > 0) {
        TRY(parse_port(local, has_local ? 0 : 1, &port, err));
    }
    TRY(set_address(host, port, &spec, err));
    *ret_spec = spec;
    return ERR_OK;
}

char *forward_address_write(const struct sockaddr_storage *address, char *out)
{
    char host[INET6_ADDRSTRLEN] = "?";
    const struct sockaddr_in *v4 = (const struct sockaddr_in *)address;
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)address;
    if (address->ss_family == AF_INET6) {
        (void)inet_ntop(AF_INET6, &v6->sin6_addr, host, sizeof(host));
        (void)snprintf(out, FORWARD_ADDRESS_BYTES, "[%s]:%u", host, ntohs(v6->sin6_port));
    } else {
        (void)inet_ntop(AF_INET, &v4->sin_addr, host, sizeof(host));
        (void)snprintf(out, FORWARD_ADDRESS_BYTES, "%s:%u", host, ntohs(v4->sin_port));
    }
    return out;
}
