/* Peeking and verifying: every record is checked against its checksum before anybody sees it. */
#include "cmd/agent/spool/spool_private.h"
#include "spool.sql.h"

enum {
    BAD_MAX = 64,
    VERIFY_STEP = 256
};

/* Sequences found damaged, to be quarantined when the rows are closed. */
struct bad {
    uint64_t sequences[BAD_MAX];
    unsigned count;
};

struct peek {
    struct spool *spool;
    enum spool_stream stream;
    uint64_t after;
    size_t max_bytes;
    unsigned max_count;
    struct arena *arena;
    struct spool_batch *batch;
    struct bad bad;
    bool is_complete; /* the disk holds no further ones */
};

static bool row_is_intact(const struct sql_rows *rows)
{
    return record_is_intact(
        (struct wall_us){ sql_int(rows, 1) },
        (unsigned)sql_int(rows, 2),
        (unsigned)sql_int(rows, 3),
        sql_blob(rows, 5),
        sql_blob(rows, 4));
}

/* Takes a record whose payload is still somebody else's. */
static enum err_code take(
    struct peek *peek, const struct spool_record *borrowed, struct err_info *err)
{
    struct spool_record *record = &peek->batch->records[peek->batch->count];
    struct str_view payload = borrowed->payload;
    *record = *borrowed;
    const char *copy = arena_dup(
        peek->arena, payload.len == 0 ? "" : payload.ptr, payload.len + (payload.len == 0));
    if (copy == NULL) {
        return ERR_SET(err, ERR_LIMIT, "spool: a batch does not fit its arena");
    }
    record->payload = str_from(copy, payload.len);
    peek->batch->bytes += payload.len;
    peek->batch->count++;
    return ERR_OK;
}

static bool is_full(const struct peek *peek, size_t next_bytes)
{
    return peek->batch->count == peek->max_count
        || (peek->batch->count > 0 && peek->batch->bytes + next_bytes > peek->max_bytes);
}

static enum err_code take_row(struct peek *peek, const struct sql_rows *rows, struct err_info *err)
{
    const struct spool_record record = { .sequence = (uint64_t)sql_int(rows, 0),
                                         .captured_at = { sql_int(rows, 1) },
                                         .format = (unsigned)sql_int(rows, 2),
                                         .compression = (unsigned)sql_int(rows, 3),
                                         .payload = sql_blob(rows, 5) };
    return take(peek, &record, err);
}

/* What is in memory comes after all that is on disk. A number is given where there is none yet:
 * from now on the server may know it. */
static enum err_code read_ring(struct peek *peek, struct err_info *err)
{
    struct spool *spool = peek->spool;
    LIST_FOR_EACH(node, &spool->ring)
    {
        struct spool_waiting *waiting = LIST_ENTRY(node, struct spool_waiting, link);
        size_t bytes = waiting->bytes - SPOOL_RECORD_OVERHEAD;
        if (waiting->stream != peek->stream) {
            continue;
        }
        if (is_full(peek, bytes)) {
            return ERR_OK;
        }
        if (waiting->sequence == 0) {
            waiting->sequence = spool->streams[waiting->stream].stats.next_sequence++;
        }
        const struct spool_record record = { .sequence = waiting->sequence,
                                             .captured_at = waiting->captured_at,
                                             .format = waiting->format,
                                             .compression = waiting->compression,
                                             .payload = str_from(waiting->payload, bytes) };
        if (record.sequence > peek->after) {
            TRY(take(peek, &record, err));
        }
    }
    return ERR_OK;
}

static enum err_code read_rows(struct peek *peek, struct err_info *err)
{
    AUTO_ROWS struct sql_rows *rows = NULL;
    TRY(sql_query(
        peek->spool->conn,
        &SQL_RECORD_PEEK,
        SQL_ARGS(
            SQL_INT(spool_stream_key(peek->stream)),
            SQL_INT(peek->after),
            SQL_INT(peek->max_count)),
        &rows,
        err));
    while (peek->batch->count < peek->max_count && peek->bad.count < BAD_MAX) {
        enum err_code code = sql_rows_next(rows, err);
        if (code == ERR_NOT_FOUND) {
            peek->is_complete = true;
            return ERR_OK;
        }
        TRY(code);
        if (!row_is_intact(rows)) {
            peek->bad.sequences[peek->bad.count++] = (uint64_t)sql_int(rows, 0);
            continue;
        }
        if (is_full(peek, sql_blob(rows, 5).len)) {
            return ERR_OK;
        }
        TRY(take_row(peek, rows, err));
    }
    return ERR_OK;
}

