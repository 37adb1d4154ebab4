/* Everything that changes the spool's rows, each in one transaction; the mirrors follow the commit.
 */
#include "cmd/agent/spool/spool_private.h"
#include "common/base/log.h"
#include "common/sys/fault.h"
#include "spool.sql.h"

#include <stdio.h>

enum {
    DROP_STEP = 256
};

#define SEQUENCE_MAX (INT64_MAX / 2)

/* A transaction's view of the streams: copied to the spool only when it is committed. */
struct change {
    struct spool *spool;
    struct spool_stream_state streams[SPOOL_STREAM_COUNT];
};

static enum err_code change_begin(struct change *change, struct spool *spool, struct err_info *err)
{
    change->spool = spool;
    memcpy(change->streams, spool->streams, sizeof(change->streams));
    if (spool->conn == NULL) {
        TRY(spool_open_file(spool, err));
        for (unsigned i = 0; i < SPOOL_STREAM_COUNT; i++) {
            /* drops counted while there was no file */
            struct spool_stream_stats *stats = &spool->streams[i].stats;
            stats->dropped_records += change->streams[i].stats.dropped_records;
            stats->dropped_bytes += change->streams[i].stats.dropped_bytes;
            if (stats->next_sequence < change->streams[i].stats.next_sequence) {
                stats->next_sequence = change->streams[i].stats.next_sequence; /* given already */
            }
            change->streams[i] = spool->streams[i];
        }
    }
    return sql_begin(spool->conn, SQL_ALL_WORKSPACES, err);
}

static enum err_code change_commit(struct change *change, struct err_info *err)
{
    struct spool *spool = change->spool;
    for (unsigned i = 0; i < SPOOL_STREAM_COUNT; i++) {
        struct spool_stream_state *state = &change->streams[i];
        TRY(spool_put_stream(spool, (enum spool_stream)i, state, err));
        if (state->unsettled_from != 0 && !state->unsettled_stored) {
            TRY(spool_put_setting(
                spool, spool_unsettled_name((enum spool_stream)i), state->unsettled_from, err));
            state->unsettled_stored = true;
        }
    }
    TRY(spool_put_setting(spool, "spool_clock", (uint64_t)spool_running_us(spool), err));
    TRY(sql_commit(spool->conn, err));
    memcpy(spool->streams, change->streams, sizeof(spool->streams));
    return ERR_OK;
}

/* sequence 0: the next one. */
static enum err_code insert(
    struct change *change, const struct spool_input *input, uint64_t sequence, struct err_info *err)
{
    struct spool_stream_state *state = &change->streams[input->stream];
    sequence = sequence != 0 ? sequence : state->stats.next_sequence++;
    uint8_t checksum[RECORD_CHECKSUM_BYTES];
    record_checksum(
        input->captured_at, input->format, input->compression, input->payload, checksum);
    TRY(sql_exec(
        change->spool->conn,
        &SQL_RECORD_INSERT,
        SQL_ARGS(
            SQL_INT(spool_stream_key(input->stream)),
            SQL_INT(sequence),
            SQL_TIME(input->captured_at),
            SQL_INT(spool_running_us(change->spool)),
            SQL_INT(input->format),
            SQL_INT(input->compression),
            SQL_BLOB(checksum, sizeof(checksum)),
            SQL_BLOB(input->payload.ptr, input->payload.len)),
        NULL,
        err));
    state->stats.records++;
    state->stats.bytes += input->payload.len + SPOOL_RECORD_OVERHEAD;
    return ERR_OK;
}

static uint64_t total_bytes(const struct change *change)
{
    uint64_t total = 0;
    for (unsigned i = 0; i < SPOOL_STREAM_COUNT; i++) {
        total += change->streams[i].stats.bytes;
    }
    return total;
}

struct drop {
    uint64_t through; /* sequence; 0: nothing */
    uint64_t records;
    uint64_t bytes;
};

/* How far the oldest records of a stream must go: until `excess` bytes are free, or the rest is
 * young enough. */
