/* Unary calls of the client: one batch each; the waiting thread or the executor gets the reply. */
#include "common/rpc/client.h"

#include "common/rpc/client_private.h"

#include <grpc/slice.h>

#define UNARY_DEADLINE_US (30 * US_PER_SECOND)

struct unary {
    struct rpc_operation operation; /* first: shared by both kinds */
    struct rpc_client_tag tag;
    const ProtobufCMessageDescriptor *reply_type;
    grpc_byte_buffer *request;
    grpc_byte_buffer *reply;
    /* blocking */
    struct lock lock;
    struct lock_cond finished;
    bool done;
    /* event-driven */
    struct rpc_executor executor;
    rpc_reply_fn on_done;
    void *context;
};

static void destroy(struct unary *unary)
{
    rpc_operation_deinit(&unary->operation);
    grpc_byte_buffer_destroy(unary->request);
    grpc_byte_buffer_destroy(unary->reply);
    lock_cond_deinit(&unary->finished);
    lock_deinit(&unary->lock);
    mem_free(unary);
}

static void on_blocking_done(void *owner, bool ok)
{
    (void)ok;
    struct unary *unary = owner;
    LOCK_GUARD(&unary->lock);
    unary->done = true;
    lock_cond_signal(&unary->finished);
}

static enum err_code take_result(
    struct unary *unary, struct arena *arena, ProtobufCMessage **ret_reply, struct err_info *err)
{
    TRY(rpc_operation_result(&unary->operation, err));
    return rpc_operation_unpack(
        &unary->operation, unary->reply_type, STEAL(unary->reply), arena, ret_reply, err);
}

static void deliver(void *argument)
{
    struct unary *unary = argument;
    struct err_info err = ERR_INFO_INIT;
    ProtobufCMessage *reply = NULL;
    AUTO_ARENA struct arena *arena = arena_create(RPC_CLIENT_ARENA_BYTES);
    enum err_code code = take_result(unary, arena, &reply, &err);
    unary->on_done(unary->context, code, code == ERR_OK ? reply : NULL, &err);
    destroy(unary);
}

static void on_async_done(void *owner, bool ok)
{
    (void)ok;
    struct unary *unary = owner;
    if (!unary->executor.post(unary->executor.context, deliver, unary)) {
        destroy(unary); /* the executor has ended, and its owner with it */
    }
}

static enum err_code start(struct unary *unary, const struct rpc_call_options *options)
{
    grpc_op ops[6];
    memset(ops, 0, sizeof(ops));
    rpc_operation_fill_header(&unary->operation, options, &ops[0]);
    ops[1].op = GRPC_OP_SEND_MESSAGE;
    ops[1].data.send_message.send_message = unary->request;
    ops[2].op = GRPC_OP_SEND_CLOSE_FROM_CLIENT;
    ops[3].op = GRPC_OP_RECV_INITIAL_METADATA;
    ops[3].data.recv_initial_metadata.recv_initial_metadata = &unary->operation.initial;
    ops[4].op = GRPC_OP_RECV_MESSAGE;
    ops[4].data.recv_message.recv_message = &unary->reply;
    rpc_operation_fill_status(&unary->operation, &ops[5]);
    return rpc_client_batch(&unary->operation, ops, ARRAY_LENGTH(ops), &unary->tag) ? ERR_OK
                                                                                    : ERR_CANCELED;
}

/* NULL: ret_code tells why. */
static struct unary *create(
    struct rpc_channel *channel,
    const char *path,
    const ProtobufCMessage *request,
    const struct rpc_call_options *options,
    enum err_code *ret_code,
    struct err_info *err)
{
    grpc_byte_buffer *packed = rpc_message_pack(request, RPC_CLIENT_SEND_MAX);
    if (packed == NULL) {
        *ret_code = ERR_SET(err, ERR_LIMIT, "the request is too large");
        return NULL;
    }
    struct unary *unary = mem_alloc(sizeof(*unary));
    *ret_code =
        rpc_operation_init(&unary->operation, channel, path, options, UNARY_DEADLINE_US, err);
    if (*ret_code != ERR_OK) {
        grpc_byte_buffer_destroy(packed);
        mem_free(unary);
        return NULL;
    }
    unary->request = packed;
    lock_init(&unary->lock, LOCK_RANK_LEAF);
    lock_cond_init(&unary->finished);
    return unary;
}

/* Two of the eight are results. NOLINTNEXTLINE(readability-function-size) */
enum err_code rpc_channel_call(
    struct rpc_channel *channel,
    const char *path,
    const ProtobufCMessage *request,
    const ProtobufCMessageDescriptor *reply_type,
    const struct rpc_call_options *options,
    struct arena *arena,
    ProtobufCMessage **ret_reply,
    struct err_info *err)
{
    enum err_code code = ERR_OK;
    struct unary *unary = create(channel, path, request, options, &code, err);
    if (unary == NULL) {
        return code;
    }
    unary->reply_type = reply_type;
    unary->tag = (struct rpc_client_tag){ .done = on_blocking_done, .owner = unary };
    code = start(unary, options);
    if (code != ERR_OK) {
        destroy(unary);
        return ERR_SET(err, code, "%s: the call could not start", path);
    }
    lock_acquire(&unary->lock);
    while (!unary->done) {
        lock_cond_wait(&unary->finished, &unary->lock);
    }
    lock_release(&unary->lock);
    code = take_result(unary, arena, ret_reply, err);
    destroy(unary);
    return code;
}

/* A call that could not even start still answers on the executor. */
struct failure {
    rpc_reply_fn done;
    void *context;
    enum err_code code;
    struct err_info err;
};

static void deliver_failure(void *argument)
{
    struct failure *failure = argument;
    failure->done(failure->context, failure->code, NULL, &failure->err);
    mem_free(failure);
}

static void fail_async(
    const struct rpc_executor *executor,
    rpc_reply_fn done,
    void *context,
    enum err_code code,
    const struct err_info *err)
{
    struct failure *failure = mem_alloc(sizeof(*failure));
    *failure = (struct failure){ .done = done, .context = context, .code = code, .err = *err };
    if (!executor->post(executor->context, deliver_failure, failure)) {
        mem_free(failure);
    }
}

/* What a call is, and where its answer goes. NOLINTNEXTLINE(readability-function-size) */
void rpc_channel_call_async(
    struct rpc_channel *channel,
    const char *path,
    const ProtobufCMessage *request,
    const ProtobufCMessageDescriptor *reply_type,
    const struct rpc_call_options *options,
    const struct rpc_executor *executor,
    rpc_reply_fn done,
    void *context)
{
    struct err_info err = ERR_INFO_INIT;
    enum err_code code = ERR_OK;
    struct unary *unary = create(channel, path, request, options, &code, &err);
    if (unary == NULL) {
        fail_async(executor, done, context, code, &err);
        return;
    }
    unary->reply_type = reply_type;
    unary->executor = *executor;
    unary->on_done = done;
    unary->context = context;
    unary->tag = (struct rpc_client_tag){ .done = on_async_done, .owner = unary };
    code = start(unary, options);
    if (code != ERR_OK) {
        code = ERR_SET(&err, code, "%s: the call could not start", path);
        destroy(unary);
        fail_async(executor, done, context, code, &err);
    }
}
