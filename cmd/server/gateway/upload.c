/*
 * UploadTelemetry and UploadEvents: each message becomes a record for the writer; the one answer at
 * the end comes after every record's commit. When the writer's queue is full the stream stops
 * reading, and with it, through flow control, the agent.
 */
#include "cmd/server/auth/principal.h"
#include "cmd/server/gateway/gateway.h"
#include "cmd/server/ingest/ingest.h"
#include "common/base/log.h"
#include "common/sys/lock.h"
#include "common/wire/timestamp.h"
#include "common/wire/wire.h"

#include "proto/agentgateway/v1/agentgateway.pb-c.h"

#include <inttypes.h>

/* Records of one stream that may wait for their commit at a time. */
enum {
    IN_FLIGHT_MAX = 256
};

struct upload {
    struct service *service;
    struct rpc_stream *stream; /* referenced */
    struct record_source source;
    bool is_event_stream;
    /* Of the stream's own events. */
    struct record *waiting; /* found the queue full */
    bool half_closed;
    bool finished;
    /* Shared with the writer. */
    struct lock lock;
    unsigned references; /* the stream and each record in flight */
    unsigned in_flight;
    int64_t accepted;
    int64_t acked_sequence;
    enum err_code failure;
};

static void upload_unref(struct upload *upload)
{
    lock_acquire(&upload->lock);
    bool last = --upload->references == 0;
    lock_release(&upload->lock);
    if (last) {
        rpc_stream_unref(upload->stream);
        record_destroy(upload->waiting);
        lock_deinit(&upload->lock);
        mem_free(upload);
    }
}

static enum err_code upload_open(struct rpc_stream *stream, void **ret_state, struct err_info *err)
{
    (void)err;
    struct rpc_call *call = rpc_stream_call(stream);
    const struct principal *principal = principal_of(call);
    struct upload *upload = mem_alloc(sizeof(*upload));
    upload->service = rpc_call_service(call);
    upload->stream = rpc_stream_ref(stream);
    upload->source =
        (struct record_source){ principal->workspace_id, principal->agent_id, principal->epoch };
    upload->is_event_stream =
        rpc_call_method(call)->input == &agentgateway__v1__upload_events_request__descriptor;
    lock_init(&upload->lock, LOCK_RANK_LEAF);
    upload->references = 1;
    *ret_state = upload;
    return ERR_OK;
}

/* On the writer's thread. */
static void on_stored(void *context, const struct batch_result *result)
{
    struct upload *upload = context;
    lock_acquire(&upload->lock);
    upload->in_flight--;
    if (result->code == ERR_OK) {
        upload->accepted++;
        if (result->acked_sequence > upload->acked_sequence) {
            upload->acked_sequence = result->acked_sequence;
        }
    } else if (upload->failure == ERR_OK) {
        upload->failure = result->code;
    }
    lock_release(&upload->lock);
    rpc_stream_wake(upload->stream);
    upload_unref(upload);
}

/* On the writer's thread, where failures are noted, so that none can come between. */
static bool is_broken(void *context)
{
    struct upload *upload = context;
    LOCK_GUARD(&upload->lock);
    return upload->failure != ERR_OK;
}

static const struct ingest_source upload_source = { on_stored, is_broken };

static void submit(struct upload *upload, struct record *record)
{
    lock_acquire(&upload->lock);
    upload->references++;
    upload->in_flight++;
    bool crowded = upload->in_flight >= IN_FLIGHT_MAX;
    lock_release(&upload->lock);
    if (ingest_submit(upload->service->ingest, record, &upload_source, upload, upload->stream)
        == ERR_OK) {
        if (crowded) {
            rpc_stream_pause(upload->stream);
        }
        return;
    }
    upload->waiting = record;
    rpc_stream_pause(upload->stream);
    lock_acquire(&upload->lock);
    upload->in_flight--;
    upload->references--; /* the stream's own is left */
    lock_release(&upload->lock);
}

static ProtobufCMessage *make_reply(struct upload *upload, int64_t accepted, int64_t acked)
{
    struct arena *arena = rpc_call_arena(rpc_stream_call(upload->stream));
    if (upload->is_event_stream) {
        Agentgateway__V1__UploadEventsResponse *reply =
            wire_new(arena, &agentgateway__v1__upload_events_response__descriptor);
        if (reply != NULL) {
            reply->accepted_count = accepted;
            reply->acked_sequence = (uint64_t)acked;
        }
        return reply == NULL ? NULL : &reply->base;
    }
    Agentgateway__V1__UploadTelemetryResponse *reply =
        wire_new(arena, &agentgateway__v1__upload_telemetry_response__descriptor);
    if (reply != NULL) {
        reply->accepted_count = accepted;
        reply->acked_sequence = (uint64_t)acked;
    }
    return reply == NULL ? NULL : &reply->base;
}

