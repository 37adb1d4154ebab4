/* What a sandbox can not use up, rules that change under way, and the names in TLS. */
#include "cmd/agent/proxy/summary.h"
#include "common/base/cleanup.h"
#include "tests/component/agent_proxy/fixture.h"

#include <stdio.h>
#include <sys/socket.h>

static void say_connect(struct peer *peer, const char *host)
{
    AUTO_FREE char *text =
        mem_printf("CONNECT %s:%u HTTP/1.1\r\nHost: %s\r\n\r\n", host, peer->fixture->port, host);
    peer_say(peer, text);
}

static struct peer *open_tunnel(struct fixture *fixture, const char *host)
{
    struct peer *peer = fixture_connect(fixture);
    say_connect(peer, host);
    UNTIL(fixture, peer_has(peer, "\r\n\r\n"));
    assert_int_equal(peer_status(peer), 200);
    buf_clear(&peer->got);
    return peer;
}

/* ---- Time and size ---- */

static void test_a_head_that_comes_drop_by_drop(void **unused)
{
    struct fixture *fixture = fixture_create();
    (void)unused;
    fixture_allow(fixture, "good.test");
    struct peer *peer = fixture_connect(fixture);
    struct peer *mute = fixture_connect(fixture);
    peer_say(peer, "CONNECT good.test");
    for (int i = 0; i < 6 && !peer->ended; i++) {
        fixture_pass(fixture, 3 * US_PER_SECOND);
        peer_say(peer, ".");
        fixture_turn(fixture);
    }
    UNTIL(fixture, peer->ended && mute->ended);
    assert_int_equal(peer->got.len, 0);
    assert_int_equal(fixture->accepted, 0);
    fixture_destroy(fixture);
}

static void test_a_head_that_is_too_large(void **unused)
{
    struct fixture *fixture = fixture_create();
    (void)unused;
    fixture_allow(fixture, "good.test");
    AUTO_BUF struct buf text = BUF_INIT(1024 * 1024);
    buf_printf(&text, "CONNECT good.test:%u HTTP/1.1\r\nHost: good.test\r\nX: ", fixture->port);
    while (text.len < 500000) {
        buf_append_str(
            &text, STR("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"));
    }
    struct peer *peer = fixture_ask(fixture, buf_text(&text));
    assert_int_equal(peer_status(peer), 431);
    assert_int_equal(fixture->accepted, 0);
    fixture_destroy(fixture);
}

static void test_a_tunnel_that_says_nothing_ends(void **unused)
{
    struct fixture *fixture = fixture_create();
    (void)unused;
    fixture_allow(fixture, "good.test");
    struct peer *quiet = open_tunnel(fixture, "good.test");
    struct peer *busy = open_tunnel(fixture, "good.test");
    for (int i = 0; i < 3; i++) {
        fixture_pass(fixture, 4 * US_PER_MINUTE);
        buf_clear(&busy->got);
        peer_say(busy, "x");
        UNTIL(fixture, peer_has(busy, "x"));
    }
    UNTIL(fixture, quiet->ended);
    assert_false(busy->ended);
    fixture_destroy(fixture);
}

static void test_more_connections_than_a_gate_takes_wait(void **unused)
{
    struct fixture *fixture = fixture_create();
    struct peer *peers[33];
    (void)unused;
    fixture_allow(fixture, "good.test");
    for (size_t i = 0; i < 32; i++) {
        peers[i] = open_tunnel(fixture, "good.test");
    }
    peers[32] = fixture_connect(fixture);
    say_connect(peers[32], "good.test");
    for (int i = 0; i < 10; i++) {
        fixture_turn(fixture);
    }
    assert_int_equal(peers[32]->got.len, 0);
    peer_close(peers[7]);
    UNTIL(fixture, peer_status(peers[32]) == 200);
    fixture_destroy(fixture);
}

