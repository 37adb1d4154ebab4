/* What must hold, read from the store by a connection of the observer's own. */
#include "cmd/server/store/access.h"
#include "cmd/server/store/audit.h"
#include "cmd/server/store/command.h"
#include "common/crypto/audit_chain.h"
#include "tests/cluster/cluster.h"

#include <inttypes.h>
#include <stdio.h>

enum {
    PAGE = 200,
    ARENA_BYTES = 32 * 1024 * 1024
};

#define BOTH(name, text) \
    {                    \
        name, text, text \
    }

static const struct sql_statement MARKS = BOTH(
    "cluster_marks",
    "SELECT telemetry_sequence, events_sequence, session_epoch, command_sequence "
    "FROM agent WHERE id = $1");
static const struct sql_statement EVENTS =
    BOTH("cluster_events", "SELECT text, COUNT(*) FROM event WHERE agent_id = $1 GROUP BY text");
static const struct sql_statement UPLOADS = BOTH(
    "cluster_uploads", "SELECT payload, COUNT(*) FROM upload WHERE agent_id = $1 GROUP BY payload");
static const struct sql_statement SAMPLES = BOTH(
    "cluster_samples",
    "SELECT p.value, COUNT(*) FROM sample p JOIN series s ON s.id = p.series_id "
    "AND s.workspace_id = p.workspace_id WHERE s.agent_id = $1 GROUP BY p.value");
static const struct sql_statement COMMANDS = BOTH(
    "cluster_commands",
    "SELECT state, COUNT(*) FROM command WHERE idempotency_key = $1 GROUP BY state");
static const struct sql_statement OPEN_COMMANDS =
    BOTH("cluster_open", "SELECT COUNT(*) FROM command WHERE agent_id = $1 AND state IN (1, 2)");
static const struct sql_statement ACTIONS =
    BOTH("cluster_actions", "SELECT COUNT(*) FROM audit WHERE action = $1 AND target = $2");

static void begin(struct cluster *cluster)
{
    struct err_info err = ERR_INFO_INIT;
    assert_ok_err(err, sql_begin_read(cluster->observer, SQL_ALL_WORKSPACES, &err));
}

static void end(struct cluster *cluster)
{
    sql_rollback(cluster->observer);
}

static int64_t count_actions(struct cluster *cluster, const char *action, const char *target)
{
    struct err_info err = ERR_INFO_INIT;
    AUTO_ROWS struct sql_rows *rows = NULL;
    assert_ok_err(
        err,
        sql_query(
            cluster->observer,
            &ACTIONS,
            SQL_ARGS(SQL_TEXT(action), SQL_TEXT(target)),
            &rows,
            &err));
    assert_ok_err(err, sql_rows_next(rows, &err));
    return sql_int(rows, 0);
}

/* ---- marks ---- */

static void check_marks_of(struct cluster_agent *agent)
{
    struct err_info err = ERR_INFO_INIT;
    AUTO_ROWS struct sql_rows *rows = NULL;
    assert_ok_err(
        err,
        sql_query(agent->cluster->observer, &MARKS, SQL_ARGS(SQL_INT(agent->id)), &rows, &err));
    assert_ok_err(err, sql_rows_next(rows, &err));
    for (unsigned i = 0; i < ARRAY_LENGTH(agent->marks); i++) {
        assert_true(sql_int(rows, i) >= agent->marks[i]);
        agent->marks[i] = sql_int(rows, i);
    }
}

/* The spool never gives up what the store does not hold. */
static void check_spool_of(struct cluster_agent *agent)
{
    struct spool_stats stats;
    spool_get_stats(agent->spool, &stats);
    for (unsigned i = 0; i < SPOOL_STREAM_COUNT; i++) {
        uint64_t acked = stats.streams[i].acked_sequence;
        assert_true(acked >= agent->acked[i]);
        assert_true(acked <= (uint64_t)agent->marks[i]);
        agent->acked[i] = acked;
    }
}

void cluster_check_marks(struct cluster *cluster)
{
    begin(cluster);
    for (unsigned i = 0; i < CLUSTER_AGENTS; i++) {
        struct cluster_agent *agent = &cluster->agents[i];
        if (agent->id != 0) {
            check_marks_of(agent);
        }
        if (agent->id != 0 && agent->is_running) {
            check_spool_of(agent);
        }
    }
    end(cluster);
}

