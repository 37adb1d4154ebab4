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

static inline struct wire_schema *payload_schema(void)
{
    struct err_info err = ERR_INFO_INIT;
    struct wire_schema *schema = NULL;
    assert_ok_err(err, wire_schema_load(belay_descriptors, belay_descriptors_size, &schema, &err));
    return schema;
}

#endif
