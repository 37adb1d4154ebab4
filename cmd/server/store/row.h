/*
 * From result columns to plain records: a record type is a table of {offset, kind}, in the order of
 * the statement's columns. Records and their texts live in the caller's arena.
 */
#ifndef SERVER_STORE_ROW_H
#define SERVER_STORE_ROW_H

#include "common/base/arena.h"
#include "common/sql/sql.h"

struct store_column {
    size_t offset;

    enum {
        STORE_INT,  /* int64_t */
        STORE_REAL, /* double */
        STORE_BOOL, /* bool */
        STORE_TEXT, /* const char *, never NULL */
        STORE_BLOB  /* struct str_view; NULL column: STR_NONE */
    } kind;
};

struct store_type {
    size_t size;
    const struct store_column *columns;
    size_t count;
};

#define STORE_COLUMN(type, member, column_kind)                        \
    {                                                                  \
        .offset = offsetof(struct type, member), .kind = (column_kind) \
    }
#define STORE_TYPE(type, table)                                                       \
    {                                                                                 \
        .size = sizeof(struct type), .columns = (table), .count = ARRAY_LENGTH(table) \
    }

/* A text to be compared with the start of a column: "" for NULL, and its length as substr counts.
 */
struct str_view store_prefix(struct str_view text, size_t *ret_chars);

/* A statement with what it is asked with; conn and args are borrowed for the call. */
struct store_ask {
    struct sql_conn *conn;
    const struct sql_statement *statement;
    const struct sql_value *args;
    size_t arg_count;
};

/* STORE_ASK(conn, &SQL_X, SQL_ARGS(...)) or STORE_ASK(conn, &SQL_X, SQL_NO_ARGS), for a call. */
#define STORE_ASK(connection, query, ...)  \
    &(const struct store_ask)              \
    {                                      \
        (connection), (query), __VA_ARGS__ \
    }

/* What a list function gives: an array of the noun's records in the caller's arena. Written only
 * on ERR_OK; records is NULL when count is 0. */
struct store_list {
    void *records;
    size_t count;
};

/* Every row, at most 131072 (more: ERR_LIMIT); an array of type->size each. */
enum err_code store_select(
    const struct store_ask *ask,
    const struct store_type *type,
    struct arena *arena,
    struct store_list *ret_list,
    struct err_info *err) MUST_CHECK;

/* Exactly one row into ret_record (type->size bytes); none: ERR_NOT_FOUND with no text. */
enum err_code store_select_one(
    const struct store_ask *ask,
    const struct store_type *type,
    struct arena *arena,
    void *ret_record,
    struct err_info *err) MUST_CHECK;

/* The first column of the first row as an integer; none: ERR_NOT_FOUND. */
enum err_code store_select_int(
    const struct store_ask *ask, int64_t *ret_value, struct err_info *err) MUST_CHECK;

#endif
