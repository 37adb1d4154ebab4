/* What the files of the spool share. */
#ifndef CMD_AGENT_SPOOL_SPOOL_PRIVATE_H
#define CMD_AGENT_SPOOL_SPOOL_PRIVATE_H

#include "cmd/agent/spool/record.h"
#include "cmd/agent/spool/spool.h"
#include "common/base/cleanup.h"
#include "common/base/list.h"
#include "common/sql/sql.h"

/* One record in memory: within its delay, or while the disk refuses. */
struct spool_waiting {
    struct list link;
    struct mono_us since;
    uint64_t sequence; /* 0: none yet */
    enum spool_stream stream;
    struct wall_us captured_at;
    unsigned format;
    unsigned compression;
    size_t bytes;
    char *payload;
};

struct spool_stream_state {
    struct spool_stream_stats stats; /* as in the table after the last commit */
    bool adopted;
    /*
     * Numbers from here on were given since the server's mark was last heard, so the server may
     * know other records by them. 0: it was heard in this process. Kept in the file
     * (unsettled_name) while there are such records in it.
     */
    uint64_t unsettled_from;
    bool unsettled_stored;
};

struct spool {
    char *path;
    const struct clock *clock;
    uint64_t max_bytes;
    int64_t max_age_us;
    int64_t delay_us;
    size_t ring_limit;
    unsigned max_pages;
    bool read_only;
    struct sql_conn *conn; /* NULL while the file cannot be opened */
    struct spool_stream_state streams[SPOOL_STREAM_COUNT];
    struct list ring; /* spool_waiting, oldest first; sequences rise within a stream */
    uint64_t ring_records;
    uint64_t ring_bytes;
    bool is_degraded;
    struct mono_us retry_at; /* while degraded */
    int64_t clock_base_us;   /* spool clock at the open */
    struct mono_us opened_at;
    char last_error[256];
    char set_aside[256];
    unsigned set_aside_count;
};

static inline int64_t spool_stream_key(enum spool_stream stream)
{
    return (int64_t)stream + 1;
}

/* Microseconds the agent has run with this spool. */
int64_t spool_running_us(const struct spool *spool);

/* Name of the setting that holds a stream's unsettled_from. */
static inline const char *spool_unsettled_name(enum spool_stream stream)
{
    return stream == SPOOL_TELEMETRY ? "telemetry_unsettled" : "events_unsettled";
}

/* Loads the streams' rows; the mirrors in memory follow. */
enum err_code spool_load_streams(struct spool *spool, struct err_info *err) MUST_CHECK;
enum err_code spool_put_stream(
    struct spool *spool,
    enum spool_stream stream,
    const struct spool_stream_state *state,
    struct err_info *err) MUST_CHECK;

/*
 * After a failed statement. true: worth another try, since a damaged file was set aside and a fresh
 * one begun, or it proved sound when read again, or a full disk was given back the log's space.
 * false: the spool is marked degraded.
 */
bool spool_recover(struct spool *spool, enum err_code code, const struct err_info *err);

/* Opens the file or begins a fresh one. */
enum err_code spool_open_file(struct spool *spool, struct err_info *err) MUST_CHECK;

#endif
