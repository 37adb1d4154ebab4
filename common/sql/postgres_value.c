#include "common/sql/postgres_value.h"

#include "common/base/cleanup.h"

#include <float.h>
#include <math.h>

enum {
    KEPT_BYTES = 1024 * 1024,
    NUMERIC_BASE = 10000,
    NUMERIC_HEAD_BYTES = 8
};

/* Object identifiers of the built-in types; they never change. */
enum {
    TYPE_BOOL = 16,
    TYPE_BYTEA = 17,
    TYPE_CHAR = 18,
    TYPE_NAME = 19,
    TYPE_INT8 = 20,
    TYPE_INT2 = 21,
    TYPE_INT4 = 23,
    TYPE_TEXT = 25,
    TYPE_OID = 26,
    TYPE_JSON = 114,
    TYPE_FLOAT4 = 700,
    TYPE_FLOAT8 = 701,
    TYPE_UNKNOWN = 705,
    TYPE_BPCHAR = 1042,
    TYPE_VARCHAR = 1043,
    TYPE_NUMERIC = 1700,
    TYPE_JSONB = 3802,
};

void postgres_args_init(struct postgres_args *args)
{
    /* Arrays add a few bytes to each member that sql.c counted, numbers at most 32. */
    args->bytes = (struct buf)BUF_INIT(2 * SQL_ARG_BYTES_MAX);
}

void postgres_args_deinit(struct postgres_args *args)
{
    buf_deinit(&args->bytes);
}

void postgres_args_trim(struct postgres_args *args)
{
    if (args->bytes.capacity > KEPT_BYTES) {
        buf_deinit(&args->bytes);
        postgres_args_init(args);
    }
}

static void append_u32(struct buf *buf, uint32_t value)
{
    const unsigned char bytes[] = { (unsigned char)(value >> 24),
                                    (unsigned char)(value >> 16),
                                    (unsigned char)(value >> 8),
                                    (unsigned char)value };
    buf_append(buf, bytes, sizeof(bytes));
}

static uint32_t element_type(const struct sql_value *value)
{
    switch (value->type) {
    case SQL_TYPE_INT_ARRAY:
        return TYPE_INT8;
    case SQL_TYPE_REAL_ARRAY:
        return TYPE_FLOAT8;
    case SQL_TYPE_BLOB_ARRAY:
        return TYPE_BYTEA;
    case SQL_TYPE_TEXT_ARRAY:
    case SQL_TYPE_NULL:
    case SQL_TYPE_INT:
    case SQL_TYPE_REAL:
    case SQL_TYPE_TEXT:
    case SQL_TYPE_BLOB:
        break;
    }
    return TYPE_TEXT;
}

static void append_member(struct buf *buf, const struct sql_value *value, size_t i)
{
    if (value->type == SQL_TYPE_INT_ARRAY) {
        append_u32(buf, sizeof(int64_t));
        buf_append_u64_be(buf, (uint64_t)value->as.integers[i]);
    } else if (value->type == SQL_TYPE_REAL_ARRAY) {
        uint64_t bits = 0;
        memcpy(&bits, &value->as.reals[i], sizeof(bits));
        append_u32(buf, sizeof(bits));
        buf_append_u64_be(buf, bits);
    } else {
        append_u32(buf, (uint32_t)value->as.views[i].len);
        buf_append_str(buf, value->as.views[i]);
    }
}

/* The binary form of a one-dimensional array: dimensions, null flag, type, then length and first
 * index. */
static void append_array(struct buf *buf, const struct sql_value *value)
{
    append_u32(buf, value->count == 0 ? 0 : 1);
    append_u32(buf, 0);
    append_u32(buf, element_type(value));
    if (value->count == 0) {
        return;
    }
    append_u32(buf, (uint32_t)value->count);
    append_u32(buf, 1);
    for (size_t i = 0; i < value->count; i++) {
        append_member(buf, value, i);
    }
}

static void append_real(struct buf *buf, double value)
{
    if (isnan(value)) {
        buf_append_str(buf, STR("NaN"));
    } else if (isinf(value)) {
        buf_append_str(buf, value > 0 ? STR("Infinity") : STR("-Infinity"));
    } else {
        buf_printf(buf, "%.*g", DBL_DECIMAL_DIG, value);
    }
}

