/*
 * Time in microseconds: wall time for records, monotonic time for timeouts; two types, so that they
 * cannot be mixed. All code takes its time from a struct clock, so that tests can hold it still.
 */
#ifndef COMMON_BASE_TIME_H
#define COMMON_BASE_TIME_H

#include "common/base/str.h"

struct mono_us {
    int64_t value;
};

struct wall_us {
    int64_t value; /* since 1970-01-01 UTC, no leap seconds */
};

struct clock {
    struct mono_us (*mono)(const struct clock *clock);
    struct wall_us (*wall)(const struct clock *clock);
};

const struct clock *clock_system(void);

static inline struct mono_us clock_mono(const struct clock *clock)
{
    return clock->mono(clock);
}

static inline struct wall_us clock_wall(const struct clock *clock)
{
    return clock->wall(clock);
}

#define US_PER_MS     INT64_C(1000)
#define US_PER_SECOND INT64_C(1000000)
#define US_PER_MINUTE (60 * US_PER_SECOND)
#define US_PER_HOUR   (60 * US_PER_MINUTE)
#define US_PER_DAY    (24 * US_PER_HOUR)

/* Years 1970 to 9999, the range that records may carry. */
#define WALL_US_MAX INT64_C(253402300799999999)

enum {
    TIME_TEXT_BYTES = 32
};

/* RFC 3339 in UTC with as many digits as needed (0, 3 or 6): "2026-11-22T03:46:00.250Z"; returns
 * out. */
char *time_format(struct wall_us time, char out[TIME_TEXT_BYTES]);

/* RFC 3339 with any offset, up to nine fraction digits (cut to six). */
enum err_code time_parse(struct str_view text, struct wall_us *ret_time) MUST_CHECK;

#endif
