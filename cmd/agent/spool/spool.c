#include "cmd/agent/spool/spool.h"

#include "agent_migrations.h"
#include "cmd/agent/spool/spool_private.h"
#include "common/base/log.h"
#include "common/sql/migrate.h"
#include "common/sys/file.h"
#include "spool.sql.h"

#include <dirent.h>
#include <errno.h>
#include <libgen.h>
#include <stdio.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum {
    PAGE_BYTES = 4096,
    LOG_PAGES_MIN = 64,
    LOG_PAGES_MAX = 1000,
    LOG_SHARE = 32 /* a part of the free space */
};

#define RETRY_US (5 * US_PER_SECOND)

int64_t spool_running_us(const struct spool *spool)
{
    return spool->clock_base_us + clock_mono(spool->clock).value - spool->opened_at.value;
}

static enum err_code read_setting(
    struct spool *spool,
    const char *name,
    uint64_t fallback,
    uint64_t *ret_value,
    struct err_info *err)
{
    AUTO_ROWS struct sql_rows *rows = NULL;
    TRY(sql_query(spool->conn, &SQL_SETTING_GET, SQL_ARGS(SQL_TEXT(name)), &rows, err));
    enum err_code code = sql_rows_next(rows, err);
    if (code != ERR_OK && code != ERR_NOT_FOUND) {
        return code;
    }
    *ret_value = code == ERR_OK ? (uint64_t)sql_int(rows, 0) : fallback;
    return ERR_OK;
}

uint64_t spool_get_setting(struct spool *spool, const char *name, uint64_t fallback)
{
    uint64_t value = fallback;
    bool is_read =
        spool->conn != NULL && read_setting(spool, name, fallback, &value, NULL) == ERR_OK;
    return is_read ? value : fallback;
}

enum err_code spool_put_setting(
    struct spool *spool, const char *name, uint64_t value, struct err_info *err)
{
    if (spool->conn == NULL) {
        return ERR_SET(err, ERR_UNAVAILABLE, "spool: %s", spool->last_error);
    }
    return sql_exec(
        spool->conn, &SQL_SETTING_PUT, SQL_ARGS(SQL_TEXT(name), SQL_INT(value)), NULL, err);
}

static enum err_code load_stream(
    struct spool *spool, enum spool_stream stream, struct err_info *err)
{
    AUTO_ROWS struct sql_rows *rows = NULL;
    struct spool_stream_state *state = &spool->streams[stream];
    uint64_t stored = 0;
    TRY(read_setting(spool, spool_unsettled_name(stream), 0, &stored, err));
    TRY(sql_query(
        spool->conn, &SQL_STREAM_GET, SQL_ARGS(SQL_INT(spool_stream_key(stream))), &rows, err));
    enum err_code code = sql_rows_next(rows, err);
    if (code == ERR_NOT_FOUND) {
        return ERR_SET(err, ERR_CORRUPT, "spool: a stream's row is missing");
    }
    TRY(code);
    state->stats.next_sequence = (uint64_t)sql_int(rows, 0);
    state->stats.acked_sequence = (uint64_t)sql_int(rows, 1);
    state->stats.records = (uint64_t)sql_int(rows, 2);
    state->stats.bytes = (uint64_t)sql_int(rows, 3);
    state->stats.dropped_records = (uint64_t)sql_int(rows, 4);
    state->stats.dropped_bytes = (uint64_t)sql_int(rows, 5);
    state->stats.quarantined = (uint64_t)sql_int(rows, 6);
    state->adopted = sql_int(rows, 7) != 0;
    state->unsettled_stored = stored != 0;
    state->unsettled_from = stored != 0 ? stored : state->stats.next_sequence;
    return ERR_OK;
}

enum err_code spool_load_streams(struct spool *spool, struct err_info *err)
{
    for (unsigned i = 0; i < SPOOL_STREAM_COUNT; i++) {
        TRY(load_stream(spool, (enum spool_stream)i, err));
    }
    return ERR_OK;
}

