/* Each rule of the frame guard with a sequence that passes and one that is refused, whole and byte
 * by byte. */
#include "common/base/buf.h"
#include "common/rpc/door/guard.h"
#include "tests/support/test.h"

#include <string.h>

enum {
    DATA,
    HEADERS,
    PRIORITY,
    RST,
    SETTINGS,
    PUSH,
    PING,
    GOAWAY,
    WINDOW,
    CONTINUATION,
    UNKNOWN
};

enum {
    ACK = 1,
    END_STREAM = 1,
    END_HEADERS = 4,
    PADDED = 8
};

static const char PREFACE[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

struct script {
    struct buf bytes;
    bool acked; /* the server's SETTINGS went down first */
    bool stranger;
};

static void add_frame(
    struct script *script, uint8_t type, uint8_t flags, uint32_t stream, uint32_t length)
{
    static const uint8_t zeros[70000];
    const uint8_t head[9] = {
        (uint8_t)(length >> 16),
        (uint8_t)(length >> 8),
        (uint8_t)length,
        type,
        flags,
        (uint8_t)(stream >> 24),
        (uint8_t)(stream >> 16),
        (uint8_t)(stream >> 8),
        (uint8_t)stream,
    };
    assert_true(length <= sizeof(zeros));
    buf_append(&script->bytes, head, sizeof(head));
    buf_append(&script->bytes, zeros, length);
}

static struct script begin(void)
{
    struct script script = { .bytes = BUF_INIT(64 << 20) };
    buf_append(&script.bytes, PREFACE, sizeof(PREFACE) - 1);
    add_frame(&script, SETTINGS, 0, 0, 18);
    return script;
}

/* The same, and the client has acknowledged. */
static struct script begin_acked(void)
{
    struct script script = begin();
    script.acked = true;
    add_frame(&script, SETTINGS, ACK, 0, 0);
    return script;
}

static void feed_server_settings(struct guard *guard)
{
    const uint8_t settings[9] = { 0, 0, 0, SETTINGS };
    guard_feed_down(guard, settings, sizeof(settings));
}

static struct guard run_split(const struct script *script, size_t step)
{
    struct guard guard;
    guard_init(&guard, 100);
    guard.is_known = !script->stranger;
    if (script->acked) {
        feed_server_settings(&guard);
    }
    const uint8_t *data = (const uint8_t *)script->bytes.data;
    struct mono_us now = { 5 * US_PER_SECOND };
    for (size_t at = 0; at < script->bytes.len; at += step) {
        size_t left = script->bytes.len - at;
        if (!guard_feed(&guard, data + at, left < step ? left : step, now)) {
            break;
        }
    }
    return guard;
}

static void check(struct script *script, bool passes, enum guard_error error)
{
    assert_true(buf_ok(&script->bytes));
    struct guard whole = run_split(script, script->bytes.len);
    if (passes && whole.reason != NULL) {
        print_error("refused: %s at %llu\n", whole.reason, (unsigned long long)whole.offset);
    }
    assert_int_equal(whole.reason == NULL, passes);
    assert_int_equal(whole.error, error);
    const size_t steps[] = { 1, 2, 7, 9, 10, 1000 };
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        struct guard split = run_split(script, steps[i]);
        assert_ptr_equal(split.reason, whole.reason);
        assert_int_equal(split.error, whole.error);
        assert_int_equal(split.offset, whole.offset);
        assert_int_equal(split.opened, whole.opened);
    }
    buf_deinit(&script->bytes);
}

static void passes(struct script script)
{
    check(&script, true, GUARD_NO_ERROR);
}

static void refuses(struct script script, enum guard_error error)
{
    check(&script, false, error);
}

/* grpcio did so now and then: a call that is cancelled at once is reset before its headers go out.
 */
static void test_a_reset_before_the_headers_passes(void **state)
{
    (void)state;
    struct script script = begin_acked();
    add_frame(&script, RST, 0, 1, 4);
    add_frame(&script, RST, 0, 7, 4);
    passes(script);
}