/* A client that reads nothing stops the server, not the memory of the proxy; then all arrives. */
static void test_a_slow_reader_holds_the_writer_back(void **unused)
{
    enum {
        PIECE = 65536,
        TOTAL = 48 * 1024 * 1024
    };

    struct fixture *fixture = fixture_create();
    AUTO_FREE char *piece = mem_alloc(PIECE);
    size_t sent = 0;
    (void)unused;
    fixture_allow(fixture, "good.test");
    struct peer *client = open_tunnel(fixture, "good.test");
    client->deaf = true;
    struct peer *server = fixture_accepted(fixture, 0);
    int64_t stalled = fixture_now();
    while (fixture_now() - stalled < 300000 && sent < TOTAL) {
        memset(piece, (int)('a' + sent / PIECE % 26), PIECE);
        ssize_t now = send(server->fd, piece + sent % PIECE, PIECE - sent % PIECE, MSG_NOSIGNAL);
        if (now > 0) {
            sent += (size_t)now;
            stalled = fixture_now();
        }
        loop_step(fixture->loop, 0);
    }
    assert_true(sent < TOTAL); /* what the sockets of four ends hold, and not more */
    size_t held = sent;
    client->deaf = false;
    size_t received = 0;
    int64_t begun = fixture_now();
    while (received < TOTAL) {
        static char room[1024 * 1024];
        ssize_t now = recv(client->fd, room, sizeof(room), 0);
        for (ssize_t i = 0; i < now; i += 4093) {
            assert_int_equal(room[i], 'a' + (received + (size_t)i) / PIECE % 26);
        }
        received += now > 0 ? (size_t)now : 0;
        memset(piece, (int)('a' + sent / PIECE % 26), PIECE);
        now = sent == TOTAL
            ? 0
            : send(server->fd, piece + sent % PIECE, PIECE - sent % PIECE, MSG_NOSIGNAL);
        sent += now > 0 ? (size_t)now : 0;
        loop_step(fixture->loop, 0);
        assert_false(fixture_is_late(fixture, begun));
    }
    print_message(
        "held %zu KiB, then %lld MB/s\n",
        held / 1024,
        (long long)(TOTAL / (fixture_now() - begun + 1)));
    struct proxy_usage usage;
    assert_true(proxy_get_usage(fixture->proxy, GATE, &usage));
    assert_int_equal(usage.in_bytes, TOTAL);
    fixture_destroy(fixture);
}

/* Reads what is there, and counts the bytes of the body. */
static size_t sip(const struct peer *client, char *room, size_t bytes)
{
    size_t count = 0;
    ssize_t got = recv(client->fd, room, bytes, 0);
    for (ssize_t i = 0; i < got; i++) {
        count += room[i] == 'b' ? 1 : 0; /* which no head has */
    }
    return count;
}

/* What the server said is the client's, however slowly it takes it and whatever follows. */
static void test_the_tail_of_an_answer_waits_for_a_slow_reader(void **unused)
{
    enum {
        BODY = 192 * 1024,
        SIP = 4096
    };

    static const char *const heads[] = { "Content-Length: 196608\r\nConnection: close",
                                         "Content-Length: 196608",
                                         "Connection: close" };
    struct fixture *fixture = fixture_create();
    AUTO_FREE char *answer = mem_alloc(BODY + 1024);
    char room[SIP];
    (void)unused;
    fixture_narrow_gate(fixture); /* so that what is on the way is the proxy's to hold */
    fixture_allow(fixture, "good.test");
    AUTO_FREE char *ask = mem_printf(
        "GET http://good.test:%u/ HTTP/1.1\r\nHost: good.test:%u\r\n\r\n",
        fixture->port,
        fixture->port);
    for (size_t i = 0; i < ARRAY_LENGTH(heads); i++) {
        int head = snprintf(answer, 1024, "HTTP/1.1 200 OK\r\n%s\r\n\r\n", heads[i]);
        memset(answer + head, 'b', BODY);
        answer[head + BODY] = '\0';
        fixture->answer = answer;
        struct peer *client = fixture_connect(fixture);
        client->deaf = true;
        peer_say(client, ask);
        UNTIL(fixture, fixture->accepted == i + 1 && fixture_accepted(fixture, i)->answered);
        size_t received = 0;
        for (int turn = 0; received < BODY && turn < 1500; turn++) {
            size_t got = sip(client, room, SIP);
            received += got;
            fixture_turn(fixture);
            if (got > 0) {
                fixture_pass(fixture, 20 * US_PER_SECOND); /* until the next */
            }
        }
        assert_int_equal(received, BODY);
        peer_close(client);
    }
    fixture_destroy(fixture);
}