enum err_code spool_put_stream(
    struct spool *spool,
    enum spool_stream stream,
    const struct spool_stream_state *state,
    struct err_info *err)
{
    const struct spool_stream_stats *stats = &state->stats;
    return sql_exec(
        spool->conn,
        &SQL_STREAM_PUT,
        SQL_ARGS(
            SQL_INT(spool_stream_key(stream)),
            SQL_INT(stats->next_sequence),
            SQL_INT(stats->acked_sequence),
            SQL_INT(stats->records),
            SQL_INT(stats->bytes),
            SQL_INT(stats->dropped_records),
            SQL_INT(stats->dropped_bytes),
            SQL_INT(stats->quarantined),
            SQL_BOOL(state->adopted)),
        NULL,
        err);
}

/* How far the write-ahead log may grow: long, since moving it into the file costs three fsyncs; but
 * a small part of what is free, since on a small disk it is what fills it. */
static unsigned log_pages(const struct spool *spool)
{
    struct statvfs disk;
    if (statvfs(spool->path, &disk) != 0) {
        return LOG_PAGES_MIN;
    }
    uint64_t pages = (uint64_t)disk.f_bavail * disk.f_frsize / PAGE_BYTES / LOG_SHARE;
    pages = pages > LOG_PAGES_MAX ? LOG_PAGES_MAX : pages;
    return pages < LOG_PAGES_MIN ? LOG_PAGES_MIN : (unsigned)pages;
}

static enum err_code set_up(struct spool *spool, struct err_info *err)
{
    if (spool->max_pages > 0 && !spool->read_only) {
        char pragma[64];
        (void)snprintf(pragma, sizeof(pragma), "PRAGMA max_page_count = %u", spool->max_pages);
        TRY(sql_exec_script(spool->conn, pragma, err));
    }
    if (!spool->read_only) {
        char pragma[64];
        unsigned pages = log_pages(spool);
        (void)snprintf(pragma, sizeof(pragma), "PRAGMA wal_autocheckpoint = %u", pages);
        TRY(sql_exec_script(spool->conn, pragma, err));
    }
    if (spool->read_only) {
        TRY(sql_migrate_check(spool->conn, agent_migrations, agent_migrations_count, err));
    } else {
        TRY(sql_migrate_up(spool->conn, agent_migrations, agent_migrations_count, NULL, NULL, err));
    }
    TRY(sql_prepare_all(
        spool->conn, sql_spool_statements, ARRAY_LENGTH(sql_spool_statements), err));
    TRY(spool_load_streams(spool, err));
    uint64_t running_us = 0;
    TRY(read_setting(spool, "spool_clock", 0, &running_us, err));
    spool->clock_base_us = (int64_t)running_us;
    spool->opened_at = clock_mono(spool->clock);
    return ERR_OK;
}

static enum err_code connect_once(struct spool *spool, struct err_info *err)
{
    AUTO_FREE char *url = mem_printf("sqlite:%s", spool->path);
    struct sql_options options = {
        .url = url, .application = "belay-agent", .read_only = spool->read_only, .full_sync = true
    };
    TRY(sql_connect(&options, &spool->conn, err));
    enum err_code code = set_up(spool, err);
    if (code != ERR_OK) {
        sql_close(spool->conn);
        spool->conn = NULL;
    }
    return code;
}

/* The times in the names have one width, so that the oldest sorts first. */
static void prune_set_aside(const struct spool *spool)
{
    AUTO_FREE char *folder = mem_strdup(spool->path);
    AUTO_FREE char *base = mem_strdup(spool->path);
    AUTO_FREE char *prefix = mem_printf("%s.corrupt-", basename(base));
    const char *dir_path = dirname(folder);
    for (;;) {
        char oldest[256] = "";
        unsigned count = 0;
        DIR *dir = opendir(dir_path);
        for (struct dirent *e = dir == NULL ? NULL : readdir(dir); e != NULL; e = readdir(dir)) {
            if (!str_has_prefix(str_of(e->d_name), str_of(prefix))) {
                continue;
            }
            count++;
            if (oldest[0] == '\0' || strcmp(e->d_name, oldest) < 0) {
                (void)snprintf(oldest, sizeof(oldest), "%s", e->d_name);
            }
        }
        if (dir != NULL) {
            (void)closedir(dir);
        }
        AUTO_FREE char *victim = mem_printf("%s/%s", dir_path, oldest);
        if (count <= SPOOL_CORRUPT_FILES_MAX || unlink(victim) != 0) {
            return;
        }
    }
}