static enum err_code plan_drop(
    struct change *change,
    enum spool_stream stream,
    uint64_t excess,
    int64_t stored_before,
    struct drop *drop,
    struct err_info *err)
{
    AUTO_ROWS struct sql_rows *rows = NULL;
    TRY(sql_query(
        change->spool->conn,
        &SQL_RECORD_OLDEST,
        SQL_ARGS(SQL_INT(spool_stream_key(stream)), SQL_INT(DROP_STEP)),
        &rows,
        err));
    for (;;) {
        enum err_code code = sql_rows_next(rows, err);
        if (code == ERR_NOT_FOUND) {
            return ERR_OK;
        }
        TRY(code);
        if (drop->bytes >= excess && sql_int(rows, 2) >= stored_before) {
            return ERR_OK;
        }
        drop->through = (uint64_t)sql_int(rows, 0);
        drop->records++;
        drop->bytes += (uint64_t)sql_int(rows, 1) + SPOOL_RECORD_OVERHEAD;
    }
}

static void subtract(uint64_t *value, uint64_t amount)
{
    *value -= amount < *value ? amount : *value;
}

static enum err_code remove_through(
    struct change *change, enum spool_stream stream, const struct drop *drop, struct err_info *err)
{
    struct spool_stream_stats *stats = &change->streams[stream].stats;
    TRY(sql_exec(
        change->spool->conn,
        &SQL_RECORD_DELETE_THROUGH,
        SQL_ARGS(SQL_INT(spool_stream_key(stream)), SQL_INT(drop->through)),
        NULL,
        err));
    subtract(&stats->records, drop->records);
    subtract(&stats->bytes, drop->bytes);
    return ERR_OK;
}

static enum err_code drop_oldest(
    struct change *change,
    enum spool_stream stream,
    uint64_t excess,
    int64_t stored_before,
    bool *ret_more,
    struct err_info *err)
{
    struct spool_stream_stats *stats = &change->streams[stream].stats;
    struct drop drop = { 0 };
    TRY(plan_drop(change, stream, excess, stored_before, &drop, err));
    if (drop.records > 0) {
        TRY(remove_through(change, stream, &drop, err));
        stats->dropped_records += drop.records;
        stats->dropped_bytes += drop.bytes;
    } else if (excess > 0) {
        stats->records = 0; /* no rows: the totals were wrong */
        stats->bytes = 0;
    }
    *ret_more = drop.records == DROP_STEP;
    return ERR_OK;
}

/* Oldest telemetry first, events last. */
static enum err_code enforce_bytes(struct change *change, struct err_info *err)
{
    bool more = false;
    while (total_bytes(change) > change->spool->max_bytes) {
        bool has_telemetry = change->streams[SPOOL_TELEMETRY].stats.bytes > 0;
        TRY(drop_oldest(
            change,
            has_telemetry ? SPOOL_TELEMETRY : SPOOL_EVENTS,
            total_bytes(change) - change->spool->max_bytes,
            INT64_MIN,
            &more,
            err));
    }
    return ERR_OK;
}

static enum err_code enforce_age(struct change *change, struct err_info *err)
{
    int64_t stored_before = spool_running_us(change->spool) - change->spool->max_age_us;
    for (unsigned i = 0; i < SPOOL_STREAM_COUNT; i++) {
        bool more = true;
        while (more && stored_before > 0) {
            TRY(drop_oldest(change, (enum spool_stream)i, 0, stored_before, &more, err));
        }
    }
    return ERR_OK;
}

static void ring_remove(struct spool *spool, struct spool_waiting *waiting)
{
    list_remove(&waiting->link);
    spool->ring_records--;
    spool->ring_bytes -= waiting->bytes;
    mem_free(waiting->payload);
    mem_free(waiting);
}

static struct spool_waiting *ring_victim(struct spool *spool)
{
    LIST_FOR_EACH(node, &spool->ring)
    {
        struct spool_waiting *waiting = LIST_ENTRY(node, struct spool_waiting, link);
        if (waiting->stream == SPOOL_TELEMETRY) {
            return waiting;
        }
    }
    return LIST_ENTRY(spool->ring.next, struct spool_waiting, link);
}

