#include "cmd/agent/relay/bridges.h"

#include "cmd/agent/relay/relay.h"
#include "common/base/cleanup.h"
#include "common/base/log.h"
#include "common/base/map.h"
#include "common/wire/timestamp.h"

#include <stdio.h>

enum {
    REFUSALS_MAX = 16, /* streams beside the relays that only say why not */
    REMEMBERED =
        8192 /* ids, those whose time is not over among them: 800 a second, for 10 s each */
};

struct seen {
    int64_t expires_at; /* by the server's clock */
};

struct bridges {
    struct bridges_options options;
    struct list relays;
    size_t count;
    struct map *seen; /* of struct seen, by the id of the order */
};

const struct bridges_options *bridges_options_of(const struct bridges *bridges)
{
    return &bridges->options;
}

void bridges_add(struct bridges *bridges, struct relay *relay)
{
    list_append(&bridges->relays, &relay->link);
    bridges->count++;
}

void bridges_remove(struct bridges *bridges, struct relay *relay)
{
    list_remove(&relay->link);
    bridges->count--;
    if (bridges->count == 0 && bridges->options.idle != NULL) {
        bridges->options.idle(bridges->options.context);
    }
}

struct bridges *bridges_create(const struct bridges_options *options)
{
    struct bridges *bridges = mem_alloc(sizeof(*bridges));
    bridges->options = *options;
    list_init(&bridges->relays);
    bridges->seen = map_create();
    return bridges;
}

static void free_seen(void *value)
{
    mem_free(value);
}

void bridges_destroy(struct bridges *bridges)
{
    if (bridges == NULL) {
        return;
    }
    bridges->options.idle = NULL;
    while (!list_is_empty(&bridges->relays)) {
        relay_destroy(LIST_ENTRY(bridges->relays.next, struct relay, link));
    }
    map_destroy(bridges->seen, free_seen);
    mem_free(bridges);
}

size_t bridges_count(const struct bridges *bridges)
{
    return bridges->count;
}

/* An order acts once: the server may say it again, and so may whoever recorded it. */
enum memory {
    IS_NEW,
    IS_KNOWN,
    IS_FULL
};

static void forget_expired(struct bridges *bridges, struct wall_us now)
{
    size_t cursor = 0;
    struct str_view key;
    void *value = NULL;
    while (map_next(bridges->seen, &cursor, &key, &value)) {
        if (((const struct seen *)value)->expires_at <= now.value) {
            free_seen(map_remove(bridges->seen, key));
        }
    }
}

/* One whose time is over does not come here: its signature is of no use any more. */
static enum memory remember(
    struct bridges *bridges, const Agentgateway__V1__ControlRelayOpen *order, struct wall_us now)
{
    if (map_find(bridges->seen, str_of(order->relay_id)) != NULL) {
        return IS_KNOWN;
    }
    if (map_count(bridges->seen) == REMEMBERED) {
        forget_expired(bridges, now);
    }
    if (map_count(bridges->seen) == REMEMBERED) {
        return IS_FULL;
    }
    struct seen *seen = mem_alloc(sizeof(*seen));
    seen->expires_at = wire_timestamp_us(order->expires_at, 0);
    (void)map_put(bridges->seen, str_of(order->relay_id), seen);
    return IS_NEW;
}

static void refuse(
    struct bridges *bridges,
    const Agentgateway__V1__ControlRelayOpen *order,
    int ack_code,
    const char *reason)
{
    struct relay *relay = NULL;
    struct err_info err = ERR_INFO_INIT;
    log_warn(
        "relay_refused",
        LOG_STR("relay", order->relay_id),
        LOG_STR("actor", order->actor),
        LOG_STR("reason", reason));
    if (bridges->count >= RELAYS_MAX + REFUSALS_MAX) {
        return; /* the operator hears of it by the agent's silence */
    }
    if (relay_create(bridges, order, &relay, &err) != ERR_OK) {
        log_warn("relay_not_opened", LOG_STR("relay", order->relay_id), LOG_ERR(&err));
        return;
    }
    relay_finish_failure(relay, ack_code, "%s", reason);
}

/* What is wrong with it, or NULL. */
static const char *find_fault(
    const struct bridges *bridges,
    const Agentgateway__V1__ControlRelayOpen *order,
    int *ret_ack_code)
{
    struct sandbox_info info;
    if (!sandbox_find(bridges->options.sandboxes, order->sandbox_id, &info)) {
        *ret_ack_code = RELAY_ACK(AGENT_INCAPABLE);
        return "the agent has no such sandbox";
    }
    if (info.status != SANDBOX_STATUS_READY) {
        *ret_ack_code = RELAY_ACK(AGENT_INCAPABLE);
        return "the sandbox is not running";
    }
    if (sandbox_is_behind(bridges->options.sandboxes, order->sandbox_id)) {
        *ret_ack_code = RELAY_ACK(BUSY);
        return "the sandbox does not take what is sent to it; try again";
    }
    if (bridges->count >= RELAYS_MAX) {
        *ret_ack_code = RELAY_ACK(BUSY);
        return "the agent has 64 commands and connections open for operators already; end one";
    }
    return NULL;
}

static void start_target(struct relay *relay, const Agentgateway__V1__ControlRelayOpen *order)
{
    switch (order->target_case) {
    case AGENTGATEWAY__V1__CONTROL_RELAY_OPEN__TARGET_EXEC:
        exec_target_start(relay, order->exec);
        return;
    case AGENTGATEWAY__V1__CONTROL_RELAY_OPEN__TARGET_TCP:
        tcp_target_start(relay, order->tcp);
        return;
    default:
        relay_finish_failure(
            relay, RELAY_ACK(UNIMPLEMENTED), "this agent does not know what the relay is for");
        return;
    }
}

/* The program is asked for before the stream goes out: it starts while the server joins the two. */
static void start(struct bridges *bridges, const Agentgateway__V1__ControlRelayOpen *order)
{
    struct relay *relay = NULL;
    struct err_info err = ERR_INFO_INIT;
    if (relay_create(bridges, order, &relay, &err) != ERR_OK) {
        log_warn("relay_not_opened", LOG_STR("relay", order->relay_id), LOG_ERR(&err));
        return;
    }
    start_target(relay, order);
    relay_introduce(relay);
    log_info(
        "relay_opened",
        LOG_STR("relay", relay->id),
        LOG_STR("sandbox", relay->sandbox_id),
        LOG_STR("actor", order->actor));
}

void bridges_open(
    struct bridges *bridges,
    const struct verify_context *who,
    const Agentgateway__V1__ControlRelayOpen *order)
{
    enum verify_verdict verdict = verify_relay(who, order);
    int ack_code = RELAY_ACK(FORBIDDEN);
    if (verdict == VERIFY_MALFORMED) {
        log_warn("relay_refused", LOG_STR("reason", verify_text(verdict)));
        return; /* its id may be anything */
    }
    if (verdict != VERIFY_OK) {
        refuse(bridges, order, ack_code, verify_text(verdict));
        return;
    }
    enum memory memory = remember(bridges, order, who->now);
    if (memory == IS_KNOWN) {
        log_debug("relay_repeated", LOG_STR("relay", order->relay_id));
        return;
    }
    const char *fault = find_fault(bridges, order, &ack_code);
    if (memory == IS_FULL) {
        ack_code = RELAY_ACK(BUSY);
        fault = "more relays in a few seconds than the agent keeps in mind; try again";
    }
    if (fault != NULL) {
        refuse(bridges, order, ack_code, fault);
        return;
    }
    start(bridges, order);
}
