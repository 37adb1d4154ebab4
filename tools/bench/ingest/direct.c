#include "tools/bench/ingest/direct.h"

#include "common/base/buf.h"
#include "common/base/cleanup.h"

#include <libpq-fe.h>
#include <sqlite3.h>

enum {
    COLUMNS = 4,
    TYPE_INT8 = 20,
    TYPE_FLOAT8 = 701,
    INT8_ARRAY = 1016,
    FLOAT8_ARRAY = 1022,
    ARRAY_BYTES_MAX = 256 * 1024 * 1024
};

#define INSERT "INSERT INTO sample (workspace_id, series_id, time_us, value) "

struct direct {
    sqlite3 *db; /* one of the two */
    PGconn *pg;
    sqlite3_stmt *insert;
};

static enum err_code open_sqlite(struct direct *direct, const char *path, struct err_info *err)
{
    static const char text[] = INSERT "VALUES (?1, ?2, ?3, ?4)";
    if (sqlite3_open(path, &direct->db) != SQLITE_OK
        || sqlite3_exec(
               direct->db,
               "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA busy_timeout = 5000",
               NULL,
               NULL,
               NULL)
            != SQLITE_OK
        || sqlite3_prepare_v2(direct->db, text, -1, &direct->insert, NULL) != SQLITE_OK) {
        return ERR_SET(err, ERR_UNAVAILABLE, "%s: %s", path, sqlite3_errmsg(direct->db));
    }
    return ERR_OK;
}

static enum err_code open_postgres(struct direct *direct, const char *url, struct err_info *err)
{
    static const Oid types[COLUMNS] = { INT8_ARRAY, INT8_ARRAY, INT8_ARRAY, FLOAT8_ARRAY };
    direct->pg = PQconnectdb(url);
    PGresult *result = PQprepare(
        direct->pg, "direct", INSERT "SELECT * FROM unnest($1, $2, $3, $4)", COLUMNS, types);
    bool good = PQresultStatus(result) == PGRES_COMMAND_OK;
    PQclear(result);
    return good ? ERR_OK : ERR_SET(err, ERR_UNAVAILABLE, "%s", PQerrorMessage(direct->pg));
}

enum err_code direct_open(const char *url, struct direct **ret_direct, struct err_info *err)
{
    struct str_view sqlite = STR("sqlite:");
    struct direct *direct = mem_alloc(sizeof(*direct));
    enum err_code code = str_has_prefix(str_of(url), sqlite)
        ? open_sqlite(direct, url + sqlite.len, err)
        : open_postgres(direct, url, err);
    if (code != ERR_OK) {
        direct_close(direct);
        return code;
    }
    *ret_direct = direct;
    return ERR_OK;
}

void direct_close(struct direct *direct)
{
    if (direct != NULL) {
        (void)sqlite3_finalize(direct->insert);
        (void)sqlite3_close(direct->db);
        PQfinish(direct->pg);
        mem_free(direct);
    }
}

static enum err_code insert_sqlite(
    struct direct *direct, const struct sample_columns *rows, struct err_info *err)
{
    bool good = sqlite3_exec(direct->db, "BEGIN IMMEDIATE", NULL, NULL, NULL) == SQLITE_OK;
    for (size_t i = 0; i < rows->count && good; i++) {
        (void)sqlite3_bind_int64(direct->insert, 1, rows->workspace_ids[i]);
        (void)sqlite3_bind_int64(direct->insert, 2, rows->series_ids[i]);
        (void)sqlite3_bind_int64(direct->insert, 3, rows->times_us[i]);
        (void)sqlite3_bind_double(direct->insert, 4, rows->values[i]);
        good = sqlite3_step(direct->insert) == SQLITE_DONE;
        (void)sqlite3_reset(direct->insert);
    }
    good = good && sqlite3_exec(direct->db, "COMMIT", NULL, NULL, NULL) == SQLITE_OK;
    return good ? ERR_OK : ERR_SET(err, ERR_UNAVAILABLE, "%s", sqlite3_errmsg(direct->db));
}

static void append_u32(struct buf *buf, uint32_t value)
{
    const uint8_t bytes[] = {
        (uint8_t)(value >> 24), (uint8_t)(value >> 16), (uint8_t)(value >> 8), (uint8_t)value
    };
    buf_append(buf, bytes, sizeof(bytes));
}

/* The binary form of an array of eight-byte members. */
static void pack_array(struct buf *buf, uint32_t type, const void *members, size_t count)
{
    const uint32_t head[] = { 1, 0, type, (uint32_t)count, 1 };
    const char *at = members;
    for (size_t i = 0; i < ARRAY_LENGTH(head); i++) {
        append_u32(buf, head[i]);
    }
    for (size_t i = 0; i < count; i++) {
        uint64_t bits = 0;
        memcpy(&bits, at + i * sizeof(bits), sizeof(bits));
        append_u32(buf, sizeof(bits));
        buf_append_u64_be(buf, bits);
    }
}

static bool run(PGconn *pg, const char *text)
{
    PGresult *result = PQexec(pg, text);
    bool good = PQresultStatus(result) == PGRES_COMMAND_OK;
    PQclear(result);
    return good;
}

static enum err_code insert_postgres(
    struct direct *direct, const struct sample_columns *rows, struct err_info *err)
{
    static const int formats[COLUMNS] = { 1, 1, 1, 1 };
    const void *columns[] = { rows->workspace_ids, rows->series_ids, rows->times_us, rows->values };
    struct buf packed[COLUMNS];
    const char *values[COLUMNS];
    int lengths[COLUMNS];
    for (int i = 0; i < COLUMNS; i++) {
        packed[i] = (struct buf)BUF_INIT(ARRAY_BYTES_MAX);
        pack_array(&packed[i], i < 3 ? TYPE_INT8 : TYPE_FLOAT8, columns[i], rows->count);
        values[i] = packed[i].data;
        lengths[i] = (int)packed[i].len;
    }
    bool good = run(direct->pg, "BEGIN");
    PGresult *result = PQexecPrepared(direct->pg, "direct", COLUMNS, values, lengths, formats, 1);
    good = good && PQresultStatus(result) == PGRES_COMMAND_OK;
    PQclear(result);
    good = good && run(direct->pg, "COMMIT");
    for (int i = 0; i < COLUMNS; i++) {
        buf_deinit(&packed[i]);
    }
    return good ? ERR_OK : ERR_SET(err, ERR_UNAVAILABLE, "%s", PQerrorMessage(direct->pg));
}

enum err_code direct_insert(
    struct direct *direct, const struct sample_columns *rows, struct err_info *err)
{
    return (direct->db != NULL ? insert_sqlite : insert_postgres)(direct, rows, err);
}