/* ---- Rules that change ---- */

static void test_new_rules_hold_for_what_is_open(void **unused)
{
    struct fixture *fixture = fixture_create();
    (void)unused;
    fixture->names[1] = (struct name){ .name = "other.test", .addresses = { "10.77.0.1" } };
    struct rules *rules = fixture_rules(fixture, "good.test");
    fixture_add(fixture, rules, &(struct rules_endpoint){ .host = STR("other.test") });
    proxy_set_rules(fixture->proxy, GATE, rules);
    struct peer *good = open_tunnel(fixture, "good.test");
    struct peer *other = open_tunnel(fixture, "other.test");
    fixture->answer = "";
    struct peer *request = fixture_connect(fixture); /* its answer does not come */
    AUTO_FREE char *text = mem_printf(
        "GET http://other.test:%u/ HTTP/1.1\r\nHost: other.test:%u\r\n\r\n",
        fixture->port,
        fixture->port);
    peer_say(request, text);
    UNTIL(fixture, fixture->accepted == 3);
    fixture->answer = NULL;
    peer_say(good, "1");
    UNTIL(fixture, peer_has(good, "1"));

    int64_t before = fixture_now();
    fixture_allow(fixture, "good.test");
    UNTIL(fixture, other->ended && request->ended);
    UNTIL(fixture, fixture_accepted(fixture, 1)->ended);
    int64_t took = fixture_now() - before;
    print_message("closed after %lld us\n", (long long)took);
    assert_true(took < 100 * US_PER_MS);
    assert_string_equal(fixture->denials[0].host, "other.test");
    peer_say(good, "2");
    UNTIL(fixture, peer_has(good, "12"));

    before = fixture_now();
    proxy_set_rules(fixture->proxy, GATE, rules_create());
    UNTIL(fixture, good->ended);
    assert_true(fixture_now() - before < 100 * US_PER_MS);
    struct peer *late = fixture_connect(fixture);
    say_connect(late, "good.test");
    UNTIL(fixture, late->ended);
    assert_int_equal(peer_status(late), 403);
    fixture_allow(fixture, "good.test");
    (void)open_tunnel(fixture, "good.test");
    fixture_destroy(fixture);
}

static void test_new_rules_hold_for_the_next_request_and_for_a_name_on_its_way(void **unused)
{
    struct fixture *fixture = fixture_create();
    (void)unused;
    fixture->answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    fixture_allow(fixture, "good.test");
    AUTO_FREE char *text = mem_printf(
        "GET http://good.test:%u/ HTTP/1.1\r\nHost: good.test:%u\r\n\r\n",
        fixture->port,
        fixture->port);
    struct peer *peer = fixture_connect(fixture);
    peer_say(peer, text);
    UNTIL(fixture, peer_has(peer, "\r\n\r\nok"));
    proxy_set_rules(fixture->proxy, GATE, rules_create());
    buf_clear(&peer->got);
    peer_say(peer, text);
    UNTIL(fixture, peer->ended);
    assert_int_equal(peer_status(peer), 403);
    assert_int_equal(fixture->accepted, 1);

    fixture->names[1] = (struct name){ .name = "late.test", .silent = true };
    fixture_allow(fixture, "late.test");
    struct peer *late = fixture_connect(fixture);
    say_connect(late, "late.test");
    for (int i = 0; i < 5; i++) {
        fixture_turn(fixture);
    }
    proxy_set_rules(fixture->proxy, GATE, rules_create());
    fixture->names[1] = (struct name){ .name = "late.test", .addresses = { "10.77.0.1" } };
    UNTIL(fixture, late->ended);
    assert_int_equal(peer_status(late), 403);
    assert_int_equal(fixture->accepted, 1);
    fixture_destroy(fixture);
}

