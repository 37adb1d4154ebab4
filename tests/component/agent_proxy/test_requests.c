/* What passes the gate and what does not: each denial with a look at who saw what. */
#include "common/base/cleanup.h"
#include "tests/component/agent_proxy/fixture.h"

#include <stdio.h>
#include <sys/socket.h>

#define OK_ANSWER "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

static char *text_of(const struct fixture *fixture, const char *format, const char *host)
{
    char port[8];
    AUTO_BUF struct buf text = BUF_INIT(65536);
    (void)snprintf(port, sizeof(port), "%u", fixture->port);
    for (const char *at = format; *at != '\0'; at++) {
        if (at[0] == '%' && at[1] == 'h') {
            buf_append_str(&text, str_of(host));
            at++;
        } else if (at[0] == '%' && at[1] == 'p') {
            buf_append_str(&text, str_of(port));
            at++;
        } else {
            buf_append_char(&text, *at);
        }
    }
    return buf_steal(&text);
}

/* %h: the host, %p: the server's port. */
static struct peer *ask(struct fixture *fixture, const char *format, const char *host)
{
    AUTO_FREE char *text = text_of(fixture, format, host);
    return fixture_ask(fixture, text);
}

#define CONNECT_TO "CONNECT %h:%p HTTP/1.1\r\nHost: %h:%p\r\n\r\n"
#define GET_FROM   "GET http://%h:%p/x HTTP/1.1\r\nHost: %h:%p\r\n\r\n"

static struct peer *open_tunnel(struct fixture *fixture, const char *host)
{
    struct peer *peer = fixture_connect(fixture);
    AUTO_FREE char *text = text_of(fixture, CONNECT_TO, host);
    peer_say(peer, text);
    UNTIL(fixture, peer_has(peer, "\r\n\r\n") || peer->ended);
    assert_int_equal(peer_status(peer), 200);
    return peer;
}

static void test_a_tunnel_carries_bytes_both_ways_to_both_ends(void **unused)
{
    struct fixture *fixture = fixture_create();
    (void)unused;
    fixture_allow(fixture, "good.test");
    struct peer *client = open_tunnel(fixture, "good.test");
    peer_say(client, "ping");
    UNTIL(fixture, peer_has(client, "ping"));
    /* Half a close goes through, and the other half still carries. */
    (void)shutdown(client->fd, SHUT_WR);
    UNTIL(fixture, fixture_accepted(fixture, 0)->ended);
    UNTIL(fixture, client->ended);
    assert_false(client->reset);
    struct proxy_usage usage;
    assert_true(proxy_get_usage(fixture->proxy, GATE, &usage));
    assert_int_equal(usage.out_bytes, 4);
    assert_int_equal(usage.in_bytes, 4);
    assert_int_equal(usage.connections, 1);
    assert_int_equal(fixture->denial_count, 0);
    fixture_destroy(fixture);
}

static void test_without_a_rule_nothing_passes(void **unused)
{
    struct fixture *fixture = fixture_create();
    (void)unused;
    struct peer *peer = ask(fixture, CONNECT_TO, "good.test");
    assert_int_equal(peer_status(peer), 403);
    assert_true(peer_has(peer, "no rule of the policy names this host and port"));
    assert_int_equal(peer_status(ask(fixture, GET_FROM, "good.test")), 403);
    assert_int_equal(fixture->accepted, 0);
    assert_int_equal(fixture->names[0].questions, 0); /* not even the name went out */
    assert_int_equal(fixture->denial_count, 1);       /* two of one kind */
    assert_string_equal(fixture->denials[0].host, "good.test");
    assert_int_equal(fixture->denials[0].port, fixture->port);
    fixture_destroy(fixture);
}