static void test_preface(void **state)
{
    (void)state;
    passes(begin());
    struct script script = { .bytes = BUF_INIT(1000) };
    buf_append(&script.bytes, "GET / HTTP/1.1\r\n\r\n", 18);
    refuses(script, GUARD_PROTOCOL_ERROR);

    script = (struct script){ .bytes = BUF_INIT(1000) };
    buf_append(&script.bytes, PREFACE, 23);
    buf_append(&script.bytes, "x", 1);
    refuses(script, GUARD_PROTOCOL_ERROR);

    struct guard guard;
    guard_init(&guard, 100);
    struct mono_us now = { 0 };
    assert_true(guard_feed(&guard, (const uint8_t *)PREFACE, 23, now));
    assert_false(guard_has_preface(&guard));
    assert_true(guard_feed(&guard, (const uint8_t *)PREFACE + 23, 1, now));
    assert_true(guard_has_preface(&guard));
}

static void test_first_frame_is_settings(void **state)
{
    (void)state;
    struct script script = { .bytes = BUF_INIT(1000) };
    buf_append(&script.bytes, PREFACE, 24);
    add_frame(&script, PING, 0, 0, 8);
    refuses(script, GUARD_PROTOCOL_ERROR);

    script = (struct script){ .bytes = BUF_INIT(1000), .acked = true };
    buf_append(&script.bytes, PREFACE, 24);
    add_frame(&script, SETTINGS, ACK, 0, 0);
    refuses(script, GUARD_PROTOCOL_ERROR);
}

static void test_early_ack(void **state)
{
    (void)state;
    passes(begin_acked());
    struct script script = begin(); /* nothing went down */
    add_frame(&script, SETTINGS, ACK, 0, 0);
    refuses(script, GUARD_PROTOCOL_ERROR);
    script = begin_acked(); /* one went down, two are acknowledged */
    add_frame(&script, SETTINGS, ACK, 0, 0);
    refuses(script, GUARD_PROTOCOL_ERROR);
}

static void test_header_block(void **state)
{
    (void)state;
    struct script script = begin_acked();
    add_frame(&script, HEADERS, 0, 1, 16000);
    add_frame(&script, CONTINUATION, END_HEADERS, 1, 384);
    add_frame(&script, HEADERS, END_HEADERS, 3, 16384);
    passes(script);

    script = begin_acked();
    add_frame(&script, HEADERS, 0, 1, 16000);
    add_frame(&script, CONTINUATION, END_HEADERS, 1, 385);
    refuses(script, GUARD_ENHANCE_YOUR_CALM);

    script = begin_acked();
    add_frame(&script, HEADERS, 0, 1, 10);
    for (unsigned i = 0; i < GUARD_HEADER_BLOCK_FRAMES; i++) {
        add_frame(&script, CONTINUATION, 0, 1, 0);
    }
    refuses(script, GUARD_ENHANCE_YOUR_CALM);

    script = begin_acked();
    add_frame(&script, HEADERS, 0, 1, 10);
    add_frame(&script, CONTINUATION, END_HEADERS, 3, 10);
    refuses(script, GUARD_PROTOCOL_ERROR);

    script = begin_acked();
    add_frame(&script, HEADERS, 0, 1, 10);
    add_frame(&script, PING, 0, 0, 8);
    refuses(script, GUARD_PROTOCOL_ERROR);

    script = begin_acked();
    add_frame(&script, HEADERS, END_HEADERS, 1, 10);
    add_frame(&script, CONTINUATION, END_HEADERS, 1, 10);
    refuses(script, GUARD_PROTOCOL_ERROR);
}

static void test_unacked_headers(void **state)
{
    (void)state;
    struct script script = begin();
    for (uint32_t i = 0; i < 8; i++) {
        add_frame(&script, HEADERS, END_HEADERS | END_STREAM, 1 + 2 * i, 1024);
    }
    passes(script);
    script = begin();
    for (uint32_t i = 0; i < 8; i++) {
        add_frame(&script, HEADERS, END_HEADERS | END_STREAM, 1 + 2 * i, 1024);
    }
    add_frame(&script, HEADERS, END_HEADERS | END_STREAM, 101, 1);
    refuses(script, GUARD_ENHANCE_YOUR_CALM);
    script = begin_acked();
    for (uint32_t i = 0; i < 50; i++) {
        add_frame(&script, HEADERS, END_HEADERS | END_STREAM, 1 + 2 * i, 1024);
    }
    passes(script);
}

