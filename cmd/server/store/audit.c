#include "cmd/server/store/audit.h"

#include "audit.sql.h"
#include "common/base/buf.h"
#include "common/base/mem.h"
#include "common/crypto/audit_chain.h"

#include <inttypes.h>

enum {
    TEXT_BYTES_MAX = 1024,    /* of each text: what peers say is cut there */
    RECORD_BYTES = 64 * 1024, /* all of them, each byte escaped */
    PLACES_MAX = 256          /* given at once */
};

static const struct store_column columns[] = {
    STORE_COLUMN(audit_record, sequence, STORE_INT),
    STORE_COLUMN(audit_record, workspace, STORE_TEXT),
    STORE_COLUMN(audit_record, time_us, STORE_INT),
    STORE_COLUMN(audit_record, actor, STORE_TEXT),
    STORE_COLUMN(audit_record, action, STORE_TEXT),
    STORE_COLUMN(audit_record, target, STORE_TEXT),
    STORE_COLUMN(audit_record, decision, STORE_TEXT),
    STORE_COLUMN(audit_record, reason, STORE_TEXT),
    STORE_COLUMN(audit_record, request_id, STORE_TEXT),
    STORE_COLUMN(audit_record, source, STORE_TEXT),
    STORE_COLUMN(audit_record, record, STORE_TEXT),
    STORE_COLUMN(audit_record, hash, STORE_BLOB),
};
static const struct store_type type = STORE_TYPE(audit_record, columns);

/* OCSF API Activity (class 6003); status_id 1 success, 2 failure; times in milliseconds. */
static void write_record(const struct audit_entry *entry, struct wall_us now, struct buf *out)
{
    bool allowed = strcmp(entry->decision, "allowed") == 0;
    buf_printf(
        out,
        "{\"class_uid\":6003,\"category_uid\":6,\"activity_id\":99,\"type_uid\":600399,"
        "\"time\":%" PRId64
        ",\"severity_id\":%d,\"status_id\":%d,\"metadata\":{\"version\":\"1.3.0\","
        "\"product\":{\"name\":\"Belay\",\"vendor_name\":\"Belay\"}},\"actor\":{\"user\":{\"uid\":",
        now.value / US_PER_MS,
        allowed ? 1 : 2,
        allowed ? 1 : 2);
    buf_append_json(out, str_of(entry->actor));
    buf_append_str(out, STR("}},\"api\":{\"operation\":"));
    buf_append_json(out, str_of(entry->action));
    buf_append_str(out, STR(",\"request\":{\"uid\":"));
    buf_append_json(out, str_of(entry->request_id));
    buf_append_str(out, STR("}},\"resources\":[{\"uid\":"));
    buf_append_json(out, str_of(entry->target));
    buf_append_str(out, STR("}],\"src_endpoint\":{\"name\":"));
    buf_append_json(out, str_of(entry->source));
    buf_append_str(out, STR("},\"status\":"));
    buf_append_json(out, str_of(entry->decision));
    buf_append_str(out, STR(",\"status_detail\":"));
    buf_append_json(out, str_of(entry->reason));
    buf_append_char(out, '}');
}

/* A workspace's chain: where it ends. */
struct head {
    int64_t sequence; /* of the next record */
    uint8_t hash[AUDIT_HASH_BYTES];
    size_t hash_bytes;
};

static enum err_code take_head(
    struct sql_conn *conn, int64_t workspace_id, struct head *ret_head, struct err_info *err)
{
    AUTO_ROWS struct sql_rows *rows = NULL;
    TRY(sql_query(conn, &SQL_AUDIT_HEAD, SQL_ARGS(SQL_INT(workspace_id)), &rows, err));
    TRY(sql_rows_next(rows, err));
    ret_head->sequence = sql_int(rows, 0);
    struct str_view hash = sql_blob(rows, 1);
    ret_head->hash_bytes = hash.len > AUDIT_HASH_BYTES ? AUDIT_HASH_BYTES : hash.len;
    if (ret_head->hash_bytes > 0) {
        memcpy(ret_head->hash, hash.ptr, ret_head->hash_bytes);
    }
    return ERR_OK;
}

/* The chain grows by a record, whose hash is the head's then. */
static void move_head(struct head *head, struct str_view record)
{
    uint8_t hash[AUDIT_HASH_BYTES];
    audit_chain_hash(
        str_from((const char *)head->hash, head->hash_bytes), head->sequence, record, hash);
    memcpy(head->hash, hash, sizeof(hash));
    head->hash_bytes = sizeof(hash);
    head->sequence++;
}

