#include "tools/bench/spool/raw.h"

#include "agent_migrations.h"
#include "common/base/mem.h"
#include "common/base/time.h"

#include <sqlite3.h>

static const char insert_text[] =
    "INSERT INTO record (stream, sequence, captured_at, stored_at, format, compression, checksum, "
    "payload) VALUES (1, ?1, ?2, ?3, 1, 0, ?4, ?5)";

struct raw {
    sqlite3 *db;
    sqlite3_stmt *insert;
    sqlite3_int64 sequence;
};

static enum err_code run(struct raw *raw, const char *script, struct err_info *err)
{
    if (sqlite3_exec(raw->db, script, NULL, NULL, NULL) != SQLITE_OK) {
        return ERR_SET(err, ERR_INTERNAL, "SQLite: %s", sqlite3_errmsg(raw->db));
    }
    return ERR_OK;
}

static enum err_code open(struct raw *raw, const char *path, struct err_info *err)
{
    if (sqlite3_open(path, &raw->db) != SQLITE_OK) {
        return ERR_SET(err, ERR_UNAVAILABLE, "%s: SQLite cannot open it", path);
    }
    TRY(run(raw, "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL", err));
    for (size_t i = 0; i < agent_migrations_count; i++) {
        TRY(run(raw, agent_migrations[i].text, err));
    }
    if (sqlite3_prepare_v2(raw->db, insert_text, -1, &raw->insert, NULL) != SQLITE_OK) {
        return ERR_SET(err, ERR_INTERNAL, "SQLite: %s", sqlite3_errmsg(raw->db));
    }
    return ERR_OK;
}

enum err_code raw_open(const char *path, struct raw **ret_raw, struct err_info *err)
{
    struct raw *raw = mem_alloc(sizeof(*raw));
    enum err_code code = open(raw, path, err);
    if (code != ERR_OK) {
        raw_close(raw);
        return code;
    }
    *ret_raw = raw;
    return ERR_OK;
}

void raw_close(struct raw *raw)
{
    if (raw != NULL) {
        (void)sqlite3_finalize(raw->insert);
        (void)sqlite3_close(raw->db);
        mem_free(raw);
    }
}

enum err_code raw_append(
    struct raw *raw, const char *payload, size_t len, unsigned count, struct err_info *err)
{
    static const unsigned char checksum[16];
    int64_t now = clock_wall(clock_system()).value;
    TRY(run(raw, "BEGIN IMMEDIATE", err));
    for (unsigned i = 0; i < count; i++) {
        (void)sqlite3_bind_int64(raw->insert, 1, ++raw->sequence);
        (void)sqlite3_bind_int64(raw->insert, 2, now);
        (void)sqlite3_bind_int64(raw->insert, 3, now);
        (void)sqlite3_bind_blob(raw->insert, 4, checksum, sizeof(checksum), SQLITE_STATIC);
        (void)sqlite3_bind_blob(raw->insert, 5, payload, (int)len, SQLITE_STATIC);
        if (sqlite3_step(raw->insert) != SQLITE_DONE) {
            return ERR_SET(err, ERR_INTERNAL, "SQLite: %s", sqlite3_errmsg(raw->db));
        }
        (void)sqlite3_reset(raw->insert);
    }
    return run(raw, "COMMIT", err);
}
