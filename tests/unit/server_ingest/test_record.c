/* What becomes of an uploaded payload: read, or kept as it came; never an error of the peer's
 * making that could block the records behind it. */
#include "common/wire/compress.h"
#include "tests/support/payload.h"

#include <math.h>

static const struct record_source source = { 1, 7, 3 };
static const struct wall_us now = { 1000 };

static int load(void **state)
{
    *state = payload_schema();
    return 0;
}

static int unload(void **state)
{
    wire_schema_destroy(*state);
    return 0;
}

static struct record *make(
    void **state, struct str_view payload, bool is_events, Agentgateway__V1__PayloadCompression how)
{
    struct err_info err = ERR_INFO_INIT;
    struct record *record = NULL;
    const struct record_upload upload = {
        .payload = payload,
        .captured_at = 5,
        .sequence = 9,
        .format = is_events ? AGENTGATEWAY__V1__PAYLOAD_FORMAT__PAYLOAD_FORMAT_EVENT_BATCH
                            : AGENTGATEWAY__V1__PAYLOAD_FORMAT__PAYLOAD_FORMAT_TELEMETRY_BATCH,
        .compression = how,
        .is_event_stream = is_events,
    };
    assert_ok_err(err, record_create(*state, &source, &upload, now, &record, &err));
    assert_int_equal(record->sequence, 9);
    assert_int_equal(record->captured_at, 5);
    assert_int_equal(record->received_at, 1000);
    assert_int_equal(record->source.agent_id, 7);
    return record;
}

static struct record *make_plain(void **state, struct str_view payload)
{
    return make(
        state, payload, false, AGENTGATEWAY__V1__PAYLOAD_COMPRESSION__PAYLOAD_COMPRESSION_NONE);
}

static void check_opaque(struct record *record, struct str_view payload)
{
    assert_null(record->telemetry);
    assert_null(record->events);
    assert_non_null(record->why_opaque);
    assert_non_null(record->opaque.ptr);
    assert_true(str_equal(record->opaque, payload));
    record_destroy(record);
}

static void test_a_batch_is_read(void **state)
{
    AUTO_BUF struct buf payload = BUF_INIT(1 << 20);
    payload_telemetry("host.cpu.busy", 100, 3, &payload);
    struct record *record = make_plain(state, buf_view(&payload));
    memset(payload.data, 0xff, payload.len); /* the record has copied what it needs */
    assert_null(record->why_opaque);
    assert_int_equal(record->telemetry->n_samples, 3);
    assert_string_equal(record->telemetry->series[0]->metric, "host.cpu.busy");
    record_destroy(record);
    record_destroy(NULL);
}

static void test_a_compressed_batch_is_read(void **state)
{
    AUTO_BUF struct buf payload = BUF_INIT(1 << 20);
    AUTO_BUF struct buf packed = BUF_INIT(1 << 20);
    payload_telemetry("host.cpu.busy", 100, 500, &payload);
    assert_true(wire_compress(buf_view(&payload), &packed));
    struct record *record = make(
        state,
        buf_view(&packed),
        false,
        AGENTGATEWAY__V1__PAYLOAD_COMPRESSION__PAYLOAD_COMPRESSION_ZSTD);
    assert_null(record->why_opaque);
    assert_int_equal(record->telemetry->n_samples, 500);
    record_destroy(record);
}

/* A frame that grows beyond the bound is not unpacked, whatever its header claims. */
static void test_a_bomb_is_kept_as_it_came(void **state)
{
    AUTO_BUF struct buf zeros = BUF_INIT(64 << 20);
    AUTO_BUF struct buf packed = BUF_INIT(1 << 20);
    memset(buf_extend(&zeros, 32 << 20), 0, 32 << 20);
    assert_true(wire_compress(buf_view(&zeros), &packed));
    assert_true(packed.len < 100000);
    check_opaque(
        make(
            state,
            buf_view(&packed),
            false,
            AGENTGATEWAY__V1__PAYLOAD_COMPRESSION__PAYLOAD_COMPRESSION_ZSTD),
        buf_view(&packed));
    check_opaque(
        make(
            state,
            STR("no frame"),
            false,
            AGENTGATEWAY__V1__PAYLOAD_COMPRESSION__PAYLOAD_COMPRESSION_ZSTD),
        STR("no frame"));
}

static void test_what_does_not_decode_is_kept_as_it_came(void **state)
{
    check_opaque(make_plain(state, STR("\xff\xff\xff")), STR("\xff\xff\xff"));
    check_opaque(
        make_plain(state, STR("plain text of another program")),
        STR("plain text of another program"));
}