static void test_names_that_look_like_an_allowed_one(void **unused)
{
    static const char *const hosts[] = {
        "good.test.evil.test", "notgood.test", "evil.test", "good.tes",
        "sub.good.test",       "10.77.0.1",    "[fd77::1]", "xn--good-test.test",
    };
    struct fixture *fixture = fixture_create();
    (void)unused;
    fixture->names[1] = (struct name){ .name = "*test", .addresses = { "10.77.0.1" } };
    fixture_allow(fixture, "good.test");
    for (size_t i = 0; i < ARRAY_LENGTH(hosts); i++) {
        assert_int_equal(peer_status(ask(fixture, CONNECT_TO, hosts[i])), 403);
    }
    assert_int_equal(
        peer_status(ask(fixture, "CONNECT %h:1%p HTTP/1.1\r\nHost: %h\r\n\r\n", "good.test")) / 100,
        4);
    assert_int_equal(fixture->accepted, 0);
    /* The same name in other letters and with its dot is the same name. */
    fixture->answer = OK_ANSWER;
    assert_int_equal(
        peer_status(
            ask(fixture, "GET http://GOOD.Test.:%p/ HTTP/1.0\r\nHost: GOOD.Test.:%p\r\n\r\n", "")),
        200);
    assert_int_equal(fixture->accepted, 1);
    assert_true(peer_has(fixture_accepted(fixture, 0), "Host: good.test:"));
    fixture_destroy(fixture);
}

