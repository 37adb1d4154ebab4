/*
 * What one process of belay-sim has counted and timed. Plain data, so that it can stand in memory
 * that processes share; one thread writes, and others read after that thread has ended.
 */
#ifndef TOOLS_BENCH_SIM_TALLY_H
#define TOOLS_BENCH_SIM_TALLY_H

#include "common/base/buf.h"

enum tally_count {
    TALLY_TOKENS,
    TALLY_REGISTERED,
    TALLY_SESSIONS, /* handshakes that gave a session */
    TALLY_ONLINE,   /* times an agent's control stream was accepted */
    TALLY_DROPS,    /* connections cut on purpose */
    TALLY_LOST,     /* sessions that ended otherwise than on purpose */
    TALLY_GOAWAYS,
    TALLY_HEARTBEATS,
    TALLY_RECORDS_MADE,
    TALLY_RECORDS_SENT,
    TALLY_RECORDS_REPEATED, /* of those sent: had been sent before */
    TALLY_RECORDS_ACKED,
    TALLY_UPLOADS,
    TALLY_UPLOAD_ACKS_LOST, /* answers thrown away on purpose */
    TALLY_COMMANDS_GIVEN,   /* by this process, through the operators' service */
    TALLY_COMMANDS_RECEIVED,
    TALLY_COMMANDS_EXECUTED,
    TALLY_COMMANDS_REPEATED, /* answered from what was done before */
    TALLY_COMMANDS_REFUSED,  /* signature, order or time wrong */
    TALLY_COMMAND_ACKS_SENT,
    TALLY_COMMAND_ACKS_LOST, /* thrown away on purpose */
    TALLY_STORED,            /* records found in the store by the check at the end */
    TALLY_STORED_TWICE,
    TALLY_MISSING, /* acknowledged, and not found */
    TALLY_COUNT
};

enum tally_kind { /* what is timed, and what fails */
    TALLY_TOKEN,
    TALLY_REGISTER,
    TALLY_BEGIN,
    TALLY_COMPLETE,
    TALLY_CONNECT, /* start of an attempt to accepted */
    TALLY_HEARTBEAT,
    TALLY_UPLOAD,
    TALLY_COMMAND, /* issued by the server to received by the agent */
    TALLY_CONTROL, /* how control streams ended; not timed */
    TALLY_KIND_COUNT
};

enum {
    TALLY_STEPS = 16, /* per doubling: bounds are within 6 % */
    TALLY_BUCKETS = 36 * TALLY_STEPS
};

struct tally_times {
    uint64_t count;
    int64_t most_us;
    uint32_t buckets[TALLY_BUCKETS];
};

struct tally {
    uint64_t counts[TALLY_COUNT];
    uint64_t errors[TALLY_KIND_COUNT][ERR_CODE_COUNT];
    struct tally_times times[TALLY_KIND_COUNT];
};

void tally_time(struct tally *tally, enum tally_kind kind, int64_t us);
void tally_merge(struct tally *into, const struct tally *from);

/* Upper bound of the bucket that holds the quantile, in microseconds; 0: nothing was timed. */
int64_t tally_quantile_us(const struct tally_times *times, double quantile);

/* Members of a JSON object without its braces: "counts", "latency_us", "errors". */
void tally_json(const struct tally *tally, struct buf *buf);
void tally_text(const struct tally *tally, struct buf *buf);

#endif
