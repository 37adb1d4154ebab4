#include "tools/bench/rpc/load.h"

#include "common/base/cleanup.h"
#include "common/base/time.h"
#include "common/rpc/client.h"
#include "common/rpc/runtime.h"
#include "tools/bench/common/bench.h"
#include "tools/bench/common/process.h"

#include <grpc/byte_buffer.h>
#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <grpc/slice.h>

#include <stdio.h>

enum {
    LATENCIES_MAX = 1 << 20,
    CALL_SECONDS = 30
};

struct load;

/* One call in flight, started again when it ends. */
struct slot {
    struct load *load;
    grpc_channel *channel;
    grpc_metadata authorization;
    grpc_call *call;
    grpc_metadata_array initial;
    grpc_metadata_array trailing;
    grpc_byte_buffer *request; /* sending empties it */
    grpc_byte_buffer *reply;
    grpc_status_code status;
    grpc_slice details;
    struct mono_us started;
};

struct load {
    const struct load_target *target;
    const struct load_shape *shape;
    grpc_completion_queue *cq;
    grpc_channel *channels[LOAD_CONNECTIONS_MAX];
    struct slot *slots;
    grpc_slice path;
    grpc_byte_buffer *request;
    unsigned running;
    bool measuring;
    bool ending;
    grpc_status_code failure; /* of the first call that failed */
    char failure_text[256];
    uint64_t calls;
    double *latencies;
    size_t latency_count;
    size_t reply_bytes;
};

static struct mono_us now(void)
{
    return clock_mono(clock_system());
}

/* Channels to one address would share a connection without a pool of their own. */
static grpc_channel *dial(const struct load_target *target)
{
    grpc_arg args[] = {
        rpc_arg_int(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1),
        rpc_arg_int(GRPC_ARG_ENABLE_HTTP_PROXY, 0),
        rpc_arg_int(GRPC_ARG_HTTP2_BDP_PROBE, 0),
        rpc_arg_text(GRPC_SSL_TARGET_NAME_OVERRIDE_ARG, RPC_PINNED_SERVER_NAME),
    };
    grpc_channel_args all = { ARRAY_LENGTH(args), args };
    grpc_channel_credentials *credentials = target->ca_pem == NULL
        ? grpc_insecure_credentials_create()
        : grpc_ssl_credentials_create(target->ca_pem, NULL, NULL, NULL);
    grpc_channel *channel = grpc_channel_create(target->address, credentials, &all);
    grpc_channel_credentials_release(credentials);
    return channel;
}

static void start_call(struct slot *slot)
{
    struct load *load = slot->load;
    grpc_op ops[6] = {
        { .op = GRPC_OP_SEND_INITIAL_METADATA, .flags = GRPC_INITIAL_METADATA_WAIT_FOR_READY },
        { .op = GRPC_OP_SEND_MESSAGE },
        { .op = GRPC_OP_SEND_CLOSE_FROM_CLIENT },
        { .op = GRPC_OP_RECV_INITIAL_METADATA },
        { .op = GRPC_OP_RECV_MESSAGE },
        { .op = GRPC_OP_RECV_STATUS_ON_CLIENT },
    };
    ops[0].data.send_initial_metadata.count = 1;
    ops[0].data.send_initial_metadata.metadata = &slot->authorization;
    slot->request = grpc_byte_buffer_copy(load->request);
    ops[1].data.send_message.send_message = slot->request;
    ops[3].data.recv_initial_metadata.recv_initial_metadata = &slot->initial;
    ops[4].data.recv_message.recv_message = &slot->reply;
    ops[5].data.recv_status_on_client.trailing_metadata = &slot->trailing;
    ops[5].data.recv_status_on_client.status = &slot->status;
    ops[5].data.recv_status_on_client.status_details = &slot->details;
    slot->started = now();
    slot->call = grpc_channel_create_call(
        slot->channel,
        NULL,
        GRPC_PROPAGATE_DEFAULTS,
        load->cq,
        load->path,
        NULL,
        rpc_time_of((struct mono_us){ slot->started.value + CALL_SECONDS * US_PER_SECOND }),
        NULL);
    grpc_metadata_array_init(&slot->initial);
    grpc_metadata_array_init(&slot->trailing);
    load->running++;
    if (grpc_call_start_batch(slot->call, ops, ARRAY_LENGTH(ops), slot, NULL) != GRPC_CALL_OK) {
        load->running--;
        load->ending = true;
        load->failure = GRPC_STATUS_INTERNAL;
    }
}

static void note_failure(struct load *load, const struct slot *slot)
{
    load->ending = true;
    if (load->failure == GRPC_STATUS_OK) {
        load->failure = slot->status;
        (void)snprintf(
            load->failure_text,
            sizeof(load->failure_text),
            "%.*s",
            (int)GRPC_SLICE_LENGTH(slot->details),
            (const char *)GRPC_SLICE_START_PTR(slot->details));
    }
}