/* text, or its beginning in `out`: cut between characters. */
static const char *cut_text(const char *text, char out[TEXT_BYTES_MAX + 1])
{
    size_t length = strlen(text);
    if (length <= TEXT_BYTES_MAX) {
        return text;
    }
    length = TEXT_BYTES_MAX;
    while (length > 0 && ((unsigned char)text[length] & 0xc0) == 0x80) {
        length--;
    }
    memcpy(out, text, length);
    out[length] = '\0';
    return out;
}

/* On PostgreSQL: behind nobody's lock. */
static enum err_code arrive(
    struct sql_conn *conn,
    const struct audit_entry *entry,
    struct str_view record,
    struct wall_us now,
    struct err_info *err)
{
    return sql_exec_later(
        conn,
        &SQL_AUDIT_ARRIVE,
        SQL_ARGS(
            SQL_INT(entry->workspace_id),
            SQL_TIME(now),
            SQL_TEXT(entry->actor),
            SQL_TEXT(entry->action),
            SQL_TEXT(entry->target),
            SQL_TEXT(entry->decision),
            SQL_TEXT(entry->reason),
            SQL_TEXT(entry->request_id),
            SQL_TEXT(entry->source),
            SQL_VIEW(record)),
        err);
}

/* On SQLite, which has one writer: with its place. */
static enum err_code append(
    struct sql_conn *conn,
    const struct audit_entry *entry,
    struct str_view record,
    struct wall_us now,
    struct err_info *err)
{
    struct head head;
    TRY(take_head(conn, entry->workspace_id, &head, err));
    int64_t sequence = head.sequence;
    move_head(&head, record);
    TRY(sql_exec(
        conn,
        &SQL_AUDIT_INSERT,
        SQL_ARGS(
            SQL_INT(entry->workspace_id),
            SQL_INT(sequence),
            SQL_TIME(now),
            SQL_TEXT(entry->actor),
            SQL_TEXT(entry->action),
            SQL_TEXT(entry->target),
            SQL_TEXT(entry->decision),
            SQL_TEXT(entry->reason),
            SQL_TEXT(entry->request_id),
            SQL_TEXT(entry->source),
            SQL_VIEW(record),
            SQL_BLOB(head.hash, head.hash_bytes)),
        NULL,
        err));
    return sql_exec(
        conn,
        &SQL_AUDIT_SET_HEAD,
        SQL_ARGS(
            SQL_INT(entry->workspace_id), SQL_INT(sequence), SQL_BLOB(head.hash, head.hash_bytes)),
        NULL,
        err);
}

enum err_code store_audit_add(
    struct sql_conn *conn,
    const struct audit_entry *entry,
    struct wall_us now,
    struct err_info *err)
{
    char target[TEXT_BYTES_MAX + 1];
    char reason[TEXT_BYTES_MAX + 1];
    struct audit_entry bounded = *entry;
    bounded.target = cut_text(entry->target == NULL ? "" : entry->target, target);
    bounded.reason = cut_text(entry->reason, reason);
    AUTO_BUF struct buf record = BUF_INIT(RECORD_BYTES);
    write_record(&bounded, now, &record);
    if (!buf_ok(&record)) {
        return ERR_SET(err, ERR_LIMIT, "the audit record is too large");
    }
    bool waits = sql_engine_of(conn) == SQL_POSTGRES;
    return (waits ? arrive : append)(conn, &bounded, buf_view(&record), now, err);
}

/* Places for records that arrived, in arrays for one statement. */
struct places {
    struct head head;
    size_t count;
    int64_t arrivals[PLACES_MAX];
    int64_t sequences[PLACES_MAX];
    uint8_t hashes[PLACES_MAX][AUDIT_HASH_BYTES];
    struct str_view views[PLACES_MAX];
};

