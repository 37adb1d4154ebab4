#include "common/base/id.h"
#include "common/wire/compress.h"
#include "tests/support/test.h"

static void test_round_trip(void **state)
{
    (void)state;
    AUTO_BUF struct buf data = BUF_INIT(1 << 20);
    AUTO_BUF struct buf frame = BUF_INIT(1 << 20);
    AUTO_BUF struct buf back = BUF_INIT(1 << 20);
    for (unsigned i = 0; i < 20000; i++) {
        buf_printf(&data, "host.cpu.busy %u\n", i % 100);
    }
    assert_true(wire_compress(buf_view(&data), &frame));
    assert_true(frame.len < data.len / 4);
    assert_ok(wire_decompress(buf_view(&frame), data.len, &back, NULL));
    assert_true(str_equal(buf_view(&data), buf_view(&back)));
}

static void test_what_does_not_shrink_is_left_alone(void **state)
{
    (void)state;
    char noise[4096];
    AUTO_BUF struct buf frame = BUF_INIT(1 << 20);
    id_random(noise, sizeof(noise));
    assert_false(wire_compress(str_from(noise, sizeof(noise)), &frame));
    assert_false(wire_compress(STR(""), &frame));
    assert_int_equal(frame.len, 0);
}

static void test_damaged_frames(void **state)
{
    (void)state;
    AUTO_BUF struct buf data = BUF_INIT(1 << 20);
    AUTO_BUF struct buf frame = BUF_INIT(1 << 20);
    AUTO_BUF struct buf back = BUF_INIT(1 << 20);
    for (unsigned i = 0; i < 100000; i++) {
        buf_append_char(&data, 'a');
    }
    assert_true(wire_compress(buf_view(&data), &frame));
    assert_code(ERR_LIMIT, wire_decompress(buf_view(&frame), 99999, &back, NULL));
    for (size_t cut = 0; cut < frame.len; cut++) {
        buf_clear(&back);
        assert_code(ERR_INVALID, wire_decompress(str_from(frame.data, cut), data.len, &back, NULL));
    }
    buf_append_char(&frame, 'x');
    buf_clear(&back);
    assert_code(ERR_INVALID, wire_decompress(buf_view(&frame), data.len, &back, NULL));
    assert_code(ERR_INVALID, wire_decompress(STR("not a frame at all"), 10, &back, NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_what_does_not_shrink_is_left_alone),
        cmocka_unit_test(test_damaged_frames),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