static void append_value(struct buf *buf, const struct sql_value *value)
{
    switch (value->type) {
    case SQL_TYPE_NULL:
    case SQL_TYPE_BLOB:
        break;
    case SQL_TYPE_INT:
        buf_printf(buf, "%lld", (long long)value->as.integer);
        break;
    case SQL_TYPE_REAL:
        append_real(buf, value->as.real);
        break;
    case SQL_TYPE_TEXT:
        buf_append(buf, value->as.data, value->count);
        break;
    case SQL_TYPE_INT_ARRAY:
    case SQL_TYPE_REAL_ARRAY:
    case SQL_TYPE_TEXT_ARRAY:
    case SQL_TYPE_BLOB_ARRAY:
        append_array(buf, value);
        break;
    }
    buf_append_char(buf, '\0'); /* the end of a text; harmless elsewhere */
}

enum err_code postgres_args_set(
    struct postgres_args *args, const struct sql_value *values, size_t count, struct err_info *err)
{
    size_t starts[SQL_ARGS_MAX];
    buf_clear(&args->bytes);
    for (size_t i = 0; i < count; i++) {
        starts[i] = args->bytes.len;
        if (args->keeps_blobs && values[i].type == SQL_TYPE_BLOB) {
            buf_append(&args->bytes, values[i].as.data, values[i].count);
        }
        append_value(&args->bytes, &values[i]);
    }
    if (!buf_ok(&args->bytes)) {
        return ERR_SET(err, ERR_NOMEM, "no memory for the arguments of a statement");
    }
    for (size_t i = 0; i < count; i++) {
        size_t end = i + 1 < count ? starts[i + 1] : args->bytes.len;
        bool is_blob = values[i].type == SQL_TYPE_BLOB;
        args->formats[i] = is_blob || values[i].type >= SQL_TYPE_INT_ARRAY ? 1 : 0;
        args->lengths[i] = (int)(is_blob ? values[i].count : end - starts[i] - 1);
        args->values[i] = args->bytes.data + starts[i];
        if (values[i].type == SQL_TYPE_NULL) {
            args->values[i] = NULL;
        } else if (is_blob && values[i].count > 0 && !args->keeps_blobs) {
            args->values[i] = values[i].as.data;
        }
    }
    return ERR_OK;
}

static bool is_known(Oid type)
{
    static const Oid known[] = {
        TYPE_BOOL,   TYPE_BYTEA,   TYPE_CHAR,    TYPE_NAME,  TYPE_INT8,    TYPE_INT2,
        TYPE_INT4,   TYPE_TEXT,    TYPE_OID,     TYPE_JSON,  TYPE_FLOAT4,  TYPE_FLOAT8,
        TYPE_BPCHAR, TYPE_VARCHAR, TYPE_NUMERIC, TYPE_JSONB, TYPE_UNKNOWN,
    };
    for (size_t i = 0; i < ARRAY_LENGTH(known); i++) {
        if (known[i] == type) {
            return true;
        }
    }
    return false;
}

enum err_code postgres_check_columns(
    const PGresult *result, const char *statement, struct err_info *err)
{
    for (int i = 0; i < PQnfields(result); i++) {
        if (!is_known(PQftype(result, i))) {
            return ERR_SET(
                err,
                ERR_UNSUPPORTED,
                "%s: column %d has a type without a portable form, CAST it",
                statement,
                i + 1);
        }
    }
    return ERR_OK;
}

/* The bytes of a field; STR_NONE when it is NULL or the column does not exist. */
static struct str_view field(const PGresult *result, int row, int column)
{
    if (column < 0 || column >= PQnfields(result) || PQgetisnull(result, row, column)) {
        return STR_NONE;
    }
    return str_from(PQgetvalue(result, row, column), (size_t)PQgetlength(result, row, column));
}

/* Big-endian, sign-extended from its own width. */
static int64_t read_integer(struct str_view bytes)
{
    uint64_t value = bytes.len > 0 && ((unsigned char)bytes.ptr[0] & 0x80) != 0 ? UINT64_MAX : 0;
    for (size_t i = 0; i < bytes.len; i++) {
        value = value << 8 | (unsigned char)bytes.ptr[i];
    }
    return (int64_t)value;
}