static void test_unacked_streams(void **state)
{
    (void)state;
    struct script script = begin();
    for (uint32_t i = 0; i < 100; i++) {
        add_frame(&script, HEADERS, END_HEADERS, 1 + 2 * i, 20);
    }
    passes(script);
    script = begin();
    for (uint32_t i = 0; i < 101; i++) {
        add_frame(&script, HEADERS, END_HEADERS, 1 + 2 * i, 20);
    }
    refuses(script, GUARD_ENHANCE_YOUR_CALM);
}

static void test_stream_numbers(void **state)
{
    (void)state;
    struct script script = begin_acked();
    add_frame(&script, HEADERS, END_HEADERS, 13, 20);              /* numbers may be left out */
    add_frame(&script, HEADERS, END_HEADERS, 0x80000000 | 15, 20); /* the reserved bit is ignored */
    add_frame(&script, DATA, 0, 15, 100);
    add_frame(&script, HEADERS, END_HEADERS | END_STREAM, 13, 20); /* trailers */
    passes(script);
    script = begin_acked();
    add_frame(&script, HEADERS, END_HEADERS, 2, 20);
    refuses(script, GUARD_PROTOCOL_ERROR);
    script = begin_acked();
    add_frame(&script, HEADERS, END_HEADERS, 0, 20);
    refuses(script, GUARD_PROTOCOL_ERROR);
    script = begin_acked();
    add_frame(&script, DATA, 0, 1, 20);
    refuses(script, GUARD_PROTOCOL_ERROR);
    script = begin_acked();
    add_frame(&script, HEADERS, END_HEADERS, 3, 20);
    add_frame(&script, DATA, 0, 0, 20);
    refuses(script, GUARD_PROTOCOL_ERROR);
}

static void test_sizes(void **state)
{
    (void)state;

    static const struct {
        uint8_t type;
        uint8_t flags;
        uint32_t stream;
        uint32_t good;
        uint32_t bad;
    } rows[] = {
        { RST, 0, 1, 4, 5 },
        { PING, 0, 0, 8, 7 },
        { PING, ACK, 0, 8, 0 },
        { WINDOW, 0, 0, 4, 3 },
        { WINDOW, 0, 1, 4, 8 },
        { PRIORITY, 0, 7, 5, 6 },
        { SETTINGS, 0, 0, 192, 198 },
        { SETTINGS, 0, 0, 0, 5 },
        { GOAWAY, 0, 0, 8, 7 },
        { GOAWAY, 0, 0, 4096, 4097 },
        { UNKNOWN, 0, 0, 16384, 16385 },
        { DATA, 0, 1, 16384, 16385 },
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct script script = begin_acked();
        add_frame(&script, HEADERS, END_HEADERS, 1, 20);
        add_frame(&script, rows[i].type, rows[i].flags, rows[i].stream, rows[i].good);
        passes(script);
        script = begin_acked();
        add_frame(&script, HEADERS, END_HEADERS, 1, 20);
        add_frame(&script, rows[i].type, rows[i].flags, rows[i].stream, rows[i].bad);
        refuses(script, GUARD_FRAME_SIZE_ERROR);
    }
}

static void test_wrong_streams(void **state)
{
    (void)state;

    static const struct {
        uint8_t type;
        uint32_t stream;
        uint32_t length;
    } rows[] = {
        { RST, 0, 4 },      { RST, 2, 4 },    { PING, 1, 8 },  { SETTINGS, 1, 6 }, { WINDOW, 3, 4 },
        { PRIORITY, 0, 5 }, { GOAWAY, 1, 8 }, { PUSH, 1, 10 }, { PUSH, 0, 0 },
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct script script = begin_acked();
        add_frame(&script, HEADERS, END_HEADERS, 1, 20);
        add_frame(&script, rows[i].type, 0, rows[i].stream, rows[i].length);
        refuses(script, GUARD_PROTOCOL_ERROR);
    }
}

