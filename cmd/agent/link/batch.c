#include "cmd/agent/link/batch.h"

#include "common/wire/compress.h"

#include "proto/agentgateway/v1/agentgateway.pb-c.h"

#include <stdio.h>

enum {
    ARENA_BYTES = 8 * 1024 * 1024,
    UNPACKED_MAX = 4 * 1024 * 1024,
    SUMMARY_ARENA_BYTES = 64 * 1024 * 1024
};

/* protobuf-c takes char * for what it only reads */
static char *text_of(const char *text)
{
    return CONST_CAST(char *, text);
}

static void fill_sample(
    const struct host_samples *samples,
    unsigned index,
    Agentgateway__V1__TelemetrySeries *series,
    Agentgateway__V1__TelemetrySample *sample)
{
    const struct host_sample *row = &samples->rows[index];
    agentgateway__v1__telemetry_series__init(series);
    agentgateway__v1__telemetry_sample__init(sample);
    series->metric = text_of(row->metric);
    series->unit = text_of(row->unit);
    series->instance = text_of(row->instance);
    sample->series = index;
    sample->time_us = samples->time.value;
    sample->value = row->value;
}

enum err_code batch_pack_samples(
    const struct host_samples *samples, struct buf *payload, struct err_info *err)
{
    AUTO_ARENA struct arena *arena = arena_create(ARENA_BYTES);
    unsigned count = samples->count;
    Agentgateway__V1__TelemetryBatch batch = AGENTGATEWAY__V1__TELEMETRY_BATCH__INIT;
    Agentgateway__V1__TelemetrySeries *series = arena_alloc(arena, count * sizeof(*series) + 1);
    Agentgateway__V1__TelemetrySample *rows = arena_alloc(arena, count * sizeof(*rows) + 1);
    batch.series = arena_alloc(arena, count * sizeof(void *) + 1);
    batch.samples = arena_alloc(arena, count * sizeof(void *) + 1);
    if (series == NULL || rows == NULL || batch.series == NULL || batch.samples == NULL) {
        return ERR_SET(err, ERR_LIMIT, "a round of %u samples does not fit", count);
    }
    for (unsigned i = 0; i < count; i++) {
        fill_sample(samples, i, &series[i], &rows[i]);
        batch.series[i] = &series[i];
        batch.samples[i] = &rows[i];
    }
    batch.n_series = count;
    batch.n_samples = count;
    wire_pack(&batch.base, payload);
    return buf_ok(payload) ? ERR_OK : ERR_SET(err, ERR_LIMIT, "a batch over its bound");
}

enum err_code batch_pack_event(
    const struct batch_event *event, struct buf *payload, struct err_info *err)
{
    char text[BATCH_TEXT_MAX];
    Agentgateway__V1__AgentEvent__AttributesEntry entries[BATCH_ATTRIBUTES_MAX];
    Agentgateway__V1__AgentEvent__AttributesEntry *pointers[BATCH_ATTRIBUTES_MAX];
    Agentgateway__V1__AgentEvent message;
    Agentgateway__V1__AgentEvent *events[] = { &message };
    Agentgateway__V1__EventBatch batch = AGENTGATEWAY__V1__EVENT_BATCH__INIT;
    agentgateway__v1__agent_event__init(&message);
    (void)snprintf(text, sizeof(text), "%s", event->text);
    if (event->attribute_count > BATCH_ATTRIBUTES_MAX || !str_is_utf8(str_of(text), NULL)) {
        return ERR_SET(err, ERR_INVALID, "an event's text or attributes break their bounds");
    }
    for (unsigned i = 0; i < event->attribute_count; i++) {
        agentgateway__v1__agent_event__attributes_entry__init(&entries[i]);
        entries[i].key = text_of(event->attributes[i].name);
        entries[i].value = text_of(event->attributes[i].value);
        pointers[i] = &entries[i];
    }
    message.time_us = event->time.value;
    message.severity = (Agentgateway__V1__Severity)event->severity;
    message.kind = text_of(event->kind);
    message.text = text;
    message.attributes = pointers;
    message.n_attributes = event->attribute_count;
    batch.events = events;
    batch.n_events = 1;
    wire_pack(&batch.base, payload);
    return buf_ok(payload) ? ERR_OK : ERR_SET(err, ERR_LIMIT, "an event over its bound");
}

