/*
 * What the files of the client share. Every operation holds a reference to its channel and stands
 * in its list, so that destroying the channel can cancel it; the library's objects go when the last
 * operation has ended.
 */
#ifndef COMMON_RPC_CLIENT_PRIVATE_H
#define COMMON_RPC_CLIENT_PRIVATE_H

#include "common/base/list.h"
#include "common/rpc/client.h"
#include "common/rpc/runtime.h"
#include "common/sys/lock.h"
#include "common/sys/thread.h"

#include <grpc/byte_buffer.h>
#include <grpc/grpc.h>

#include <stdatomic.h>

enum {
    RPC_HEADERS_MAX = 16,
    RPC_CLIENT_ARENA_BYTES = 256 * 1024 * 1024,
    RPC_CLIENT_QUEUE_MAX = 4 * 1024 * 1024,
    RPC_CLIENT_SEND_MAX = 64 * 1024 * 1024,
};

struct rpc_client {
    const struct wire_schema *schema;
    grpc_completion_queue *cq;
    struct thread poller;
    atomic_size_t batches; /* not completed yet */
    atomic_bool closing;   /* no further batch may start */
    struct lock lock;
    struct lock_cond idle;
};

struct rpc_channel {
    struct rpc_client *client;
    grpc_channel *core;
    char *target;
    atomic_uint refs;
    struct lock lock;
    struct list operations; /* open ones; guarded by lock */
    bool closing;
};

/* One completion of the library. */
struct rpc_client_tag {
    void (*done)(void *owner, bool ok);
    void *owner;
    rpc_handoff handoff;
};

/* What unary calls and streams have in common. */
struct rpc_operation {
    struct list node;
    struct rpc_channel *channel;
    grpc_call *core;
    grpc_metadata headers[RPC_HEADERS_MAX];
    size_t header_count;
    grpc_metadata_array initial;
    grpc_metadata_array trailing;
    grpc_status_code status;
    grpc_slice details;
};

/* Starts a batch; false: refused, no completion comes. The caller serialises the batches of one
 * call. */
bool rpc_client_batch(
    struct rpc_operation *operation, const grpc_op *ops, size_t count, struct rpc_client_tag *tag)
    MUST_CHECK;

void rpc_channel_ref(struct rpc_channel *channel);
void rpc_channel_unref(struct rpc_channel *channel);

/* Makes the library's call; ERR_CANCELED: the channel is being destroyed. */
enum err_code rpc_operation_init(
    struct rpc_operation *operation,
    struct rpc_channel *channel,
    const char *path,
    const struct rpc_call_options *options,
    int64_t default_deadline_us,
    struct err_info *err) MUST_CHECK;
void rpc_operation_deinit(struct rpc_operation *operation);

void rpc_operation_fill_header(
    struct rpc_operation *operation, const struct rpc_call_options *options, grpc_op *op);
void rpc_operation_fill_status(struct rpc_operation *operation, grpc_op *op);

/* The status the library gave, as an error whose text names the target where that helps. */
enum err_code rpc_operation_result(const struct rpc_operation *operation, struct err_info *err);

/* Unpacks take_buffer (NULL: no message). */
enum err_code rpc_operation_unpack(
    const struct rpc_operation *operation,
    const ProtobufCMessageDescriptor *type,
    grpc_byte_buffer *take_buffer,
    struct arena *arena,
    ProtobufCMessage **ret_message,
    struct err_info *err) MUST_CHECK;

#endif