static void count_ring_drop(struct spool *spool, enum spool_stream stream, size_t bytes)
{
    spool->streams[stream].stats.dropped_records++;
    spool->streams[stream].stats.dropped_bytes += bytes;
}

/* NULL: no memory, or larger than the ring. */
static struct spool_waiting *ring_add(struct spool *spool, const struct spool_input *input)
{
    size_t bytes = input->payload.len + SPOOL_RECORD_OVERHEAD;
    struct spool_waiting *waiting = mem_try_alloc(sizeof(*waiting));
    char *payload = mem_try_alloc(input->payload.len + 1);
    if (waiting == NULL || payload == NULL || bytes > spool->ring_limit) {
        mem_free(waiting);
        mem_free(payload);
        return NULL;
    }
    if (input->payload.len > 0) {
        memcpy(payload, input->payload.ptr, input->payload.len);
    }
    waiting->stream = input->stream;
    waiting->since = clock_mono(spool->clock);
    waiting->sequence = 0;
    waiting->captured_at = input->captured_at;
    waiting->format = input->format;
    waiting->compression = input->compression;
    waiting->bytes = bytes;
    waiting->payload = payload;
    list_append(&spool->ring, &waiting->link);
    spool->ring_records++;
    spool->ring_bytes += bytes;
    return waiting;
}

/* What there is no room for is dropped, and counted. */
static void ring_push(struct spool *spool, const struct spool_input *input)
{
    if (ring_add(spool, input) == NULL) {
        count_ring_drop(spool, input->stream, input->payload.len + SPOOL_RECORD_OVERHEAD);
    }
    while (spool->ring_bytes > spool->ring_limit) {
        struct spool_waiting *victim = ring_victim(spool);
        count_ring_drop(spool, victim->stream, victim->bytes);
        ring_remove(spool, victim);
    }
}

/* Ring first, then the new ones, then the bounds; nothing of it counts before the commit. */
static enum err_code write_all(
    struct spool *spool, const struct spool_input *inputs, unsigned count, struct err_info *err)
{
    struct change change;
    unsigned from_ring = 0;
    TRY(change_begin(&change, spool, err));
    LIST_FOR_EACH(node, &spool->ring)
    {
        const struct spool_waiting *waiting = LIST_ENTRY(node, struct spool_waiting, link);
        struct spool_input input = {
            .stream = waiting->stream,
            .captured_at = waiting->captured_at,
            .format = waiting->format,
            .compression = waiting->compression,
            .payload = str_from(waiting->payload, waiting->bytes - SPOOL_RECORD_OVERHEAD)
        };
        TRY(insert(&change, &input, waiting->sequence, err));
        from_ring++;
    }
    for (unsigned i = 0; i < count; i++) {
        TRY(insert(&change, &inputs[i], 0, err));
    }
    TRY(enforce_bytes(&change, err));
    FAULT_POINT("agent.record.unwritten");
    TRY(change_commit(&change, err));
    FAULT_POINT("agent.record.written");
    while (from_ring > 0) {
        ring_remove(spool, LIST_ENTRY(spool->ring.next, struct spool_waiting, link));
        from_ring--;
    }
    return ERR_OK;
}

static enum err_code write_or_recover(
    struct spool *spool, const struct spool_input *inputs, unsigned count, struct err_info *err)
{
    struct err_info local = ERR_INFO_INIT;
    struct err_info *reason = err == NULL ? &local : err;
    enum err_code code = write_all(spool, inputs, count, reason);
    if (code != ERR_OK && spool_recover(spool, code, reason)) {
        code = write_all(spool, inputs, count, reason);
        if (code != ERR_OK) {
            (void)spool_recover(spool, ERR_UNAVAILABLE, reason);
        }
    }
    if (code == ERR_OK && spool->is_degraded) {
        spool->is_degraded = false;
        log_info("spool_recovered", LOG_UINT("records", count));
    }
    return code;
}

static bool ring_is_due(const struct spool *spool)
{
    const struct spool_waiting *oldest = LIST_ENTRY(spool->ring.next, struct spool_waiting, link);
    return !list_is_empty(&spool->ring)
        && clock_mono(spool->clock).value - oldest->since.value >= spool->delay_us;
}