/* An empty batch is a batch. */
static void test_an_empty_payload_is_an_empty_batch(void **state)
{
    const struct str_view empty[] = { STR(""), STR_NONE };
    for (size_t i = 0; i < ARRAY_LENGTH(empty); i++) {
        struct record *record = make_plain(state, empty[i]);
        assert_null(record->why_opaque);
        assert_non_null(record->telemetry);
        assert_int_equal(record->telemetry->n_samples, 0);
        record_destroy(record);
    }
    const struct record_upload upload = { .payload = STR_NONE };
    struct err_info err = ERR_INFO_INIT;
    struct record *record = NULL;
    assert_ok_err(err, record_create(*state, &source, &upload, now, &record, &err));
    assert_non_null(record->opaque.ptr);
    assert_int_equal(record->opaque.len, 0);
    record_destroy(record);
}

static void pack_sample(uint32_t series, int64_t time_us, double value, struct buf *out)
{
    Agentgateway__V1__TelemetryBatch batch = AGENTGATEWAY__V1__TELEMETRY_BATCH__INIT;
    Agentgateway__V1__TelemetrySeries one = AGENTGATEWAY__V1__TELEMETRY_SERIES__INIT;
    Agentgateway__V1__TelemetrySample sample = AGENTGATEWAY__V1__TELEMETRY_SAMPLE__INIT;
    Agentgateway__V1__TelemetrySeries *series_list[] = { &one };
    Agentgateway__V1__TelemetrySample *samples[] = { &sample };
    char metric[] = "m";
    one.metric = metric;
    sample.series = series;
    sample.time_us = time_us;
    sample.value = value;
    batch.n_series = 1;
    batch.series = series_list;
    batch.n_samples = 1;
    batch.samples = samples;
    buf_clear(out);
    wire_pack(&batch.base, out);
}

static void test_samples_out_of_bounds(void **state)
{
    AUTO_BUF struct buf payload = BUF_INIT(4096);

    const struct {
        uint32_t series;
        int64_t time_us;
        double value;
    } bad[] = {
        { 1, 1, 1 },
        { UINT32_MAX, 1, 1 },
        { 0, -1, 1 },
        { 0, WALL_US_MAX + 1, 1 },
        { 0, INT64_MIN, 1 },
        { 0, 1, (double)NAN },
        { 0, 1, (double)INFINITY },
        { 0, 1, -(double)INFINITY },
    };

    for (size_t i = 0; i < ARRAY_LENGTH(bad); i++) {
        pack_sample(bad[i].series, bad[i].time_us, bad[i].value, &payload);
        check_opaque(make_plain(state, buf_view(&payload)), buf_view(&payload));
    }
    pack_sample(0, WALL_US_MAX, -1e308, &payload);
    struct record *record = make_plain(state, buf_view(&payload));
    assert_null(record->why_opaque);
    record_destroy(record);
}

static void test_events(void **state)
{
    AUTO_BUF struct buf payload = BUF_INIT(4096);
    Agentgateway__V1__EventBatch batch = AGENTGATEWAY__V1__EVENT_BATCH__INIT;
    Agentgateway__V1__AgentEvent event = AGENTGATEWAY__V1__AGENT_EVENT__INIT;
    Agentgateway__V1__AgentEvent *events[] = { &event };
    char kind[] = "spool.dropped";
    event.kind = kind;
    event.time_us = 5;
    batch.n_events = 1;
    batch.events = events;
    wire_pack(&batch.base, &payload);
    struct record *record = make(
        state,
        buf_view(&payload),
        true,
        AGENTGATEWAY__V1__PAYLOAD_COMPRESSION__PAYLOAD_COMPRESSION_NONE);
    assert_null(record->why_opaque);
    assert_int_equal(record->events->n_events, 1);
    assert_true(record_make_opaque(record)); /* what the store refuses is kept packed */
    assert_true(str_equal(record->opaque, buf_view(&payload)));
    assert_null(record->events);
    assert_false(record_make_opaque(record));
    record_destroy(record);
    event.time_us = -5;
    buf_clear(&payload);
    wire_pack(&batch.base, &payload);
    check_opaque(
        make(
            state,
            buf_view(&payload),
            true,
            AGENTGATEWAY__V1__PAYLOAD_COMPRESSION__PAYLOAD_COMPRESSION_NONE),
        buf_view(&payload));
}

static void test_a_sequence_beyond_the_store_is_refused(void **state)
{
    struct err_info err = ERR_INFO_INIT;
    struct record *record = NULL;
    const struct record_upload upload = { .payload = STR("x"), .sequence = UINT64_C(1) << 63 };
    assert_code(ERR_INVALID, record_create(*state, &source, &upload, now, &record, &err));
    assert_non_null(strstr(err.text, "sequence"));
    assert_null(record);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_batch_is_read),
        cmocka_unit_test(test_a_compressed_batch_is_read),
        cmocka_unit_test(test_a_bomb_is_kept_as_it_came),
        cmocka_unit_test(test_what_does_not_decode_is_kept_as_it_came),
        cmocka_unit_test(test_an_empty_payload_is_an_empty_batch),
        cmocka_unit_test(test_samples_out_of_bounds),
        cmocka_unit_test(test_events),
        cmocka_unit_test(test_a_sequence_beyond_the_store_is_refused),
    };
    return cmocka_run_group_tests(tests, load, unload);
}
