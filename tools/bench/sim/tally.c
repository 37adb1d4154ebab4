#include "tools/bench/sim/tally.h"

#include "common/base/cleanup.h"

#include <assert.h>
#include <inttypes.h>

static const char *const count_names[] = {
    [TALLY_TOKENS] = "tokens",
    [TALLY_REGISTERED] = "registered",
    [TALLY_SESSIONS] = "sessions",
    [TALLY_ONLINE] = "online",
    [TALLY_DROPS] = "drops",
    [TALLY_LOST] = "lost",
    [TALLY_GOAWAYS] = "goaways",
    [TALLY_HEARTBEATS] = "heartbeats",
    [TALLY_RECORDS_MADE] = "records_made",
    [TALLY_RECORDS_SENT] = "records_sent",
    [TALLY_RECORDS_REPEATED] = "records_repeated",
    [TALLY_RECORDS_ACKED] = "records_acked",
    [TALLY_UPLOADS] = "uploads",
    [TALLY_UPLOAD_ACKS_LOST] = "upload_acks_lost",
    [TALLY_COMMANDS_GIVEN] = "commands_given",
    [TALLY_COMMANDS_RECEIVED] = "commands_received",
    [TALLY_COMMANDS_EXECUTED] = "commands_executed",
    [TALLY_COMMANDS_REPEATED] = "commands_repeated",
    [TALLY_COMMANDS_REFUSED] = "commands_refused",
    [TALLY_COMMAND_ACKS_SENT] = "command_acks_sent",
    [TALLY_COMMAND_ACKS_LOST] = "command_acks_lost",
    [TALLY_STORED] = "stored",
    [TALLY_STORED_TWICE] = "stored_twice",
    [TALLY_MISSING] = "missing",
};

static_assert(ARRAY_LENGTH(count_names) == TALLY_COUNT, "a name for each count");

static const char *const kind_names[] = {
    [TALLY_TOKEN] = "token",       [TALLY_REGISTER] = "register", [TALLY_BEGIN] = "begin",
    [TALLY_COMPLETE] = "complete", [TALLY_CONNECT] = "connect",   [TALLY_HEARTBEAT] = "heartbeat",
    [TALLY_UPLOAD] = "upload",     [TALLY_COMMAND] = "command",   [TALLY_CONTROL] = "control",
};

static_assert(ARRAY_LENGTH(kind_names) == TALLY_KIND_COUNT, "a name for each kind");

static const struct {
    const char *name;
    double quantile;
} quantiles[] = { { "p50", 0.5 }, { "p90", 0.9 }, { "p99", 0.99 } };

/* Buckets are as wide as a sixteenth of the power of two they lie in; below 16 us one wide. */
static unsigned bucket_of(int64_t us)
{
    if (us < TALLY_STEPS) {
        return us < 0 ? 0 : (unsigned)us;
    }
    unsigned shift = 63U - (unsigned)__builtin_clzll((uint64_t)us) - 4U;
    unsigned at = (shift + 1) * TALLY_STEPS + (unsigned)((uint64_t)us >> shift) % TALLY_STEPS;
    return at < TALLY_BUCKETS ? at : TALLY_BUCKETS - 1;
}

static int64_t bound_of(unsigned bucket)
{
    if (bucket < TALLY_STEPS) {
        return bucket;
    }
    unsigned shift = bucket / TALLY_STEPS - 1;
    return ((int64_t)(TALLY_STEPS + bucket % TALLY_STEPS + 1) << shift) - 1;
}

void tally_time(struct tally *tally, enum tally_kind kind, int64_t us)
{
    struct tally_times *times = &tally->times[kind];
    times->count++;
    times->most_us = us > times->most_us ? us : times->most_us;
    times->buckets[bucket_of(us)]++;
}

void tally_merge(struct tally *into, const struct tally *from)
{
    for (unsigned i = 0; i < TALLY_COUNT; i++) {
        into->counts[i] += from->counts[i];
    }
    for (unsigned kind = 0; kind < TALLY_KIND_COUNT; kind++) {
        struct tally_times *times = &into->times[kind];
        const struct tally_times *more = &from->times[kind];
        times->count += more->count;
        times->most_us = more->most_us > times->most_us ? more->most_us : times->most_us;
        for (unsigned i = 0; i < TALLY_BUCKETS; i++) {
            times->buckets[i] += more->buckets[i];
        }
        for (unsigned i = 0; i < ERR_CODE_COUNT; i++) {
            into->errors[kind][i] += from->errors[kind][i];
        }
    }
}

