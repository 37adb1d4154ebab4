/*
 * The hub: who wants to be woken when something changes. Publishing says only that something of a
 * topic and key may have changed; the rows are the truth, so a lost or doubled wake harms nothing
 * (streams also look by themselves every few seconds). Thread-safe.
 */
#ifndef SERVER_CORE_HUB_H
#define SERVER_CORE_HUB_H

#include "common/rpc/call.h"

enum hub_topic {
    HUB_AGENTS,    /* key: workspace */
    HUB_COMMANDS,  /* key: workspace: states of commands */
    HUB_OUTBOX,    /* key: agent: a command waits for it */
    HUB_TELEMETRY, /* key: workspace */
    HUB_EVENTS,    /* key: workspace */
    HUB_AUDIT,     /* key: workspace */
    HUB_SANDBOXES, /* key: workspace: phases, policies */
    HUB_RELAYS,    /* key: agent: a relay waits to be opened */
    HUB_SESSION, /* key: agent: its session began or ended; key 0: forget every cached credential */
    HUB_FIGURES, /* key: workspace: somebody looks at what its sandboxes use */
    HUB_TOPIC_COUNT
};

#define HUB_BIT(topic) (UINT32_C(1) << (topic))

struct hub;
struct hub_subscription;

struct hub *hub_create(void);
void hub_destroy(struct hub *hub); /* after every subscription is gone */

/* The stream is referenced until the subscription ends; it is woken by rpc_stream_wake. */
struct hub_subscription *hub_subscribe(
    struct hub *hub, enum hub_topic topic, int64_t key, struct rpc_stream *stream);
void hub_unsubscribe(struct hub_subscription *subscription); /* NULL is allowed */

void hub_publish(struct hub *hub, enum hub_topic topic, int64_t key);

/* Wakes everybody, and forgets every cached credential: after a time in which wakes may have been
 * lost. */
void hub_wake_all(struct hub *hub);

/* Runs on every publish of the topic, on the publisher's thread; at most one per topic; set at
 * start. */
void hub_set_listener(
    struct hub *hub, enum hub_topic topic, void (*fn)(void *context, int64_t key), void *context);

/* "topic:key", the payload of a notification between replicas. */
void hub_format(enum hub_topic topic, int64_t key, char *out, size_t out_bytes);
enum err_code hub_parse(struct str_view text, enum hub_topic *ret_topic, int64_t *ret_key)
    MUST_CHECK;

#endif
