#include "common/rpc/door/address.h"

/* What stands before the last colon, and behind it. */
static bool cut_last_colon(struct str_view text, struct str_view *head, struct str_view *tail)
{
    for (size_t at = text.len; at > 0; at--) {
        if (text.ptr[at - 1] == ':') {
            *head = str_from(text.ptr, at - 1);
            *tail = str_from(text.ptr + at, text.len - at);
            return true;
        }
    }
    return false;
}

enum err_code address_parse(
    struct str_view text, char ret_host[ADDRESS_HOST_BYTES], uint16_t *ret_port)
{
    struct str_view host;
    struct str_view digits;
    uint64_t port = 0;
    if (!cut_last_colon(text, &host, &digits)
        || str_parse_uint64(digits, UINT16_MAX, &port) != ERR_OK) {
        return ERR_INVALID;
    }
    if (host.len > 2 && host.ptr[0] == '[' && host.ptr[host.len - 1] == ']') {
        host = str_from(host.ptr + 1, host.len - 2);
    } else if (
        host.len == 0 || memchr(host.ptr, ':', host.len) != NULL
        || memchr(host.ptr, '[', host.len) != NULL) {
        return ERR_INVALID;
    }
    char copied[ADDRESS_HOST_BYTES];
    if (str_copy(host, copied, sizeof(copied)) != ERR_OK) {
        return ERR_INVALID;
    }
    memcpy(ret_host, copied, sizeof(copied));
    *ret_port = (uint16_t)port;
    return ERR_OK;
}

enum err_code address_parse_listen(
    const char *text, char ret_host[ADDRESS_HOST_BYTES], uint16_t *ret_port, struct err_info *err)
{
    if (address_parse(str_of(text), ret_host, ret_port) != ERR_OK) {
        return ERR_SET(
            err, ERR_INVALID, "address %s: unix:/path, host:port or [v6]:port expected", text);
    }
    return ERR_OK;
}
