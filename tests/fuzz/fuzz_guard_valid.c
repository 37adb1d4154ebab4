/* links: common_rpc test_nghttp2 */
/*
 * The frame guard beside nghttp2: a client session of nghttp2 does what the input says, and a
 * server session of nghttp2 reads what the guard has let through. Whatever nghttp2 sends, at the
 * pace of a client that behaves, the guard passes; and what it passes nghttp2 accepts.
 */
#include "common/base/cleanup.h"
#include "common/rpc/door/guard.h"

#include <nghttp2/nghttp2.h>
#include <stdlib.h>
#include <string.h>

enum {
    STREAMS = 64, /* open at once; below what the guard allows before an acknowledgement */
    OPERATIONS_MAX = 400,
    VALUE_BYTES_MAX = 1500
};

struct pair {
    struct guard guard;
    struct mono_us now;
    nghttp2_session *client;
    nghttp2_session *server;
    const uint8_t *input;
    size_t left;
    int32_t streams[STREAMS]; /* of the client, open; 0: none */
    size_t body_left[STREAMS];
    unsigned open;
};

static void check(bool holds)
{
    if (!holds) {
        abort();
    }
}

static unsigned next(struct pair *pair)
{
    if (pair->left == 0) {
        return 0;
    }
    pair->left--;
    return *pair->input++;
}

/* ---- The sessions ---- */

static ssize_t give_body(
    nghttp2_session *session,
    int32_t stream,
    uint8_t *out,
    size_t room,
    uint32_t *flags,
    nghttp2_data_source *source,
    void *context)
{
    (void)session;
    (void)stream;
    (void)context;
    size_t *left = source->ptr;
    size_t bytes = *left < room ? *left : room;
    memset(out, 'd', bytes);
    *left -= bytes;
    *flags |= *left == 0 ? (uint32_t)NGHTTP2_DATA_FLAG_EOF : 0;
    return (ssize_t)bytes;
}

static int on_client_close(nghttp2_session *session, int32_t stream, uint32_t error, void *context)
{
    (void)session;
    (void)error;
    struct pair *pair = context;
    for (size_t i = 0; i < STREAMS; i++) {
        if (pair->streams[i] == stream) {
            pair->streams[i] = 0;
            pair->open--;
        }
    }
    return 0;
}

/* The server answers every request that has ended. */
static int on_server_frame(nghttp2_session *session, const nghttp2_frame *frame, void *context)
{
    (void)context;
    static char name[] = ":status";
    static char value[] = "200";
    bool has_ended = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    if ((frame->hd.type == NGHTTP2_DATA || frame->hd.type == NGHTTP2_HEADERS) && has_ended) {
        const nghttp2_nv status = {
            (uint8_t *)name, (uint8_t *)value, sizeof(name) - 1, sizeof(value) - 1, 0,
        };
        (void)nghttp2_submit_response(session, frame->hd.stream_id, &status, 1, NULL);
    }
    return 0;
}

static void open_pair(struct pair *pair)
{
    nghttp2_session_callbacks *callbacks = NULL;
    const nghttp2_settings_entry limit = { NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, STREAMS };
    check(nghttp2_session_callbacks_new(&callbacks) == 0);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_client_close);
    check(nghttp2_session_client_new(&pair->client, callbacks, pair) == 0);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, NULL);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_server_frame);
    check(nghttp2_session_server_new(&pair->server, callbacks, pair) == 0);
    nghttp2_session_callbacks_del(callbacks);
    check(nghttp2_submit_settings(pair->client, NGHTTP2_FLAG_NONE, NULL, 0) == 0);
    check(nghttp2_submit_settings(pair->server, NGHTTP2_FLAG_NONE, &limit, 1) == 0);
}

/* Everything that either side wants to send, through the guard, until both are silent. */
static void exchange(struct pair *pair)
{
    const uint8_t *data = NULL;
    ssize_t up = 0;
    ssize_t down = 0;
    do {
        down = nghttp2_session_mem_send(pair->server, &data);
        check(down >= 0);
        if (down > 0) {
            guard_feed_down(&pair->guard, data, (size_t)down);
            check(nghttp2_session_mem_recv(pair->client, data, (size_t)down) == down);
        }
        up = nghttp2_session_mem_send(pair->client, &data);
        check(up >= 0);
        if (up > 0) {
            check(guard_feed(&pair->guard, data, (size_t)up, pair->now));
            check(nghttp2_session_mem_recv(pair->server, data, (size_t)up) == up);
        }
    } while (up > 0 || down > 0);
}