/* Its address was judged, and the host takes its time; each row is what the new rules still say. */
static void test_new_rules_hold_for_a_connection_on_its_way(void **unused)
{
    static const struct str_view elsewhere[] = { { "10.78.0.0/16", 12 } };
    struct fixture *fixture = fixture_create();
    (void)unused;
    for (size_t i = 0; i < 2; i++) {
        struct rules *rules = rules_create();
        if (i == 1) { /* the name still, and not its address */
            fixture_add(
                fixture,
                rules,
                &(struct rules_endpoint){
                    .host = STR("good.test"), .addresses = elsewhere, .address_count = 1 });
        }
        fixture_allow(fixture, "good.test");
        struct peer *filler = fixture_fill_server(fixture);
        struct peer *peer = fixture_connect(fixture);
        say_connect(peer, "good.test");
        UNTIL(fixture, fixture_has_syn_sent());
        proxy_set_rules(fixture->proxy, GATE, rules);
        fixture_drain_server(fixture);
        UNTIL(fixture, peer->ended);
        assert_int_equal(peer_status(peer), 403);
        assert_int_equal(fixture->denial_count, i + 1);
        assert_string_equal(fixture->denials[i].host, "good.test");
        peer_close(filler);
    }
    fixture_destroy(fixture);
}

static void test_a_rule_that_watches_lets_through_and_tells(void **unused)
{
    struct fixture *fixture = fixture_create();
    (void)unused;
    fixture->answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
    struct rules *rules = rules_create();
    fixture_add(
        fixture,
        rules,
        &(struct rules_endpoint){ .rule = STR("watch"),
                                  .host = STR("good.test"),
                                  .inspected = true,
                                  .access = RULES_ACCESS_READ,
                                  .audit = true });
    proxy_set_rules(fixture->proxy, GATE, rules);
    AUTO_FREE char *text = mem_printf(
        "DELETE http://good.test:%u/x HTTP/1.1\r\nHost: good.test:%u\r\nConnection: close\r\n\r\n",
        fixture->port,
        fixture->port);
    struct peer *peer = fixture_ask(fixture, text);
    assert_int_equal(peer_status(peer), 200);
    assert_int_equal(fixture->denial_count, 1);
    assert_true(fixture->denials[0].audited);
    struct proxy_usage usage;
    assert_true(proxy_get_usage(fixture->proxy, GATE, &usage));
    assert_int_equal(usage.denials, 0);
    fixture_destroy(fixture);
}

/* ---- Telling and counting ---- */

static void test_denials_of_a_kind_are_told_once_and_then_counted(void **unused)
{
    struct fixture *fixture = fixture_create();
    (void)unused;
    for (int i = 0; i < 50; i++) {
        struct peer *peer = fixture_connect(fixture);
        say_connect(peer, "bad.test");
        UNTIL(fixture, peer->ended);
        peer_close(peer);
    }
    assert_int_equal(fixture->denial_count, 1);
    assert_int_equal(fixture->denials[0].count, 1);
    fixture_pass(fixture, 11 * US_PER_SECOND);
    UNTIL(fixture, fixture->denial_count == 2);
    assert_int_equal(fixture->denials[1].count, 49);
    assert_string_equal(fixture->denials[1].host, "bad.test");
    fixture_pass(fixture, 11 * US_PER_SECOND);
    fixture_pass(fixture, 11 * US_PER_SECOND);
    assert_int_equal(fixture->denial_count, 2);

    /* And so many kinds that they are told together. */
    for (int i = 0; i < 100; i++) {
        AUTO_FREE char *host = mem_printf("bad-%d.test", i);
        struct peer *peer = fixture_connect(fixture);
        say_connect(peer, host);
        UNTIL(fixture, peer->ended);
        peer_close(peer);
    }
    assert_int_equal(fixture->denial_count, 2 + 32);
    fixture_pass(fixture, 11 * US_PER_SECOND);
    UNTIL(fixture, fixture->denial_count == 2 + 32 + 1);
    assert_int_equal(fixture->denials[34].count, 68);
    fixture_destroy(fixture);
}