/* ---- records ---- */

struct tally {
    struct cluster_agent *agent;
    unsigned stored[SPOOL_STREAM_COUNT][CLUSTER_RECORDS_MAX];
};

/* "NAME-STREAM-NUMBER" */
static void tally_text(struct tally *tally, struct str_view text, int64_t count)
{
    size_t prefix = strlen(tally->agent->name) + 1;
    uint64_t number = 0;
    assert_true(text.len > prefix + 2);
    assert_memory_equal(text.ptr, tally->agent->name, prefix - 1);
    unsigned stream = text.ptr[prefix] == '0' ? SPOOL_TELEMETRY : SPOOL_EVENTS;
    assert_ok(str_parse_uint64(
        str_from(text.ptr + prefix + 2, text.len - prefix - 2), CLUSTER_RECORDS_MAX - 1, &number));
    tally->stored[stream][number] += (unsigned)count;
}

static void tally_rows(struct tally *tally, const struct sql_statement *statement)
{
    struct err_info err = ERR_INFO_INIT;
    AUTO_ROWS struct sql_rows *rows = NULL;
    assert_ok_err(
        err,
        sql_query(
            tally->agent->cluster->observer,
            statement,
            SQL_ARGS(SQL_INT(tally->agent->id)),
            &rows,
            &err));
    for (enum err_code code = sql_rows_next(rows, &err); code != ERR_NOT_FOUND;
         code = sql_rows_next(rows, &err)) {
        assert_ok_err(err, code);
        if (statement == &SAMPLES) {
            tally->stored[SPOOL_TELEMETRY][(unsigned)sql_real(rows, 0)] +=
                (unsigned)sql_int(rows, 1);
        } else {
            tally_text(
                tally,
                statement == &EVENTS ? sql_text(rows, 0) : sql_blob(rows, 0),
                sql_int(rows, 1));
        }
    }
}

/* Of a revoked agent what came in time is stored, once; the rest it keeps for itself. */
static bool is_right(const struct cluster_agent *agent, enum cluster_fate fate, unsigned stored)
{
    switch (fate) {
    case CLUSTER_REFUSED:
        return stored == 0;
    case CLUSTER_HELD:
    case CLUSTER_ACCEPTED:
        return stored == 1 || (agent->is_revoked && stored == 0);
    case CLUSTER_LOOSE:
        return stored <= 1;
    }
    return false;
}

static void check_records_of(struct cluster_agent *agent)
{
    AUTO_FREE struct tally *tally = mem_alloc(sizeof(*tally));
    tally->agent = agent;
    tally_rows(tally, &EVENTS);
    tally_rows(tally, &UPLOADS);
    tally_rows(tally, &SAMPLES);
    for (unsigned s = 0; s < SPOOL_STREAM_COUNT; s++) {
        for (unsigned n = 0; n < CLUSTER_RECORDS_MAX; n++) {
            if (!is_right(agent, agent->fates[s][n], tally->stored[s][n])) {
                fail_msg(
                    "%s: record %u of stream %u is stored %u times, its fate is %d",
                    agent->name,
                    n,
                    s,
                    tally->stored[s][n],
                    (int)agent->fates[s][n]);
            }
        }
    }
}

/* ---- commands ---- */

static int64_t state_of(struct cluster *cluster, unsigned number)
{
    const struct cluster_order *order = &cluster->orders[number];
    char key[CLUSTER_NAME_BYTES + 24];
    struct err_info err = ERR_INFO_INIT;
    AUTO_ROWS struct sql_rows *rows = NULL;
    (void)snprintf(key, sizeof(key), "%s-order-%u", order->agent->name, number);
    assert_ok_err(
        err, sql_query(cluster->observer, &COMMANDS, SQL_ARGS(SQL_TEXT(key)), &rows, &err));
    enum err_code code = sql_rows_next(rows, &err);
    if (code == ERR_NOT_FOUND) {
        return 0;
    }
    assert_ok_err(err, code);
    assert_int_equal(sql_int(rows, 1), 1); /* one command for the key */
    int64_t state = sql_int(rows, 0);
    assert_code(ERR_NOT_FOUND, sql_rows_next(rows, &err));
    return state;
}

