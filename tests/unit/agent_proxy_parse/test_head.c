#include "cmd/agent/proxy/parse/body.h"
#include "cmd/agent/proxy/parse/head.h"
#include "common/base/cleanup.h"
#include "tests/support/test.h"

#define END "\r\n\r\n"

static bool take(const char *text, struct head *head, struct head_fault *fault)
{
    size_t scanned = 0;
    size_t bytes = strlen(text);
    if (head_scan(text, bytes, &scanned) != HEAD_WHOLE) {
        *fault = (struct head_fault){ 400, "not whole" };
        return false;
    }
    assert_int_equal(scanned, bytes);
    return head_parse(str_of(text), head, fault);
}

static void test_a_tunnel_and_a_request(void **unused)
{
    struct head head;
    struct head_fault fault = { 0, "" };
    (void)unused;
    assert_true(
        take("CONNECT Example.com:443 HTTP/1.1\r\nHost: example.com:443" END, &head, &fault));
    assert_true(head.is_tunnel);
    assert_string_equal(head.host.name, "example.com");
    assert_int_equal(head.port, 443);

    assert_true(take(
        "POST http://Example.com:8080/a/b?c=d HTTP/1.1\r\n"
        "Host: example.com:8080\r\nContent-Length: 5\r\nAccept:  */* \r\n"
        "Connection: X-Mine, close\r\nX-Mine: 1\r\nProxy-Authorization: secret\r\nTE: trailers" END,
        &head,
        &fault));
    assert_true(str_equal(head.path, STR("/a/b")));
    assert_true(head.close);
    AUTO_BUF struct buf out = BUF_INIT(4096);
    head_forward(&head, &out);
    assert_string_equal(
        buf_text(&out),
        "POST /a/b?c=d HTTP/1.1\r\nHost: example.com:8080\r\nAccept: */*\r\n"
        "Content-Length: 5\r\nConnection: close\r\n\r\n");
}

