#include "common/base/join.h"

enum {
    TOKEN_MIN = 20,
    PORT_MAX = 65535,
    HOST_MAX = 248
};

#define SCHEME      "belay://"
#define UNIX_SCHEME "belay+unix://"
#define FORM        "belay://HOST:PORT/?token=blt_...&ca=SHA256"

static bool is_alnum(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool has_only(struct str_view text, const char *extra)
{
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        if (!is_alnum(c) && (c == '\0' || strchr(extra, c) == NULL)) {
            return false;
        }
    }
    return text.len > 0;
}

/* Cuts "host:port" at the last colon; a v6 address stands in brackets. */
static bool split_target(struct str_view target, struct str_view *host, struct str_view *port)
{
    size_t colon = target.len;
    while (colon > 0 && target.ptr[colon - 1] != ':') {
        colon--;
    }
    if (colon < 2) {
        return false;
    }
    *host = str_from(target.ptr, colon - 1);
    *port = str_from(target.ptr + colon, target.len - colon);
    return true;
}

static bool is_host(struct str_view host)
{
    if (host.len > 2 && host.ptr[0] == '[' && host.ptr[host.len - 1] == ']') {
        return has_only(str_from(host.ptr + 1, host.len - 2), ":.");
    }
    return host.len <= HOST_MAX && has_only(host, "-._") && host.ptr[0] != '-';
}

/* A Unix socket, localhost, 127.0.0.0/8 or [::1]. */
static bool is_local(struct str_view target)
{
    struct str_view host = STR_NONE;
    struct str_view port = STR_NONE;
    if (str_has_prefix(target, STR("unix:/"))) {
        return true;
    }
    if (!split_target(target, &host, &port)) {
        return false;
    }
    if (str_equal_fold(host, STR("localhost")) || str_equal(host, STR("[::1]"))) {
        return true;
    }
    /* "127.evil.example" is a name, so every character must be one of an address */
    for (size_t i = 0; i < host.len; i++) {
        if (host.ptr[i] != '.' && (host.ptr[i] < '0' || host.ptr[i] > '9')) {
            return false;
        }
    }
    return str_has_prefix(host, STR("127."));
}

static enum err_code set_tcp_target(
    struct str_view target, struct join_string *join, struct err_info *err)
{
    struct str_view host = STR_NONE;
    struct str_view port = STR_NONE;
    uint64_t number = 0;
    if (!split_target(target, &host, &port) || !is_host(host)
        || str_parse_uint64(port, PORT_MAX, &number) != ERR_OK || number == 0
        || str_copy(target, join->target, sizeof(join->target)) != ERR_OK) {
        return ERR_SET(
            err, ERR_INVALID, "join string: the part before '/?' is not HOST:PORT; expected " FORM);
    }
    return ERR_OK;
}

static enum err_code set_unix_target(
    struct str_view path, struct join_string *join, struct err_info *err)
{
    enum {
        UNIX_PATH_MAX = 107
    }; /* what the kernel takes */

    if (!has_only(path, "/-._~+@:,") || path.ptr[0] != '/' || path.len > UNIX_PATH_MAX) {
        return ERR_SET(
            err,
            ERR_INVALID,
            "join string: the socket path must be absolute, of letters, digits and /-._~+@:, and at "
            "most %d bytes long",
            UNIX_PATH_MAX);
    }
    memcpy(join->target, "unix:", 5);
    return str_copy(path, join->target + 5, sizeof(join->target) - 5);
}

static enum err_code set_token(
    struct str_view value, struct join_string *join, struct err_info *err)
{
    if (join->token[0] != '\0') {
        return ERR_SET(err, ERR_INVALID, "join string: token stands twice");
    }
    if (value.len < TOKEN_MIN || !has_only(value, "-_")
        || str_copy(value, join->token, sizeof(join->token)) != ERR_OK) {
        return ERR_SET(
            err,
            ERR_INVALID,
            "join string: the token must be 20 to 512 letters, digits, '-' and '_' (cut off while "
            "copying?)");
    }
    return ERR_OK;
}

static enum err_code set_pin(struct str_view value, struct join_string *join, struct err_info *err)
{
    if (join->has_pin) {
        return ERR_SET(err, ERR_INVALID, "join string: ca stands twice");
    }
    if (str_hex_decode(value, join->ca_pin, JOIN_PIN_BYTES) != ERR_OK) {
        return ERR_SET(
            err, ERR_INVALID, "join string: ca must be 64 hex digits (cut off while copying?)");
    }
    join->has_pin = true;
    return ERR_OK;
}