static enum err_code find_places(
    struct sql_conn *conn, int64_t workspace_id, struct places *places, struct err_info *err)
{
    AUTO_ROWS struct sql_rows *rows = NULL;
    TRY(sql_query(
        conn,
        &SQL_AUDIT_ARRIVED,
        SQL_ARGS(SQL_INT(workspace_id), SQL_INT(PLACES_MAX)),
        &rows,
        err));
    enum err_code code = sql_rows_next(rows, err);
    for (; code == ERR_OK && places->count < PLACES_MAX; code = sql_rows_next(rows, err)) {
        size_t i = places->count++;
        places->arrivals[i] = sql_int(rows, 0);
        places->sequences[i] = places->head.sequence;
        move_head(&places->head, sql_text(rows, 1));
        memcpy(places->hashes[i], places->head.hash, AUDIT_HASH_BYTES);
        places->views[i] = str_from((const char *)places->hashes[i], AUDIT_HASH_BYTES);
    }
    return code == ERR_NOT_FOUND ? ERR_OK : code;
}

static enum err_code place_some(
    struct sql_conn *conn, int64_t workspace_id, struct places *places, struct err_info *err)
{
    places->count = 0;
    TRY(take_head(conn, workspace_id, &places->head, err));
    TRY(find_places(conn, workspace_id, places, err));
    if (places->count == 0) {
        return ERR_OK;
    }
    return sql_exec(
        conn,
        &SQL_AUDIT_PLACE,
        SQL_ARGS(
            SQL_INT(workspace_id),
            SQL_INTS(places->arrivals, places->count),
            SQL_INTS(places->sequences, places->count),
            SQL_BLOBS(places->views, places->count),
            SQL_INT(places->head.sequence - 1),
            SQL_BLOB(places->head.hash, places->head.hash_bytes)),
        NULL,
        err);
}

enum err_code store_audit_place(struct sql_conn *conn, int64_t workspace_id, struct err_info *err)
{
    enum err_code code = ERR_OK;
    if (sql_engine_of(conn) != SQL_POSTGRES || !sql_takes_writes(conn)) {
        return ERR_OK;
    }
    struct places *places = mem_alloc(sizeof(*places));
    do {
        code = place_some(conn, workspace_id, places, err);
    } while (code == ERR_OK && places->count == PLACES_MAX);
    mem_free(places);
    return code;
}

enum err_code store_audit_unplaced(
    struct sql_conn *conn,
    int64_t workspace_ids[STORE_AUDIT_UNPLACED_MAX],
    size_t *ret_count,
    struct err_info *err)
{
    *ret_count = 0;
    if (sql_engine_of(conn) != SQL_POSTGRES) {
        return ERR_OK;
    }
    AUTO_ROWS struct sql_rows *rows = NULL;
    TRY(sql_query(
        conn, &SQL_AUDIT_UNPLACED, SQL_ARGS(SQL_INT(STORE_AUDIT_UNPLACED_MAX)), &rows, err));
    enum err_code code = sql_rows_next(rows, err);
    for (; code == ERR_OK && *ret_count < STORE_AUDIT_UNPLACED_MAX;
         code = sql_rows_next(rows, err)) {
        workspace_ids[(*ret_count)++] = sql_int(rows, 0);
    }
    return code == ERR_NOT_FOUND ? ERR_OK : code;
}

enum err_code store_audit_list(
    struct sql_conn *conn,
    int64_t workspace_id,
    const struct audit_filter *filter,
    struct arena *arena,
    struct store_list *ret_list,
    struct err_info *err)
{
    size_t actor_chars = 0;
    size_t action_chars = 0;
    struct str_view actor = store_prefix(filter->actor_prefix, &actor_chars);
    struct str_view action = store_prefix(filter->action_prefix, &action_chars);
    return store_select(
        STORE_ASK(
            conn,
            &SQL_AUDIT_LIST,
            SQL_ARGS(
                SQL_INT(workspace_id),
                SQL_INT(filter->start),
                SQL_INT(filter->end),
                SQL_VIEW(actor),
                SQL_INT(actor_chars),
                SQL_VIEW(action),
                SQL_INT(action_chars),
                SQL_INT(filter->before),
                SQL_INT(filter->limit))),
        &type,
        arena,
        ret_list,
        err);
}

enum err_code store_audit_newer(
    struct sql_conn *conn,
    int64_t workspace_id,
    const struct audit_filter *filter,
    struct arena *arena,
    struct store_list *ret_list,
    struct err_info *err)
{
    return store_select(
        STORE_ASK(
            conn,
            &SQL_AUDIT_NEWER,
            SQL_ARGS(SQL_INT(workspace_id), SQL_INT(filter->after), SQL_INT(filter->limit))),
        &type,
        arena,
        ret_list,
        err);
}