/* ---- What a client may do ---- */

static size_t free_place(const struct pair *pair)
{
    size_t place = 0;
    while (place < STREAMS && pair->streams[place] != 0) {
        place++;
    }
    return place;
}

static nghttp2_nv field(char *name, char *value, size_t value_bytes)
{
    return (nghttp2_nv){
        (uint8_t *)name, (uint8_t *)value, strlen(name), value_bytes, NGHTTP2_NV_FLAG_NONE
    };
}

static void submit_request(struct pair *pair)
{
    static char names[5][16] = { ":method", ":scheme", ":path", ":authority", "x-more" };
    static char values[4][16] = { "POST", "https", "/a.B/C", "localhost" };
    char more[VALUE_BYTES_MAX];
    size_t place = free_place(pair);
    if (place == STREAMS) {
        return;
    }
    size_t bytes = (next(pair) * 7 + next(pair)) % sizeof(more);
    memset(more, 'a' + (int)(next(pair) % 26), sizeof(more));
    nghttp2_nv fields[ARRAY_LENGTH(names)];
    for (size_t i = 0; i < ARRAY_LENGTH(values); i++) {
        fields[i] = field(names[i], values[i], strlen(values[i]));
    }
    fields[4] = field(names[4], more, bytes);
    pair->body_left[place] = next(pair) * 97u;
    nghttp2_data_provider body = { .source.ptr = &pair->body_left[place],
                                   .read_callback = give_body };
    bool has_body = next(pair) % 4 != 0;
    pair->streams[place] = nghttp2_submit_request(
        pair->client, NULL, fields, ARRAY_LENGTH(fields), has_body ? &body : NULL, NULL);
    check(pair->streams[place] > 0);
    pair->open++;
}

static void reset_one(struct pair *pair)
{
    size_t place = next(pair) % STREAMS;
    if (pair->streams[place] != 0) {
        (void)nghttp2_submit_rst_stream(
            pair->client, NGHTTP2_FLAG_NONE, pair->streams[place], NGHTTP2_CANCEL);
    }
}

static void open_window(struct pair *pair)
{
    (void)nghttp2_submit_window_update(
        pair->client, NGHTTP2_FLAG_NONE, 0, (int32_t)(1 + next(pair) * 16));
}

static void change_settings(struct pair *pair)
{
    const nghttp2_settings_entry entry = { NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE,
                                           65535 + next(pair) * 256 };
    (void)nghttp2_submit_settings(pair->client, NGHTTP2_FLAG_NONE, &entry, 1);
}

static void set_priority(struct pair *pair)
{
    nghttp2_priority_spec priority;
    size_t place = next(pair) % STREAMS;
    if (pair->streams[place] != 0) {
        nghttp2_priority_spec_init(&priority, 0, 1 + (int32_t)(next(pair) % 256), 0);
        (void)nghttp2_submit_priority(
            pair->client, NGHTTP2_FLAG_NONE, pair->streams[place], &priority);
    }
}

static void ping(struct pair *pair)
{
    (void)nghttp2_submit_ping(pair->client, NGHTTP2_FLAG_NONE, NULL);
}

static void answer_pings(struct pair *pair)
{
    (void)nghttp2_submit_ping(pair->server, NGHTTP2_FLAG_NONE, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static void (*const operations[])(struct pair * pair) = {
        submit_request, submit_request, submit_request,  reset_one,    open_window,
        ping,           answer_pings,   change_settings, set_priority,
    };
    struct pair pair = { .now = { US_PER_SECOND }, .input = data, .left = bytes };
    guard_init(&pair.guard, STREAMS);
    pair.guard.is_known = true;
    open_pair(&pair);
    exchange(&pair);
    for (unsigned i = 0; i < OPERATIONS_MAX && pair.left > 0; i++) {
        operations[next(&pair) % ARRAY_LENGTH(operations)](&pair);
        if (i % 4 == 3) {
            exchange(&pair);
        }
        pair.now.value += i % 32 == 31 ? US_PER_SECOND : 0;
    }
    exchange(&pair);
    check(pair.guard.reason == NULL && pair.guard.acks == 1);
    nghttp2_session_del(pair.client);
    nghttp2_session_del(pair.server);
    return 0;
}