static void end_call(struct slot *slot)
{
    struct load *load = slot->load;
    load->running--;
    if (slot->status != GRPC_STATUS_OK) {
        note_failure(load, slot);
    } else if (load->measuring) {
        load->calls++;
        load->reply_bytes = grpc_byte_buffer_length(slot->reply);
        if (load->latency_count < LATENCIES_MAX) {
            load->latencies[load->latency_count++] = (double)(now().value - slot->started.value);
        }
    }
    grpc_byte_buffer_destroy(slot->request);
    grpc_byte_buffer_destroy(slot->reply);
    slot->reply = NULL;
    grpc_metadata_array_destroy(&slot->initial);
    grpc_metadata_array_destroy(&slot->trailing);
    grpc_slice_unref(slot->details);
    grpc_call_unref(slot->call);
}

/* Until `until`, or until nothing is in flight any more. */
static void pump(struct load *load, struct mono_us until)
{
    while (load->running > 0 && now().value < until.value) {
        grpc_event event = grpc_completion_queue_next(load->cq, rpc_time_of(until), NULL);
        if (event.type == GRPC_OP_COMPLETE) {
            struct slot *slot = event.tag;
            end_call(slot);
            if (!load->ending) {
                start_call(slot);
            }
        }
    }
}

static void open_load(struct load *load)
{
    const struct load_target *target = load->target;
    grpc_slice bytes = grpc_slice_from_copied_buffer(target->request.ptr, target->request.len);
    load->cq = grpc_completion_queue_create_for_next(NULL);
    load->path = grpc_slice_from_static_string(target->path);
    load->request = grpc_raw_byte_buffer_create(&bytes, 1);
    grpc_slice_unref(bytes);
    load->latencies = mem_alloc_array(LATENCIES_MAX, sizeof(*load->latencies));
    load->slots = mem_alloc_array(load->shape->in_flight, sizeof(*load->slots));
    for (unsigned i = 0; i < load->shape->connections; i++) {
        load->channels[i] = dial(target);
    }
    for (unsigned i = 0; i < load->shape->in_flight; i++) {
        unsigned connection = i % load->shape->connections;
        struct str_view token = target->tokens[connection];
        AUTO_FREE char *value = mem_printf("Bearer %.*s", STR_ARG(token));
        load->slots[i].load = load;
        load->slots[i].channel = load->channels[connection];
        load->slots[i].authorization = (grpc_metadata){
            .key = grpc_slice_from_static_string("authorization"),
            .value = grpc_slice_from_copied_string(value),
        };
    }
}

static void close_load(struct load *load)
{
    for (unsigned i = 0; i < load->shape->in_flight; i++) {
        grpc_slice_unref(load->slots[i].authorization.value);
    }
    for (unsigned i = 0; i < load->shape->connections; i++) {
        grpc_channel_destroy(load->channels[i]);
    }
    grpc_byte_buffer_destroy(load->request);
    grpc_completion_queue_shutdown(load->cq);
    while (grpc_completion_queue_next(load->cq, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL).type
           != GRPC_QUEUE_SHUTDOWN) {
    }
    grpc_completion_queue_destroy(load->cq);
    mem_free(load->latencies);
    mem_free(load->slots);
}

static void measure(struct load *load, struct load_result *result)
{
    for (unsigned i = 0; i < load->shape->in_flight; i++) {
        start_call(&load->slots[i]);
    }
    pump(load, (struct mono_us){ now().value + load->shape->warm_us });
    load->measuring = true;
    int64_t cpu = process_cpu_us(load->target->server);
    struct mono_us began = now();
    pump(load, (struct mono_us){ began.value + load->shape->measure_us });
    while (load->calls == 0 && load->running > 0) { /* a slow machine: one call at least */
        pump(load, (struct mono_us){ now().value + US_PER_MS });
    }
    result->server_cpu_us = (double)(process_cpu_us(load->target->server) - cpu);
    result->seconds = (double)(now().value - began.value) / (double)US_PER_SECOND;
    load->measuring = false;
    load->ending = true;
    pump(load, (struct mono_us){ INT64_MAX });
}

enum err_code load_run(
    const struct load_target *target,
    const struct load_shape *shape,
    struct load_result *ret_result,
    struct err_info *err)
{
    struct load load = { .target = target, .shape = shape };
    struct load_result result = { .calls = 0 };
    enum err_code code = ERR_OK;
    open_load(&load);
    measure(&load, &result);
    if (load.failure != GRPC_STATUS_OK) {
        code = ERR_SET(
            err,
            ERR_UNAVAILABLE,
            "%s: status %d: %s",
            target->path,
            (int)load.failure,
            load.failure_text);
    } else if (load.calls == 0) {
        code = ERR_SET(err, ERR_TIMEOUT, "%s: no call ended in time", target->path);
    } else {
        result.calls = load.calls;
        result.server_cpu_us /= (double)load.calls;
        result.p50_us = bench_quantile(load.latencies, load.latency_count, 0.5);
        result.p99_us = bench_quantile(load.latencies, load.latency_count, 0.99);
        result.reply_bytes = load.reply_bytes;
        *ret_result = result;
    }
    close_load(&load);
    return code;
}
