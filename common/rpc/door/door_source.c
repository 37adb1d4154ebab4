#include "common/rpc/door/door_private.h"

#include <string.h>

enum {
    SOURCES_UNSWEPT_MAX = 4096,
    SOURCES_MAX = 65536,
    SOURCE_IPV6_BYTES = 8, /* of a /64 */
};

static const int64_t waiting_look_us = 20 * US_PER_MS;

/* ---- The table ---- */

/* What one connection that nobody vouched for weighs is gone after a while by itself. */
static void leak(const struct door *door, struct source *source, struct mono_us now)
{
    double passed_s = (double)(now.value - source->leaked.value) / (double)US_PER_SECOND;
    double left = source->strangers
        - passed_s * (double)door->options.limits.strangers_per_second_per_address;
    source->strangers = left > 0 ? left : 0;
    source->leaked = now;
}

/* Nothing would be different if it came for the first time. */
static bool is_forgotten(const struct door *door, struct source *source, struct mono_us now)
{
    if (source->open > 0 || now.value - source->window_start.value < US_PER_SECOND) {
        return false;
    }
    leak(door, source, now);
    return source->strangers <= 0;
}

static void forget(struct door *door, struct source *source)
{
    (void)map_remove(door->sources, str_from((const char *)source->key, sizeof(source->key)));
    list_remove(&source->link);
    mem_free(source);
}

static void sweep(struct door *door, struct mono_us now)
{
    size_t cursor = 0;
    struct str_view key;
    void *value = NULL;
    door->sources_swept = now;
    while (map_next(door->sources, &cursor, &key, &value)) {
        if (is_forgotten(door, value, now)) {
            forget(door, value);
        }
    }
}

/* NULL: the table is full. */
static struct source *find(struct door *door, const uint8_t key[16], struct mono_us now)
{
    struct str_view name = str_from((const char *)key, 16);
    struct source *source = map_find(door->sources, name);
    if (source != NULL) {
        return source;
    }
    if (map_count(door->sources) >= SOURCES_UNSWEPT_MAX
        && now.value - door->sources_swept.value >= US_PER_SECOND) {
        sweep(door, now);
    }
    if (map_count(door->sources) >= SOURCES_MAX) {
        return NULL;
    }
    source = mem_alloc(sizeof(*source));
    memcpy(source->key, key, sizeof(source->key));
    source->window_start = now;
    source->leaked = now;
    list_init(&source->waiting);
    list_init(&source->link);
    (void)map_put(door->sources, name, source);
    return source;
}

struct source *door_enter_source(struct door *door, const uint8_t address[NETWORK_ADDRESS_BYTES])
{
    const struct rpc_limits *limits = &door->options.limits;
    struct mono_us now = loop_now(door->loop);
    uint8_t key[NETWORK_ADDRESS_BYTES] = { 0 };
    memcpy(key, address, network_is_ipv4(address) ? sizeof(key) : SOURCE_IPV6_BYTES);
    struct source *source = find(door, key, now);
    if (source == NULL) {
        return NULL;
    }
    if (now.value - source->window_start.value >= US_PER_SECOND) {
        source->window_start = now;
        source->recent = 0;
    }
    if (source->open >= limits->connections_per_address
        || source->recent >= limits->handshakes_per_second_per_address) {
        return NULL;
    }
    source->recent++;
    source->open++;
    return source;
}

void door_release_source(struct door *door, struct source *source)
{
    if (source == NULL) {
        return;
    }
    source->open--;
    if (is_forgotten(door, source, loop_now(door->loop))) {
        forget(door, source);
    }
}

/* ---- Strangers of one address ---- */

static bool has_room(struct door *door, struct source *source)
{
    leak(door, source, loop_now(door->loop));
    return source->strangers + 1 <= (double)door->options.limits.strangers_per_address;
}

static void count_stranger(struct conn *conn)
{
    conn->source->strangers += 1;
    conn->is_counted = true;
}

/* Those who may begin now take their turn among the handshakes. */
static void admit_waiting(struct door *door, struct source *source)
{
    while (!list_is_empty(&source->waiting) && has_room(door, source)) {
        struct conn *conn = LIST_ENTRY(list_pop(&source->waiting), struct conn, ready);
        count_stranger(conn);
        list_append(&door->handshakes, &conn->ready);
        door_after_batch(door);
    }
    if (list_is_empty(&source->waiting)) {
        list_remove(&source->link);
    }
}

bool door_admit_stranger(struct conn *conn)
{
    struct door *door = conn->door;
    struct source *source = conn->source;
    if (source == NULL || conn->is_counted) {
        return true;
    }
    if (list_is_empty(&source->waiting) && has_room(door, source)) {
        count_stranger(conn);
        return true;
    }
    list_remove(&conn->ready);
    list_append(&source->waiting, &conn->ready);
    if (list_is_empty(&door->waiting_sources)) {
        loop_timer_arm_after(door->waiting_timer, waiting_look_us);
    }
    if (list_is_empty(&source->link)) {
        list_append(&door->waiting_sources, &source->link);
    }
    return false;
}

void door_vouch(struct conn *conn)
{
    struct source *source = conn->source;
    if (!conn->is_counted || !atomic_load(&rpc_peer_state(conn->peer)->is_known)) {
        return;
    }
    conn->is_counted = false;
    source->strangers = source->strangers > 1 ? source->strangers - 1 : 0;
    admit_waiting(conn->door, source);
}

void door_on_waiting(void *context)
{
    struct door *door = context;
    LIST_FOR_EACH(node, &door->waiting_sources)
    {
        admit_waiting(door, LIST_ENTRY(node, struct source, link));
    }
    if (!list_is_empty(&door->waiting_sources)) {
        loop_timer_arm_after(door->waiting_timer, waiting_look_us);
    }
}