static void test_rates(void **state)
{
    (void)state;

    static const struct {
        enum guard_rate rate;
        uint8_t type;
        uint8_t flags;
        uint32_t stream;
        uint32_t length;
    } rows[] = {
        { GUARD_RATE_RESET, RST, 0, 1, 4 },
        { GUARD_RATE_PING, PING, 0, 0, 8 },
        { GUARD_RATE_PING, PING, ACK, 0, 8 },
        { GUARD_RATE_EMPTY_DATA, DATA, 0, 1, 0 },
        { GUARD_RATE_WINDOW, WINDOW, 0, 0, 4 },
        { GUARD_RATE_WINDOW, WINDOW, 0, 1, 4 },
        { GUARD_RATE_OTHER, UNKNOWN, 0, 0, 0 },
        { GUARD_RATE_OTHER, PRIORITY, 0, 5, 5 },
        { GUARD_RATE_OTHER, GOAWAY, 0, 0, 8 },
        { GUARD_RATE_OTHER, DATA, PADDED, 1, 10 },
        { GUARD_RATE_OTHER, HEADERS, END_HEADERS, 1, 10 },
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        for (uint32_t extra = 0; extra < 2; extra++) {
            struct script script = begin_acked();
            add_frame(&script, HEADERS, END_HEADERS, 1, 20);
            for (uint32_t n = 0; n < guard_rate_limit(rows[i].rate) + extra; n++) {
                add_frame(&script, rows[i].type, rows[i].flags, rows[i].stream, rows[i].length);
            }
            check(&script, extra == 0, extra == 0 ? GUARD_NO_ERROR : GUARD_ENHANCE_YOUR_CALM);
        }
    }
}

/* However the bytes are cut: nothing behind the head that has to wait is taken before. */
static void test_a_stream_that_is_not_openable_waits(void **state)
{
    (void)state;
    for (size_t step = 1; step < 30; step++) {
        struct script script = begin_acked();
        struct guard guard;
        guard_init(&guard, 100);
        guard.openable = 2;
        feed_server_settings(&guard);
        for (uint32_t stream = 1; stream < 6; stream += 2) {
            add_frame(&script, HEADERS, END_HEADERS, stream, 10);
        }
        const uint8_t *data = (const uint8_t *)script.bytes.data;
        size_t waits_at = script.bytes.len - 10 - 1; /* before the head's last byte */
        struct mono_us now = { 5 * US_PER_SECOND };
        while (!guard.is_waiting) {
            size_t left = script.bytes.len - guard.offset;
            assert_true(guard_feed(&guard, data + guard.offset, left < step ? left : step, now));
        }
        assert_int_equal(guard.opened, 2);
        assert_int_equal(guard.offset, waits_at);
        assert_true(guard_feed(&guard, data + waits_at, 1, now));
        assert_true(guard.is_waiting);
        assert_int_equal(guard.offset, waits_at);
        guard.openable = 3;
        assert_true(guard_feed(&guard, data + waits_at, script.bytes.len - waits_at, now));
        assert_false(guard.is_waiting);
        assert_int_equal(guard.opened, 3);
        assert_int_equal(guard.offset, script.bytes.len);
        buf_deinit(&script.bytes);
    }
}

static void test_strangers_reset_less(void **state)
{
    (void)state;
    for (uint32_t extra = 0; extra < 2; extra++) {
        struct script script = begin_acked();
        script.stranger = true;
        add_frame(&script, HEADERS, END_HEADERS, 1, 20);
        for (uint32_t n = 0; n < GUARD_STRANGER_RESETS + extra; n++) {
            add_frame(&script, RST, 0, 1, 4);
        }
        check(&script, extra == 0, extra == 0 ? GUARD_NO_ERROR : GUARD_ENHANCE_YOUR_CALM);
    }
}

