#include "cmd/shim/ring.h"
#include "common/base/cleanup.h"
#include "tests/support/test.h"

static void test_a_plain_ring_takes_no_more_than_it_can_keep(void **unused)
{
    (void)unused;
    struct ring ring = { .overwrites = false };
    AUTO_FREE char *data = mem_alloc(RING_BYTES_MAX);
    memset(data, 'a', RING_BYTES_MAX);
    ring_write(&ring, str_from(data, 10000));
    ring_release(&ring, 9000);
    ring_write(&ring, str_from(data, RING_BYTES_MAX - 1000));
    assert_int_equal(ring_room(&ring), 0);
    ring_release(&ring, 9500);
    assert_int_equal(ring_room(&ring), 500);
    ring_release(&ring, UINT64_MAX);
    assert_int_equal(ring_room(&ring), RING_BYTES_MAX);
    assert_int_equal(ring_peek(&ring, ring.end, 10).len, 0);
    ring_deinit(&ring);
}

/* Bytes are found at their offset whatever was grown, wrapped or dropped on the way. */
static void test_bytes_keep_their_offset(void **unused)
{
    (void)unused;
    for (int overwrites = 0; overwrites < 2; overwrites++) {
        struct ring ring = { .overwrites = overwrites != 0 };
        uint64_t written = 0;
        uint64_t checked = 0;
        while (written < 5 * (uint64_t)RING_BYTES_MAX) {
            char part[7919];
            size_t bytes = ring_room(&ring) < sizeof(part) ? ring_room(&ring) : sizeof(part);
            for (size_t i = 0; i < bytes; i++) {
                part[i] = (char)((written + i) * 31 % 251);
            }
            ring_write(&ring, str_from(part, bytes));
            written += bytes;
            checked = checked < ring.start ? ring.start : checked;
            struct str_view data = ring_peek(&ring, checked, 5000);
            for (size_t i = 0; i < data.len; i++) {
                assert_int_equal(data.ptr[i], (char)((checked + i) * 31 % 251));
            }
            checked += data.len;
            ring_release(&ring, checked);
        }
        assert_int_equal(ring.end, written);
        ring_deinit(&ring);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_plain_ring_takes_no_more_than_it_can_keep),
        cmocka_unit_test(test_bytes_keep_their_offset),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