/* Each is a way in which one reader sees one request and another reader two, or another one. */
static void test_what_could_be_read_in_two_ways_is_refused(void **unused)
{
    static const struct {
        const char *text;
        unsigned status;
    } rows[] = {

#define GET "GET http://a.example/ HTTP/1.1\r\nHost: a.example"
        { GET "\r\nContent-Length: 4\r\nTransfer-Encoding: chunked" END, 400 },
        { GET "\r\nContent-Length: 4\r\nContent-Length: 4" END, 400 },
        { GET "\r\nContent-Length: 4, 4" END, 400 },
        { GET "\r\nContent-Length: +4" END, 400 },
        { GET "\r\nContent-Length: 0x4" END, 400 },
        { GET "\r\nContent-Length: 99999999999999999999" END, 400 },
        { GET "\r\nContent-Length:" END, 400 },
        { GET "\r\nTransfer-Encoding: identity" END, 400 },
        { GET "\r\nTransfer-Encoding: gzip, chunked" END, 400 },
        { GET "\r\nTransfer-Encoding: chunked, chunked" END, 400 },
        { GET "\r\nTransfer-Encoding: xchunked" END, 400 },
        { GET "\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked" END, 400 },
        { GET "\r\nTransfer-Encoding : chunked" END, 400 },
        { GET "\r\n Transfer-Encoding: chunked" END, 400 },
        { GET "\r\nX: a\r\n b" END, 400 },
        { GET "\r\nX: a\r\n\tb" END, 400 },
        { GET "\r\nX" END, 400 },
        { GET "\r\n: x" END, 400 },
        { GET "\r\nX: a\x01" END, 400 },
        { GET "\r\nX\xc3: a" END, 400 },
        { GET "\r\nHost: b.example" END, 400 },
        { GET "\r\nHost: a.example" END, 400 },
        { "GET http://a.example/ HTTP/1.1" END, 400 },
        { "GET http://a.example/ HTTP/1.1\r\nHost: b.example" END, 400 },
        { "GET http://a.example/ HTTP/1.1\r\nHost: a.example:81" END, 400 },
        { "CONNECT a.example:443 HTTP/1.1\r\nHost: b.example:443" END, 400 },
        { "CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\nContent-Length: 3" END, 400 },
        { "POST http://a.example/ HTTP/1.0\r\nTransfer-Encoding: chunked" END, 400 },
        { "GET  http://a.example/ HTTP/1.1\r\nHost: a.example" END, 400 },
        { "GET http://a.example/ b HTTP/1.1\r\nHost: a.example" END, 400 },
        { "GET http://a.example/#f HTTP/1.1\r\nHost: a.example" END, 400 },
        { "GET http://a.example/\\b HTTP/1.1\r\nHost: a.example" END, 400 },
        { "GET http://u:p@a.example/ HTTP/1.1\r\nHost: a.example" END, 400 },
        { "GET http://u@b.example@a.example/ HTTP/1.1\r\nHost: a.example" END, 400 },
        { "GET http://a.example?x HTTP/1.1\r\nHost: a.example" END, 400 },
        { "GET http:///x HTTP/1.1\r\nHost: a.example" END, 400 },
        { "GET https://a.example/ HTTP/1.1\r\nHost: a.example" END, 400 },
        { "GET ftp://a.example/ HTTP/1.1\r\nHost: a.example" END, 400 },
        { "GET / HTTP/1.1\r\nHost: a.example" END, 400 },
        { "OPTIONS * HTTP/1.1\r\nHost: a.example" END, 400 },
        { "CONNECT a.example HTTP/1.1\r\nHost: a.example" END, 400 },
        { "CONNECT a.example:0 HTTP/1.1\r\nHost: a.example:0" END, 400 },
        { "CONNECT a.example:65536 HTTP/1.1\r\nHost: a.example:65536" END, 400 },
        { "CONNECT http://a.example:443/ HTTP/1.1\r\nHost: a.example" END, 400 },
        { "CONNECT a.example:443/x HTTP/1.1\r\nHost: a.example" END, 400 },
        { "CONNECT 0x7f.1:443 HTTP/1.1\r\nHost: 0x7f.1:443" END, 400 },
        { "G T http://a.example/ HTTP/1.1\r\nHost: a.example" END, 400 },
        { "GET http://a.example/ HTTP/2.0\r\nHost: a.example" END, 505 },
        { "GET http://a.example/ HTTP/1.2\r\nHost: a.example" END, 505 },
        { "GET http://a.example/" END, 505 },
    };
    (void)unused;
    for (size_t i = 0; i < ARRAY_LENGTH(rows); i++) {
        struct head head;
        struct head_fault fault = { 0, "" };
        if (take(rows[i].text, &head, &fault)) {
            print_error("taken: %s\n", rows[i].text);
            fail();
        }
        assert_int_equal(fault.status, rows[i].status);
    }
}

static void test_lines_end_in_crlf(void **unused)
{
    static const char *const rows[] = {
        "GET http://a.example/ HTTP/1.1\nHost: a.example\n\n",
        "GET http://a.example/ HTTP/1.1\r\nHost: a.example\n\r\n",
        "GET http://a.example/ HTTP/1.1\rHost: a.example" END,
        "GET http://a.example/ HTTP/1.1\r\r\nHost: a.example" END,
        "\r\nGET http://a.example/ HTTP/1.1\r\nHost: a.example" END,
        "\x16\x03\x01\x02",
        " GET",
    };
    (void)unused;
    for (size_t i = 0; i < ARRAY_LENGTH(rows); i++) {
        size_t scanned = 0;
        assert_int_equal(head_scan(rows[i], strlen(rows[i]), &scanned), HEAD_BAD);
    }
    static const char nul[] = "GET\0 http://a.example/ HTTP/1.1" END;
    size_t scanned = 0;
    assert_int_equal(head_scan(nul, sizeof(nul) - 1, &scanned), HEAD_BAD);
}

static void test_a_head_is_found_however_it_is_cut(void **unused)
{
    static const char text[] = GET "\r\nX: y" END "POST";
    size_t end = strlen(text) - 4;
    (void)unused;
    for (size_t first = 0; first < sizeof(text) - 1; first++) {
        size_t scanned = 0;
        enum head_scan found = head_scan(text, first, &scanned);
        if (found == HEAD_MORE) {
            found = head_scan(text, sizeof(text) - 1, &scanned);
        }
        assert_int_equal(found, HEAD_WHOLE);
        assert_int_equal(scanned, end);
    }
}