static double read_float(struct str_view bytes)
{
    uint64_t bits = (uint64_t)read_integer(bytes);
    if (bytes.len == sizeof(float)) {
        uint32_t low = (uint32_t)bits;
        float small = 0;
        memcpy(&small, &low, sizeof(small));
        return (double)small;
    }
    double value = 0;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

/* A numeric: count of base-10000 digits, weight of the first, sign, scale, then the digits. */
struct numeric {
    int digit_count;
    int weight;
    bool is_negative;
    bool is_special; /* NaN, infinities */
    struct str_view digits;
};

static int read_i16(struct str_view bytes, size_t offset)
{
    return (int)read_integer(str_from(bytes.ptr + offset, sizeof(int16_t)));
}

static bool read_numeric(struct str_view bytes, struct numeric *ret_numeric)
{
    if (bytes.len < NUMERIC_HEAD_BYTES) {
        return false;
    }
    int sign = read_i16(bytes, 4) & 0xffff;
    *ret_numeric = (struct numeric){
        .digit_count = read_i16(bytes, 0),
        .weight = read_i16(bytes, 2),
        .is_negative = sign == 0x4000,
        .is_special = (sign & 0x8000) != 0,
        .digits = str_from(bytes.ptr + NUMERIC_HEAD_BYTES, bytes.len - NUMERIC_HEAD_BYTES),
    };
    return ret_numeric->digit_count >= 0
        && ret_numeric->digits.len >= (size_t)ret_numeric->digit_count * sizeof(int16_t);
}

static int numeric_digit(const struct numeric *numeric, int i)
{
    return i < numeric->digit_count ? read_i16(numeric->digits, (size_t)i * sizeof(int16_t)) : 0;
}

/* Cut toward zero, held at the ends of the range. */
static int64_t numeric_to_int(struct str_view bytes)
{
    struct numeric numeric;
    if (!read_numeric(bytes, &numeric) || numeric.is_special) {
        return 0;
    }
    int64_t value = 0; /* negative all along: that side reaches one further */
    for (int i = 0; i <= numeric.weight; i++) {
        if (__builtin_mul_overflow(value, NUMERIC_BASE, &value)
            || __builtin_sub_overflow(value, numeric_digit(&numeric, i), &value)) {
            return numeric.is_negative ? INT64_MIN : INT64_MAX;
        }
    }
    if (numeric.is_negative) {
        return value;
    }
    return value == INT64_MIN ? INT64_MAX : -value;
}

static double numeric_to_real(struct str_view bytes)
{
    struct numeric numeric;
    if (!read_numeric(bytes, &numeric)) {
        return 0;
    }
    if (numeric.is_special) {
        return (double)NAN;
    }
    double value = 0;
    for (int i = 0; i < numeric.digit_count; i++) {
        value += numeric_digit(&numeric, i) * pow(NUMERIC_BASE, numeric.weight - i);
    }
    return numeric.is_negative ? -value : value;
}

static int64_t real_to_int(double value)
{
    if (isnan(value)) {
        return 0;
    }
    if (value >= 0x1p63) {
        return INT64_MAX;
    }
    return value < -0x1p63 ? INT64_MIN : (int64_t)value;
}

int64_t postgres_get_int(const PGresult *result, int row, int column)
{
    struct str_view bytes = field(result, row, column);
    if (bytes.ptr == NULL) {
        return 0;
    }
    switch (PQftype(result, column)) {
    case TYPE_INT2:
    case TYPE_INT4:
    case TYPE_INT8:
    case TYPE_BOOL:
        return read_integer(bytes);
    case TYPE_OID:
        return read_integer(bytes) & UINT32_MAX;
    case TYPE_FLOAT4:
    case TYPE_FLOAT8:
        return real_to_int(read_float(bytes));
    case TYPE_NUMERIC:
        return numeric_to_int(bytes);
    default:
        return 0;
    }
}

double postgres_get_real(const PGresult *result, int row, int column)
{
    struct str_view bytes = field(result, row, column);
    if (bytes.ptr == NULL) {
        return 0;
    }
    switch (PQftype(result, column)) {
    case TYPE_FLOAT4:
    case TYPE_FLOAT8:
        return read_float(bytes);
    case TYPE_NUMERIC:
        return numeric_to_real(bytes);
    default:
        return (double)postgres_get_int(result, row, column);
    }
}

struct str_view postgres_get_bytes(const PGresult *result, int row, int column)
{
    struct str_view bytes = field(result, row, column);
    if (bytes.ptr == NULL) {
        return STR_NONE;
    }
    switch (PQftype(result, column)) {
    case TYPE_TEXT:
    case TYPE_VARCHAR:
    case TYPE_BPCHAR:
    case TYPE_NAME:
    case TYPE_CHAR:
    case TYPE_UNKNOWN:
    case TYPE_JSON:
    case TYPE_BYTEA:
        return bytes;
    case TYPE_JSONB: /* the first byte is the version of the form */
        return bytes.len > 0 ? str_from(bytes.ptr + 1, bytes.len - 1) : bytes;
    default:
        return STR_NONE;
    }
}

/* Exact states before classes; the first that is a prefix counts. */
static const struct {
    const char *state;
    enum err_code code;
} states[] = {
    { "23505", ERR_EXISTS },       /* unique_violation */
    { "23P01", ERR_EXISTS },       /* exclusion_violation */
    { "23502", ERR_INVALID },      /* not_null_violation */
    { "23514", ERR_INVALID },      /* check_violation */
    { "23", ERR_PRECONDITION },    /* foreign keys */
    { "22", ERR_INVALID },         /* data exceptions */
    { "42501", ERR_DENIED },       /* insufficient_privilege: also row-level security */
    { "25006", ERR_DENIED },       /* read_only_sql_transaction */
    { "25P02", ERR_PRECONDITION }, /* in_failed_sql_transaction */
    { "40001", ERR_BUSY },         /* serialization_failure */
    { "40P01", ERR_BUSY },         /* deadlock_detected */
    { "55P03", ERR_BUSY },         /* lock_not_available */
    { "55006", ERR_BUSY },         /* object_in_use */
    { "57014", ERR_TIMEOUT },      /* query_canceled: by statement_timeout */
    { "53100", ERR_LIMIT },        /* disk_full */
    { "53", ERR_UNAVAILABLE },     /* memory, connections */
    { "54", ERR_LIMIT },           /* program limits */
    { "08P01", ERR_INTERNAL },     /* protocol_violation: wrong number of arguments */
    { "08", ERR_UNAVAILABLE },
    { "57", ERR_UNAVAILABLE }, /* shutdown, crash, cannot connect now */
    { "58", ERR_UNAVAILABLE }, /* the server's disk */
    { "28", ERR_UNAUTHENTICATED },
    { "P0001", ERR_PRECONDITION }, /* raise_exception, as SQLite's RAISE */
    { "XX001", ERR_CORRUPT },
    { "XX002", ERR_CORRUPT },
};

static enum err_code map_state(const char *state)
{
    for (size_t i = 0; i < ARRAY_LENGTH(states); i++) {
        if (strncmp(state, states[i].state, strlen(states[i].state)) == 0) {
            return states[i].code;
        }
    }
    return ERR_INTERNAL;
}

static const char *diagnostic(const PGresult *result, int field_code)
{
    const char *text = PQresultErrorField(result, field_code);
    return text == NULL ? "" : text;
}

enum err_code postgres_set_error(
    const PGresult *result, const char *what, bool is_script, struct err_info *err)
{
    if (result == NULL) {
        return ERR_SET(err, ERR_UNAVAILABLE, "%s: no answer from the database", what);
    }
    const char *state = diagnostic(result, PG_DIAG_SQLSTATE);
    if (state[0] == '\0') {
        return ERR_SET(err, ERR_INTERNAL, "%s: unexpected answer from the database", what);
    }
    enum err_code code = map_state(state);
    if (is_script || strncmp(state, "42", 2) == 0) {
        return ERR_SET(
            err, code, "%s: %s (%s)", what, diagnostic(result, PG_DIAG_MESSAGE_PRIMARY), state);
    }
    const char *name = diagnostic(result, PG_DIAG_CONSTRAINT_NAME);
    if (name[0] == '\0') {
        name = diagnostic(result, PG_DIAG_COLUMN_NAME);
    }
    return ERR_SET(
        err,
        code,
        "%s: refused by the database with state %s%s%s",
        what,
        state,
        name[0] == '\0' ? "" : " for ",
        name);
}