enum err_code spool_peek(
    struct spool *spool,
    const struct spool_ask *ask,
    struct arena *arena,
    struct spool_batch *ret_batch,
    struct err_info *err)
{
    struct err_info local = ERR_INFO_INIT;
    struct err_info *reason = err == NULL ? &local : err;
    struct spool_batch batch = { 0 };
    struct peek peek = { .spool = spool,
                         .stream = ask->stream,
                         .after = ask->after,
                         .max_bytes = ask->max_bytes,
                         .max_count =
                             ask->max_count > SPOOL_BATCH_MAX ? SPOOL_BATCH_MAX : ask->max_count,
                         .arena = arena,
                         .batch = &batch };
    if (spool->conn == NULL) {
        return ERR_SET(err, ERR_UNAVAILABLE, "spool: %s", spool->last_error);
    }
    batch.records = arena_alloc(arena, peek.max_count * sizeof(*batch.records));
    if (batch.records == NULL) {
        return ERR_SET(err, ERR_LIMIT, "spool: a batch does not fit its arena");
    }
    enum err_code code = read_rows(&peek, reason);
    if (code == ERR_OK && peek.is_complete && !spool->read_only) {
        code = read_ring(&peek, reason);
    }
    if (code == ERR_CORRUPT) {
        (void)spool_recover(spool, code, reason);
    }
    if (code != ERR_OK) {
        return code;
    }
    for (unsigned i = 0; i < peek.bad.count && !spool->read_only; i++) {
        TRY(spool_quarantine(spool, ask->stream, peek.bad.sequences[i], "checksum", reason));
    }
    *ret_batch = batch;
    return ERR_OK;
}

struct totals {
    uint64_t records;
    uint64_t bytes;
    uint64_t last;
    unsigned step;
};

static enum err_code verify_step(
    struct spool *spool,
    enum spool_stream stream,
    struct totals *totals,
    struct spool_report *report,
    struct err_info *err)
{
    AUTO_ROWS struct sql_rows *rows = NULL;
    totals->step = 0;
    TRY(sql_query(
        spool->conn,
        &SQL_RECORD_PEEK,
        SQL_ARGS(SQL_INT(spool_stream_key(stream)), SQL_INT(totals->last), SQL_INT(VERIFY_STEP)),
        &rows,
        err));
    for (;;) {
        enum err_code code = sql_rows_next(rows, err);
        if (code == ERR_NOT_FOUND) {
            return ERR_OK;
        }
        TRY(code);
        totals->step++;
        totals->records++;
        totals->bytes += sql_blob(rows, 5).len + SPOOL_RECORD_OVERHEAD;
        totals->last = (uint64_t)sql_int(rows, 0);
        report->bad_records += row_is_intact(rows) ? 0 : 1;
    }
}

static enum err_code verify_streams(
    struct spool *spool, struct spool_report *report, struct err_info *err)
{
    for (unsigned i = 0; i < SPOOL_STREAM_COUNT; i++) {
        const struct spool_stream_stats *stats = &spool->streams[i].stats;
        struct totals totals = { .step = 1 };
        while (totals.step > 0) {
            TRY(verify_step(spool, (enum spool_stream)i, &totals, report, err));
        }
        report->records += totals.records;
        report->totals_match = report->totals_match && totals.records == stats->records
            && totals.bytes == stats->bytes;
    }
    return ERR_OK;
}

enum err_code spool_verify(
    struct spool *spool, struct spool_report *ret_report, struct err_info *err)
{
    struct spool_report report = { .totals_match = true, .file_ok = true };
    struct spool_stream_state mirrors[SPOOL_STREAM_COUNT];
    AUTO_ROWS struct sql_rows *rows = NULL;
    if (spool->conn == NULL) {
        return ERR_SET(err, ERR_UNAVAILABLE, "spool: %s", spool->last_error);
    }
    /* one snapshot, since the agent may be writing */
    TRY(sql_begin_read(spool->conn, SQL_ALL_WORKSPACES, err));
    memcpy(mirrors, spool->streams, sizeof(mirrors));
    enum err_code code = spool_load_streams(spool, err);
    if (code == ERR_OK) {
        code = verify_streams(spool, &report, err);
    }
    if (code == ERR_OK) {
        code = sql_query(spool->conn, &SQL_FILE_CHECK, SQL_NO_ARGS, &rows, err);
    }
    if (code == ERR_OK) {
        code = sql_rows_next(rows, err);
        report.file_ok = code == ERR_OK && str_equal(sql_text(rows, 0), STR("ok"));
    }
    sql_rows_close(STEAL(rows));
    sql_rollback(spool->conn);
    memcpy(spool->streams, mirrors, sizeof(mirrors));
    if (code == ERR_CORRUPT) {
        report.file_ok = false;
        code = ERR_OK;
    }
    if (code == ERR_OK) {
        *ret_report = report;
    }
    return code;
}