static void test_settings_rate(void **state)
{
    (void)state;
    for (uint32_t extra = 0; extra < 2; extra++) {
        struct script script = begin(); /* holds one */
        for (uint32_t n = 1; n < guard_rate_limit(GUARD_RATE_SETTINGS) + extra; n++) {
            add_frame(&script, SETTINGS, 0, 0, 6);
        }
        check(&script, extra == 0, extra == 0 ? GUARD_NO_ERROR : GUARD_ENHANCE_YOUR_CALM);
    }
}

static void test_open_rate(void **state)
{
    (void)state;
    struct guard guard;
    struct script script = begin_acked();
    guard_init(&guard, 100);
    feed_server_settings(&guard);
    struct mono_us now = { US_PER_SECOND };
    assert_true(guard_feed(&guard, (const uint8_t *)script.bytes.data, script.bytes.len, now));
    uint32_t limit = guard_rate_limit(GUARD_RATE_OPEN);
    for (uint32_t i = 0; i <= limit; i++) {
        buf_clear(&script.bytes);
        add_frame(&script, HEADERS, END_HEADERS | END_STREAM, 1 + 2 * i, 2);
        assert_int_equal(
            guard_feed(&guard, (const uint8_t *)script.bytes.data, script.bytes.len, now),
            i < limit);
    }
    assert_int_equal(guard.error, GUARD_ENHANCE_YOUR_CALM);
    buf_deinit(&script.bytes);
}

static void test_empty_ends(void **state)
{
    (void)state;
    struct script script = begin_acked();
    for (uint32_t i = 0; i < 500; i++) { /* how calls of some clients end */
        add_frame(&script, HEADERS, END_HEADERS, 1 + 2 * i, 20);
        add_frame(&script, DATA, 0, 1 + 2 * i, 30);
        add_frame(&script, DATA, END_STREAM, 1 + 2 * i, 0);
    }
    passes(script);
    script = begin_acked();
    add_frame(&script, HEADERS, END_HEADERS, 1, 20);
    add_frame(&script, DATA, END_STREAM, 1, 0);
    add_frame(&script, DATA, END_STREAM, 1, 0);
    refuses(script, GUARD_PROTOCOL_ERROR);
}

/* Counters start again each second: a keepalive of ten seconds, or a slow drip, goes on for ever.
 */
static void test_window_turns(void **state)
{
    (void)state;
    struct guard guard;
    struct script script = begin_acked();
    guard_init(&guard, 100);
    feed_server_settings(&guard);
    struct mono_us now = { US_PER_SECOND };
    assert_true(guard_feed(&guard, (const uint8_t *)script.bytes.data, script.bytes.len, now));
    for (unsigned second = 0; second < 50; second++) {
        now.value += US_PER_SECOND;
        for (uint32_t i = 0; i < guard_rate_limit(GUARD_RATE_PING); i++) {
            buf_clear(&script.bytes);
            add_frame(&script, PING, 0, 0, 8);
            assert_true(
                guard_feed(&guard, (const uint8_t *)script.bytes.data, script.bytes.len, now));
        }
    }
    assert_false(guard_feed(&guard, (const uint8_t *)script.bytes.data, script.bytes.len, now));
    /* refused for good */
    now.value += 10 * US_PER_SECOND;
    assert_false(guard_feed(&guard, (const uint8_t *)script.bytes.data, script.bytes.len, now));
    buf_deinit(&script.bytes);
}

static void feed_down_frame(
    struct guard *guard, uint8_t type, uint8_t flags, uint32_t length, size_t step)
{
    struct script down = { .bytes = BUF_INIT(100000) };
    add_frame(&down, type, flags, 1, length);
    for (size_t at = 0; at < down.bytes.len; at += step) {
        size_t left = down.bytes.len - at;
        guard_feed_down(guard, (const uint8_t *)down.bytes.data + at, left < step ? left : step);
        assert_int_equal(guard_is_down_boundary(guard), left <= step);
    }
    buf_deinit(&down.bytes);
}