/* The write-ahead log belongs to the damaged file: a fresh one must not be given it. */
static enum err_code set_file_aside(struct spool *spool, struct err_info *err)
{
    AUTO_FREE char *target = mem_printf(
        "%s.corrupt-%012lld", spool->path, (long long)clock_wall(spool->clock).value / 1000000);
    AUTO_FREE char *wal = mem_printf("%s-wal", spool->path);
    AUTO_FREE char *shm = mem_printf("%s-shm", spool->path);
    if (rename(spool->path, target) != 0) {
        return ERR_SET_ERRNO(err, ERR_UNAVAILABLE, errno, "spool: setting %s aside", spool->path);
    }
    (void)unlink(wal);
    (void)unlink(shm);
    (void)snprintf(spool->set_aside, sizeof(spool->set_aside), "%s", target);
    spool->set_aside_count++;
    log_error("spool_set_aside", LOG_STR("file", target));
    prune_set_aside(spool);
    return ERR_OK;
}

/* SQLite takes a read that fails for damage. What is sound when it is read once more was not
 * damaged: nothing that a moment's fault of the disk touched may be set aside. */
static bool is_sound(struct spool *spool)
{
    AUTO_ROWS struct sql_rows *rows = NULL;
    return sql_query(spool->conn, &SQL_FILE_CHECK_WHOLE, SQL_NO_ARGS, &rows, NULL) == ERR_OK
        && sql_rows_next(rows, NULL) == ERR_OK && str_equal(sql_text(rows, 0), STR("ok"));
}

enum err_code spool_open_file(struct spool *spool, struct err_info *err)
{
    enum err_code code = connect_once(spool, err);
    if (code == ERR_CORRUPT && !spool->read_only) {
        code = connect_once(spool, err);
    }
    if (code == ERR_CORRUPT && !spool->read_only) {
        TRY(set_file_aside(spool, err));
        code = connect_once(spool, err);
    }
    return code;
}

static void set_degraded(struct spool *spool, const struct err_info *err)
{
    if (!spool->is_degraded) {
        log_error("spool_degraded", LOG_ERR(err));
    }
    spool->is_degraded = true;
    spool->retry_at.value = clock_mono(spool->clock).value + RETRY_US;
    (void)snprintf(spool->last_error, sizeof(spool->last_error), "%.255s", err->text);
}

/* Numbers go on where they were, so that the session under way stays valid; what the file held is
 * lost and counted. */
static enum err_code begin_fresh(struct spool *spool, struct err_info *err)
{
    struct spool_stream_state before[SPOOL_STREAM_COUNT];
    int64_t running_us = spool_running_us(spool);
    memcpy(before, spool->streams, sizeof(before));
    TRY(set_file_aside(spool, err));
    TRY(connect_once(spool, err));
    for (unsigned i = 0; i < SPOOL_STREAM_COUNT; i++) {
        struct spool_stream_state *state = &before[i];
        state->stats.dropped_records += state->stats.records;
        state->stats.dropped_bytes += state->stats.bytes;
        state->stats.records = 0;
        state->stats.bytes = 0;
        state->unsettled_stored = false;
        TRY(spool_put_stream(spool, (enum spool_stream)i, state, err));
        spool->streams[i] = *state;
    }
    spool->clock_base_us = running_us;
    return ERR_OK;
}

/* The disk is full: the log's pages move into the file, where there may be free ones, and its space
 * is given back. */