/* Of 80 destinations with ten bytes each way, of which one has a few more. */
static void check_summary(struct fixture *fixture)
{
    struct summary summary;
    struct peer *peer = open_tunnel(fixture, "n7.test");
    AUTO_FREE char *most = mem_printf("n7.test:%u", fixture->port);
    AUTO_FREE char *next = mem_printf("n0.test:%u", fixture->port);
    AUTO_FREE char *text = mem_printf(
        "sent 803 and received 803 bytes by 81 connections: %s sent=13 received=13 connections=2, %s ",
        most,
        next);
    const char *const *last = &summary.attributes[2 * SUMMARY_ROWS_MAX];
    peer_say(peer, "abc");
    UNTIL(fixture, peer_has(peer, "abc"));
    assert_true(summary_make(fixture->proxy, GATE, &summary));
    assert_string_equal(summary.attributes[0], most);
    assert_string_equal(summary.attributes[1], "sent=13 received=13 connections=2");
    assert_string_equal(summary.attributes[2], next);
    assert_string_equal(last[-2], "other");
    assert_string_equal(last[-1], "sent=650 received=650 connections=65");
    assert_null(last[0]);
    assert_memory_equal(summary.text, text, strlen(text));
    assert_string_equal(summary.text + strlen(summary.text) - 5, ", ...");
    assert_false(summary_make(fixture->proxy, "nobody", &summary));
}

static void test_destinations_are_counted_in_a_table_of_its_size(void **unused)
{
    struct fixture *fixture = fixture_create();
    struct proxy_destination row;
    size_t cursor = 0;
    size_t rows = 0;
    uint64_t bytes = 0;
    (void)unused;
    fixture->names[1] = (struct name){ .name = "*test", .addresses = { "10.77.0.1" } };
    fixture_allow(fixture, "**.test");
    for (int i = 0; i < 80; i++) {
        AUTO_FREE char *host = mem_printf("n%d.test", i);
        struct peer *peer = open_tunnel(fixture, host);
        peer_say(peer, "0123456789");
        UNTIL(fixture, peer_has(peer, "0123456789"));
        peer_close(peer);
        UNTIL(fixture, fixture_accepted(fixture, (size_t)i)->ended);
    }
    while (proxy_next_destination(fixture->proxy, GATE, &cursor, &row)) {
        rows++;
        bytes += row.usage.out_bytes;
        if (row.host[0] == '\0') {
            assert_int_equal(row.usage.connections, 80 - PROXY_DESTINATIONS_MAX);
        }
    }
    assert_int_equal(rows, PROXY_DESTINATIONS_MAX + 1);
    assert_int_equal(bytes, 800);
    check_summary(fixture);
    const struct proxy_usage earlier = { .in_bytes = 997, .out_bytes = 1997 };
    struct proxy_usage usage;
    proxy_restore(fixture->proxy, GATE, &earlier);
    assert_true(proxy_get_usage(fixture->proxy, GATE, &usage));
    assert_int_equal(usage.in_bytes, 1800);
    assert_int_equal(usage.out_bytes, 2800);
    fixture_destroy(fixture);
}

static void test_a_gate_that_closes_ends_all_and_opens_again(void **unused)
{
    struct fixture *fixture = fixture_create();
    struct err_info err = ERR_INFO_INIT;
    (void)unused;
    fixture_allow(fixture, "good.test");
    struct peer *peer = open_tunnel(fixture, "good.test");
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(listen(listener, 5), 0); /* any port: it gets a new one */
    assert_ok_err(err, proxy_open(fixture->proxy, GATE, listener, &err));
    UNTIL(fixture, peer->ended);
    proxy_close(fixture->proxy, GATE);
    struct proxy_usage usage;
    assert_true(proxy_get_usage(fixture->proxy, GATE, &usage));
    proxy_forget(fixture->proxy, GATE);
    assert_false(proxy_get_usage(fixture->proxy, GATE, &usage));
    fixture_destroy(fixture);
}