/* What the server sends pays for pings, window updates and resets of streams it has ended. */
static void test_credits(void **state)
{
    (void)state;

    static const struct {
        enum guard_rate rate;
        uint8_t type;
        uint32_t stream;
        uint32_t length;
        uint32_t credit; /* of one DATA frame of 2 KiB that ends its stream */
    } rows[] = {
        { GUARD_RATE_PING, PING, 0, 8, 1 },
        { GUARD_RATE_WINDOW, WINDOW, 1, 4, 4 },
        { GUARD_RATE_RESET, RST, 1, 4, 1 },
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct guard guard;
        struct script script = begin_acked();
        struct mono_us now = { US_PER_SECOND };
        guard_init(&guard, 100);
        guard.is_known = true;
        feed_server_settings(&guard);
        add_frame(&script, HEADERS, END_HEADERS, 1, 20);
        assert_true(guard_feed(&guard, (const uint8_t *)script.bytes.data, script.bytes.len, now));
        for (size_t n = 0; n < 10; n++) {
            feed_down_frame(&guard, DATA, END_STREAM, 2048, 1 + 3 * n);
        }
        uint32_t allowed = guard_rate_limit(rows[i].rate) + 10 * rows[i].credit;
        for (uint32_t n = 0; n <= allowed; n++) {
            buf_clear(&script.bytes);
            add_frame(&script, rows[i].type, 0, rows[i].stream, rows[i].length);
            assert_int_equal(
                guard_feed(&guard, (const uint8_t *)script.bytes.data, script.bytes.len, now),
                n < allowed);
        }
        buf_deinit(&script.bytes);
    }
}

/* 256 MiB in frames as clients cut them. */
static void test_big_upload(void **state)
{
    (void)state;
    struct guard guard;
    struct script script = begin_acked();
    struct mono_us now = { US_PER_SECOND };
    guard_init(&guard, 100);
    feed_server_settings(&guard);
    add_frame(&script, HEADERS, END_HEADERS, 1, 200);
    assert_true(guard_feed(&guard, (const uint8_t *)script.bytes.data, script.bytes.len, now));
    buf_clear(&script.bytes);
    for (unsigned i = 0; i < 16; i++) {
        add_frame(&script, DATA, 0, 1, 16384);
    }
    for (unsigned i = 0; i < 1024; i++) {
        assert_true(guard_feed(&guard, (const uint8_t *)script.bytes.data, script.bytes.len, now));
    }
    buf_deinit(&script.bytes);
}

static void test_goaway(void **state)
{
    (void)state;
    struct guard guard;
    uint8_t out[GUARD_GOAWAY_FRAME_BYTES];
    guard_init(&guard, 100);
    assert_int_equal(guard_format_goaway(&guard, GUARD_ENHANCE_YOUR_CALM, out), 26);
    assert_int_equal(out[3], SETTINGS);
    assert_int_equal(out[9 + 3], GOAWAY);
    assert_int_equal(out[25], 0xb);
    feed_server_settings(&guard);
    assert_int_equal(guard_format_goaway(&guard, GUARD_PROTOCOL_ERROR, out), 17);
    assert_int_equal(out[3], GOAWAY);
    assert_int_equal(out[16], 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_preface),
        cmocka_unit_test(test_a_reset_before_the_headers_passes),
        cmocka_unit_test(test_first_frame_is_settings),
        cmocka_unit_test(test_early_ack),
        cmocka_unit_test(test_header_block),
        cmocka_unit_test(test_unacked_headers),
        cmocka_unit_test(test_unacked_streams),
        cmocka_unit_test(test_stream_numbers),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_wrong_streams),
        cmocka_unit_test(test_rates),
        cmocka_unit_test(test_settings_rate),
        cmocka_unit_test(test_a_stream_that_is_not_openable_waits),
        cmocka_unit_test(test_strangers_reset_less),
        cmocka_unit_test(test_open_rate),
        cmocka_unit_test(test_empty_ends),
        cmocka_unit_test(test_window_turns),
        cmocka_unit_test(test_credits),
        cmocka_unit_test(test_big_upload),
        cmocka_unit_test(test_goaway),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
