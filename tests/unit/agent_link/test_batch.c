#include "belay_descriptors.h"
#include "cmd/agent/link/batch.h"
#include "tests/support/test.h"

#include <stdio.h>
#include <stdlib.h>

static struct wire_schema *schema;

static int set_up(void **state)
{
    (void)state;
    return wire_schema_load(belay_descriptors, belay_descriptors_size, &schema, NULL) == ERR_OK ? 0
                                                                                                : 1;
}

static int tear_down(void **state)
{
    (void)state;
    wire_schema_destroy(schema);
    return 0;
}

static void test_samples_and_back(void **state)
{
    (void)state;
    struct host_sample rows[60];
    struct host_samples samples = { .time = { 1767225600000000 }, .rows = rows, .count = 60 };
    AUTO_BUF struct buf payload = BUF_INIT(BATCH_BYTES_MAX);
    AUTO_BUF struct buf text = BUF_INIT(65536);
    for (unsigned i = 0; i < 60; i++) {
        rows[i] = (struct host_sample){ .metric = "host.network.receive",
                                        .unit = "bytes_per_second",
                                        .value = i };
        (void)snprintf(rows[i].instance, sizeof(rows[i].instance), "eth%u", i);
    }
    assert_ok(batch_pack_samples(&samples, &payload, NULL));
    size_t plain = payload.len;
    unsigned compression = batch_compress(&payload);
    assert_int_equal(compression, 1);
    assert_true(payload.len < plain / 3);
    assert_ok(batch_describe(schema, 1, compression, buf_view(&payload), &text, NULL));
    assert_non_null(strstr(
        buf_text(&text), "2026-01-01T00:00:00Z host.network.receive eth59 59 bytes_per_second\n"));
    assert_code(ERR_INVALID, batch_describe(schema, 1, 1, STR("no frame"), &text, NULL));
}

static void test_events_and_back(void **state)
{
    (void)state;
    const struct batch_attribute attributes[] = { { "action", "reboot" } };
    struct batch_event event = { .time = { 1767225600000000 },
                                 .severity = 3,
                                 .kind = "spool.dropped",
                                 .text = "seven \"records\"\n",
                                 .attributes = attributes,
                                 .attribute_count = 1 };
    AUTO_BUF struct buf payload = BUF_INIT(BATCH_BYTES_MAX);
    AUTO_BUF struct buf text = BUF_INIT(65536);
    assert_ok(batch_pack_event(&event, &payload, NULL));
    assert_ok(batch_describe(schema, 2, 0, buf_view(&payload), &text, NULL));
    assert_string_equal(
        buf_text(&text), "2026-01-01T00:00:00Z spool.dropped \"seven \\\"records\\\"\\n\"\n");
    event.text = "broken \xff text";
    assert_code(ERR_INVALID, batch_pack_event(&event, &payload, NULL));
}

static void test_opaque(void **state)
{
    (void)state;
    AUTO_BUF struct buf text = BUF_INIT(65536);
    assert_ok(batch_describe(schema, 0, 0, STR("anything"), &text, NULL));
    assert_string_equal(buf_text(&text), "8 opaque bytes\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_samples_and_back),
        cmocka_unit_test(test_events_and_back),
        cmocka_unit_test(test_opaque),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
