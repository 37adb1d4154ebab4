/* The hub: who is woken by what. Streams are counters here: only their wake is asked for. */
#include "cmd/server/core/hub.h"
#include "common/base/cleanup.h"
#include "common/sys/thread.h"
#include "tests/support/test.h"

#include <stdatomic.h>
#include <stdio.h>

struct rpc_stream {
    atomic_int references;
    atomic_int wakes;
};

struct rpc_stream *rpc_stream_ref(struct rpc_stream *stream)
{
    atomic_fetch_add(&stream->references, 1);
    return stream;
}

void rpc_stream_unref(struct rpc_stream *stream)
{
    atomic_fetch_sub(&stream->references, 1);
}

void rpc_stream_wake(struct rpc_stream *stream)
{
    atomic_fetch_add(&stream->wakes, 1);
}

static void test_only_topic_and_key_are_woken(void **state)
{
    (void)state;
    struct rpc_stream first = { 0, 0 };
    struct rpc_stream second = { 0, 0 };
    struct hub *hub = hub_create();
    struct hub_subscription *a = hub_subscribe(hub, HUB_AGENTS, 1, &first);
    struct hub_subscription *b = hub_subscribe(hub, HUB_AGENTS, 1, &second);
    struct hub_subscription *c = hub_subscribe(hub, HUB_AGENTS, 2, &second);
    assert_int_equal(first.references, 1);
    assert_int_equal(second.references, 2);
    hub_publish(hub, HUB_AGENTS, 1);
    hub_publish(hub, HUB_AGENTS, 3);
    hub_publish(hub, HUB_COMMANDS, 1);
    assert_int_equal(first.wakes, 1);
    assert_int_equal(second.wakes, 1);
    hub_unsubscribe(a);
    hub_publish(hub, HUB_AGENTS, 1);
    assert_int_equal(first.wakes, 1);
    assert_int_equal(second.wakes, 2);
    hub_publish(hub, HUB_AGENTS, 2);
    assert_int_equal(second.wakes, 3);
    hub_unsubscribe(b);
    hub_unsubscribe(c);
    hub_unsubscribe(NULL);
    hub_publish(hub, HUB_AGENTS, 1);
    assert_int_equal(first.references, 0);
    assert_int_equal(second.references, 0);
    hub_destroy(hub);
    hub_destroy(NULL);
}

struct heard {
    int count;
    int64_t key;
};

static void hear(void *context, int64_t key)
{
    struct heard *heard = context;
    heard->count++;
    heard->key = key;
}

static void test_the_listener_hears_its_topic(void **state)
{
    (void)state;
    struct heard heard = { 0, 0 };
    struct hub *hub = hub_create();
    hub_set_listener(hub, HUB_SESSION, hear, &heard);
    hub_publish(hub, HUB_AGENTS, 4);
    assert_int_equal(heard.count, 0);
    hub_publish(hub, HUB_SESSION, 7);
    assert_int_equal(heard.count, 1);
    assert_int_equal(heard.key, 7);
    hub_destroy(hub);
}

static void test_every_payload_reads_back(void **state)
{
    (void)state;
    const int64_t keys[] = { 0, 1, -1, INT64_MAX, INT64_MIN };
    for (int topic = 0; topic < HUB_TOPIC_COUNT; topic++) {
        for (size_t i = 0; i < ARRAY_LENGTH(keys); i++) {
            char text[48];
            enum hub_topic read = HUB_TOPIC_COUNT;
            int64_t key = 77;
            hub_format((enum hub_topic)topic, keys[i], text, sizeof(text));
            assert_ok(hub_parse(str_of(text), &read, &key));
            assert_int_equal(read, topic);
            assert_int_equal(key, keys[i]);
        }
    }
}

static void test_foreign_payloads_are_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "",     ":",     "1", "1:", ":1", "x:1", "1:x", "-1:1", "99:1", "1:99999999999999999999",
        "1:1 ", "1:1:1",
    };
    for (size_t i = 0; i < ARRAY_LENGTH(texts); i++) {
        enum hub_topic topic = HUB_TOPIC_COUNT;
        int64_t key = 77;
        assert_int_not_equal(hub_parse(str_of(texts[i]), &topic, &key), ERR_OK);
        assert_int_equal(key, 77);
    }
}

struct crowd {
    struct hub *hub;
    struct rpc_stream stream;
};

static void come_and_go(void *context)
{
    struct crowd *crowd = context;
    for (int64_t i = 0; i < 2000; i++) {
        struct hub_subscription *subscription =
            hub_subscribe(crowd->hub, HUB_EVENTS, i % 3, &crowd->stream);
        hub_publish(crowd->hub, HUB_EVENTS, (i + 1) % 3);
        hub_unsubscribe(subscription);
    }
}

static void test_threads_come_and_go(void **state)
{
    (void)state;
    struct err_info err = ERR_INFO_INIT;
    struct thread threads[4] = { { .running = false } };
    struct crowd crowd = { .hub = hub_create() };
    for (size_t i = 0; i < ARRAY_LENGTH(threads); i++) {
        assert_ok_err(err, thread_start(&threads[i], "crowd", come_and_go, &crowd, &err));
    }
    for (size_t i = 0; i < ARRAY_LENGTH(threads); i++) {
        thread_join(&threads[i]);
    }
    assert_int_equal(crowd.stream.references, 0);
    hub_destroy(crowd.hub);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_only_topic_and_key_are_woken),
        cmocka_unit_test(test_the_listener_hears_its_topic),
        cmocka_unit_test(test_every_payload_reads_back),
        cmocka_unit_test(test_foreign_payloads_are_refused),
        cmocka_unit_test(test_threads_come_and_go),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
