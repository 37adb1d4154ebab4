/* links: common_rpc */
/*
 * The frame guard under any input, cut in any way. The input is a list of segments: one byte (top
 * bit: from the server; next bit: a second passes first; rest: length), then the bytes. Fed whole,
 * byte by byte, and cut where a generator seeded by the input says, the outcome must be the same.
 */
#include "common/rpc/door/guard.h"

#include <stdlib.h>

enum cut {
    CUT_NONE,
    CUT_BYTES,
    CUT_RANDOM,
    CUT_COUNT
};

struct feed {
    struct guard guard;
    struct mono_us now;
    enum cut cut;
    uint32_t seed;
};

static size_t next_step(struct feed *feed, size_t left)
{
    size_t step = left;
    if (feed->cut == CUT_BYTES) {
        step = 1;
    } else if (feed->cut == CUT_RANDOM) {
        feed->seed = feed->seed * 1664525u + 1013904223u;
        step = 1 + (feed->seed >> 16) % 12;
    }
    return step < left ? step : left;
}

static bool feed_segment(struct feed *feed, bool from_server, const uint8_t *data, size_t bytes)
{
    size_t at = 0;
    bool passes = true;
    while (at < bytes && passes) {
        size_t step = next_step(feed, bytes - at);
        if (from_server) {
            guard_feed_down(&feed->guard, data + at, step);
        } else {
            passes = guard_feed(&feed->guard, data + at, step, feed->now);
        }
        at += step;
    }
    return passes;
}

static struct guard run(const uint8_t *data, size_t bytes, enum cut cut)
{
    struct feed feed = { .now = { US_PER_SECOND }, .cut = cut, .seed = (uint32_t)bytes };
    guard_init(&feed.guard, 100);
    size_t at = 0;
    bool passes = true;
    while (at < bytes && passes) {
        uint8_t control = data[at++];
        size_t length = control & 0x3f;
        length = length < bytes - at ? length : bytes - at;
        if ((control & 0x40) != 0) {
            feed.now.value += US_PER_SECOND;
        }
        passes = feed_segment(&feed, (control & 0x80) != 0, data + at, length);
        at += length;
    }
    return feed.guard;
}

static void check(bool holds)
{
    if (!holds) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct guard whole = run(data, bytes, CUT_NONE);
    check((whole.reason == NULL) == (whole.error == GUARD_NO_ERROR));
    check(whole.reason != NULL || whole.acks <= whole.settings_sent);
    check(whole.block_bytes <= GUARD_HEADER_BLOCK_BYTES || whole.reason != NULL);
    for (enum cut cut = CUT_BYTES; cut < CUT_COUNT; cut++) {
        struct guard split = run(data, bytes, cut);
        check(split.reason == whole.reason && split.error == whole.error);
        check(split.offset == whole.offset && split.opened == whole.opened);
        check(split.last_stream == whole.last_stream && split.acks == whole.acks);
        check(guard_is_down_boundary(&split) == guard_is_down_boundary(&whole));
    }
    uint8_t frames[GUARD_GOAWAY_FRAME_BYTES];
    check(guard_format_goaway(&whole, whole.error, frames) <= sizeof(frames));
    return 0;
}