/* With as many connections as there may be at all, the end of each opens every gate there is. */
static void test_a_proxy_ends_with_all_of_its_connections(void **unused)
{
    enum {
        GATES = 16,
        TOTAL = 4
    };

    struct err_info err = ERR_INFO_INIT;
    struct fixture *fixture = fixture_create();
    struct proxy *proxy = NULL;
    const struct proxy_options options = { .loop = fixture->loop,
                                           .resolvers = fixture->resolvers,
                                           .connections_total = TOTAL };
    (void)unused;
    assert_ok_err(err, proxy_create(&options, &proxy, &err));
    for (unsigned i = 0; i < GATES; i++) {
        char id[16];
        (void)snprintf(id, sizeof(id), "box-%u", i);
        fixture_open_gate(fixture, proxy, id); /* the clients' is the last one */
    }
    for (size_t i = 0; i < TOTAL; i++) {
        struct peer *peer = fixture_connect(fixture);
        peer_say(peer, "GET ftp://good.test/ HTTP/1.1\r\n");
    }
    struct peer *waits = fixture_connect(fixture); /* there is no room for it */
    peer_say(waits, "nonsense\r\n\r\n");
    for (int i = 0; i < 10; i++) {
        fixture_turn(fixture);
    }
    assert_int_equal(waits->got.len, 0);
    assert_false(waits->ended);
    proxy_destroy(proxy);
    UNTIL(fixture, waits->ended);
    fixture_destroy(fixture);
}

/* ---- TLS ---- */

static void put(struct buf *buf, unsigned value, unsigned bytes)
{
    while (bytes-- > 0) {
        buf_append_char(buf, (char)(value >> (8 * bytes)));
    }
}

/* A ClientHello that asks for name (NULL: for none), in records of at most `piece` bytes. */
static struct buf hello_for(const char *name, size_t piece)
{
    struct buf records = BUF_INIT(65536);
    AUTO_BUF struct buf body = BUF_INIT(65536);
    AUTO_BUF struct buf message = BUF_INIT(65536);
    put(&body, 0x0303, 2);
    for (int i = 0; i < 32; i++) {
        put(&body, 7, 1);
    }
    put(&body, 0, 1);
    put(&body, 2, 2);
    put(&body, 0x1301, 2);
    put(&body, 0x0100, 2);
    unsigned bytes = name == NULL ? 0 : (unsigned)strlen(name);
    put(&body, (name == NULL ? 0 : 9 + bytes) + 6, 2);
    put(&body, 43, 2); /* another extension first */
    put(&body, 2, 2);
    put(&body, 0x0304, 2);
    if (name != NULL) {
        put(&body, 0, 2);
        put(&body, bytes + 5, 2);
        put(&body, bytes + 3, 2);
        put(&body, 0, 1);
        put(&body, bytes, 2);
        buf_append_str(&body, str_of(name));
    }
    put(&message, 1, 1);
    put(&message, (unsigned)body.len, 3);
    buf_append_str(&message, buf_view(&body));
    for (size_t at = 0; at < message.len; at += piece) {
        size_t part = message.len - at < piece ? message.len - at : piece;
        put(&records, 22, 1);
        put(&records, 0x0301, 2);
        put(&records, (unsigned)part, 2);
        buf_append(&records, message.data + at, part);
    }
    return records;
}

static void test_the_name_in_tls_is_the_name_that_was_allowed(void **unused)
{
    static const struct {
        const char *name;
        size_t piece;
        bool passes;
    } rows[] = {
        { "good.test", 16384, true },
        { "GOOD.test", 16384, true },
        { "good.test", 7, true },
        { "evil.test", 16384, false },
        { "evil.test", 1, false },
        { NULL, 16384, false },
        { "good.test.evil.test", 16384, false },
        { "127.0.0.1", 16384, false },
    };
    struct fixture *fixture = fixture_create();
    (void)unused;
    fixture_allow(fixture, "good.test");
    for (size_t i = 0; i < ARRAY_LENGTH(rows); i++) {
        AUTO_BUF struct buf hello = hello_for(rows[i].name, rows[i].piece);
        struct peer *peer = open_tunnel(fixture, "good.test");
        struct peer *server = fixture_accepted(fixture, fixture->accepted - 1);
        for (size_t at = 0; at < hello.len; at += 11) { /* in pieces, too */
            size_t part = hello.len - at < 11 ? hello.len - at : 11;
            peer_send(peer, str_from(hello.data + at, part));
            loop_step(fixture->loop, 0);
        }
        if (rows[i].passes) {
            UNTIL(fixture, peer->got.len == hello.len);
        } else {
            UNTIL(fixture, peer->ended && server->ended);
            assert_int_equal(server->got.len, 0); /* not a byte of it */
            assert_int_equal(peer->got.len, 7);
            assert_int_equal(peer->got.data[0], 21); /* an alert, which the client can show */
        }
    }
    fixture_destroy(fixture);
}