static void test_what_is_no_request_is_told_and_ends(void **unused)
{
    static const struct {
        const char *text;
        unsigned status;
    } rows[] = {
        { "CONNECT 2130706433:%p HTTP/1.1\r\nHost: 2130706433:%p\r\n\r\n", 400 },
        { "CONNECT 0x7f000001:%p HTTP/1.1\r\nHost: 0x7f000001:%p\r\n\r\n", 400 },
        { "CONNECT 0177.0.0.1:%p HTTP/1.1\r\nHost: 0177.0.0.1:%p\r\n\r\n", 400 },
        { "CONNECT 127.1:%p HTTP/1.1\r\nHost: 127.1:%p\r\n\r\n", 400 },
        { "CONNECT b\xc3\xbc.test:%p HTTP/1.1\r\nHost: x\r\n\r\n", 400 },
        { "CONNECT %h:0 HTTP/1.1\r\nHost: %h:0\r\n\r\n", 400 },
        { "CONNECT %h:65536 HTTP/1.1\r\nHost: %h:65536\r\n\r\n", 400 },
        { "CONNECT %h HTTP/1.1\r\nHost: %h\r\n\r\n", 400 },
        { "GET / HTTP/1.1\r\nHost: %h:%p\r\n\r\n", 400 },
        { "GET https://%h:%p/ HTTP/1.1\r\nHost: %h:%p\r\n\r\n", 400 },
        { "GET http://%h:%p@evil.test/ HTTP/1.1\r\nHost: %h:%p\r\n\r\n", 400 },
        { "GET http://%h:%p/ HTTP/1.1\r\nHost: evil.test\r\n\r\n", 400 },
        { "GET http://%h:%p/ HTTP/1.1\nHost: %h:%p\n\n", 400 },
        { "GET http://%h:%p/ HTTP/1.1\r\nHost: %h:%p\r\nX: a\r\n b\r\n\r\n", 400 },
        { "POST http://%h:%p/ HTTP/1.1\r\nHost: %h:%p\r\nContent-Length: 3\r\n"
          "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET ",
          400 },
        { "\x16\x03\x01\x02", 400 },
        { "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505 },
    };
    struct fixture *fixture = fixture_create();
    (void)unused;
    fixture_allow(fixture, "good.test");
    for (size_t i = 0; i < ARRAY_LENGTH(rows); i++) {
        struct peer *peer = ask(fixture, rows[i].text, "good.test");
        if (peer_status(peer) != rows[i].status) {
            print_error("%s: %s\n", rows[i].text, buf_text(&peer->got));
        }
        assert_int_equal(peer_status(peer), rows[i].status);
        assert_false(peer->reset);
    }
    assert_int_equal(fixture->accepted, 0);
    assert_true(fixture->denial_count > 0);
    struct proxy_usage usage;
    assert_true(proxy_get_usage(fixture->proxy, GATE, &usage));
    assert_int_equal(usage.denials, ARRAY_LENGTH(rows));
    fixture_destroy(fixture);
}

/* ---- Where names lead ---- */

static void test_a_name_that_leads_somewhere_forbidden(void **unused)
{
    static const struct {
        const char *addresses[3];
        const char *reason;
    } rows[] = {
        { { "127.0.0.1" }, "loopback" },
        { { "::1" }, "loopback" },
        { { "0.0.0.0" }, "this network" },
        { { "169.254.169.254" }, "link-local" },
        { { "fe80::1" }, "link-local" },
        { { "::ffff:127.0.0.1" }, "loopback" },
        { { "64:ff9b::7f00:1" }, "loopback" },
        { { "2002:7f00:1::1" }, "loopback" },
        { { "10.77.0.2" }, "allowed_ips do not name" },
        { { "192.168.0.1" }, "allowed_ips do not name" },
        { { "93.184.216.34" }, "this machine" },
        { { "10.77.0.1", "127.0.0.1" }, "loopback" }, /* one good among bad */
        { { "10.77.0.1", "::1" }, "loopback" },
    };
    struct fixture *fixture = fixture_create();
    (void)unused;
    fixture_allow(fixture, "evil.test");
    for (size_t i = 0; i < ARRAY_LENGTH(rows); i++) {
        fixture->names[1] = (struct name){ .name = "evil.test" };
        memcpy(fixture->names[1].addresses, rows[i].addresses, sizeof(rows[i].addresses));
        struct peer *peer = ask(fixture, i % 2 == 0 ? CONNECT_TO : GET_FROM, "evil.test");
        assert_int_equal(peer_status(peer), 403);
        if (!peer_has(peer, rows[i].reason)) {
            print_error("%s: %s\n", rows[i].addresses[0], buf_text(&peer->got));
            fail();
        }
    }
    assert_false(fixture_victim_saw(fixture));
    assert_int_equal(fixture->accepted, 0);
    /* The control: the same name, led to where the rule says. */
    fixture->names[1] =
        (struct name){ .name = "evil.test", .addresses = { "fd77::1", "10.77.0.1" } };
    (void)open_tunnel(fixture, "evil.test");
    assert_int_equal(fixture->accepted, 1);
    fixture_destroy(fixture);
}

static void test_loopback_by_its_address_whatever_the_rule_says(void **unused)
{
    static const char *const hosts[] = {
        "127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "169.254.169.254", "0.0.0.0"
    };
    struct fixture *fixture = fixture_create();
    (void)unused;
    for (size_t i = 0; i < ARRAY_LENGTH(hosts); i++) {
        static const struct str_view all[] = { { "0.0.0.0/0", 9 }, { "::/0", 4 } };
        struct rules *rules = rules_create();
        fixture_add(
            fixture,
            rules,
            &(struct rules_endpoint){
                .host = str_of(hosts[i]), .addresses = all, .address_count = 2 });
        proxy_set_rules(fixture->proxy, GATE, rules);
        assert_int_equal(peer_status(ask(fixture, CONNECT_TO, hosts[i])), 403);
    }
    assert_false(fixture_victim_saw(fixture));
    fixture_destroy(fixture);
}

static void test_a_name_that_changes_its_mind(void **unused)
{
    struct fixture *fixture = fixture_create();
    (void)unused;
    fixture->names[1] = (struct name){ .name = "flip.test",
                                       .addresses = { "10.77.0.1" },
                                       .later = { "127.0.0.1" } };
    fixture_allow(fixture, "flip.test");
    (void)open_tunnel(fixture, "flip.test");
    assert_int_equal(fixture->names[1].questions, 1); /* what was judged is what was dialed */
    assert_int_equal(fixture->accepted, 1);
    struct peer *peer = ask(fixture, CONNECT_TO, "flip.test");
    assert_int_equal(peer_status(peer), 403);
    assert_false(fixture_victim_saw(fixture));
    fixture_destroy(fixture);
}

static void test_names_that_do_not_resolve_and_hosts_that_do_not_answer(void **unused)
{
    struct fixture *fixture = fixture_create();
    (void)unused;
    fixture->names[1] = (struct name){ .name = "silent.test", .silent = true };
    struct rules *rules = fixture_rules(fixture, "silent.test");
    fixture_add(fixture, rules, &(struct rules_endpoint){ .host = STR("missing.test") });
    proxy_set_rules(fixture->proxy, GATE, rules);
    assert_int_equal(peer_status(ask(fixture, CONNECT_TO, "missing.test")), 502);
    struct peer *peer = fixture_connect(fixture);
    AUTO_FREE char *text = text_of(fixture, CONNECT_TO, "silent.test");
    peer_say(peer, text);
    for (int i = 0; i < 5; i++) {
        fixture_turn(fixture);
    }
    assert_false(peer->ended);
    fixture_pass(fixture, 16 * US_PER_SECOND);
    UNTIL(fixture, peer->ended);
    assert_int_equal(peer_status(peer), 504);
    fixture_destroy(fixture);
}

/* The library then answers with what it has; it is the one who asked who frees that. */
static void test_a_question_that_is_given_up_half_answered_leaves_nothing(void **unused)
{
    struct fixture *fixture = fixture_create();
    (void)unused;
    fixture->names[1] =
        (struct name){ .name = "half.test", .addresses = { "10.77.0.1" }, .is_half = true };
    fixture_allow(fixture, "half.test");
    AUTO_FREE char *text = text_of(fixture, CONNECT_TO, "half.test");
    struct peer *peer = fixture_connect(fixture);
    peer_say(peer, text);
    UNTIL(fixture, fixture->names[1].questions == 1);
    for (int i = 0; i < 5; i++) {
        fixture_turn(fixture);
    }
    assert_false(peer->ended);
    fixture_destroy(fixture);
}

static void test_a_host_that_refuses_and_one_address_of_two_that_works(void **unused)
{
    struct fixture *fixture = fixture_create();
    (void)unused;
    fixture->names[1] =
        (struct name){ .name = "two.test", .addresses = { "fd77::1", "10.77.0.1" } };
    fixture->names[2] = (struct name){ .name = "shut.test", .addresses = { "fd77::1" } };
    struct rules *rules = fixture_rules(fixture, "two.test");
    fixture_add(fixture, rules, &(struct rules_endpoint){ .host = STR("shut.test") });
    proxy_set_rules(fixture->proxy, GATE, rules);
    (void)open_tunnel(fixture, "two.test");
    assert_int_equal(peer_status(ask(fixture, CONNECT_TO, "shut.test")), 502);
    fixture_destroy(fixture);
}

/* ---- Requests and answers ---- */

static void test_a_request_is_passed_on_as_one_of_its_own(void **unused)
{
    struct fixture *fixture = fixture_create();
    (void)unused;
    fixture_allow(fixture, "good.test");
    fixture->answer = OK_ANSWER;
    struct peer *peer =
        ask(fixture,
            "POST http://%h:%p/a?b=c HTTP/1.1\r\nHost: %h:%p\r\nContent-Length: 5\r\n"
            "Connection: close, X-Hop\r\nX-Hop: 1\r\nProxy-Authorization: Basic c2VjcmV0\r\n"
            "Upgrade: h2c\r\nX-End: 2\r\n\r\nhello",
            "good.test");
    assert_int_equal(peer_status(peer), 200);
    assert_true(peer_has(peer, "Connection: close\r\n\r\nok"));
    struct peer *server = fixture_accepted(fixture, 0);
    AUTO_FREE char *expected = text_of(
        fixture,
        "POST /a?b=c HTTP/1.1\r\nHost: %h:%p\r\nX-End: 2\r\nContent-Length: 5\r\n"
        "Connection: close\r\n\r\nhello",
        "good.test");
    assert_string_equal(buf_text(&server->got), expected);
    fixture_destroy(fixture);
}

static size_t count_of(const struct peer *peer, const char *text)
{
    size_t count = 0;
    const char *at = buf_text(&peer->got);
    while ((at = strstr(at, text)) != NULL) {
        count++;
        at++;
    }
    return count;
}

static void test_each_request_of_a_connection_is_judged(void **unused)
{
    struct fixture *fixture = fixture_create();
    (void)unused;
    fixture->answer = OK_ANSWER;
    static const struct rules_match allows[] = { { { "GET", 3 }, { "/open/*", 7 } } };
    struct rules *rules = rules_create();
    fixture_add(
        fixture,
        rules,
        &(struct rules_endpoint){ .rule = STR("api"),
                                  .host = STR("good.test"),
                                  .inspected = true,
                                  .allows = allows,
                                  .allow_count = 1 });
    proxy_set_rules(fixture->proxy, GATE, rules);
    struct peer *peer = fixture_connect(fixture);
    AUTO_FREE char *good =
        text_of(fixture, "GET http://%h:%p/open/1 HTTP/1.1\r\nHost: %h:%p\r\n\r\n", "good.test");
    AUTO_FREE char *bad =
        text_of(fixture, "GET http://%h:%p/closed HTTP/1.1\r\nHost: %h:%p\r\n\r\n", "good.test");
    peer_say(peer, good);
    UNTIL(fixture, count_of(peer, "\r\n\r\nok") == 1);
    /* Two at once: the second waits for the first one's answer. */
    AUTO_FREE char *both = mem_printf("%s%s", good, bad);
    peer_say(peer, both);
    UNTIL(fixture, peer->ended);
    assert_int_equal(count_of(peer, "\r\n\r\nok"), 2);
    assert_int_equal(count_of(peer, "HTTP/1.1 403"), 1);
    assert_int_equal(fixture->accepted, 2);
    assert_string_equal(fixture->denials[0].path, "/closed");
    assert_string_equal(fixture->denials[0].rule, "api");
    /* And a tunnel, in which no request could be seen, is none of it. */
    assert_int_equal(peer_status(ask(fixture, CONNECT_TO, "good.test")), 403);
    fixture_destroy(fixture);
}

static void test_a_request_hidden_in_a_body_is_a_body(void **unused)
{
    struct fixture *fixture = fixture_create();
    (void)unused;
    fixture->names[1] = (struct name){ .name = "other.test", .addresses = { "10.77.0.1" } };
    fixture->answer = OK_ANSWER;
    fixture_allow(fixture, "good.test");
    /* By length: the hidden request is inside the length and goes along as what it is. */
    struct peer *peer =
        ask(fixture,
            "POST http://%h:%p/ HTTP/1.1\r\nHost: %h:%p\r\nContent-Length: 36\r\n\r\n"
            "GET / HTTP/1.1\r\nHost: other.test\r\n\r\n"
            "GET http://other.test:%p/ HTTP/1.1\r\nHost: other.test:%p\r\n\r\n",
            "good.test");
    assert_int_equal(count_of(peer, "HTTP/1.1 200"), 1);
    assert_int_equal(count_of(peer, "HTTP/1.1 403"), 1); /* what follows the body is judged */
    assert_int_equal(fixture->accepted, 1);
    /* By chunks. */
    peer =
        ask(fixture,
            "POST http://%h:%p/ HTTP/1.1\r\nHost: %h:%p\r\nTransfer-Encoding: chunked\r\n\r\n"
            "5\r\nhello\r\n0\r\n\r\n"
            "GET http://other.test:%p/ HTTP/1.1\r\nHost: other.test:%p\r\n\r\n",
            "good.test");
    assert_int_equal(count_of(peer, "HTTP/1.1 200"), 1);
    assert_int_equal(count_of(peer, "HTTP/1.1 403"), 1);
    /* Chunks that are none: nothing behind them is believed. */
    size_t before = fixture->accepted;
    fixture->answer = NULL;
    peer =
        ask(fixture,
            "POST http://%h:%p/ HTTP/1.1\r\nHost: %h:%p\r\nTransfer-Encoding: chunked\r\n\r\n"
            "5;x=\"\nhello\r\n0\r\n\r\nGET http://other.test:%p/ HTTP/1.1\r\n\r\n",
            "good.test");
    assert_int_equal(fixture->accepted, before + 1);
    assert_false(peer_has(fixture_accepted(fixture, before), "other.test"));
    fixture_destroy(fixture);
}

static void test_answers_end_where_they_say(void **unused)
{
    static const struct {
        const char *method;
        const char *answer;
        const char *end; /* of what the client gets */
        bool keeps;      /* the connection, for another request */
    } rows[] = {
        { "HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n", "Content-Length: 99", true },
        { "GET", "HTTP/1.1 204 No\r\n\r\n", "HTTP/1.1 204 No", true },
        { "GET", "HTTP/1.1 304 Not\r\nContent-Length: 7\r\n\r\n", "Content-Length: 7", true },
        { "GET",
          "HTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nz",
          "\r\n\r\nz",
          true },
        { "GET",
          "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n0\r\nT: u\r\n\r\n",
          "0\r\nT: u\r\n\r\n",
          true },
        { "GET", "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nto the end", "to the end", false },
        { "GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nGARBAGE", "Content-Length: 0", true },
    };
    struct fixture *fixture = fixture_create();
    (void)unused;
    fixture_allow(fixture, "good.test");
    for (size_t i = 0; i < ARRAY_LENGTH(rows); i++) {
        fixture->answer = rows[i].answer;
        AUTO_FREE char *rest =
            text_of(fixture, " http://%h:%p/ HTTP/1.1\r\nHost: %h:%p\r\n\r\n", "good.test");
        AUTO_FREE char *first = mem_printf("%s%s", rows[i].method, rest);
        struct peer *peer = fixture_connect(fixture);
        peer_say(peer, first);
        UNTIL(fixture, peer_has(peer, rows[i].end) || peer->ended);
        assert_true(peer_has(peer, rows[i].end));
        assert_false(peer_has(peer, "GARBAGE"));
        if (rows[i].keeps) {
            fixture->answer = OK_ANSWER;
            AUTO_FREE char *second = mem_printf("GET%s", rest);
            peer_say(peer, second);
            UNTIL(fixture, peer_has(peer, "\r\n\r\nok"));
        } else {
            UNTIL(fixture, peer->ended);
        }
    }
    fixture_destroy(fixture);
}

static void test_answers_that_are_broken(void **unused)
{
    static const char *const answers[] = {
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n"
        "Connection: close\r\n\r\n",
        "HTTP/1.1 101 Switching\r\nConnection: close\r\nUpgrade: x\r\n\r\n",
        "SSH-2.0-OpenSSH_9.2 Connection: close\r\n\r\n",
        "HTTP/1.1 200 OK\r\nConnection: close\r\n folded\r\n\r\n",
        "HTTP/1.1 200 OK\nConnection: close\n\n",
        "HTTP/1.1 200 OK\r\nConnection: close\r\n",
    };
    struct fixture *fixture = fixture_create();
    (void)unused;
    fixture_allow(fixture, "good.test");
    for (size_t i = 0; i < ARRAY_LENGTH(answers); i++) {
        fixture->answer = answers[i];
        struct peer *peer = ask(fixture, GET_FROM, "good.test");
        assert_int_equal(peer_status(peer), 502);
    }
    /* Cut off in the middle: the client must not take it for whole. */
    fixture->answer = "HTTP/1.1 200 OK\r\nContent-Length: 50\r\nConnection: close\r\n\r\nshort";
    struct peer *peer = ask(fixture, GET_FROM, "good.test");
    assert_true(peer_has(peer, "Content-Length: 50"));
    assert_true(peer->ended);
    fixture_destroy(fixture);
}

static void test_interim_answers_without_end(void **unused)
{
    struct fixture *fixture = fixture_create();
    AUTO_BUF struct buf answer = BUF_INIT(1024 * 1024);
    (void)unused;
    fixture_allow(fixture, "good.test");
    for (int i = 0; i < 100; i++) {
        buf_append_str(&answer, STR("HTTP/1.1 102 Processing\r\n\r\n"));
    }
    buf_append_str(&answer, STR("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nat last"));
    fixture->answer = buf_text(&answer);
    struct peer *peer = ask(fixture, GET_FROM, "good.test");
    assert_true(peer_has(peer, "\r\n\r\nat last"));
    buf_clear(&answer);
    for (int i = 0; i < 4000; i++) {
        buf_append_str(&answer, STR("HTTP/1.1 102 \r\n\r\n"));
    }
    buf_append_str(&answer, STR("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nnever"));
    fixture->answer = buf_text(&answer);
    peer = ask(fixture, GET_FROM, "good.test");
    assert_true(peer_has(peer, "HTTP/1.1 502"));
    assert_false(peer_has(peer, "never"));
    fixture_destroy(fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_tunnel_carries_bytes_both_ways_to_both_ends),
        cmocka_unit_test(test_without_a_rule_nothing_passes),
        cmocka_unit_test(test_names_that_look_like_an_allowed_one),
        cmocka_unit_test(test_what_is_no_request_is_told_and_ends),
        cmocka_unit_test(test_a_name_that_leads_somewhere_forbidden),
        cmocka_unit_test(test_loopback_by_its_address_whatever_the_rule_says),
        cmocka_unit_test(test_a_name_that_changes_its_mind),
        cmocka_unit_test(test_names_that_do_not_resolve_and_hosts_that_do_not_answer),
        cmocka_unit_test(test_a_question_that_is_given_up_half_answered_leaves_nothing),
        cmocka_unit_test(test_a_host_that_refuses_and_one_address_of_two_that_works),
        cmocka_unit_test(test_a_request_is_passed_on_as_one_of_its_own),
        cmocka_unit_test(test_each_request_of_a_connection_is_judged),
        cmocka_unit_test(test_a_request_hidden_in_a_body_is_a_body),
        cmocka_unit_test(test_answers_end_where_they_say),
        cmocka_unit_test(test_answers_that_are_broken),
        cmocka_unit_test(test_interim_answers_without_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
