/*
 * What agents would have uploaded: records of zstd-compressed TelemetryBatches, made before the
 * clock runs, each later than those before; and the same rows as columns, for the floor. One
 * thread.
 */
#ifndef TOOLS_BENCH_INGEST_LOAD_H
#define TOOLS_BENCH_INGEST_LOAD_H

#include "cmd/server/ingest/record.h"
#include "cmd/server/store/telemetry.h"
#include "tools/bench/seed/seed.h"

enum {
    LOAD_AGENTS = 64,
    LOAD_SERIES = 20, /* of an agent */
    LOAD_TIMES = 5,   /* samples of each series in a record */
    LOAD_RECORD_ROWS = LOAD_SERIES * LOAD_TIMES,
    LOAD_RECORD_EVENTS = 100, /* as lines of a log that is written fast */
    LOAD_BATCH_RECORDS = 512  /* as the writer takes at most */
};

struct load {
    struct seed_agent agents[LOAD_AGENTS];
    int64_t next_us;                 /* time of the next samples */
    uint64_t sequences[LOAD_AGENTS]; /* last of each agent */
    uint64_t event_sequences[LOAD_AGENTS];
    int64_t series[LOAD_AGENTS * LOAD_SERIES]; /* ids; load_find_series */
};

struct load_record {
    struct record_source source;
    struct record_upload upload; /* its payload is owned: load_records_free */
};

enum err_code load_open(struct load *load, struct seed *seed, struct err_info *err) MUST_CHECK;
void load_close(struct load *load);

/* count records, an agent after the other. */
struct load_record *load_records_make(struct load *load, size_t count);
/* The same of events; both are freed alike. */
struct load_record *load_events_make(struct load *load, size_t count);
void load_records_free(struct load_record *records, size_t count);

/* After the first records were stored: which ids the series got. */
enum err_code load_find_series(struct load *load, struct seed *seed, struct err_info *err)
    MUST_CHECK;

/* The rows of `records` records, later than all before; load_columns_free. */
struct sample_columns load_columns_make(struct load *load, size_t records);
void load_columns_free(struct sample_columns *columns);

#endif
