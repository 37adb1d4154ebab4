/* links: server_ingest */
/*
 * An upload as a peer may send it. The first byte chooses format, compression and stream; whatever
 * follows becomes a record: read within its bounds, or kept as it came.
 */
#include "belay_descriptors.h"
#include "cmd/server/ingest/record.h"
#include "common/base/cleanup.h"
#include "common/wire/wire.h"

#include <math.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
    if (!holds) {
        abort();
    }
}

/* Kept between inputs: building it costs more than a thousand of them. */
static const struct wire_schema *schema(void)
{
    static struct wire_schema *made;
    if (made == NULL) {
        check(wire_schema_load(belay_descriptors, belay_descriptors_size, &made, NULL) == ERR_OK);
    }
    return made;
}

static void check_telemetry(const Agentgateway__V1__TelemetryBatch *batch)
{
    for (size_t i = 0; i < batch->n_samples; i++) {
        check(batch->samples[i]->series < batch->n_series);
        check(isfinite(batch->samples[i]->value));
        check(batch->samples[i]->time_us >= 0 && batch->samples[i]->time_us <= WALL_US_MAX);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct record_source source = { 1, 2, 3 };
    struct err_info err = ERR_INFO_INIT;
    struct record *record = NULL;
    if (size == 0) {
        return 0;
    }
    const struct record_upload upload = {
        .payload = str_from((const char *)data + 1, size - 1),
        .sequence = 1,
        .format = (Agentgateway__V1__PayloadFormat)(data[0] % 3),
        .compression = (Agentgateway__V1__PayloadCompression)(data[0] / 3 % 2),
        .is_event_stream = data[0] / 6 % 2 == 1,
    };
    check(
        record_create(schema(), &source, &upload, (struct wall_us){ 1 }, &record, &err) == ERR_OK);
    if (record->telemetry != NULL) {
        check_telemetry(record->telemetry);
    }
    bool is_read = record->telemetry != NULL || record->events != NULL;
    check(is_read != (record->opaque.ptr != NULL));
    check(is_read || str_equal(record->opaque, upload.payload));
    check(record_make_opaque(record) == is_read);
    record_destroy(record);
    return 0;
}