/* Telemetry within its delay, as long as there is plenty of room in the ring. */
static bool may_wait(const struct spool *spool, const struct spool_input *inputs, unsigned count)
{
    size_t bytes = spool->ring_bytes;
    bool may = spool->delay_us > 0 && spool->conn != NULL && !spool->is_degraded;
    for (unsigned i = 0; i < count && may; i++) {
        bytes += inputs[i].payload.len + SPOOL_RECORD_OVERHEAD;
        may = inputs[i].stream == SPOOL_TELEMETRY && bytes <= spool->ring_limit / 2;
    }
    return may && !ring_is_due(spool);
}

/* As many as there is memory for; the others have to go to the disk. */
static unsigned hold(struct spool *spool, const struct spool_input *inputs, unsigned count)
{
    unsigned held = 0;
    while (held < count) {
        struct spool_waiting *waiting = ring_add(spool, &inputs[held]);
        if (waiting == NULL) {
            break;
        }
        waiting->sequence = spool->streams[waiting->stream].stats.next_sequence++;
        held++;
    }
    return held;
}

enum err_code spool_append(
    struct spool *spool, const struct spool_input *inputs, unsigned count, struct err_info *err)
{
    if (spool->read_only || count > SPOOL_BATCH_MAX) {
        return ERR_SET(err, ERR_LIMIT, "spool: read only, or over %d records", SPOOL_BATCH_MAX);
    }
    for (unsigned i = 0; i < count; i++) {
        if (inputs[i].payload.len > SPOOL_PAYLOAD_MAX) {
            return ERR_SET(
                err, ERR_LIMIT, "spool: a record of more than %d bytes", SPOOL_PAYLOAD_MAX);
        }
    }
    if (may_wait(spool, inputs, count)) {
        unsigned held = hold(spool, inputs, count);
        inputs += held;
        count -= held;
        if (count == 0) {
            return ERR_OK;
        }
    }
    bool wait = spool->is_degraded && clock_mono(spool->clock).value < spool->retry_at.value;
    if (!wait && write_or_recover(spool, inputs, count, err) == ERR_OK) {
        return ERR_OK;
    }
    for (unsigned i = 0; i < count; i++) {
        ring_push(spool, &inputs[i]);
    }
    return ERR_SET(
        err, ERR_UNAVAILABLE, "spool: waiting in memory, the disk refuses: %s", spool->last_error);
}

/* Looked at without a transaction: the disk of an idle agent is left alone. */
static bool needs_aging(struct spool *spool)
{
    int64_t stored_before = spool_running_us(spool) - spool->max_age_us;
    uint64_t bytes = 0;
    bool is_old = false;
    for (unsigned i = 0; i < SPOOL_STREAM_COUNT && !is_old; i++) {
        AUTO_ROWS struct sql_rows *rows = NULL;
        bytes += spool->streams[i].stats.bytes;
        if (spool->streams[i].stats.records == 0) {
            continue;
        }
        struct sql_value key = SQL_INT(spool_stream_key((enum spool_stream)i));
        is_old = spool->conn == NULL
            || sql_query(spool->conn, &SQL_RECORD_OLDEST, SQL_ARGS(key, SQL_INT(1)), &rows, NULL)
                != ERR_OK
            || sql_rows_next(rows, NULL) != ERR_OK || sql_int(rows, 2) < stored_before;
    }
    return is_old || bytes > spool->max_bytes; /* the bound may have been lowered */
}

static enum err_code age_out(struct spool *spool, struct err_info *err)
{
    struct change change;
    TRY(change_begin(&change, spool, err));
    TRY(enforce_age(&change, err));
    TRY(enforce_bytes(&change, err));
    return change_commit(&change, err);
}

void spool_tick(struct spool *spool)
{
    struct err_info err = ERR_INFO_INIT;
    if (spool->read_only) {
        return;
    }
    if (spool->is_degraded && clock_mono(spool->clock).value < spool->retry_at.value) {
        return;
    }
    if ((spool->is_degraded || ring_is_due(spool))
        && write_or_recover(spool, NULL, 0, &err) != ERR_OK) {
        return;
    }
    if (!needs_aging(spool)) {
        return;
    }
    enum err_code code = age_out(spool, &err);
    if (code != ERR_OK) {
        (void)spool_recover(spool, code, &err);
    }
}

