#include "cmd/agent/link/uploader.h"

#include "cmd/agent/link/link_private.h"
#include "common/base/id.h"
#include "common/base/log.h"
#include "common/sys/fault.h"
#include "common/wire/timestamp.h"

enum {
    ROUND_RECORDS_MAX = 512,
    ROUND_BYTES_MIN = 4096,
    ROUND_ARENA_BYTES = 4 * 1024 * 1024
};

#define ROUND_US       (60 * US_PER_SECOND)
#define ROUND_LONG_US  (2 * US_PER_SECOND) /* longer ones are halved, */
#define ROUND_SHORT_US (US_PER_SECOND / 2) /* shorter ones doubled */
#define BEHIND_US      (2 * US_PER_SECOND)
#define RETRY_MIN_US   US_PER_SECOND
#define RETRY_MAX_US   (30 * US_PER_SECOND)

struct uploader {
    struct link *link;
    enum spool_stream stream;
    struct loop_timer *retry;
    struct rpc_client_stream *round; /* NULL: none under way */
    bool is_enabled;
    uint64_t mark;    /* the server's, when the session began */
    bool has_adopted; /* the spool goes on from there */
    bool is_waiting;  /* for retry */
    unsigned failures;
    unsigned records_max; /* of a round; falls to 1 to find a record that is refused */
    size_t bytes_max;     /* of a round, up to the link's upload_bytes; follows the line's speed */
    struct mono_us round_at;
    struct mono_us fresh_at; /* the server holds all that was there then; 0: not known */
    bool took_all;           /* the round under way: all that was there when it began */
    uint64_t first_sequence;
    uint64_t last_sequence;
    unsigned sent;
    bool has_reply;
    uint64_t acked;
    int64_t accepted;
};

static void on_retry(void *context)
{
    struct uploader *uploader = context;
    uploader->is_waiting = false;
    uploader_poke(uploader);
}

struct uploader *uploader_create(struct link *link, enum spool_stream stream)
{
    struct uploader *uploader = mem_alloc(sizeof(*uploader));
    uploader->link = link;
    uploader->stream = stream;
    uploader->records_max = ROUND_RECORDS_MAX;
    uploader->bytes_max = SIZE_MAX;
    uploader->retry = loop_timer_create(link->options.loop, on_retry, uploader);
    return uploader;
}

void uploader_destroy(struct uploader *uploader)
{
    if (uploader != NULL) {
        uploader_stop(uploader);
        loop_timer_destroy(uploader->retry);
        mem_free(uploader);
    }
}

/*
 * true: the spool has taken the server's mark, so that no number goes up which the server knows by
 * another record. A disk that refuses must not end the session: it is asked again at each poke.
 */
static bool adopt(struct uploader *uploader)
{
    struct link *link = uploader->link;
    struct err_info err = ERR_INFO_INIT;
    if (!uploader->has_adopted) {
        enum err_code code =
            spool_adopt(link->options.spool, uploader->stream, uploader->mark, &err);
        uploader->has_adopted = code == ERR_OK;
        if (code != ERR_OK) {
            link_report(link, code, "resuming", &err);
        }
    }
    return uploader->has_adopted;
}

void uploader_resume(struct uploader *uploader, uint64_t mark)
{
    if (uploader != NULL) {
        uploader->mark = mark;
        uploader->has_adopted = false;
        (void)adopt(uploader);
    }
}

void uploader_start(struct uploader *uploader)
{
    if (uploader != NULL) {
        uploader->is_enabled = true;
        uploader_poke(uploader);
    }
}

void uploader_finish(struct uploader *uploader)
{
    if (uploader != NULL) {
        uploader->is_enabled = false;
    }
}

void uploader_stop(struct uploader *uploader)
{
    if (uploader == NULL) {
        return;
    }
    uploader->is_enabled = false;
    uploader->is_waiting = false;
    uploader->failures = 0;
    loop_timer_disarm(uploader->retry);
    if (uploader->round != NULL) {
        rpc_client_stream_release(STEAL(uploader->round));
    }
}

bool uploader_is_busy(const struct uploader *uploader)
{
    return uploader != NULL && uploader->round != NULL;
}

static bool holds_newest(const struct uploader *uploader)
{
    struct spool_stats stats;
    spool_get_stats(uploader->link->options.spool, &stats);
    return !stats.is_degraded
        && uploader->last_sequence + 1 == stats.streams[uploader->stream].next_sequence;
}