unsigned batch_compress(struct buf *payload)
{
    AUTO_BUF struct buf frame = BUF_INIT(BATCH_BYTES_MAX);
    if (!wire_compress(buf_view(payload), &frame)) {
        return AGENTGATEWAY__V1__PAYLOAD_COMPRESSION__PAYLOAD_COMPRESSION_NONE;
    }
    buf_clear(payload);
    buf_append_str(payload, buf_view(&frame));
    return AGENTGATEWAY__V1__PAYLOAD_COMPRESSION__PAYLOAD_COMPRESSION_ZSTD;
}

static enum err_code describe_samples(
    const ProtobufCMessage *message, struct buf *text, struct err_info *err)
{
    const Agentgateway__V1__TelemetryBatch *batch = (const void *)message;
    for (size_t i = 0; i < batch->n_samples; i++) {
        const Agentgateway__V1__TelemetrySample *sample = batch->samples[i];
        char time[TIME_TEXT_BYTES];
        if (sample->series >= batch->n_series) {
            return ERR_SET(err, ERR_INVALID, "samples[%zu].series: no such series", i);
        }
        const Agentgateway__V1__TelemetrySeries *series = batch->series[sample->series];
        bool in_range = sample->time_us >= 0 && sample->time_us <= WALL_US_MAX;
        struct wall_us at = { in_range ? sample->time_us : 0 };
        buf_printf(
            text,
            "%s %s%s%s %g %s\n",
            time_format(at, time),
            series->metric,
            series->instance[0] == '\0' ? "" : " ",
            series->instance,
            sample->value,
            series->unit);
    }
    return ERR_OK;
}

static enum err_code describe_events(
    const ProtobufCMessage *message, struct buf *text, struct err_info *err)
{
    const Agentgateway__V1__EventBatch *batch = (const void *)message;
    (void)err;
    for (size_t i = 0; i < batch->n_events; i++) {
        const Agentgateway__V1__AgentEvent *event = batch->events[i];
        char time[TIME_TEXT_BYTES];
        bool in_range = event->time_us >= 0 && event->time_us <= WALL_US_MAX;
        struct wall_us at = { in_range ? event->time_us : 0 };
        buf_printf(text, "%s %s ", time_format(at, time), event->kind);
        buf_append_json(text, str_of(event->text));
        buf_append_char(text, '\n');
    }
    return ERR_OK;
}

enum err_code batch_describe(
    const struct wire_schema *schema,
    unsigned format,
    unsigned compression,
    struct str_view payload,
    struct buf *text,
    struct err_info *err)
{
    AUTO_BUF struct buf plain = BUF_INIT(UNPACKED_MAX);
    AUTO_ARENA struct arena *arena = arena_create(SUMMARY_ARENA_BYTES);
    ProtobufCMessage *message = NULL;
    bool is_samples = format == AGENTGATEWAY__V1__PAYLOAD_FORMAT__PAYLOAD_FORMAT_TELEMETRY_BATCH;
    if (!is_samples && format != AGENTGATEWAY__V1__PAYLOAD_FORMAT__PAYLOAD_FORMAT_EVENT_BATCH) {
        buf_printf(text, "%zu opaque bytes\n", payload.len);
        return ERR_OK;
    }
    if (compression == AGENTGATEWAY__V1__PAYLOAD_COMPRESSION__PAYLOAD_COMPRESSION_ZSTD) {
        TRY(wire_decompress(payload, UNPACKED_MAX, &plain, err));
        payload = buf_view(&plain);
    }
    TRY(wire_unpack(
        schema,
        is_samples ? &agentgateway__v1__telemetry_batch__descriptor
                   : &agentgateway__v1__event_batch__descriptor,
        payload.ptr,
        payload.len,
        arena,
        &message,
        err));
    TRY(is_samples ? describe_samples(message, text, err) : describe_events(message, text, err));
    return buf_ok(text) ? ERR_OK : ERR_SET(err, ERR_LIMIT, "the text does not fit its buffer");
}
