/* links: agent_proxy_parse */
/*
 * What a sandbox sends its proxy, and servers answer: heads, bodies in chunks, TLS hellos. However
 * the bytes are cut, the outcome is the same; what is passed on is one head that can be read in one
 * way, and names are in their one form.
 */
#include "cmd/agent/proxy/parse/body.h"
#include "cmd/agent/proxy/parse/glob.h"
#include "cmd/agent/proxy/parse/head.h"
#include "cmd/agent/proxy/parse/hello.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
    if (!holds) {
        abort();
    }
}

static enum head_scan scan(struct str_view text, size_t step, size_t *ret_scanned)
{
    enum head_scan found = HEAD_MORE;
    *ret_scanned = 0;
    for (size_t bytes = step; found == HEAD_MORE; bytes += step) {
        size_t now = bytes < text.len ? bytes : text.len;
        found = head_scan(text.ptr, now, ret_scanned);
        if (now == text.len) {
            break;
        }
    }
    return found;
}

/* One empty line, at its end, and no CR or LF but in pairs. */
static void check_passed_on(const struct buf *out)
{
    size_t scanned = 0;
    check(buf_ok(out));
    check(head_scan(out->data, out->len, &scanned) == HEAD_WHOLE && scanned == out->len);
}

static void check_host(const struct host *host)
{
    struct host again;
    size_t bytes = strlen(host->name);
    check(bytes > 0 && bytes <= HOST_NAME_BYTES_MAX);
    check(strspn(host->name, "abcdefghijklmnopqrstuvwxyz0123456789-_.:") == bytes);
    if (!host->is_address) {
        check(host_parse(str_of(host->name), &again) == NULL);
        check(strcmp(again.name, host->name) == 0);
    }
}

static void check_request(struct str_view text)
{
    struct head head;
    struct head_fault fault = { 0, NULL };
    size_t whole = 0;
    size_t cut = 0;
    enum head_scan found = scan(text, text.len + 1, &whole);
    check(scan(text, 1, &cut) == found && (found == HEAD_BAD || cut == whole));
    if (found != HEAD_WHOLE) {
        return;
    }
    if (!head_parse(str_from(text.ptr, whole), &head, &fault)) {
        check(fault.status >= 400 && fault.why != NULL);
        return;
    }
    check_host(&head.host);
    check(head.port >= 1 && head.port <= HOST_PORT_MAX);
    check(head.is_tunnel || (head.path.len > 0 && head.path.ptr[0] == '/'));
    if (!head.is_tunnel) {
        AUTO_BUF struct buf out = BUF_INIT(1 << 20);
        head_forward(&head, &out);
        check_passed_on(&out);
    }
}

static void check_answer(struct str_view text)
{
    struct head_answer answer;
    size_t bytes = 0;
    if (scan(text, text.len + 1, &bytes) == HEAD_WHOLE
        && head_answer_parse(str_from(text.ptr, bytes), false, &answer) == NULL) {
        AUTO_BUF struct buf out = BUF_INIT(1 << 20);
        head_answer_forward(&answer, false, &out);
        check_passed_on(&out);
    }
}

static enum body_result take(struct str_view text, size_t step, bool lenient, size_t *ret_taken)
{
    struct body body;
    const struct framing framing = { .kind = FRAMING_CHUNKED };
    enum body_result result = BODY_MORE;
    body_init(&body, &framing, lenient);
    *ret_taken = 0;
    while (result == BODY_MORE && *ret_taken < text.len) {
        size_t taken = 0;
        size_t part = text.len - *ret_taken < step ? text.len - *ret_taken : step;
        result = body_take(&body, str_from(text.ptr + *ret_taken, part), &taken);
        *ret_taken += taken;
    }
    return result;
}

static void check_chunks(struct str_view text)
{
    for (int lenient = 0; lenient < 2; lenient++) {
        size_t whole = 0;
        size_t cut = 0;
        enum body_result result = take(text, text.len + 1, lenient == 1, &whole);
        check(take(text, 1, lenient == 1, &cut) == result && cut == whole);
    }
}

static void check_hello(struct str_view text)
{
    char name[HELLO_NAME_BYTES_MAX + 1] = "";
    enum hello hello = hello_parse(text, name);
    check(hello != HELLO_NAMED || name[0] != '\0');
}

static void check_path(struct str_view text)
{
    struct str_view plain;
    char *room = malloc(text.len + 1); /* exactly what it may take */
    if (room != NULL && glob_plain_path(text, true, room, &plain)) {
        check(plain.len <= text.len && plain.ptr[0] == '/');
        check(glob_matches(STR("/**"), plain));
    }
    free(room);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str_view text = str_from((const char *)data, size);
    check_request(text);
    check_answer(text);
    check_chunks(text);
    check_hello(text);
    check_path(text);
    return 0;
}
