#include "cmd/cli/audit_walk.h"

#include "common/wire/timestamp.h"

#include <jansson.h>

#include <inttypes.h>

enum {
    HASH_DIGITS = 2 * AUDIT_HASH_BYTES
};

typedef Agentgateway__V1__AuditRecord record_type;

void audit_walk_deinit(struct audit_walk *walk)
{
    buf_deinit(&walk->record);
}

/* ---- heads ---- */

static enum err_code parse_hash(const char *text, uint8_t out[AUDIT_HASH_BYTES])
{
    return strlen(text) == HASH_DIGITS ? str_hex_decode(str_of(text), out, AUDIT_HASH_BYTES)
                                       : ERR_INVALID;
}

enum err_code audit_head_parse(const char *text, struct audit_head *ret_head)
{
    uint64_t sequence = 0;
    struct str_view first = STR_NONE;
    struct str_view rest = STR_NONE;
    bool good = str_cut(str_of(text), ':', &first, &rest)
        && str_parse_uint64(first, INT64_MAX, &sequence) == ERR_OK && sequence > 0
        && parse_hash(rest.ptr, ret_head->hash) == ERR_OK;
    ret_head->sequence = (int64_t)sequence;
    return good ? ERR_OK : ERR_INVALID;
}

void audit_head_write(const struct audit_head *head, struct buf *out)
{
    char digits[HASH_DIGITS + 1];
    str_hex_encode(head->hash, AUDIT_HASH_BYTES, digits);
    buf_printf(out, "%" PRId64 ":%s", head->sequence, digits);
}

/* ---- what a record says ---- */

enum {
    DEPTH_MAX = 3
};

/* A reader sees the fields; the hash covers the text, which says the same. */
static const struct {
    const char *name;
    size_t offset; /* in record_type */
    const char *path[DEPTH_MAX];
} fields[] = {
    { "actor", offsetof(record_type, actor), { "actor", "user", "uid" } },
    { "action", offsetof(record_type, action), { "api", "operation" } },
    { "request_id", offsetof(record_type, request_id), { "api", "request", "uid" } },
    { "target",
      offsetof(record_type, target),
      { "resources", "", "uid" } }, /* "": the first of a list */
    { "source", offsetof(record_type, source), { "src_endpoint", "name" } },
    { "decision", offsetof(record_type, decision), { "status" } },
    { "reason", offsetof(record_type, reason), { "status_detail" } },
};

static const char *text_at(const json_t *said, const char *const path[DEPTH_MAX])
{
    for (size_t i = 0; i < DEPTH_MAX && path[i] != NULL; i++) {
        said = path[i][0] == '\0' ? json_array_get(said, 0) : json_object_get(said, path[i]);
    }
    return json_string_value(said);
}

static enum err_code set_other(const record_type *record, const char *name, struct err_info *err)
{
    return ERR_SET(
        err,
        ERR_CORRUPT,
        "record %" PRId64 ": its field %s is not what its text says",
        record->sequence,
        name);
}

static enum err_code compare(const record_type *record, const json_t *said, struct err_info *err)
{
    for (size_t i = 0; i < ARRAY_LENGTH(fields); i++) {
        const char *shown = NULL;
        const char *text = text_at(said, fields[i].path);
        memcpy(&shown, (const char *)record + fields[i].offset, sizeof(const char *));
        if (text == NULL || strcmp(text, shown) != 0) {
            return set_other(record, fields[i].name, err);
        }
    }
    const json_t *time = json_object_get(said, "time");
    bool is_same = json_is_integer(time)
        && json_integer_value(time) == wire_timestamp_us(record->time, 0) / US_PER_MS;
    return is_same ? ERR_OK : set_other(record, "time", err);
}

static enum err_code check_fields(const record_type *record, struct err_info *err)
{
    json_t *said = json_loads(record->record_json, JSON_REJECT_DUPLICATES, NULL);
    enum err_code code = compare(record, said, err);
    json_decref(said);
    return code;
}

/* ---- the walk ---- */

static enum err_code set_missing(int64_t sequence, struct err_info *err)
{
    return ERR_SET(err, ERR_CORRUPT, "record %" PRId64 " is missing", sequence);
}

/* The last one seen, now that the hash before it is known. */
static enum err_code check_last(
    const struct audit_walk *walk, struct str_view previous, struct err_info *err)
{
    return audit_chain_holds(
               previous, walk->last.sequence, buf_view(&walk->record), walk->last.hash)
        ? ERR_OK
        : ERR_SET(
            err,
            ERR_CORRUPT,
            "record %" PRId64 ": its hash is not that of its text, its place and the hash before "
            "it: one of them, or record %" PRId64 ", was changed",
            walk->last.sequence,
            walk->last.sequence - 1);
}

static enum err_code check_kept(
    const struct audit_walk *walk, const struct audit_head *head, struct err_info *err)
{
    const struct audit_head *kept = &walk->kept;
    if (walk->last.sequence == 0 && kept->sequence > head->sequence) {
        return ERR_SET(
            err,
            ERR_CORRUPT,
            "record %" PRId64 ", whose hash was kept, is missing: the newest is %" PRId64,
            kept->sequence,
            head->sequence);
    }
    bool is_same =
        kept->sequence != head->sequence || memcmp(kept->hash, head->hash, AUDIT_HASH_BYTES) == 0;
    return is_same ? ERR_OK
                   : ERR_SET(
                       err,
                       ERR_CORRUPT,
                       "record %" PRId64 " has another hash than the one that was kept: records up "
                       "to it were written anew",
                       head->sequence);
}

enum err_code audit_walk_next(
    struct audit_walk *walk, const record_type *record, struct err_info *err)
{
    struct audit_head head = { .sequence = record->sequence };
    if (head.sequence < 1 || parse_hash(record->hash, head.hash) != ERR_OK) {
        return ERR_SET(err, ERR_CORRUPT, "record %" PRId64 ": it has no hash", head.sequence);
    }
    TRY(check_kept(walk, &head, err));
    if (walk->last.sequence == 0) {
        walk->newest = head;
    } else if (head.sequence != walk->last.sequence - 1) {
        return set_missing(walk->last.sequence - 1, err);
    } else {
        TRY(check_last(walk, str_from((const char *)head.hash, AUDIT_HASH_BYTES), err));
    }
    TRY(check_fields(record, err));
    walk->last = head;
    buf_clear(&walk->record);
    buf_append_str(&walk->record, str_of(record->record_json));
    return buf_ok(&walk->record)
        ? ERR_OK
        : ERR_SET(err, ERR_LIMIT, "record %" PRId64 " is larger than 1 MiB", head.sequence);
}

enum err_code audit_walk_end(struct audit_walk *walk, struct err_info *err)
{
    static const struct audit_head none = { .sequence = 0 };
    if (walk->last.sequence == 0) {
        return check_kept(walk, &none, err);
    }
    return walk->last.sequence == 1 ? check_last(walk, STR_NONE, err)
                                    : set_missing(walk->last.sequence - 1, err);
}
