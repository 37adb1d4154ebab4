#include "cmd/server/ingest/record.h"

#include "common/wire/compress.h"
#include "common/wire/wire.h"

#include <math.h>

enum {
    ARENA_BYTES =
        96 * 1024 * 1024, /* of one unpacked record: 1 MiB of wire costs up to 41 times that */
    PLAIN_BYTES_MAX = 1024 * 1024 /* after decompression */
};

static enum err_code out_of_memory(struct err_info *err)
{
    return ERR_SET(err, ERR_NOMEM, "payload: out of memory");
}

/* Bounded decompression; STR_NONE: not a frame, or too large. */
static enum err_code inflate(
    struct arena *arena, struct str_view payload, struct str_view *ret_plain, struct err_info *err)
{
    AUTO_BUF struct buf plain = BUF_INIT(PLAIN_BYTES_MAX);
    *ret_plain = STR_NONE;
    enum err_code code = wire_decompress(payload, PLAIN_BYTES_MAX, &plain, NULL);
    if (code == ERR_NOMEM || !buf_ok(&plain)) { /* within its bounds, so for want of memory */
        return out_of_memory(err);
    }
    if (code == ERR_OK) {
        *ret_plain = str_from(arena_dup(arena, buf_text(&plain), plain.len), plain.len);
    }
    return code == ERR_OK && ret_plain->ptr == NULL ? out_of_memory(err) : ERR_OK;
}

static bool is_time(int64_t time_us)
{
    return time_us >= 0 && time_us <= WALL_US_MAX;
}

static bool telemetry_is_sound(const Agentgateway__V1__TelemetryBatch *batch)
{
    for (size_t i = 0; i < batch->n_samples; i++) {
        const Agentgateway__V1__TelemetrySample *sample = batch->samples[i];
        if (sample->series >= batch->n_series || !isfinite(sample->value)
            || !is_time(sample->time_us)) {
            return false;
        }
    }
    return true;
}

static bool events_are_sound(const Agentgateway__V1__EventBatch *batch)
{
    for (size_t i = 0; i < batch->n_events; i++) {
        if (!is_time(batch->events[i]->time_us)) {
            return false;
        }
    }
    return true;
}

/* Fills telemetry or events; else why_opaque says why not. Want of memory is no reason: what is to
 * be had later must not be kept as if it could not be read. */
static enum err_code decode(
    const struct wire_schema *schema,
    struct record *record,
    const struct record_upload *upload,
    struct str_view plain,
    struct err_info *err)
{
    struct err_info detail = ERR_INFO_INIT;
    ProtobufCMessage *message = NULL;
    bool is_telemetry =
        upload->format == AGENTGATEWAY__V1__PAYLOAD_FORMAT__PAYLOAD_FORMAT_TELEMETRY_BATCH;
    enum err_code code = wire_unpack(
        schema,
        is_telemetry ? &agentgateway__v1__telemetry_batch__descriptor
                     : &agentgateway__v1__event_batch__descriptor,
        plain.ptr,
        plain.len,
        record->arena,
        &message,
        &detail);
    if (code == ERR_NOMEM) {
        return out_of_memory(err);
    }
    if (code != ERR_OK) {
        record->why_opaque = is_telemetry ? "not a TelemetryBatch" : "not an EventBatch";
    } else if (is_telemetry) {
        record->telemetry = (const Agentgateway__V1__TelemetryBatch *)message;
        record->why_opaque =
            telemetry_is_sound(record->telemetry) ? NULL : "a sample out of bounds";
    } else {
        record->events = (const Agentgateway__V1__EventBatch *)message;
        record->why_opaque = events_are_sound(record->events) ? NULL : "an event out of bounds";
    }
    return ERR_OK;
}

static enum err_code fill(
    const struct wire_schema *schema,
    struct record *record,
    const struct record_upload *upload,
    struct err_info *err)
{
    /* An empty payload is an empty batch; no pointer at all means that it did not inflate. */
    struct str_view plain = upload->payload.ptr == NULL ? STR("") : upload->payload;
    bool is_opaque = upload->format == AGENTGATEWAY__V1__PAYLOAD_FORMAT__PAYLOAD_FORMAT_OPAQUE;
    if (!is_opaque
        && upload->compression == AGENTGATEWAY__V1__PAYLOAD_COMPRESSION__PAYLOAD_COMPRESSION_ZSTD) {
        TRY(inflate(record->arena, upload->payload, &plain, err));
    }
    if (!is_opaque && plain.ptr == NULL) {
        record->why_opaque = "not a zstd frame of at most 1 MiB";
        is_opaque = true;
    } else if (!is_opaque) {
        TRY(decode(schema, record, upload, plain, err));
        is_opaque = record->why_opaque != NULL;
    }
    if (is_opaque) {
        record->telemetry = NULL;
        record->events = NULL;
        record->opaque.ptr = arena_dup(record->arena, upload->payload.ptr, upload->payload.len);
        record->opaque.len = upload->payload.len;
        if (record->opaque.ptr == NULL) {
            return out_of_memory(err);
        }
    }
    return ERR_OK;
}

enum err_code record_create(
    const struct wire_schema *schema,
    const struct record_source *source,
    const struct record_upload *upload,
    struct wall_us now,
    struct record **ret_record,
    struct err_info *err)
{
    if (upload->sequence > INT64_MAX) {
        return ERR_SET(err, ERR_INVALID, "sequence: at most 9223372036854775807");
    }
    if (upload->is_copy && upload->sequence != 0) {
        return ERR_SET(err, ERR_INVALID, "copy: only with sequence 0");
    }
    struct record *record = mem_alloc(sizeof(*record));
    record->source = *source;
    record->arena = arena_create(ARENA_BYTES);
    record->captured_at = upload->captured_at;
    record->received_at = now.value;
    record->sequence = (int64_t)upload->sequence;
    record->is_event_stream = upload->is_event_stream;
    record->is_copy = upload->is_copy;
    enum err_code code = fill(schema, record, upload, err);
    if (code != ERR_OK) {
        record_destroy(record);
        return code;
    }
    *ret_record = record;
    return ERR_OK;
}

void record_destroy(struct record *record)
{
    if (record != NULL) {
        arena_destroy(record->arena);
        mem_free(record);
    }
}

bool record_make_opaque(struct record *record)
{
    AUTO_BUF struct buf packed = BUF_INIT(PLAIN_BYTES_MAX);
    if (record->telemetry == NULL && record->events == NULL) {
        return false;
    }
    wire_pack(
        record->telemetry != NULL ? &record->telemetry->base : &record->events->base, &packed);
    char *copy = arena_dup(record->arena, buf_text(&packed), packed.len);
    if (copy == NULL || !buf_ok(&packed)) {
        return false;
    }
    record->telemetry = NULL;
    record->events = NULL;
    record->opaque = str_from(copy, packed.len);
    record->why_opaque = "the store refused it";
    return true;
}
