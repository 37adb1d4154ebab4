/* Client runtime and channels: what is set on a connection, and how its errors read. */
#include "common/crypto/cert.h"
#include "common/rpc/client_private.h"
#include "common/wire/wire.h"

#include <grpc/grpc_security.h>
#include <grpc/slice.h>

enum {
    CHANNEL_ARGS_MAX = 24,
    RPC_REPLY_DEFAULT = 4 * 1024 * 1024
};

static void count_down(struct rpc_client *client)
{
    if (atomic_fetch_sub(&client->batches, 1) == 1 && atomic_load(&client->closing)) {
        LOCK_GUARD(&client->lock);
        lock_cond_broadcast(&client->idle);
    }
}

static void poll(void *context)
{
    struct rpc_client *client = context;
    for (;;) {
        grpc_event event =
            grpc_completion_queue_next(client->cq, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
        if (event.type == GRPC_QUEUE_SHUTDOWN) {
            return;
        }
        if (event.type == GRPC_OP_COMPLETE) {
            struct rpc_client_tag *tag = event.tag;
            rpc_handoff_take(&tag->handoff);
            tag->done(tag->owner, event.success != 0);
            count_down(client);
        }
    }
}

bool rpc_client_batch(
    struct rpc_operation *operation, const grpc_op *ops, size_t count, struct rpc_client_tag *tag)
{
    struct rpc_client *client = operation->channel->client;
    atomic_fetch_add(&client->batches, 1);
    rpc_handoff_give(&tag->handoff);
    if (!atomic_load(&client->closing)
        && grpc_call_start_batch(operation->core, ops, count, tag, NULL) == GRPC_CALL_OK) {
        return true;
    }
    count_down(client);
    return false;
}

enum err_code rpc_client_create(
    const struct wire_schema *schema, struct rpc_client **ret_client, struct err_info *err)
{
    struct rpc_client *client = mem_alloc(sizeof(*client));
    client->schema = schema;
    lock_init(&client->lock, LOCK_RANK_LEAF);
    lock_cond_init(&client->idle);
    rpc_runtime_acquire();
    client->cq = grpc_completion_queue_create_for_next(NULL);
    enum err_code code = thread_start(&client->poller, "rpc-client", poll, client, err);
    if (code != ERR_OK) {
        rpc_client_destroy(client);
        return code;
    }
    *ret_client = client;
    return ERR_OK;
}

void rpc_client_destroy(struct rpc_client *client)
{
    if (client == NULL) {
        return;
    }
    atomic_store(&client->closing, true);
    lock_acquire(&client->lock);
    while (atomic_load(&client->batches) > 0) { /* the channels are gone: all of it was cancelled */
        lock_cond_wait(&client->idle, &client->lock);
    }
    lock_release(&client->lock);
    grpc_completion_queue_shutdown(client->cq);
    if (client->poller.running) {
        thread_join(&client->poller);
    } else {
        poll(client);
    }
    grpc_completion_queue_destroy(client->cq);
    lock_cond_deinit(&client->idle);
    lock_deinit(&client->lock);
    mem_free(client);
    rpc_runtime_release();
}

static int ms_of(int64_t us, int64_t fallback_us)
{
    int64_t ms = (us == 0 ? fallback_us : us) / US_PER_MS;
    return ms > INT32_MAX ? INT32_MAX : (int)ms;
}

/*
 * Keepalive without calls keeps the way through a NAT open; local subchannels keep one channel's
 * back-off from slowing another.
 */
static size_t fill_args(const struct rpc_channel_options *options, grpc_arg args[CHANNEL_ARGS_MAX])
{
    size_t n = 0;
    size_t reply = options->max_reply_bytes == 0 ? RPC_REPLY_DEFAULT : options->max_reply_bytes;
    args[n++] = rpc_arg_int(GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH, (int)reply);
    args[n++] = rpc_arg_int(GRPC_ARG_MAX_SEND_MESSAGE_LENGTH, RPC_CLIENT_SEND_MAX);
    args[n++] =
        rpc_arg_int(GRPC_ARG_KEEPALIVE_TIME_MS, ms_of(options->keepalive_us, 30 * US_PER_SECOND));
    args[n++] = rpc_arg_int(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 15000);
    args[n++] = rpc_arg_int(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
    args[n++] = rpc_arg_int(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
    args[n++] = rpc_arg_int(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 1000);
    args[n++] = rpc_arg_int(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 10000);
    args[n++] = rpc_arg_int(
        GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, ms_of(options->max_reconnect_us, US_PER_MINUTE));
    args[n++] = rpc_arg_int(GRPC_ARG_HTTP2_BDP_PROBE, 0);
    args[n++] = rpc_arg_int(GRPC_ARG_MAX_METADATA_SIZE, 8192);
    args[n++] = rpc_arg_int(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
    args[n++] = rpc_arg_int(GRPC_ARG_SERVICE_CONFIG_DISABLE_RESOLUTION, 1);
    args[n++] = rpc_arg_int(GRPC_ARG_ENABLE_CHANNELZ, 0);
    args[n++] = rpc_arg_int(GRPC_ARG_ENABLE_RETRIES, 0);
    args[n++] = rpc_arg_int(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    args[n++] =
        rpc_arg_int(GRPC_COMPRESSION_CHANNEL_ENABLED_ALGORITHMS_BITSET, 1 << GRPC_COMPRESS_NONE);
    if (options->user_agent != NULL) {
        args[n++] = rpc_arg_text(GRPC_ARG_PRIMARY_USER_AGENT_STRING, options->user_agent);
    }
    if (options->ca_pem != NULL && options->server_name != NULL) {
        args[n++] = rpc_arg_text(GRPC_SSL_TARGET_NAME_OVERRIDE_ARG, options->server_name);
        args[n++] = rpc_arg_text(GRPC_ARG_DEFAULT_AUTHORITY, options->server_name);
    }
    return n;
}

enum err_code rpc_channel_create(
    struct rpc_client *client,
    const struct rpc_channel_options *options,
    struct rpc_channel **ret_channel,
    struct err_info *err)
{
    uint8_t fingerprint[32];
    if (options->ca_pem != NULL /* the library would only say so at the first connection */
        && cert_fingerprint(options->ca_pem, false, fingerprint, NULL) != ERR_OK) {
        return ERR_SET(err, ERR_INVALID, "the CA for %s holds no certificate", options->target);
    }
    grpc_arg args[CHANNEL_ARGS_MAX];
    grpc_channel_args all = { fill_args(options, args), args };
    sigset_t before;
    rpc_signals_block(&before);
    grpc_channel_credentials *credentials = options->ca_pem == NULL
        ? grpc_insecure_credentials_create()
        : grpc_ssl_credentials_create(options->ca_pem, NULL, NULL, NULL);
    grpc_channel *core =
        credentials == NULL ? NULL : grpc_channel_create(options->target, credentials, &all);
    if (credentials != NULL) {
        grpc_channel_credentials_release(credentials);
    }
    rpc_signals_restore(&before);
    if (core == NULL) {
        return ERR_SET(err, ERR_INVALID, "%s: not a usable target", options->target);
    }
    struct rpc_channel *channel = mem_alloc(sizeof(*channel));
    channel->client = client;
    channel->core = core;
    channel->target = mem_strdup(options->target);
    atomic_init(&channel->refs, 1);
    lock_init(&channel->lock, LOCK_RANK_CHANNEL);
    list_init(&channel->operations);
    *ret_channel = channel;
    return ERR_OK;
}

void rpc_channel_ref(struct rpc_channel *channel)
{
    atomic_fetch_add(&channel->refs, 1);
}

void rpc_channel_unref(struct rpc_channel *channel)
{
    if (atomic_fetch_sub(&channel->refs, 1) == 1) {
        grpc_channel_destroy(channel->core);
        lock_deinit(&channel->lock);
        mem_free(channel->target);
        mem_free(channel);
    }
}

void rpc_channel_destroy(struct rpc_channel *channel)
{
    if (channel == NULL) {
        return;
    }
    lock_acquire(&channel->lock);
    channel->closing = true;
    LIST_FOR_EACH(node, &channel->operations)
    {
        (void)grpc_call_cancel(LIST_ENTRY(node, struct rpc_operation, node)->core, NULL);
    }
    lock_release(&channel->lock);
    rpc_channel_unref(channel);
}

static struct mono_us deadline_of(const struct rpc_call_options *options, int64_t fallback_us)
{
    int64_t delay =
        options != NULL && options->deadline_us > 0 ? options->deadline_us : fallback_us;
    return (struct mono_us){ delay <= 0 ? INT64_MAX : rpc_now().value + delay };
}

static enum err_code copy_headers(
    struct rpc_operation *operation, const struct rpc_call_options *options, struct err_info *err)
{
    size_t count = options == NULL ? 0 : options->header_count;
    if (count > RPC_HEADERS_MAX) {
        return ERR_SET(err, ERR_LIMIT, "more than %d headers", RPC_HEADERS_MAX);
    }
    for (size_t i = 0; i < count; i++) {
        grpc_slice key = grpc_slice_from_copied_string(options->headers[i].name);
        grpc_slice value = grpc_slice_from_copied_string(options->headers[i].value);
        operation->headers[operation->header_count++] =
            (grpc_metadata){ .key = key, .value = value };
        if (!grpc_header_key_is_legal(key) || !grpc_header_nonbin_value_is_legal(value)) {
            return ERR_SET(
                err, ERR_INVALID, "header %s: not a legal header", options->headers[i].name);
        }
    }
    return ERR_OK;
}

static void release_headers(struct rpc_operation *operation)
{
    for (size_t i = 0; i < operation->header_count; i++) {
        grpc_slice_unref(operation->headers[i].key);
        grpc_slice_unref(operation->headers[i].value);
    }
    operation->header_count = 0;
}

enum err_code rpc_operation_init(
    struct rpc_operation *operation,
    struct rpc_channel *channel,
    const char *path,
    const struct rpc_call_options *options,
    int64_t default_deadline_us,
    struct err_info *err)
{
    list_init(&operation->node);
    enum err_code code = copy_headers(operation, options, err);
    if (code != ERR_OK) {
        release_headers(operation);
        return code;
    }
    lock_acquire(&channel->lock);
    bool closing = channel->closing;
    lock_release(&channel->lock);
    if (closing) {
        release_headers(operation);
        return ERR_SET(err, ERR_CANCELED, "the connection is being closed");
    }
    grpc_slice method = grpc_slice_from_copied_string(path);
    operation->core = grpc_channel_create_call(
        channel->core,
        NULL,
        GRPC_PROPAGATE_DEFAULTS,
        channel->client->cq,
        method,
        NULL,
        rpc_time_of(deadline_of(options, default_deadline_us)),
        NULL);
    grpc_slice_unref(method);
    rpc_channel_ref(channel);
    operation->channel = channel;
    operation->details = grpc_empty_slice();
    grpc_metadata_array_init(&operation->initial);
    grpc_metadata_array_init(&operation->trailing);
    LOCK_GUARD(&channel->lock);
    list_append(&channel->operations, &operation->node);
    if (channel->closing) {
        (void)grpc_call_cancel(operation->core, NULL);
    }
    return ERR_OK;
}

void rpc_operation_deinit(struct rpc_operation *operation)
{
    struct rpc_channel *channel = operation->channel;
    lock_acquire(&channel->lock);
    list_remove(&operation->node);
    lock_release(&channel->lock);
    release_headers(operation);
    grpc_metadata_array_destroy(&operation->initial);
    grpc_metadata_array_destroy(&operation->trailing);
    grpc_slice_unref(operation->details);
    grpc_call_unref(operation->core);
    rpc_channel_unref(channel);
}

void rpc_operation_fill_header(
    struct rpc_operation *operation, const struct rpc_call_options *options, grpc_op *op)
{
    *op = (grpc_op){ .op = GRPC_OP_SEND_INITIAL_METADATA };
    op->data.send_initial_metadata.count = operation->header_count;
    op->data.send_initial_metadata.metadata = operation->headers;
    if (options != NULL && options->wait_for_ready) {
        op->flags = GRPC_INITIAL_METADATA_WAIT_FOR_READY
            | GRPC_INITIAL_METADATA_WAIT_FOR_READY_EXPLICITLY_SET;
    }
}

void rpc_operation_fill_status(struct rpc_operation *operation, grpc_op *op)
{
    *op = (grpc_op){ .op = GRPC_OP_RECV_STATUS_ON_CLIENT };
    op->data.recv_status_on_client.trailing_metadata = &operation->trailing;
    op->data.recv_status_on_client.status = &operation->status;
    op->data.recv_status_on_client.status_details = &operation->details;
}

static bool contains(struct str_view text, const char *part)
{
    return memmem(text.ptr, text.len, part, strlen(part)) != NULL;
}

/* What to do about a server that cannot be reached, from what the library says about it. */
static const char *advice_of(struct str_view text)
{
    static const struct {
        const char *part;
        const char *advice;
    } known[] = {
        { "certificate verify failed", "its certificate is not from the CA this client trusts" },
        { "Peer name", "its certificate does not carry the expected name" },
        { "Hostname Verification", "its certificate does not carry the expected name" },
        { "WRONG_VERSION_NUMBER", "it does not speak TLS; is this the plaintext port?" },
        { "andshake", "the TLS handshake failed; check the CA and that the port speaks TLS" },
        { "DNS resolution", "the name does not resolve; check the address" },
        { "No such file", "there is no such socket; is the server running on this machine?" },
        { "Permission denied", "this user may not open the socket" },
        { "refused", "nothing listens there; is the server running and the port right?" },
        { "unreachable", "the network does not reach it" },
        { "imeout", "it does not answer; is a firewall in between?" },
        { "Socket closed", "it closed the connection; is it restarting, or is this a TLS port?" },
        { "GOAWAY", "it closed the connection; try again" },
        { "failed to connect", "check that the server runs and that the address is right" },
    };

    for (size_t i = 0; i < ARRAY_LENGTH(known); i++) {
        if (contains(text, known[i].part)) {
            return known[i].advice;
        }
    }
    return NULL;
}

enum err_code rpc_operation_result(const struct rpc_operation *operation, struct err_info *err)
{
    enum err_code code = rpc_err_of((enum rpc_status)operation->status);
    struct str_view text = str_from(
        (const char *)GRPC_SLICE_START_PTR(operation->details),
        GRPC_SLICE_LENGTH(operation->details));
    const char *target = operation->channel->target;
    const char *advice = code == ERR_UNAVAILABLE ? advice_of(text) : NULL;
    if (code == ERR_OK) {
        return ERR_OK;
    }
    if (advice != NULL) {
        code = ERR_SET(
            err, code, "cannot reach the server at %s: %s (%.*s)", target, advice, STR_ARG(text));
    } else if (code == ERR_TIMEOUT && (text.len == 0 || contains(text, "Deadline Exceeded"))) {
        code = ERR_SET(err, code, "the server at %s did not answer in time", target);
    } else if (text.len == 0) {
        code = ERR_SET(err, code, "%s", rpc_status_name((enum rpc_status)operation->status));
    } else {
        code = ERR_SET(err, code, "%.*s", STR_ARG(text));
    }
    if (err != NULL) {
        err->retryable = code == ERR_UNAVAILABLE;
    }
    return code;
}

enum err_code rpc_operation_unpack(
    const struct rpc_operation *operation,
    const ProtobufCMessageDescriptor *type,
    grpc_byte_buffer *take_buffer,
    struct arena *arena,
    ProtobufCMessage **ret_message,
    struct err_info *err)
{
    grpc_slice bytes;
    bool whole = take_buffer != NULL && rpc_message_gather(take_buffer, &bytes);
    grpc_byte_buffer_destroy(take_buffer);
    if (!whole) {
        return ERR_SET(err, ERR_CORRUPT, "the server sent no readable message");
    }
    enum err_code code = wire_unpack_lenient(
        operation->channel->client->schema,
        type,
        GRPC_SLICE_START_PTR(bytes),
        GRPC_SLICE_LENGTH(bytes),
        arena,
        ret_message,
        err);
    grpc_slice_unref(bytes);
    return code;
}
