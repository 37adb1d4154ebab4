#include "cmd/agent/proxy/parse/head.h"

enum {
    HTTP_PORT = 80
};

static bool is_ended(const char *data, size_t at)
{
    return at >= 3 && data[at - 1] == '\r' && data[at - 2] == '\n' && data[at - 3] == '\r';
}

enum head_scan head_scan(const char *data, size_t bytes, size_t *scanned)
{
    for (size_t i = *scanned; i < bytes; i++) {
        char c = data[i];
        bool after_return = i > 0 && data[i - 1] == '\r';
        if (c == '\0' || after_return != (c == '\n') || (i == 0 && c <= ' ')) {
            return HEAD_BAD;
        }
        if (c == '\n' && is_ended(data, i)) {
            *scanned = i + 1;
            return HEAD_WHOLE;
        }
    }
    *scanned = bytes;
    return HEAD_MORE;
}

static bool fault(struct head_fault *ret_fault, unsigned status, const char *why)
{
    *ret_fault = (struct head_fault){ status, why };
    return false;
}

/* " HTTP/1.x" at the end of the first line. */
static bool cut_version(struct str_view *line, unsigned *ret_minor)
{
    struct str_view version = STR(" HTTP/1.");
    if (line->len < version.len + 1) {
        return false;
    }
    struct str_view rest = str_from(line->ptr, line->len - version.len - 1);
    char minor = line->ptr[line->len - 1];
    if (!str_equal(str_from(rest.ptr + rest.len, version.len), version)
        || (minor != '0' && minor != '1')) {
        return false;
    }
    *line = rest;
    *ret_minor = minor == '1' ? 1 : 0;
    return true;
}

/* Printable ASCII; a fragment never travels, a backslash is a slash to some. */
static bool is_target(struct str_view text)
{
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        if (c <= ' ' || c >= 0x7f || c == '#' || c == '\\' || c == '"' || c == '<' || c == '>') {
            return false;
        }
    }
    return text.len > 0;
}

static bool parse_absolute(
    struct str_view uri, struct head *head, struct str_view *ret_authority, const char **ret_why)
{
    struct str_view scheme = STR("http://");
    if (uri.len <= scheme.len || !str_equal_fold(str_from(uri.ptr, scheme.len), scheme)) {
        *ret_why = "the target is an absolute http:// URI, or host:port of a CONNECT";
        return false;
    }
    uri = str_from(uri.ptr + scheme.len, uri.len - scheme.len);
    size_t end = 0;
    while (end < uri.len && uri.ptr[end] != '/' && uri.ptr[end] != '?') {
        end++;
    }
    *ret_authority = str_from(uri.ptr, end);
    head->target = end == uri.len ? STR("/") : str_from(uri.ptr + end, uri.len - end);
    if (head->target.ptr[0] == '?') {
        *ret_why = "the URI has a query and no path";
        return false;
    }
    struct str_view query = STR_NONE;
    if (!str_cut(head->target, '?', &head->path, &query)) {
        head->path = head->target;
    }
    *ret_why = host_parse_authority(*ret_authority, HTTP_PORT, &head->host, &head->port);
    return *ret_why == NULL;
}

static bool parse_request_line(
    struct str_view line,
    struct head *head,
    struct str_view *ret_authority,
    struct head_fault *ret_fault)
{
    struct str_view target = STR_NONE;
    const char *why = NULL;
    if (!cut_version(&line, &head->minor)) {
        return fault(ret_fault, 505, "HTTP/1.1 and 1.0 are spoken here");
    }
    if (!str_cut(line, ' ', &head->method, &target) || !str_is_token(head->method)
        || head->method.len > HEAD_METHOD_BYTES_MAX || !is_target(target)) {
        return fault(ret_fault, 400, "not a request line");
    }
    head->is_tunnel = str_equal(head->method, STR("CONNECT"));
    if (head->is_tunnel) {
        *ret_authority = target;
        why = host_parse_authority(target, 0, &head->host, &head->port);
        return why == NULL || fault(ret_fault, 400, why);
    }
    return parse_absolute(target, head, ret_authority, &why) || fault(ret_fault, 400, why);
}

/* It must say what the target says, since the server may believe either. */
static bool check_host(
    const struct head *head, struct str_view authority, struct head_fault *ret_fault)
{
    struct host host;
    unsigned port = 0;
    size_t count = fields_count(&head->fields, STR("Host"));
    struct str_view value = fields_find(&head->fields, STR("Host"));
    if (count > 1 || (count == 0 && head->minor == 1)) {
        return fault(ret_fault, 400, "a request has one Host field");
    }
    if (count == 0 || str_equal_fold(value, authority)) {
        return true;
    }
    if (host_parse_authority(value, head->is_tunnel ? head->port : HTTP_PORT, &host, &port) != NULL
        || port != head->port || strcmp(host.name, head->host.name) != 0) {
        return fault(ret_fault, 400, "the Host field differs from the target");
    }
    return true;
}

