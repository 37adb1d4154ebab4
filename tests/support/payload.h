/*
 * Upload payloads made for tests, and the record the server makes of them.
 */
#ifndef TESTS_SUPPORT_PAYLOAD_H
#define TESTS_SUPPORT_PAYLOAD_H

#include "belay_descriptors.h"
#include "cmd/server/ingest/record.h"
#include "common/base/cleanup.h"
#include "common/wire/wire.h"
#include "tests/support/test.h"

/* A TelemetryBatch of one series `metric` with `count` samples from time_us on, a microsecond
 * apart; the value is the index. */
static inline void payload_telemetry(
    const char *metric, int64_t time_us, size_t count, struct buf *out)
{
    Agentgateway__V1__TelemetryBatch batch = AGENTGATEWAY__V1__TELEMETRY_BATCH__INIT;
    Agentgateway__V1__TelemetrySeries series = AGENTGATEWAY__V1__TELEMETRY_SERIES__INIT;
    Agentgateway__V1__TelemetrySeries *series_list[] = { &series };
    Agentgateway__V1__TelemetrySample *samples = mem_alloc_array(count, sizeof(*samples));
    Agentgateway__V1__TelemetrySample **list =
        mem_alloc_array(count, sizeof(Agentgateway__V1__TelemetrySample *));
    series.metric = (char *)(uintptr_t)metric;
    for (size_t i = 0; i < count; i++) {
        agentgateway__v1__telemetry_sample__init(&samples[i]);
        samples[i].time_us = time_us + (int64_t)i;
        samples[i].value = (double)i;
        list[i] = &samples[i];
    }
    batch.n_series = 1;
    batch.series = series_list;
    batch.n_samples = count;
    batch.samples = list;
    wire_pack(&batch.base, out);
    mem_free(samples);
    mem_free(list);
}

/* An EventBatch of `count` events "test.event", a microsecond apart from time_us on, every other
 * one with an attribute; their texts are "0", "1" and so on. */
static inline void payload_events(int64_t time_us, size_t count, struct buf *out)
{
    Agentgateway__V1__EventBatch batch = AGENTGATEWAY__V1__EVENT_BATCH__INIT;
    Agentgateway__V1__AgentEvent__AttributesEntry entry =
        AGENTGATEWAY__V1__AGENT_EVENT__ATTRIBUTES_ENTRY__INIT;
    Agentgateway__V1__AgentEvent__AttributesEntry *entries[] = { &entry };
    Agentgateway__V1__AgentEvent *events = mem_alloc_array(count, sizeof(*events));
    Agentgateway__V1__AgentEvent **list =
        mem_alloc_array(count, sizeof(Agentgateway__V1__AgentEvent *));
    entry.key = (char *)(uintptr_t) "stream";
    entry.value = (char *)(uintptr_t) "a \"b\"";
    for (size_t i = 0; i < count; i++) {
        agentgateway__v1__agent_event__init(&events[i]);
        events[i].time_us = time_us + (int64_t)i;
        events[i].kind = (char *)(uintptr_t) "test.event";
        events[i].text = mem_printf("%zu", i);
        events[i].n_attributes = i % 2; /* every other one */
        events[i].attributes = entries;
        list[i] = &events[i];
    }
    batch.n_events = count;
    batch.events = list;
    wire_pack(&batch.base, out);
    for (size_t i = 0; i < count; i++) {
        mem_free(events[i].text);
    }
    mem_free(events);
    mem_free(list);
}

static inline struct wire_schema *payload_schema(void)
{
    struct err_info err = ERR_INFO_INIT;
    struct wire_schema *schema = NULL;
    assert_ok_err(err, wire_schema_load(belay_descriptors, belay_descriptors_size, &schema, &err));
    return schema;
}

#endif
