#include "cmd/server/store/row.h"

enum {
    RECORDS_FIRST = 16,
    RECORDS_MAX = 200000
};

struct str_view store_prefix(struct str_view text, size_t *ret_chars)
{
    *ret_chars = 0;
    (void)str_is_utf8(text, ret_chars);
    return text.ptr == NULL ? STR("") : text;
}

static enum err_code read_text(struct str_view text, struct arena *arena, const char **field)
{
    *field = arena_str_dup(arena, text);
    return *field == NULL ? ERR_LIMIT : ERR_OK;
}

static enum err_code read_blob(struct str_view view, struct arena *arena, struct str_view *field)
{
    *field = view;
    if (view.ptr != NULL) {
        field->ptr = arena_dup(arena, view.ptr, view.len);
    }
    return view.ptr != NULL && field->ptr == NULL ? ERR_LIMIT : ERR_OK;
}

static enum err_code read_column(
    const struct sql_rows *rows,
    unsigned index,
    const struct store_column *column,
    struct arena *arena,
    char *record)
{
    void *field = record + column->offset;
    switch (column->kind) {
    case STORE_INT:
        *(int64_t *)field = sql_int(rows, index);
        break;
    case STORE_REAL:
        *(double *)field = sql_real(rows, index);
        break;
    case STORE_BOOL:
        *(bool *)field = sql_int(rows, index) != 0;
        break;
    case STORE_TEXT:
        return read_text(sql_text(rows, index), arena, field);
    case STORE_BLOB:
        return read_blob(sql_blob(rows, index), arena, field);
    }
    return ERR_OK;
}

static enum err_code read_record(
    const struct sql_rows *rows,
    const struct store_type *type,
    struct arena *arena,
    char *record,
    struct err_info *err)
{
    for (unsigned i = 0; i < type->count; i++) {
        if (read_column(rows, i, &type->columns[i], arena, record) != ERR_OK) {
            return ERR_SET(
                err, ERR_LIMIT, "the answer is too large: ask for a smaller page or range");
        }
    }
    return ERR_OK;
}

/* Grown by doubling inside the arena: the copies add up to at most the final size. */
static char *grow_records(struct arena *arena, char *records, size_t used_bytes, size_t bytes)
{
    char *grown = arena_alloc(arena, bytes);
    if (grown != NULL && used_bytes > 0) {
        memcpy(grown, records, used_bytes);
    }
    return grown;
}

static enum err_code query(
    const struct store_ask *ask, struct sql_rows **ret_rows, struct err_info *err)
{
    return sql_query(ask->conn, ask->statement, ask->args, ask->arg_count, ret_rows, err);
}

enum err_code store_select(
    const struct store_ask *ask,
    const struct store_type *type,
    struct arena *arena,
    struct store_list *ret_list,
    struct err_info *err)
{
    AUTO_ROWS struct sql_rows *rows = NULL;
    TRY(query(ask, &rows, err));
    char *records = NULL;
    size_t count = 0;
    size_t capacity = 0;
    enum err_code code = sql_rows_next(rows, err);
    for (; code == ERR_OK; code = sql_rows_next(rows, err)) {
        if (count == capacity) {
            capacity = capacity == 0 ? RECORDS_FIRST : capacity * 2;
            records = grow_records(arena, records, count * type->size, capacity * type->size);
            if (records == NULL || capacity > RECORDS_MAX) {
                return ERR_SET(
                    err, ERR_LIMIT, "the answer is too large: ask for a smaller page or range");
            }
        }
        TRY(read_record(rows, type, arena, records + count * type->size, err));
        count++;
    }
    if (code != ERR_NOT_FOUND) {
        return code;
    }
    *ret_list = (struct store_list){ .records = records, .count = count };
    return ERR_OK;
}

enum err_code store_select_one(
    const struct store_ask *ask,
    const struct store_type *type,
    struct arena *arena,
    void *ret_record,
    struct err_info *err)
{
    AUTO_ROWS struct sql_rows *rows = NULL;
    TRY(query(ask, &rows, err));
    TRY(sql_rows_next(rows, err));
    return read_record(rows, type, arena, ret_record, err);
}

enum err_code store_select_int(
    const struct store_ask *ask, int64_t *ret_value, struct err_info *err)
{
    AUTO_ROWS struct sql_rows *rows = NULL;
    TRY(query(ask, &rows, err));
    TRY(sql_rows_next(rows, err));
    *ret_value = sql_int(rows, 0);
    return ERR_OK;
}