bool uploader_is_behind(const struct uploader *uploader)
{
    if (uploader == NULL || (uploader->round != NULL && holds_newest(uploader))) {
        return false;
    }
    return loop_now(uploader->link->options.loop).value - uploader->fresh_at.value > BEHIND_US;
}

static void wait_and_retry(struct uploader *uploader)
{
    int64_t full = RETRY_MIN_US;
    uploader->failures++;
    for (unsigned i = 1; i < uploader->failures && full < RETRY_MAX_US; i++) {
        full *= 2;
    }
    full = full > RETRY_MAX_US ? RETRY_MAX_US : full;
    uploader->is_waiting = true;
    loop_timer_arm_after(
        uploader->retry, full / 2 + (int64_t)id_random_below((uint64_t)full / 2 + 1));
}

static void on_reply(void *context, const ProtobufCMessage *message)
{
    struct uploader *uploader = context;
    uploader->has_reply = true;
    if (uploader->stream == SPOOL_TELEMETRY) {
        const Agentgateway__V1__UploadTelemetryResponse *reply = (const void *)message;
        uploader->acked = reply->acked_sequence;
        uploader->accepted = reply->accepted_count;
    } else {
        const Agentgateway__V1__UploadEventsResponse *reply = (const void *)message;
        uploader->acked = reply->acked_sequence;
        uploader->accepted = reply->accepted_count;
    }
}

/* Between the bounds, towards rounds of a second. */
static void pace(struct uploader *uploader, bool is_done)
{
    int64_t took_us = loop_now(uploader->link->options.loop).value - uploader->round_at.value;
    size_t limit = uploader->link->upload_bytes;
    size_t bytes = uploader->bytes_max > limit ? limit : uploader->bytes_max;
    if (took_us > ROUND_LONG_US) {
        bytes /= 2;
    } else if (is_done && took_us < ROUND_SHORT_US) {
        bytes *= 2;
    }
    bytes = bytes > limit ? limit : bytes;
    uploader->bytes_max = bytes < ROUND_BYTES_MIN ? ROUND_BYTES_MIN : bytes;
}

/* true: the spool moved on. */
static bool settle(struct uploader *uploader)
{
    struct link *link = uploader->link;
    struct err_info err = ERR_INFO_INIT;
    /* a server of the base contract only counts */
    if (uploader->acked == 0 && uploader->accepted >= (int64_t)uploader->sent) {
        uploader->acked = uploader->last_sequence;
    }
    if (!uploader->has_reply || uploader->acked < uploader->first_sequence) {
        link_report(link, ERR_INTERNAL, "upload: the server acknowledged nothing", NULL);
        return false;
    }
    FAULT_POINT("agent.upload.acked");
    if (spool_trim(link->options.spool, uploader->stream, uploader->acked, &err) != ERR_OK) {
        link_report(link, err.code, "trimming the spool", &err);
        return false;
    }
    FAULT_POINT("agent.upload.trimmed");
    link->last_upload_at = clock_wall(link->options.clock);
    link->uploaded_records += uploader->sent;
    if (uploader->took_all) {
        uploader->fresh_at = uploader->round_at;
    }
    unsigned doubled = uploader->records_max * 2;
    uploader->records_max = doubled > ROUND_RECORDS_MAX ? ROUND_RECORDS_MAX : doubled;
    return true;
}

/* A record that is refused on its own will always be: it must not hold up the others. */
static bool isolate(struct uploader *uploader, const struct err_info *err)
{
    struct spool *spool = uploader->link->options.spool;
    if (uploader->sent > 1) {
        uploader->records_max = 1;
        return true;
    }
    AUTO_FREE char *reason = mem_printf("refused by the server: %.200s", err->text);
    return spool_quarantine(spool, uploader->stream, uploader->first_sequence, reason, NULL)
        == ERR_OK;
}

static void on_closed(void *context, enum err_code code, const struct err_info *err)
{
    struct uploader *uploader = context;
    rpc_client_stream_release(STEAL(uploader->round));
    if (code == ERR_UNAUTHENTICATED) {
        link_report(uploader->link, code, "upload", err);
        link_feed_type(uploader->link, LINK_EVENT_FAILED);
        return;
    }
    bool moved = false;
    pace(uploader, code == ERR_OK);
    if (code == ERR_OK) {
        moved = settle(uploader);
    } else {
        link_report(uploader->link, code, "upload", err);
        moved = code == ERR_INVALID && isolate(uploader, err);
    }
    if (moved) {
        uploader->failures = 0;
        uploader_poke(uploader);
    } else if (uploader->is_enabled) {
        wait_and_retry(uploader);
    }
    link_check_closed(uploader->link);
}

