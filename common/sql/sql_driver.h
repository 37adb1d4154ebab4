/*
 * What an engine implements; private to common/sql. sql.c checks the state of the connection and
 * the arguments before it calls, so engines see: a usable connection (but for close, is_usable,
 * reconnect), no open rows, transactions in order, checked UTF-8, at most SQL_ARGS_MAX arguments.
 * An engine embeds struct sql_conn as its first member.
 */
#ifndef COMMON_SQL_SQL_DRIVER_H
#define COMMON_SQL_SQL_DRIVER_H

#include "common/sql/sql.h"

enum {
    SQL_ARGS_MAX = 128,
    SQL_SCHEMES_MAX = 2
};

/* A parameter set of one statement may not be larger than this. */
#define SQL_ARG_BYTES_MAX ((size_t)256 * 1024 * 1024)

enum sql_transaction {
    SQL_TRANSACTION_NONE,
    SQL_TRANSACTION_LOOKUP, /* one query, without a transaction of the engine's */
    SQL_TRANSACTION_READ,
    SQL_TRANSACTION_WRITE
};

struct sql_rows {
    struct sql_conn *conn;
    const char *statement; /* its name, for errors */
    bool is_open;
};

struct sql_conn {
    const struct sql_driver *driver;
    enum sql_transaction transaction;
    bool transaction_failed; /* only a rollback may follow */
    bool has_looked_up;      /* SQL_TRANSACTION_LOOKUP: its query was made */
    bool is_attempting;      /* inside sql_attempt: nothing is put off */
    bool is_pooled;          /* the session changes with each transaction (PgBouncer) */
    struct sql_rows rows;    /* one set at a time */
};

struct sql_driver {
    enum sql_engine engine;
    struct str_view schemes[SQL_SCHEMES_MAX]; /* with the colon */

    enum err_code (*open)(
        const struct sql_options *options, struct sql_conn **ret_conn, struct err_info *err);
    void (*close)(struct sql_conn *conn);
    bool (*is_usable)(const struct sql_conn *conn);
    bool (*is_silent)(const struct sql_conn *conn);         /* NULL: never */
    bool (*takes_writes)(const struct sql_conn *conn);      /* NULL: always */
    bool (*is_in_transaction)(const struct sql_conn *conn); /* as the engine sees it */
    enum err_code (*reconnect)(struct sql_conn *conn, struct err_info *err);
    enum err_code (*prepare)(
        struct sql_conn *conn, const struct sql_statement *statement, struct err_info *err);

    /* An engine may wait with its own beginning until the first statement, and send both at once;
     * what is wrong with it is then the error of that statement. */
    enum err_code (*begin)(
        struct sql_conn *conn,
        int64_t workspace_id,
        enum sql_transaction kind,
        struct err_info *err);
    enum err_code (*commit)(struct sql_conn *conn, struct err_info *err);
    void (*rollback)(struct sql_conn *conn);

    enum err_code (*exec)(
        struct sql_conn *conn,
        const struct sql_statement *statement,
        const struct sql_value *args,
        size_t arg_count,
        int64_t *ret_changed,
        struct err_info *err);
    /* As exec, without the answer; the driver may put it off until the next statement or the
     * commit. NULL: exec. */
    enum err_code (*exec_later)(
        struct sql_conn *conn,
        const struct sql_statement *statement,
        const struct sql_value *args,
        size_t arg_count,
        struct err_info *err);
    enum err_code (*query)(
        struct sql_conn *conn,
        const struct sql_statement *statement,
        const struct sql_value *args,
        size_t arg_count,
        struct err_info *err);
    enum err_code (*next)(struct sql_conn *conn, struct err_info *err);
    void (*close_rows)(struct sql_conn *conn);

    /* A column that does not exist is NULL. */
    bool (*is_null)(const struct sql_conn *conn, unsigned column);
    int64_t (*get_int)(const struct sql_conn *conn, unsigned column);
    double (*get_real)(const struct sql_conn *conn, unsigned column);
    struct str_view (*get_bytes)(const struct sql_conn *conn, unsigned column);

    enum err_code (*exec_script)(struct sql_conn *conn, const char *text, struct err_info *err);

    /* NULL where the engine has no notifications. Inside a transaction they may go out with its
     * commit. */
    enum err_code (*notify)(
        struct sql_conn *conn, const char *channel, const char *payload, struct err_info *err);
    enum err_code (*listen)(struct sql_conn *conn, const char *channel, struct err_info *err);
    enum err_code (*wait)(
        struct sql_conn *conn,
        int64_t timeout_us,
        void (*on_notification)(void *context, const char *channel, const char *payload),
        void *context,
        struct err_info *err);
};

/* Waits without a timer of its own; for retries only. */
void sql_wait_us(int64_t us);

#endif