static bool fold_log(struct spool *spool)
{
    return spool->conn != NULL && !spool->read_only
        && sql_exec_script(spool->conn, "PRAGMA wal_checkpoint(TRUNCATE)", NULL) == ERR_OK;
}

bool spool_recover(struct spool *spool, enum err_code code, const struct err_info *err)
{
    struct err_info fresh = ERR_INFO_INIT;
    if (spool->conn != NULL) {
        sql_rollback(spool->conn);
    }
    if (code == ERR_LIMIT && fold_log(spool)) {
        return true;
    }
    if (code != ERR_CORRUPT || spool->read_only) {
        set_degraded(spool, err);
        return false;
    }
    if (spool->conn != NULL && is_sound(spool)) {
        log_warn("spool_read_again", LOG_ERR(err));
        return true;
    }
    sql_close(spool->conn);
    spool->conn = NULL;
    if (begin_fresh(spool, &fresh) != ERR_OK) {
        set_degraded(spool, &fresh);
        return false;
    }
    return true;
}

enum err_code spool_open(
    const struct spool_options *options, struct spool **ret_spool, struct err_info *err)
{
    struct err_info local = ERR_INFO_INIT;
    struct err_info *reason = err == NULL ? &local : err;
    struct spool *spool = mem_alloc(sizeof(*spool));
    spool->path = mem_strdup(options->path);
    spool->clock = options->clock;
    spool->max_bytes = options->max_bytes;
    spool->max_age_us = options->max_age_us;
    spool->delay_us = options->delay_us;
    spool->ring_limit = options->ring_bytes == 0 ? SPOOL_RING_BYTES : options->ring_bytes;
    spool->max_pages = options->max_pages;
    spool->read_only = options->read_only;
    spool->opened_at = clock_mono(spool->clock);
    list_init(&spool->ring);
    for (unsigned i = 0; i < SPOOL_STREAM_COUNT; i++) {
        spool->streams[i].stats.next_sequence = 1;
    }
    enum err_code code = spool_open_file(spool, reason);
    bool disk_refuses = code == ERR_LIMIT || code == ERR_UNAVAILABLE;
    if (disk_refuses && !spool->read_only) {
        set_degraded(spool, reason);
        code = ERR_OK;
    }
    if (code != ERR_OK) {
        spool_close(spool);
        return code;
    }
    *ret_spool = spool;
    return ERR_OK;
}

void spool_close(struct spool *spool)
{
    if (spool == NULL) {
        return;
    }
    if (!list_is_empty(&spool->ring)) {
        spool->retry_at.value = 0;
        spool->delay_us = 0;
        spool_tick(spool);
    }
    LIST_FOR_EACH(node, &spool->ring)
    {
        struct spool_waiting *waiting = LIST_ENTRY(node, struct spool_waiting, link);
        list_remove(node);
        mem_free(waiting->payload);
        mem_free(waiting);
    }
    sql_close(spool->conn);
    mem_free(spool->path);
    mem_free(spool);
}

void spool_set_bounds(struct spool *spool, uint64_t max_bytes, int64_t max_age_us)
{
    spool->max_bytes = max_bytes;
    spool->max_age_us = max_age_us;
}

void spool_get_stats(const struct spool *spool, struct spool_stats *ret_stats)
{
    memset(ret_stats, 0, sizeof(*ret_stats));
    for (unsigned i = 0; i < SPOOL_STREAM_COUNT; i++) {
        ret_stats->streams[i] = spool->streams[i].stats;
    }
    ret_stats->is_degraded = spool->is_degraded;
    ret_stats->ring_records = spool->ring_records;
    ret_stats->ring_bytes = spool->ring_bytes;
    memcpy(ret_stats->last_error, spool->last_error, sizeof(ret_stats->last_error));
    memcpy(ret_stats->set_aside, spool->set_aside, sizeof(ret_stats->set_aside));
    ret_stats->set_aside_count = spool->set_aside_count;
}