static enum err_code send_record(struct uploader *uploader, const struct spool_record *record)
{
    Google__Protobuf__Timestamp captured_at = wire_timestamp_of(record->captured_at);
    ProtobufCBinaryData payload = { record->payload.len,
                                    CONST_CAST(uint8_t *, record->payload.ptr) };
    if (uploader->stream == SPOOL_TELEMETRY) {
        Agentgateway__V1__UploadTelemetryRequest request =
            AGENTGATEWAY__V1__UPLOAD_TELEMETRY_REQUEST__INIT;
        request.payload = payload;
        request.captured_at = &captured_at;
        request.sequence = record->sequence;
        request.format = (Agentgateway__V1__PayloadFormat)record->format;
        request.compression = (Agentgateway__V1__PayloadCompression)record->compression;
        return rpc_client_stream_send(uploader->round, &request.base);
    }
    Agentgateway__V1__UploadEventsRequest request = AGENTGATEWAY__V1__UPLOAD_EVENTS_REQUEST__INIT;
    request.payload = payload;
    request.captured_at = &captured_at;
    request.sequence = record->sequence;
    request.format = (Agentgateway__V1__PayloadFormat)record->format;
    request.compression = (Agentgateway__V1__PayloadCompression)record->compression;
    return rpc_client_stream_send(uploader->round, &request.base);
}

static enum err_code open_round(struct uploader *uploader, struct err_info *err)
{
    static const struct rpc_client_stream_ops ops = { .message = on_reply, .closed = on_closed };
    struct link *link = uploader->link;
    struct rpc_header header = { "authorization", secret_peek(link->authorization).ptr };
    struct rpc_call_options options = { .deadline_us = ROUND_US,
                                        .headers = &header,
                                        .header_count = 1 };
    bool telemetry = uploader->stream == SPOOL_TELEMETRY;
    return rpc_client_stream_open(
        link->channel,
        telemetry ? LINK_PATH("UploadTelemetry") : LINK_PATH("UploadEvents"),
        telemetry ? &agentgateway__v1__upload_telemetry_response__descriptor
                  : &agentgateway__v1__upload_events_response__descriptor,
        &options,
        &link->executor,
        &ops,
        uploader,
        &uploader->round,
        err);
}

static enum err_code send_round(
    struct uploader *uploader, const struct spool_batch *batch, struct err_info *err)
{
    TRY(open_round(uploader, err));
    uploader->has_reply = false;
    uploader->acked = 0;
    uploader->accepted = 0;
    uploader->sent = 0;
    uploader->round_at = loop_now(uploader->link->options.loop);
    uploader->first_sequence = batch->records[0].sequence;
    for (unsigned i = 0; i < batch->count; i++) {
        if (send_record(uploader, &batch->records[i]) != ERR_OK) {
            break; /* the queue is full: the rest goes with the next round */
        }
        uploader->last_sequence = batch->records[i].sequence;
        uploader->sent++;
    }
    uploader->took_all = holds_newest(uploader);
    rpc_client_stream_half_close(uploader->round);
    FAULT_POINT("agent.upload.sent");
    return ERR_OK;
}

void uploader_poke(struct uploader *uploader)
{
    if (uploader == NULL || !uploader->is_enabled || uploader->is_waiting || uploader->round != NULL
        || !adopt(uploader)) {
        return;
    }
    struct err_info err = ERR_INFO_INIT;
    struct link *link = uploader->link;
    AUTO_ARENA struct arena *arena = arena_create(ROUND_ARENA_BYTES);
    struct spool_batch batch = { 0 };
    size_t bytes =
        uploader->bytes_max < link->upload_bytes ? uploader->bytes_max : link->upload_bytes;
    enum err_code code = spool_peek(
        link->options.spool,
        &(struct spool_ask){ uploader->stream, 0, bytes, uploader->records_max },
        arena,
        &batch,
        &err);
    if (code == ERR_OK && batch.count == 0) {
        uploader->fresh_at = loop_now(link->options.loop);
        return;
    }
    if (code == ERR_OK) {
        code = send_round(uploader, &batch, &err);
    }
    if (code != ERR_OK) {
        link_report(link, code, "upload", &err);
        wait_and_retry(uploader);
    }
}