int64_t tally_quantile_us(const struct tally_times *times, double quantile)
{
    uint64_t seen = 0;
    for (unsigned i = 0; i < TALLY_BUCKETS; i++) {
        seen += times->buckets[i];
        if (seen > 0 && (double)seen >= quantile * (double)times->count) {
            int64_t bound = bound_of(i);
            return bound < times->most_us ? bound : times->most_us;
        }
    }
    return 0;
}

static void times_json(const struct tally *tally, struct buf *buf)
{
    const char *comma = "";
    buf_append_str(buf, STR("\"latency_us\":{"));
    for (unsigned kind = 0; kind < TALLY_KIND_COUNT; kind++) {
        const struct tally_times *times = &tally->times[kind];
        if (times->count == 0) {
            continue;
        }
        buf_printf(buf, "%s\"%s\":{\"count\":%" PRIu64, comma, kind_names[kind], times->count);
        for (unsigned i = 0; i < ARRAY_LENGTH(quantiles); i++) {
            int64_t us = tally_quantile_us(times, quantiles[i].quantile);
            buf_printf(buf, ",\"%s\":%" PRId64, quantiles[i].name, us);
        }
        buf_printf(buf, ",\"max\":%" PRId64 "}", times->most_us);
        comma = ",";
    }
    buf_append_char(buf, '}');
}

static void errors_json(const struct tally *tally, struct buf *buf)
{
    const char *comma = "";
    buf_append_str(buf, STR("\"errors\":{"));
    for (unsigned kind = 0; kind < TALLY_KIND_COUNT; kind++) {
        for (unsigned code = 0; code < ERR_CODE_COUNT; code++) {
            uint64_t count = tally->errors[kind][code];
            if (count > 0) {
                const char *name = err_name((enum err_code)code);
                buf_printf(buf, "%s\"%s.%s\":%" PRIu64, comma, kind_names[kind], name, count);
                comma = ",";
            }
        }
    }
    buf_append_char(buf, '}');
}

void tally_json(const struct tally *tally, struct buf *buf)
{
    buf_append_str(buf, STR("\"counts\":{"));
    for (unsigned i = 0; i < TALLY_COUNT; i++) {
        buf_printf(buf, "%s\"%s\":%" PRIu64, i == 0 ? "" : ",", count_names[i], tally->counts[i]);
    }
    buf_append_str(buf, STR("},"));
    times_json(tally, buf);
    buf_append_char(buf, ',');
    errors_json(tally, buf);
}

void tally_text(const struct tally *tally, struct buf *buf)
{
    for (unsigned i = 0; i < TALLY_COUNT; i++) {
        if (tally->counts[i] > 0) {
            buf_printf(buf, "%-20s %12" PRIu64 "\n", count_names[i], tally->counts[i]);
        }
    }
    buf_append_str(buf, STR("\nlatency, ms                p50        p90        p99        max\n"));
    for (unsigned kind = 0; kind < TALLY_KIND_COUNT; kind++) {
        const struct tally_times *times = &tally->times[kind];
        if (times->count == 0) {
            continue;
        }
        buf_printf(buf, "%-20s", kind_names[kind]);
        for (unsigned i = 0; i < ARRAY_LENGTH(quantiles); i++) {
            buf_printf(
                buf, " %10.1f", (double)tally_quantile_us(times, quantiles[i].quantile) / 1000);
        }
        buf_printf(buf, " %10.1f\n", (double)times->most_us / 1000);
    }
    for (unsigned kind = 0; kind < TALLY_KIND_COUNT; kind++) {
        for (unsigned code = 0; code < ERR_CODE_COUNT; code++) {
            if (tally->errors[kind][code] > 0) {
                buf_printf(
                    buf,
                    "error %s.%s: %" PRIu64 "\n",
                    kind_names[kind],
                    err_name((enum err_code)code),
                    tally->errors[kind][code]);
            }
        }
    }
}