static const char *failure_text(enum err_code code)
{
    return code == ERR_UNAUTHENTICATED ? "the session was replaced by a newer one"
                                       : "not stored: send it again";
}

/* Answers when everything that came is stored, or ends the stream at the first failure. */
static void settle(struct upload *upload)
{
    lock_acquire(&upload->lock);
    unsigned in_flight = upload->in_flight;
    int64_t accepted = upload->accepted;
    int64_t acked = upload->acked_sequence;
    enum err_code failure = upload->failure;
    lock_release(&upload->lock);
    if (upload->finished) {
        return;
    }
    if (failure != ERR_OK) {
        upload->finished = true;
        rpc_stream_finish(upload->stream, failure, failure_text(failure));
        return;
    }
    if (upload->waiting == NULL && in_flight < IN_FLIGHT_MAX / 2) {
        rpc_stream_resume(upload->stream);
    }
    if (!upload->half_closed || in_flight > 0 || upload->waiting != NULL) {
        return;
    }
    upload->finished = true;
    ProtobufCMessage *reply = make_reply(upload, accepted, acked);
    if (reply == NULL || rpc_stream_send(upload->stream, reply) != ERR_OK) {
        rpc_stream_finish(upload->stream, ERR_INTERNAL, "no answer could be made");
        return;
    }
    rpc_stream_finish(upload->stream, ERR_OK, NULL);
}

static void fields_of_telemetry(const ProtobufCMessage *message, struct record_upload *upload)
{
    const Agentgateway__V1__UploadTelemetryRequest *request =
        (const Agentgateway__V1__UploadTelemetryRequest *)message;
    upload->payload = str_from((const char *)request->payload.data, request->payload.len);
    upload->captured_at = wire_timestamp_us(request->captured_at, 0);
    upload->sequence = request->sequence;
    upload->format = request->format;
    upload->compression = request->compression;
    upload->is_copy = request->copy;
}

static void fields_of_events(const ProtobufCMessage *message, struct record_upload *upload)
{
    const Agentgateway__V1__UploadEventsRequest *request =
        (const Agentgateway__V1__UploadEventsRequest *)message;
    upload->payload = str_from((const char *)request->payload.data, request->payload.len);
    upload->captured_at = wire_timestamp_us(request->captured_at, 0);
    upload->sequence = request->sequence;
    upload->format = request->format;
    upload->compression = request->compression;
}

static void upload_message(struct rpc_stream *stream, void *state, const ProtobufCMessage *message)
{
    struct upload *upload = state;
    struct record_upload fields = { .is_event_stream = upload->is_event_stream };
    struct err_info err = ERR_INFO_INIT;
    struct record *record = NULL;
    if (upload->finished) {
        return;
    }
    (upload->is_event_stream ? fields_of_events : fields_of_telemetry)(message, &fields);
    enum err_code code = record_create(
        upload->service->schema,
        &upload->source,
        &fields,
        clock_wall(upload->service->clock),
        &record,
        &err);
    if (code != ERR_OK) {
        upload->finished = true;
        rpc_stream_finish(stream, code, err.text);
        return;
    }
    if (record->why_opaque != NULL) {
        log_warn(
            "upload_undecodable",
            LOG_INT("agent_id", upload->source.agent_id),
            LOG_INT("sequence", record->sequence),
            LOG_STR("why", record->why_opaque));
    }
    submit(upload, record);
}

static void upload_half_closed(struct rpc_stream *stream, void *state)
{
    (void)stream;
    struct upload *upload = state;
    upload->half_closed = true;
    settle(upload);
}

static void upload_woken(struct rpc_stream *stream, void *state)
{
    (void)stream;
    struct upload *upload = state;
    if (upload->waiting != NULL) {
        struct record *record = STEAL(upload->waiting);
        submit(upload, record);
    }
    settle(upload);
}

static void upload_closed(struct rpc_stream *stream, void *state)
{
    (void)stream;
    upload_unref(state);
}

const struct rpc_stream_ops gateway_upload_ops = {
    .open = upload_open,
    .message = upload_message,
    .half_closed = upload_half_closed,
    .woken = upload_woken,
    .closed = upload_closed,
};