static void test_too_many_fields(void **unused)
{
    struct head head;
    struct head_fault fault = { 0, "" };
    AUTO_BUF struct buf text = BUF_INIT(HEAD_BYTES_MAX);
    (void)unused;
    buf_append_str(&text, STR(GET "\r\n"));
    for (int i = 0; i < FIELDS_MAX; i++) {
        buf_append_str(&text, STR("X: y\r\n"));
    }
    buf_append_str(&text, STR("\r\n"));
    assert_false(head_parse(buf_view(&text), &head, &fault));
    assert_int_equal(fault.status, 431);
}

static void test_answers(void **unused)
{
    struct head_answer answer;
    (void)unused;
    assert_null(head_answer_parse(
        STR("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\nUpgrade: h2c" END),
        false,
        &answer));
    AUTO_BUF struct buf out = BUF_INIT(4096);
    head_answer_forward(&answer, false, &out);
    assert_string_equal(
        buf_text(&out), "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\n");
    assert_null(head_answer_parse(STR("HTTP/1.0 200\r\nA: b" END), false, &answer));
    assert_int_equal(answer.body.kind, FRAMING_CLOSE);
    assert_null(
        head_answer_parse(STR("HTTP/1.1 304 Not\r\nContent-Length: 9" END), false, &answer));
    assert_true(answer.bodiless);
    static const char *const wrong[] = {
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x" END,
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked" END,
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6" END,
        "HTTP/1.1 99 OK" END,
        "HTTP/1.1 2000 OK" END,
        "HTTP/2 200 OK" END,
        "ICY 200 OK" END,
        "HTTP/1.1 200 OK\r\n a: b" END,
    };
    for (size_t i = 0; i < ARRAY_LENGTH(wrong); i++) {
        assert_non_null(head_answer_parse(str_of(wrong[i]), false, &answer));
    }
}

static enum body_result feed(const char *text, size_t step, bool lenient, size_t *ret_taken)
{
    struct body body;
    struct framing framing = { .kind = FRAMING_CHUNKED };
    enum body_result result = BODY_MORE;
    size_t bytes = strlen(text);
    body_init(&body, &framing, lenient);
    *ret_taken = 0;
    while (result == BODY_MORE && *ret_taken < bytes) {
        size_t taken = 0;
        size_t part = bytes - *ret_taken < step ? bytes - *ret_taken : step;
        result = body_take(&body, str_from(text + *ret_taken, part), &taken);
        *ret_taken += taken;
    }
    return result;
}

static void test_chunks_end_where_they_say(void **unused)
{
    static const char body[] = "4\r\nwiki\r\n0A\r\n0123456789\r\n0\r\n\r\n";
    static const char *const wrong[] = {
        "x\r\n",
        "\r\n",
        "4\nwiki\r\n",
        "4\r\nwiki0\r\n",
        "4\r\nwikiX",
        "-4\r\n",
        "0x4\r\n",
        "4;a=b\r\nwiki\r\n0\r\n\r\n",
        "0\r\nA: b\r\n\r\n",
        "1 \r\n",
        "1000000000000000\r\n",
        "4\r\nwiki\r0",
    };
    (void)unused;
    for (size_t step = 1; step < sizeof(body) + 4; step++) {
        size_t taken = 0;
        AUTO_FREE char *more = mem_printf("%sGET ", body);
        assert_int_equal(feed(more, step, false, &taken), BODY_DONE);
        assert_int_equal(taken, strlen(body));
    }
    for (size_t i = 0; i < ARRAY_LENGTH(wrong); i++) {
        size_t taken = 0;
        if (feed(wrong[i], 100, false, &taken) != BODY_BAD) {
            print_error("taken: %s\n", wrong[i]);
            fail();
        }
    }
    size_t taken = 0;
    assert_int_equal(feed("4;a=b\r\nwiki\r\n0\r\nA: b\r\n\r\nX", 3, true, &taken), BODY_DONE);
    assert_int_equal(taken, strlen("4;a=b\r\nwiki\r\n0\r\nA: b\r\n\r\n"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_tunnel_and_a_request),
        cmocka_unit_test(test_what_could_be_read_in_two_ways_is_refused),
        cmocka_unit_test(test_lines_end_in_crlf),
        cmocka_unit_test(test_a_head_is_found_however_it_is_cut),
        cmocka_unit_test(test_too_many_fields),
        cmocka_unit_test(test_answers),
        cmocka_unit_test(test_chunks_end_where_they_say),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