static enum err_code set_query(
    struct str_view query, struct join_string *join, struct err_info *err)
{
    while (query.len > 0) {
        struct str_view pair = query;
        struct str_view name = STR_NONE;
        struct str_view value = STR_NONE;
        if (!str_cut(query, '&', &pair, &query)) {
            query = STR("");
        }
        if (!str_cut(pair, '=', &name, &value)) {
            return ERR_SET(err, ERR_INVALID, "join string: a part without '='; expected " FORM);
        }
        if (str_equal(name, STR("token"))) {
            TRY(set_token(value, join, err));
        } else if (str_equal(name, STR("ca"))) {
            TRY(set_pin(value, join, err));
        } else {
            return ERR_SET(
                err, ERR_INVALID, "join string: only token and ca are known; expected " FORM);
        }
    }
    return ERR_OK;
}

static enum err_code parse(struct str_view text, struct join_string *join, struct err_info *err)
{
    struct str_view target = STR_NONE;
    struct str_view query = STR_NONE;
    bool is_unix = str_has_prefix(text, STR(UNIX_SCHEME));
    if (text.len > JOIN_TEXT_MAX) {
        return ERR_SET(err, ERR_INVALID, "join string: longer than %d bytes", JOIN_TEXT_MAX);
    }
    if (!is_unix && !str_has_prefix(text, STR(SCHEME))) {
        return ERR_SET(
            err,
            ERR_INVALID,
            "join string: must start with belay:// or belay+unix://; expected " FORM);
    }
    size_t scheme = is_unix ? sizeof(UNIX_SCHEME) - 1 : sizeof(SCHEME) - 1;
    text = str_from(text.ptr + scheme, text.len - scheme);
    if (!str_cut(text, '?', &target, &query)) {
        return ERR_SET(err, ERR_INVALID, "join string: no '?token='; expected " FORM);
    }
    if (is_unix) {
        TRY(set_unix_target(target, join, err));
    } else {
        if (target.len > 0 && target.ptr[target.len - 1] == '/') {
            target.len--;
        }
        TRY(set_tcp_target(target, join, err));
    }
    TRY(set_query(query, join, err));
    if (join->token[0] == '\0') {
        return ERR_SET(err, ERR_INVALID, "join string: no token; expected " FORM);
    }
    if (!join->has_pin && !is_local(str_of(join->target))) {
        return ERR_SET(
            err,
            ERR_INVALID,
            "join string: no ca=SHA256 for %s; without it anyone in between could pose as the server",
            join->target);
    }
    return ERR_OK;
}

enum err_code join_parse(struct str_view text, struct join_string *ret_join, struct err_info *err)
{
    struct join_string join = { 0 };
    enum err_code code = parse(str_trim(text), &join, err);
    if (code == ERR_OK) {
        *ret_join = join;
    }
    explicit_bzero(&join, sizeof(join));
    return code;
}

enum err_code join_format(const struct join_string *join, struct buf *buf, struct err_info *err)
{
    AUTO_BUF struct buf text = BUF_INIT(JOIN_TEXT_MAX);
    struct join_string again;
    bool is_unix = str_has_prefix(str_of(join->target), STR("unix:"));
    if (is_unix) {
        buf_printf(&text, UNIX_SCHEME "%s?token=%s", join->target + 5, join->token);
    } else {
        buf_printf(&text, SCHEME "%s/?token=%s", join->target, join->token);
    }
    if (join->has_pin) {
        char hex[2 * JOIN_PIN_BYTES + 1];
        str_hex_encode(join->ca_pin, JOIN_PIN_BYTES, hex);
        buf_printf(&text, "&ca=%s", hex);
    }
    if (!buf_ok(&text)) {
        return ERR_SET(err, ERR_INVALID, "join string: longer than %d bytes", JOIN_TEXT_MAX);
    }
    TRY(join_parse(buf_view(&text), &again, err));
    explicit_bzero(&again, sizeof(again));
    buf_append_str(buf, buf_view(&text));
    explicit_bzero(text.data, text.len);
    return buf_ok(buf) ? ERR_OK : ERR_SET(err, ERR_LIMIT, "join string: does not fit");
}
