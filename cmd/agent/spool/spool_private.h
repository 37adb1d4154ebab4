/* What the files of the spool share. */
#ifndef CMD_AGENT_SPOOL_SPOOL_PRIVATE_H
#define CMD_AGENT_SPOOL_SPOOL_PRIVATE_H

#include "cmd/agent/spool/record.h"
#include "cmd/agent/spool/spool.h"
#include "common/base/cleanup.h"
#include "common/base/list.h"
#include "common/sql/sql.h"

/* One record in memory while the disk refuses. */
struct spool_waiting {
    struct list link;
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
};

struct spool {
    char *path;
    const struct clock *clock;
    uint64_t max_bytes;
    int64_t max_age_us;
    size_t ring_limit;
    unsigned max_pages;
    bool read_only;
    struct sql_conn *conn; /* NULL while the file cannot be opened */
    struct spool_stream_state streams[SPOOL_STREAM_COUNT];
    struct list ring; /* spool_waiting, oldest first */
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

/* Loads the streams' rows; the mirrors in memory follow. */
enum err_code spool_load_streams(struct spool *spool, struct err_info *err) MUST_CHECK;
enum err_code spool_put_stream(
    struct spool *spool,
    enum spool_stream stream,
    const struct spool_stream_state *state,
    struct err_info *err) MUST_CHECK;

/*
 * After a failed statement. true: worth another try, since a damaged file was set aside and a fresh
 * one begun, or a full disk was given back the log's space. false: the spool is marked degraded.
 */
bool spool_recover(struct spool *spool, enum err_code code, const struct err_info *err);

/* Opens the file or begins a fresh one. */
enum err_code spool_open_file(struct spool *spool, struct err_info *err) MUST_CHECK;

#endif
