#include "common/sys/host.h"

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_label_char(char c)
{
    return (c >= 'a' && c <= 'z') || is_digit(c) || c == '-' || c == '_';
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

/* What resolvers of the C library's kind take for a part of an IPv4 address. */
static bool is_number(struct str_view label)
{
    bool digits = label.len > 0;
    for (size_t i = 0; i < label.len; i++) {
        digits = digits && is_digit(label.ptr[i]);
    }
    return digits || str_has_prefix(label, STR("0x"));
}

static const char *check_labels(struct str_view name)
{
    struct str_view rest = name;
    struct str_view label = name;
    bool more = true;
    while (more) {
        struct str_view tail = STR_NONE;
        more = str_cut(rest, '.', &label, &tail);
        label = more ? label : rest;
        if (label.len == 0 || label.len > HOST_LABEL_BYTES_MAX) {
            return "a part of the name between dots has 1 to 63 characters";
        }
        for (size_t i = 0; i < label.len; i++) {
            if (!is_label_char(label.ptr[i])) {
                return "a name has letters, digits, '-', '_' and dots (others as punycode)";
            }
        }
        rest = tail;
    }
    return is_number(label) ? "a number is an address only as four decimal parts" : NULL;
}

static void set_address(struct host *host, const struct ip_address *address)
{
    host->is_address = true;
    host->address = *address;
    (void)ip_format(address, host->name);
}

static const char *parse_name(struct str_view text, struct host *host)
{
    if (text.len > 0 && text.ptr[text.len - 1] == '.') {
        text.len--;
    }
    if (text.len == 0 || text.len > HOST_NAME_BYTES_MAX) {
        return "a host name has 1 to 253 characters";
    }
    for (size_t i = 0; i < text.len; i++) {
        host->name[i] = lower(text.ptr[i]);
    }
    host->name[text.len] = '\0';
    return check_labels(str_from(host->name, text.len));
}

const char *host_parse(struct str_view text, struct host *ret_host)
{
    struct ip_address address;
    struct host host = { .is_address = false };
    const char *wrong = NULL;
    bool brackets = text.len > 2 && text.ptr[0] == '[' && text.ptr[text.len - 1] == ']';
    struct str_view inner = brackets ? str_from(text.ptr + 1, text.len - 2) : text;
    bool colon = inner.len > 0 && memchr(inner.ptr, ':', inner.len) != NULL;
    if (brackets != colon) {
        return "an IPv6 address, and nothing else, stands in brackets";
    }
    if (ip_parse(inner, &address)) {
        set_address(&host, &address);
    } else {
        wrong = brackets ? "not an IPv6 address" : parse_name(inner, &host);
    }
    if (wrong == NULL) {
        *ret_host = host;
    }
    return wrong;
}

const char *host_pattern_parse(struct str_view text, struct host_pattern *ret_pattern)
{
    struct host_pattern pattern = { .match = HOST_EXACT };
    struct ip_address address;
    if (ip_parse(text, &address)) {
        set_address(&pattern.host, &address);
        *ret_pattern = pattern;
        return NULL;
    }
    if (str_has_prefix(text, STR("**."))) {
        pattern.match = HOST_LABELS;
        text = str_from(text.ptr + 3, text.len - 3);
    } else if (str_has_prefix(text, STR("*."))) {
        pattern.match = HOST_ONE_LABEL;
        text = str_from(text.ptr + 2, text.len - 2);
    }
    const char *wrong = host_parse(text, &pattern.host);
    if (wrong == NULL && pattern.match != HOST_EXACT && pattern.host.is_address) {
        wrong = "stars stand before a name, not an address";
    }
    if (wrong == NULL) {
        *ret_pattern = pattern;
    }
    return wrong;
}

bool host_matches(const struct host *host, const struct host_pattern *pattern)
{
    const struct host *wanted = &pattern->host;
    if (pattern->match == HOST_EXACT) {
        return host->is_address == wanted->is_address
            && (host->is_address ? ip_equal(&host->address, &wanted->address)
                                 : strcmp(host->name, wanted->name) == 0);
    }
    size_t bytes = strlen(host->name);
    size_t tail = strlen(wanted->name);
    if (host->is_address || bytes < tail + 2 || host->name[bytes - tail - 1] != '.'
        || strcmp(host->name + bytes - tail, wanted->name) != 0) {
        return false;
    }
    return pattern->match == HOST_LABELS || memchr(host->name, '.', bytes - tail - 1) == NULL;
}

bool host_parse_port(struct str_view text, unsigned *ret_port)
{
    uint64_t port = 0;
    if (text.len == 0 || text.len > 5 || str_parse_uint64(text, HOST_PORT_MAX, &port) != ERR_OK
        || port == 0) {
        return false;
    }
    *ret_port = (unsigned)port;
    return true;
}

const char *host_parse_authority(
    struct str_view text, unsigned default_port, struct host *ret_host, unsigned *ret_port)
{
    size_t at = text.len;
    unsigned port = default_port;
    while (at > 0 && text.ptr[at - 1] != ':' && text.ptr[at - 1] != ']') {
        at--;
    }
    bool has_port = at > 0 && text.ptr[at - 1] == ':';
    if (has_port && !host_parse_port(str_from(text.ptr + at, text.len - at), &port)) {
        return "a port is a number from 1 to 65535";
    }
    if (port == 0) {
        return "a port is needed";
    }
    const char *wrong = host_parse(has_port ? str_from(text.ptr, at - 1) : text, ret_host);
    if (wrong == NULL) {
        *ret_port = port;
    }
    return wrong;
}