static void check_order(struct cluster *cluster, unsigned number)
{
    const struct cluster_order *order = &cluster->orders[number];
    int64_t state = state_of(cluster, number);
    char target[80];
    (void)snprintf(target, sizeof(target), "command/%s", order->id);
    assert_true(order->effects <= 1);
    assert_true(state != 0 || order->id[0] == '\0'); /* what was answered is there */
    assert_true(state != 0 || order->effects == 0);
    if (state == COMMAND_SUCCEEDED) {
        assert_int_equal(order->effects, 1);
    }
    if (state == COMMAND_CANCELLED || order->is_cancelled) {
        assert_int_equal(state, COMMAND_CANCELLED);
        assert_int_equal(order->effects, 0);
    }
    if (order->id[0] != '\0') {
        bool acked = state == COMMAND_SUCCEEDED || state == COMMAND_FAILED;
        int64_t records = count_actions(cluster, "command.acknowledged", target);
        assert_int_equal(records, acked ? 1 : 0);
    }
}

bool cluster_orders_are_over(struct cluster *cluster)
{
    bool over = true;
    begin(cluster);
    for (unsigned i = 0; i < CLUSTER_AGENTS && over; i++) {
        struct err_info err = ERR_INFO_INIT;
        AUTO_ROWS struct sql_rows *rows = NULL;
        assert_ok_err(
            err,
            sql_query(
                cluster->observer,
                &OPEN_COMMANDS,
                SQL_ARGS(SQL_INT(cluster->agents[i].id)),
                &rows,
                &err));
        assert_ok_err(err, sql_rows_next(rows, &err));
        over = sql_int(rows, 0) == 0 || cluster->agents[i].is_revoked;
    }
    end(cluster);
    return over;
}

/* ---- audit ---- */

/* Each session that began left its record. */
static void check_sessions_of(struct cluster_agent *agent)
{
    char target[40];
    (void)snprintf(target, sizeof(target), "agent/%" PRId64, agent->id);
    assert_int_equal(count_actions(agent->cluster, "agent.session_begun", target), agent->marks[2]);
}

static void check_chain(struct cluster *cluster)
{
    struct err_info err = ERR_INFO_INIT;
    int64_t sequence = cluster->audit_before;
    uint8_t previous[32];
    bool has_previous = false;
    struct store_list list = { .count = PAGE };
    while (list.count == PAGE) {
        AUTO_ARENA struct arena *arena = arena_create(ARENA_BYTES);
        const struct audit_filter filter = { .after = sequence, .limit = PAGE };
        assert_ok_err(
            err,
            store_audit_newer(cluster->observer, WORKSPACE_DEFAULT, &filter, arena, &list, &err));
        const struct audit_record *records = list.records;
        for (size_t i = 0; i < list.count; i++) {
            uint8_t hash[32];
            assert_int_equal(records[i].sequence, ++sequence);
            struct str_view before =
                has_previous ? str_from((const char *)previous, sizeof(previous)) : STR_NONE;
            assert_int_equal(records[i].hash.len, sizeof(hash));
            if (has_previous || sequence == 1) {
                audit_chain_hash(before, sequence, str_of(records[i].record), hash);
                assert_memory_equal(hash, records[i].hash.ptr, sizeof(hash));
            }
            memcpy(previous, records[i].hash.ptr, sizeof(previous));
            has_previous = true;
        }
    }
}

/* What the servers would have done a moment later. */
static void place_audit(struct cluster *cluster)
{
    struct err_info err = ERR_INFO_INIT;
    assert_ok_err(err, sql_begin(cluster->observer, WORKSPACE_DEFAULT, &err));
    assert_ok_err(err, store_audit_place(cluster->observer, WORKSPACE_DEFAULT, &err));
    assert_ok_err(err, sql_commit(cluster->observer, &err));
}

void cluster_check_end(struct cluster *cluster)
{
    cluster_check_marks(cluster);
    place_audit(cluster);
    begin(cluster);
    for (unsigned i = 0; i < CLUSTER_AGENTS; i++) {
        if (cluster->agents[i].id != 0) {
            check_records_of(&cluster->agents[i]);
            check_sessions_of(&cluster->agents[i]);
        }
    }
    for (unsigned i = 0; i < cluster->order_count; i++) {
        check_order(cluster, i);
    }
    check_chain(cluster);
    end(cluster);
}