bool head_parse(struct str_view text, struct head *ret_head, struct head_fault *ret_fault)
{
    struct head *head = ret_head;
    struct str_view line = STR_NONE;
    struct str_view authority = STR_NONE;
    const char *why = NULL;
    memset(head, 0, offsetof(struct head, fields));
    if (text.len < 4 || !fields_cut_line(&text, &line)) {
        return fault(ret_fault, 400, "not a request");
    }
    if (!parse_request_line(line, head, &authority, ret_fault)) {
        return false;
    }
    why = fields_parse(str_from(text.ptr, text.len - 2), &head->fields); /* less the empty line */
    if (why != NULL) {
        bool many = head->fields.count == FIELDS_MAX;
        return fault(ret_fault, many ? 431 : 400, why);
    }
    why = fields_framing(&head->fields, &head->body);
    if (why != NULL) {
        return fault(ret_fault, 400, why);
    }
    if (head->body.kind == FRAMING_CHUNKED && head->minor == 0) {
        return fault(ret_fault, 400, "chunks in HTTP/1.0");
    }
    if (head->is_tunnel && (head->body.kind == FRAMING_CHUNKED || head->body.length > 0)) {
        return fault(ret_fault, 400, "a CONNECT has no body");
    }
    head->close = head->minor == 0
        || fields_has_word(&head->fields, STR("Connection"), STR("close"))
        || fields_has_word(&head->fields, STR("Proxy-Connection"), STR("close"));
    return check_host(head, authority, ret_fault);
}

void head_forward(const struct head *head, struct buf *out)
{
    bool v6 = head->host.is_address && head->host.address.family == AF_INET6;
    buf_printf(
        out, "%.*s %.*s HTTP/1.%u\r\n", STR_ARG(head->method), STR_ARG(head->target), head->minor);
    buf_printf(out, v6 ? "Host: [%s]" : "Host: %s", head->host.name);
    if (head->port != HTTP_PORT) {
        buf_printf(out, ":%u", head->port);
    }
    buf_append_str(out, STR("\r\n"));
    fields_forward(&head->fields, out);
    fields_put_framing(&head->body, out);
    buf_append_str(out, STR("Connection: close\r\n\r\n"));
}

/* ---- Answers ---- */

static bool parse_status_line(struct str_view line, struct head_answer *answer)
{
    struct str_view version = STR("HTTP/1.");
    uint64_t status = 0;
    if (line.len < version.len + 5 || !str_has_prefix(line, version)) {
        return false;
    }
    char minor = line.ptr[version.len];
    struct str_view rest = str_from(line.ptr + version.len + 1, line.len - version.len - 1);
    if ((minor != '0' && minor != '1') || rest.ptr[0] != ' '
        || str_parse_uint64(str_from(rest.ptr + 1, 3), 999, &status) != ERR_OK || status < 100
        || (rest.len > 4 && rest.ptr[4] != ' ')) {
        return false;
    }
    answer->minor = minor == '1' ? 1 : 0;
    answer->status = (unsigned)status;
    answer->reason = rest.len > 5 ? str_from(rest.ptr + 5, rest.len - 5) : STR_NONE;
    return true;
}

static bool has_no_body(unsigned status, bool to_head)
{
    return to_head || status / 100 == 1 || status == 204 || status == 304;
}

const char *head_answer_parse(struct str_view text, bool to_head, struct head_answer *ret_answer)
{
    struct head_answer *answer = ret_answer;
    struct str_view line = STR_NONE;
    memset(answer, 0, offsetof(struct head_answer, fields));
    if (text.len < 4 || !fields_cut_line(&text, &line) || !parse_status_line(line, answer)) {
        return "not an answer of HTTP/1";
    }
    const char *why = fields_parse(str_from(text.ptr, text.len - 2), &answer->fields);
    if (why == NULL) {
        why = fields_framing(&answer->fields, &answer->body);
    }
    if (why == NULL && answer->status == 101) {
        why = "it changes to another protocol";
    }
    answer->bodiless = has_no_body(answer->status, to_head);
    if (why == NULL && answer->body.kind == FRAMING_NONE && !answer->bodiless) {
        answer->body.kind = FRAMING_CLOSE;
    }
    return why;
}

void head_answer_forward(const struct head_answer *answer, bool close, struct buf *out)
{
    buf_printf(
        out, "HTTP/1.%u %u %.*s\r\n", answer->minor, answer->status, STR_ARG(answer->reason));
    fields_forward(&answer->fields, out);
    fields_put_framing(&answer->body, out);
    if (answer->status >= 200) {
        buf_append_str(
            out, close ? STR("Connection: close\r\n") : STR("Connection: keep-alive\r\n"));
    }
    buf_append_str(out, STR("\r\n"));
}
