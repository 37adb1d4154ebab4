#include "common/rpc/peer.h"

#include "common/base/cleanup.h"

#include <string.h>

struct record {
    atomic_uint references;
    struct rpc_peer_state state;
    struct rpc_peer peer;
    char listener[];
};

struct rpc_peer *rpc_peer_create(const struct rpc_peer *values)
{
    size_t name_bytes = strlen(values->listener) + 1;
    struct record *record = mem_alloc(sizeof(*record) + name_bytes);
    atomic_init(&record->references, 1);
    record->peer = *values;
    memcpy(record->listener, values->listener, name_bytes);
    record->peer.listener = record->listener;
    atomic_init(&record->state.is_known, values->kind == RPC_PEER_UNIX);
    return &record->peer;
}

struct rpc_peer_state *rpc_peer_state(struct rpc_peer *peer)
{
    return &CONTAINER_OF(peer, struct record, peer)->state;
}

bool rpc_peer_is_known(const struct rpc_peer *peer)
{
    const void *record = (const char *)peer - offsetof(struct record, peer);
    return atomic_load(&((const struct record *)record)->state.is_known);
}

struct rpc_peer *rpc_peer_ref(struct rpc_peer *peer)
{
    struct record *record = CONTAINER_OF(peer, struct record, peer);
    (void)atomic_fetch_add_explicit(&record->references, 1, memory_order_relaxed);
    return peer;
}

void rpc_peer_unref(struct rpc_peer *peer)
{
    if (peer == NULL) {
        return;
    }
    struct record *record = CONTAINER_OF(peer, struct record, peer);
    if (atomic_fetch_sub_explicit(&record->references, 1, memory_order_acq_rel) == 1) {
        mem_free(record);
    }
}
