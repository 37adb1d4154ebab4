/*
 * The gRPC library in this process: counted start and stop, its log, and messages as its buffers.
 * Thread-safe. Inside common/rpc only.
 */
#ifndef COMMON_RPC_RUNTIME_H
#define COMMON_RPC_RUNTIME_H

#include "common/base/err.h"
#include "common/base/time.h"

#include <grpc/byte_buffer.h>
#include <grpc/grpc.h>
#include <protobuf-c/protobuf-c.h>

#include <signal.h>
#include <stdatomic.h>

/* Once per server or client; threads of the library block every signal. */
void rpc_runtime_acquire(void);
void rpc_runtime_release(void);

/*
 * Before the library's first lock, as rpc_runtime_acquire does. Debian builds abseil, which is
 * under the library, without NDEBUG, so that its mutexes look for deadlocks: each lock goes into a
 * list of those that the thread holds, and a pair that is new into a graph of all of them, with a
 * stack trace, under one lock of the whole process. That was 4 to 9 % of all processor time here,
 * and an order that only looks wrong aborts the program. false: this abseil does not name the
 * switch as we know it, and all stays as it comes.
 */
bool rpc_ignore_deadlocks(void);

/* Around library calls that may start threads of its own. */
void rpc_signals_block(sigset_t *ret_before);
void rpc_signals_restore(const sigset_t *before);

/* Packs straight into one slice; NULL: more than max_bytes or no memory. */
grpc_byte_buffer *rpc_message_pack(const ProtobufCMessage *message, size_t max_bytes);

/* The bytes of a received message in one piece; release with grpc_slice_unref. false: corrupt. */
bool rpc_message_gather(grpc_byte_buffer *buffer, grpc_slice *ret_slice) MUST_CHECK;

/*
 * What is written before a batch starts is read when it completes, on another thread. The library
 * orders that, but a race detector cannot see into it: these two say it again.
 */
typedef atomic_uint rpc_handoff;

static inline void rpc_handoff_give(rpc_handoff *handoff)
{
    (void)atomic_fetch_add_explicit(handoff, 1, memory_order_release);
}

static inline void rpc_handoff_take(rpc_handoff *handoff)
{
    (void)atomic_load_explicit(handoff, memory_order_acquire);
}

/* A channel argument; name and value are borrowed. */
grpc_arg rpc_arg_int(const char *name, int value);
grpc_arg rpc_arg_text(const char *name, const char *value);

/* Times as the library has them; INT64_MAX is "never". */
gpr_timespec rpc_time_of(struct mono_us deadline);
struct mono_us rpc_time_from(gpr_timespec deadline);
struct mono_us rpc_now(void);

#endif