static void test_a_tls_hello_that_breaks_off_or_never_ends(void **unused)
{
    struct fixture *fixture = fixture_create();
    (void)unused;
    fixture_allow(fixture, "good.test");
    AUTO_BUF struct buf hello = hello_for("good.test", 16384);
    struct peer *slow = open_tunnel(fixture, "good.test");
    peer_send(slow, str_from(hello.data, 20));
    fixture_turn(fixture);
    struct peer *broken = open_tunnel(fixture, "good.test");
    hello.data[5] = 2; /* a ServerHello */
    peer_send(broken, buf_view(&hello));
    UNTIL(fixture, broken->ended);
    struct peer *huge = open_tunnel(fixture, "good.test");
    AUTO_BUF struct buf long_hello = BUF_INIT(65536);
    put(&long_hello, 0x16030140, 4);
    put(&long_hello, 0, 1);
    put(&long_hello, 0x01ffffff, 4);
    while (long_hello.len < 60000) {
        put(&long_hello, 0, 4);
    }
    peer_send(huge, buf_view(&long_hello));
    UNTIL(fixture, huge->ended);
    assert_false(slow->ended);
    fixture_pass(fixture, 16 * US_PER_SECOND);
    UNTIL(fixture, slow->ended);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(fixture_accepted(fixture, i)->got.len, 0);
    }
    /* A hello behind what servers skip, under a version that some do not look at, or without any
     * room for a name. */
    static const struct str_view around[] = { { "\x15\x03\x01\x00\x02\x01Z", 7 },
                                              { "\x14\x03\x03\x00\x01\x01", 6 },
                                              { "\x16\x02\x01\x00\x05", 5 },
                                              { "\x80\x2e\x01\x03\x01", 5 } };
    for (size_t i = 0; i < ARRAY_LENGTH(around); i++) {
        struct peer *sly = open_tunnel(fixture, "good.test");
        for (size_t at = 0; at < around[i].len; at++) {
            peer_send(sly, str_from(around[i].ptr + at, 1));
            fixture_turn(fixture);
        }
        UNTIL(fixture, sly->ended);
        assert_int_equal(fixture_accepted(fixture, fixture->accepted - 1)->got.len, 0);
    }
    /* What is not TLS is any bytes, and passes. */
    struct peer *binary = open_tunnel(fixture, "good.test");
    peer_send(binary, str_from("\x80\x00\x07", 3));
    UNTIL(fixture, binary->got.len == 3);
    struct peer *plain = open_tunnel(fixture, "good.test");
    peer_say(plain, "SSH-2.0-x\r\n");
    UNTIL(fixture, peer_has(plain, "SSH-2.0-x"));
    fixture_destroy(fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_head_that_comes_drop_by_drop),
        cmocka_unit_test(test_a_head_that_is_too_large),
        cmocka_unit_test(test_a_tunnel_that_says_nothing_ends),
        cmocka_unit_test(test_more_connections_than_a_gate_takes_wait),
        cmocka_unit_test(test_a_slow_reader_holds_the_writer_back),
        cmocka_unit_test(test_the_tail_of_an_answer_waits_for_a_slow_reader),
        cmocka_unit_test(test_new_rules_hold_for_what_is_open),
        cmocka_unit_test(test_new_rules_hold_for_the_next_request_and_for_a_name_on_its_way),
        cmocka_unit_test(test_new_rules_hold_for_a_connection_on_its_way),
        cmocka_unit_test(test_a_rule_that_watches_lets_through_and_tells),
        cmocka_unit_test(test_denials_of_a_kind_are_told_once_and_then_counted),
        cmocka_unit_test(test_destinations_are_counted_in_a_table_of_its_size),
        cmocka_unit_test(test_a_gate_that_closes_ends_all_and_opens_again),
        cmocka_unit_test(test_a_proxy_ends_with_all_of_its_connections),
        cmocka_unit_test(test_the_name_in_tls_is_the_name_that_was_allowed),
        cmocka_unit_test(test_a_tls_hello_that_breaks_off_or_never_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