static enum err_code sum_through(
    struct spool *spool,
    enum spool_stream stream,
    uint64_t sequence,
    struct drop *ret_drop,
    struct err_info *err)
{
    AUTO_ROWS struct sql_rows *rows = NULL;
    TRY(sql_query(
        spool->conn,
        &SQL_RECORD_SUM_THROUGH,
        SQL_ARGS(SQL_INT(spool_stream_key(stream)), SQL_INT(sequence)),
        &rows,
        err));
    TRY(sql_rows_next(rows, err));
    ret_drop->through = sequence;
    ret_drop->records = (uint64_t)sql_int(rows, 0);
    ret_drop->bytes = (uint64_t)sql_int(rows, 1) + ret_drop->records * SPOOL_RECORD_OVERHEAD;
    return ERR_OK;
}

static enum err_code trim(
    struct spool *spool, enum spool_stream stream, uint64_t acked, struct err_info *err)
{
    struct change change;
    struct drop drop = { 0 };
    TRY(change_begin(&change, spool, err));
    TRY(sum_through(spool, stream, acked, &drop, err));
    TRY(remove_through(&change, stream, &drop, err));
    change.streams[stream].adopted = true;
    change.streams[stream].stats.acked_sequence = acked;
    return change_commit(&change, err);
}

static enum err_code finish(struct spool *spool, enum err_code code, struct err_info *err)
{
    struct err_info copy = err == NULL ? (struct err_info)ERR_INFO_INIT : *err;
    if (code != ERR_OK) {
        if (err == NULL) { /* the log is to say something all the same */
            (void)ERR_SET(&copy, code, "the spool: %s", err_name(code));
        }
        (void)spool_recover(spool, code, &copy);
    }
    return code;
}

static void ring_trim(struct spool *spool, enum spool_stream stream, uint64_t acked)
{
    LIST_FOR_EACH(node, &spool->ring)
    {
        struct spool_waiting *waiting = LIST_ENTRY(node, struct spool_waiting, link);
        if (waiting->stream == stream && waiting->sequence != 0 && waiting->sequence <= acked) {
            ring_remove(spool, waiting);
        }
    }
}

enum err_code spool_trim(
    struct spool *spool, enum spool_stream stream, uint64_t acked, struct err_info *err)
{
    const struct spool_stream_stats *stats = &spool->streams[stream].stats;
    if (acked >= stats->next_sequence) {
        acked = stats->next_sequence - 1; /* nothing we did not number can be meant */
    }
    if (acked <= stats->acked_sequence) {
        return ERR_OK;
    }
    ring_trim(spool, stream, acked);
    if (spool->conn != NULL && stats->records == 0) {
        /* nothing of it is on disk: the mark goes there with the next transaction */
        spool->streams[stream].stats.acked_sequence = acked;
        return ERR_OK;
    }
    struct err_info local = ERR_INFO_INIT;
    struct err_info *reason = err == NULL ? &local : err;
    enum err_code code = trim(spool, stream, acked, reason);
    if (code != ERR_OK && spool_recover(spool, code, reason)) {
        code = trim(spool, stream, acked, reason);
    }
    return code;
}

static void ring_renumber(struct spool *spool, enum spool_stream stream, uint64_t shift)
{
    LIST_FOR_EACH(node, &spool->ring)
    {
        struct spool_waiting *waiting = LIST_ENTRY(node, struct spool_waiting, link);
        if (waiting->stream == stream && waiting->sequence != 0) {
            waiting->sequence += shift;
        }
    }
}

