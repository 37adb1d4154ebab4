/*
 * Store and forward: a SQLite file in which records wait until the server has them. A record counts
 * as kept only when its transaction is on disk; each gets the next sequence number of its stream.
 *
 * Telemetry may be allowed to wait in memory first (delay_us): what the server acknowledges within
 * that time never touches the disk, and what it does not is written together with the rest. So an
 * agent that is online writes next to nothing, and one that is not writes once per delay. What a
 * crash takes from memory may have reached the server, whose mark is then ahead of the file:
 * spool_adopt makes the numbers given since follow it.
 *
 * Bounds: bytes and age. Past them the oldest telemetry goes first and events last; every drop is
 * counted. A record that fails its checksum is quarantined and passed over. A file that SQLite
 * calls damaged is set aside as FILE.corrupt-TIME and a fresh one begun. While the disk refuses
 * writes, new records wait in a bounded ring in memory (oldest telemetry dropped first, counted)
 * and are written as soon as it takes them again.
 *
 * One owner, one thread; append and trim wait for the disk.
 */
#ifndef CMD_AGENT_SPOOL_SPOOL_H
#define CMD_AGENT_SPOOL_SPOOL_H

#include "common/base/arena.h"
#include "common/base/time.h"

struct spool;

enum spool_stream {
    SPOOL_TELEMETRY,
    SPOOL_EVENTS,
    SPOOL_STREAM_COUNT
};

enum {
    SPOOL_PAYLOAD_MAX = 1048576,
    SPOOL_BATCH_MAX = 1024,      /* records per append and peek */
    SPOOL_QUARANTINE_MAX = 100,  /* newest ones kept */
    SPOOL_CORRUPT_FILES_MAX = 2, /* newest ones kept */
    SPOOL_RING_BYTES = 1048576,
    SPOOL_RECORD_OVERHEAD = 64 /* bytes a record counts beside its payload */
};

struct spool_options {
    const char *path; /* the folder must exist; copied */
    const struct clock *clock;
    uint64_t max_bytes; /* of all records */
    int64_t max_age_us; /* of running time; downtime does not age a record */
    int64_t delay_us;  /* telemetry in memory, until acknowledged; 0: on disk when append returns */
    size_t ring_bytes; /* 0: SPOOL_RING_BYTES */
    unsigned max_pages; /* hard bound of the file in SQLite pages; 0: none */
    bool read_only;     /* to look at another process's spool */
};

struct spool_input {
    enum spool_stream stream;
    struct wall_us captured_at;
    unsigned format;      /* agentgateway.v1.PayloadFormat */
    unsigned compression; /* agentgateway.v1.PayloadCompression */
    struct str_view payload;
};

struct spool_record {
    uint64_t sequence;
    struct wall_us captured_at;
    unsigned format;
    unsigned compression;
    struct str_view payload;
};

struct spool_batch {
    struct spool_record *records; /* in the caller's arena */
    unsigned count;
    size_t bytes; /* of payloads */
};

struct spool_stream_stats {
    uint64_t records;
    uint64_t bytes; /* payloads and SPOOL_RECORD_OVERHEAD each */
    uint64_t next_sequence;
    uint64_t acked_sequence;
    uint64_t dropped_records; /* since the file was made */
    uint64_t dropped_bytes;
    uint64_t quarantined;
};

struct spool_stats {
    struct spool_stream_stats streams[SPOOL_STREAM_COUNT];
    bool is_degraded;      /* the disk refuses writes */
    uint64_t ring_records; /* in memory: within the delay, or while the disk refuses */
    uint64_t ring_bytes;
    char last_error[256]; /* why it is or was degraded; "" */
    char set_aside[256];  /* damaged file set aside by this process; "" */
    unsigned set_aside_count;
};

struct spool_report {
    uint64_t records;
    uint64_t bad_records;
    bool totals_match; /* counters agree with the rows */
    bool file_ok;      /* SQLite's own check */
};

/* ERR_PRECONDITION: made by a newer program. ERR_DENIED: may not write there. A damaged file is no
 * error. */
enum err_code spool_open(
    const struct spool_options *options, struct spool **ret_spool, struct err_info *err) MUST_CHECK;
void spool_close(struct spool *spool); /* NULL is allowed; what is in the ring is tried once more */

/*
 * Writes count (at most SPOOL_BATCH_MAX) records in one transaction. ERR_OK: they are on disk, or
 * are telemetry within its delay, which goes with the next transaction or tick after it.
 * ERR_UNAVAILABLE: they wait in memory, since the disk refuses; spool_tick tries again.
 * ERR_LIMIT: a payload over SPOOL_PAYLOAD_MAX; nothing was taken.
 */
enum err_code spool_append(
    struct spool *spool, const struct spool_input *inputs, unsigned count, struct err_info *err)
    MUST_CHECK;

/* Now and then (every few seconds): ages records out and writes what has waited long enough. */
void spool_tick(struct spool *spool);

/* What a reader wants: records after a sequence, within bounds of bytes and count. */
struct spool_ask {
    enum spool_stream stream;
    uint64_t after;
    size_t max_bytes;
    unsigned max_count;
};

/*
 * The records after a sequence, in order, until max_bytes of payload (at least one record) or
 * max_count are reached: those on disk, then those in memory. Damaged records are quarantined on
 * the way.
 */
enum err_code spool_peek(
    struct spool *spool,
    const struct spool_ask *ask,
    struct arena *arena,
    struct spool_batch *ret_batch,
    struct err_info *err) MUST_CHECK;

/* The server holds everything up to acked: removes it. Never moves back. */
enum err_code spool_trim(
    struct spool *spool, enum spool_stream stream, uint64_t acked, struct err_info *err) MUST_CHECK;

/*
 * Start of a session: the server's own high-water mark. As spool_trim for a spool it knows. A fresh
 * spool (or an older copy, or one that lost what was in memory) would use numbers again that the
 * server has seen, so the records made since are renumbered to follow the mark. Where that fails
 * (the disk refuses), nothing may go up before another try has succeeded.
 */
enum err_code spool_adopt(
    struct spool *spool, enum spool_stream stream, uint64_t acked, struct err_info *err) MUST_CHECK;

/* Takes a record out of the way that can never be delivered. */
enum err_code spool_quarantine(
    struct spool *spool,
    enum spool_stream stream,
    uint64_t sequence,
    const char *reason,
    struct err_info *err) MUST_CHECK;

void spool_set_bounds(struct spool *spool, uint64_t max_bytes, int64_t max_age_us);
void spool_get_stats(const struct spool *spool, struct spool_stats *ret_stats);

/* Reads every record. Changes nothing. */
enum err_code spool_verify(
    struct spool *spool, struct spool_report *ret_report, struct err_info *err) MUST_CHECK;

/* Numbers by name that outlive the process; a missing one reads as fallback. */
uint64_t spool_get_setting(struct spool *spool, const char *name, uint64_t fallback);
enum err_code spool_put_setting(
    struct spool *spool, const char *name, uint64_t value, struct err_info *err) MUST_CHECK;

#endif
