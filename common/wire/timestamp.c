#include "common/wire/timestamp.h"

#include "common/wire/wire.h"

enum {
    NANOS_PER_US = 1000,
    NANOS_MAX = 999999999
};

static int64_t bound(int64_t value, int64_t most)
{
    return value < 0 ? 0 : value > most ? most : value;
}

Google__Protobuf__Timestamp wire_timestamp_of(struct wall_us time)
{
    Google__Protobuf__Timestamp timestamp = GOOGLE__PROTOBUF__TIMESTAMP__INIT;
    int64_t us = bound(time.value, WALL_US_MAX);
    timestamp.seconds = us / US_PER_SECOND;
    timestamp.nanos = (int32_t)(us % US_PER_SECOND * NANOS_PER_US);
    return timestamp;
}

Google__Protobuf__Timestamp *wire_timestamp_new(struct arena *arena, struct wall_us time)
{
    Google__Protobuf__Timestamp *made = wire_new(arena, &google__protobuf__timestamp__descriptor);
    if (made != NULL) {
        *made = wire_timestamp_of(time);
    }
    return made;
}

int64_t wire_timestamp_us(const Google__Protobuf__Timestamp *timestamp, int64_t fallback_us)
{
    if (timestamp == NULL) {
        return fallback_us;
    }
    int64_t last_second = WALL_US_MAX / US_PER_SECOND;
    if (timestamp->seconds < 0 || timestamp->seconds > last_second) {
        return timestamp->seconds < 0 ? 0 : WALL_US_MAX;
    }
    return timestamp->seconds * US_PER_SECOND + bound(timestamp->nanos, NANOS_MAX) / NANOS_PER_US;
}
