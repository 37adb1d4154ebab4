#include "cmd/server/core/hub.h"

#include "common/base/list.h"
#include "common/base/map.h"
#include "common/sys/lock.h"

#include <inttypes.h>
#include <stdio.h>

struct hub_subscription {
    struct list link;
    struct hub *hub;
    struct rpc_stream *stream;
    enum hub_topic topic;
    int64_t key;
};

struct listener {
    void (*fn)(void *context, int64_t key);
    void *context;
};

struct hub {
    struct lock lock;
    struct map *subscribers[HUB_TOPIC_COUNT]; /* key -> struct list of subscriptions */
    struct listener listeners[HUB_TOPIC_COUNT];
};

struct hub *hub_create(void)
{
    struct hub *hub = mem_alloc(sizeof(*hub));
    lock_init(&hub->lock, LOCK_RANK_REGISTRY);
    for (int i = 0; i < HUB_TOPIC_COUNT; i++) {
        hub->subscribers[i] = map_create();
    }
    return hub;
}

void hub_destroy(struct hub *hub)
{
    if (hub == NULL) {
        return;
    }
    for (int i = 0; i < HUB_TOPIC_COUNT; i++) {
        map_destroy(hub->subscribers[i], mem_free);
    }
    lock_deinit(&hub->lock);
    mem_free(hub);
}

struct hub_subscription *hub_subscribe(
    struct hub *hub, enum hub_topic topic, int64_t key, struct rpc_stream *stream)
{
    struct hub_subscription *subscription = mem_alloc(sizeof(*subscription));
    subscription->hub = hub;
    subscription->stream = rpc_stream_ref(stream);
    subscription->topic = topic;
    subscription->key = key;
    LOCK_GUARD(&hub->lock);
    struct list *head = map_find(hub->subscribers[topic], map_key_of(&key));
    if (head == NULL) {
        head = mem_alloc(sizeof(*head));
        list_init(head);
        (void)map_put(hub->subscribers[topic], map_key_of(&key), head);
    }
    list_append(head, &subscription->link);
    return subscription;
}

void hub_unsubscribe(struct hub_subscription *subscription)
{
    if (subscription == NULL) {
        return;
    }
    struct hub *hub = subscription->hub;
    lock_acquire(&hub->lock);
    list_remove(&subscription->link);
    struct list *head =
        map_find(hub->subscribers[subscription->topic], map_key_of(&subscription->key));
    if (head != NULL && list_is_empty(head)) {
        (void)map_remove(hub->subscribers[subscription->topic], map_key_of(&subscription->key));
        mem_free(head);
    }
    lock_release(&hub->lock);
    rpc_stream_unref(subscription->stream);
    mem_free(subscription);
}

void hub_publish(struct hub *hub, enum hub_topic topic, int64_t key)
{
    struct listener listener = hub->listeners[topic];
    if (listener.fn != NULL) {
        listener.fn(listener.context, key);
    }
    LOCK_GUARD(&hub->lock);
    struct list *head = map_find(hub->subscribers[topic], map_key_of(&key));
    if (head == NULL) {
        return;
    }
    LIST_FOR_EACH(node, head)
    {
        rpc_stream_wake(LIST_ENTRY(node, struct hub_subscription, link)->stream);
    }
}

static void wake_topic_locked(struct hub *hub, enum hub_topic topic)
{
    size_t cursor = 0;
    struct str_view key;
    void *head = NULL;
    while (map_next(hub->subscribers[topic], &cursor, &key, &head)) {
        LIST_FOR_EACH(node, (struct list *)head)
        {
            rpc_stream_wake(LIST_ENTRY(node, struct hub_subscription, link)->stream);
        }
    }
}

void hub_wake_all(struct hub *hub)
{
    hub_publish(hub, HUB_SESSION, 0);
    LOCK_GUARD(&hub->lock);
    for (int topic = 0; topic < HUB_TOPIC_COUNT; topic++) {
        wake_topic_locked(hub, (enum hub_topic)topic);
    }
}

void hub_set_listener(
    struct hub *hub, enum hub_topic topic, void (*fn)(void *context, int64_t key), void *context)
{
    hub->listeners[topic] = (struct listener){ fn, context };
}

void hub_format(enum hub_topic topic, int64_t key, char *out, size_t out_bytes)
{
    (void)snprintf(out, out_bytes, "%d:%" PRId64, (int)topic, key);
}

enum err_code hub_parse(struct str_view text, enum hub_topic *ret_topic, int64_t *ret_key)
{
    struct str_view head;
    struct str_view rest;
    int64_t topic = 0;
    int64_t key = 0;
    if (!str_cut(text, ':', &head, &rest)) {
        return ERR_INVALID;
    }
    TRY(str_parse_int64(head, 0, HUB_TOPIC_COUNT - 1, &topic));
    TRY(str_parse_int64(rest, INT64_MIN, INT64_MAX, &key));
    *ret_topic = (enum hub_topic)topic;
    *ret_key = key;
    return ERR_OK;
}
