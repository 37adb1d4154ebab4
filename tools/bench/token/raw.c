#include "tools/bench/token/raw.h"

#include "common/base/mem.h"
#include "common/base/str.h"

#include <libpq-fe.h>
#include <sqlite3.h>

#include <stdio.h>

enum {
    HASH_BYTES = 32,
    NUMBER_BYTES = 24
};

/* As store/credential.sql has them, without what that does for the wall, and with the name of the
 * workspace, which the server knows. */
static const char *const texts[] = {
    "SELECT k.workspace_id, k.expires_at, w.name, k.id, k.scopes "
    "FROM api_key k JOIN workspace w ON w.id = k.workspace_id "
    "WHERE k.hash = $1 AND k.revoked_at = 0 AND k.expires_at > $2",
    "SELECT s.workspace_id, s.expires_at, w.name, s.agent_id, s.epoch FROM session s "
    "JOIN agent a ON a.workspace_id = s.workspace_id AND a.id = s.agent_id "
    "JOIN workspace w ON w.id = s.workspace_id "
    "WHERE s.token_hash = $1 AND s.expires_at > $2 AND a.state = 2",
};
/* How a column is read: i as an integer, t as text, each as it is kept. */
static const char *const kinds[] = { "iittt", "iitii" };
static const char *const names[] = { "key", "session" };

struct raw {
    sqlite3 *db; /* one of the two */
    PGconn *pg;
    sqlite3_stmt *statements[2];
};

static enum err_code open_sqlite(struct raw *raw, const char *path, struct err_info *err)
{
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX;
    if (sqlite3_open_v2(path, &raw->db, flags, NULL) != SQLITE_OK) {
        return ERR_SET(err, ERR_UNAVAILABLE, "%s: SQLite cannot open it", path);
    }
    for (int i = 0; i < 2; i++) {
        if (sqlite3_prepare_v2(raw->db, texts[i], -1, &raw->statements[i], NULL) != SQLITE_OK) {
            return ERR_SET(err, ERR_INTERNAL, "%s", sqlite3_errmsg(raw->db));
        }
    }
    return ERR_OK;
}

/* The wall is lifted once for the session: the least a reader can do. */
static enum err_code open_postgres(struct raw *raw, const char *url, struct err_info *err)
{
    raw->pg = PQconnectdb(url);
    PGresult *result = PQexec(raw->pg, "SET app.workspace_id = 'all'");
    bool good = PQresultStatus(result) == PGRES_COMMAND_OK;
    PQclear(result);
    for (int i = 0; i < 2 && good; i++) {
        result = PQprepare(raw->pg, names[i], texts[i], 2, NULL);
        good = PQresultStatus(result) == PGRES_COMMAND_OK;
        PQclear(result);
    }
    return good ? ERR_OK : ERR_SET(err, ERR_UNAVAILABLE, "%s", PQerrorMessage(raw->pg));
}

enum err_code raw_open(const char *url, struct raw **ret_raw, struct err_info *err)
{
    struct str_view sqlite = STR("sqlite:");
    struct raw *raw = mem_alloc(sizeof(*raw));
    enum err_code code = str_has_prefix(str_of(url), sqlite)
        ? open_sqlite(raw, url + sqlite.len, err)
        : open_postgres(raw, url, err);
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
        (void)sqlite3_finalize(raw->statements[0]);
        (void)sqlite3_finalize(raw->statements[1]);
        (void)sqlite3_close(raw->db);
        PQfinish(raw->pg);
        mem_free(raw);
    }
}

int raw_backend(const struct raw *raw)
{
    const char *address = raw->pg == NULL ? "192.0.2.1" : PQhostaddr(raw->pg);
    bool is_here = address == NULL || address[0] == '\0' || strcmp(address, "127.0.0.1") == 0
        || strcmp(address, "::1") == 0;
    return is_here ? PQbackendPID(raw->pg) : 0;
}

static bool find_sqlite(
    sqlite3_stmt *statement, const char *kind, const uint8_t hash[HASH_BYTES], int64_t now_us)
{
    (void)sqlite3_bind_blob(statement, 1, hash, HASH_BYTES, SQLITE_STATIC);
    (void)sqlite3_bind_int64(statement, 2, now_us);
    bool found = sqlite3_step(statement) == SQLITE_ROW;
    for (int i = 0; found && kind[i] != '\0'; i++) {
        if (kind[i] == 'i') {
            (void)sqlite3_column_int64(statement, i);
        } else {
            (void)sqlite3_column_text(statement, i);
        }
    }
    (void)sqlite3_reset(statement);
    return found;
}

bool raw_find(struct raw *raw, bool is_session, const uint8_t hash[HASH_BYTES], int64_t now_us)
{
    int which = is_session ? 1 : 0;
    if (raw->db != NULL) {
        return find_sqlite(raw->statements[which], kinds[which], hash, now_us);
    }
    char now[NUMBER_BYTES];
    (void)snprintf(now, sizeof(now), "%lld", (long long)now_us);
    const char *const values[] = { (const char *)hash, now };
    const int lengths[] = { HASH_BYTES, 0 };
    const int formats[] = { 1, 0 };
    PGresult *result = PQexecPrepared(raw->pg, names[which], 2, values, lengths, formats, 1);
    bool found = PQntuples(result) == 1;
    PQclear(result);
    return found;
}
