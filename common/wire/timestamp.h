/*
 * google.protobuf.Timestamp to and from microseconds. A peer's timestamp may hold anything: what is
 * before 1970 or after 9999 becomes the nearest time between. Pure; any thread.
 */
#ifndef COMMON_WIRE_TIMESTAMP_H
#define COMMON_WIRE_TIMESTAMP_H

#include "common/base/arena.h"
#include "common/base/time.h"

#include <google/protobuf/timestamp.pb-c.h>

Google__Protobuf__Timestamp wire_timestamp_of(struct wall_us time);

/* NULL: the arena is full. */
Google__Protobuf__Timestamp *wire_timestamp_new(struct arena *arena, struct wall_us time);

/* Of a field that is not set (NULL): fallback_us. */
int64_t wire_timestamp_us(const Google__Protobuf__Timestamp *timestamp, int64_t fallback_us);

#endif
