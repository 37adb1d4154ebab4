/* Timestamps of peers, the absurd ones included. */
#include "common/wire/timestamp.h"
#include "tests/support/test.h"

static int64_t us_of(int64_t seconds, int32_t nanos)
{
    Google__Protobuf__Timestamp timestamp = GOOGLE__PROTOBUF__TIMESTAMP__INIT;
    timestamp.seconds = seconds;
    timestamp.nanos = nanos;
    return wire_timestamp_us(&timestamp, -1);
}

static void test_there_and_back(void **state)
{
    (void)state;
    static const int64_t times[] = {
        0, 1, 999999, 1000000, INT64_C(1764000000123456), WALL_US_MAX
    };
    struct arena *arena = arena_create(4096);
    for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
        struct wall_us time = { times[i] };
        Google__Protobuf__Timestamp timestamp = wire_timestamp_of(time);
        assert_in_range(timestamp.nanos, 0, 999999999);
        assert_int_equal(wire_timestamp_us(&timestamp, -1), times[i]);
        assert_int_equal(wire_timestamp_us(wire_timestamp_new(arena, time), -1), times[i]);
    }
    arena_destroy(arena);
    assert_int_equal(wire_timestamp_us(NULL, 7), 7);
}

static void test_what_is_out_of_range_is_brought_in(void **state)
{
    (void)state;
    assert_int_equal(us_of(INT64_MAX, 0), WALL_US_MAX);
    assert_int_equal(us_of(INT64_MAX / 1000000 + 1, 0), WALL_US_MAX);
    assert_int_equal(us_of(INT64_MIN, 0), 0);
    assert_int_equal(us_of(-1, 999999999), 0);
    assert_int_equal(us_of(5, -1), 5000000);
    assert_int_equal(us_of(5, INT32_MAX), 5999999);
    assert_int_equal(wire_timestamp_of((struct wall_us){ INT64_MIN }).seconds, 0);
    assert_int_equal(
        wire_timestamp_of((struct wall_us){ INT64_MAX }).seconds, INT64_C(253402300799));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_there_and_back),
        cmocka_unit_test(test_what_is_out_of_range_is_brought_in),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
