/*
 * Links: relays whose operator is at another server. The server that an agent's RelayStream reaches
 * opens a RelayStream of its own at the server that has the operator's, shows a replica pass there,
 * and hands frames on both ways. No more waits here than in a relay (RELAY_QUEUE_BYTES each way,
 * and as much under way to the other server), so a reader that stops stops the agent. Thread-safe.
 */
#ifndef SERVER_RELAY_LINK_H
#define SERVER_RELAY_LINK_H

#include "cmd/server/relay/relay.h"

struct relay_links;

enum err_code relay_links_create(
    const struct service *service, struct relay_links **ret_links, struct err_info *err) MUST_CHECK;

/* Whose certificates the other servers show: ours, since they share the folder. Copied; before the
 * first relay_links_open, and again when it changes. */
void relay_links_trust(struct relay_links *links, const char *ca_pem);

/* After every stream is gone, before relays_destroy. NULL is allowed. */
void relay_links_destroy(struct relay_links *links);

struct relay_link_target {
    const char *address; /* of the server that has the operator's stream: "host:port" */
    struct str_view relay_id;
    int64_t agent_id;
};

/* The agent's stream is one side of the relay it gets. When the other server cannot be reached or
 * refuses, the stream is finished with what it said. */
enum err_code relay_links_open(
    struct relay_links *links,
    const struct relay_link_target *target,
    struct rpc_stream *agent,
    struct relay **ret_relay,
    struct err_info *err) MUST_CHECK;

#endif