/* The records from `first` on follow the mark; those before it are what the server has. */
static enum err_code renumber(
    struct spool *spool,
    enum spool_stream stream,
    uint64_t first,
    uint64_t acked,
    struct err_info *err)
{
    struct change change;
    struct drop had = { 0 };
    uint64_t shift = acked - (first - 1);
    struct sql_value key = SQL_INT(spool_stream_key(stream));
    TRY(change_begin(&change, spool, err));
    TRY(sum_through(spool, stream, first - 1, &had, err));
    TRY(remove_through(&change, stream, &had, err));
    TRY(sql_exec(spool->conn, &SQL_RECORD_SHIFT, SQL_ARGS(key, SQL_INT(shift)), NULL, err));
    TRY(sql_exec(spool->conn, &SQL_RECORD_SHIFT_END, SQL_ARGS(key), NULL, err));
    change.streams[stream].stats.next_sequence += shift;
    change.streams[stream].stats.acked_sequence = acked;
    change.streams[stream].adopted = true;
    TRY(change_commit(&change, err));
    ring_renumber(spool, stream, shift);
    return ERR_OK;
}

/* The numbers in use are those the server will see. */
static enum err_code settle(struct spool *spool, enum spool_stream stream, struct err_info *err)
{
    struct spool_stream_state *state = &spool->streams[stream];
    if (state->unsettled_stored) {
        TRY(spool_put_setting(spool, spool_unsettled_name(stream), 0, err));
        state->unsettled_stored = false;
    }
    state->unsettled_from = 0;
    return ERR_OK;
}

enum err_code spool_adopt(
    struct spool *spool, enum spool_stream stream, uint64_t acked, struct err_info *err)
{
    const struct spool_stream_state *state = &spool->streams[stream];
    if (acked > SEQUENCE_MAX) {
        return ERR_SET(err, ERR_INVALID, "spool: the server's acknowledged sequence is absurd");
    }
    if (!state->adopted || acked >= state->stats.next_sequence
        || (state->unsettled_from != 0 && acked >= state->unsettled_from)) {
        uint64_t first = state->adopted && state->unsettled_from != 0 ? state->unsettled_from : 1;
        TRY(finish(spool, renumber(spool, stream, first, acked, err), err));
    } else {
        struct err_info local = ERR_INFO_INIT;
        if (spool_trim(spool, stream, acked, &local) != ERR_OK) {
            log_warn("spool_not_trimmed", LOG_ERR(&local)); /* the numbers are right all the same */
        }
    }
    return settle(spool, stream, err);
}

static enum err_code quarantine(
    struct spool *spool,
    enum spool_stream stream,
    uint64_t sequence,
    const char *reason,
    struct err_info *err)
{
    struct change change;
    struct drop before = { 0 };
    struct drop with = { 0 };
    struct sql_value key = SQL_INT(spool_stream_key(stream));
    TRY(change_begin(&change, spool, err));
    TRY(sum_through(spool, stream, sequence - 1, &before, err));
    TRY(sum_through(spool, stream, sequence, &with, err));
    TRY(sql_exec(
        spool->conn,
        &SQL_QUARANTINE_INSERT,
        SQL_ARGS(key, SQL_INT(sequence), SQL_TIME(clock_wall(spool->clock)), SQL_TEXT(reason)),
        NULL,
        err));
    TRY(sql_exec(
        spool->conn, &SQL_QUARANTINE_PRUNE, SQL_ARGS(SQL_INT(SPOOL_QUARANTINE_MAX)), NULL, err));
    TRY(sql_exec(spool->conn, &SQL_RECORD_DELETE, SQL_ARGS(key, SQL_INT(sequence)), NULL, err));
    struct spool_stream_stats *stats = &change.streams[stream].stats;
    subtract(&stats->records, with.records - before.records);
    subtract(&stats->bytes, with.bytes - before.bytes);
    stats->quarantined++;
    return change_commit(&change, err);
}

enum err_code spool_quarantine(
    struct spool *spool,
    enum spool_stream stream,
    uint64_t sequence,
    const char *reason,
    struct err_info *err)
{
    log_warn("record_quarantined", LOG_UINT("sequence", sequence), LOG_STR("reason", reason));
    if (!list_is_empty(&spool->ring)) {
        TRY(write_or_recover(spool, NULL, 0, err)); /* it may be in memory alone */
    }
    return finish(spool, quarantine(spool, stream, sequence, reason, err), err);
}
