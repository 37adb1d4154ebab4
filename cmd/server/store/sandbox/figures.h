/*
 * What sandboxes use now: one row each, written over while somebody looks, gone with the sandbox.
 * Inside the caller's transaction. The tables are unlogged: where sql_takes_writes is false they
 * may not even be read, and only store_figures_list is to be called.
 */
#ifndef SERVER_STORE_SANDBOX_FIGURES_H
#define SERVER_STORE_SANDBOX_FIGURES_H

#include "cmd/server/store/row.h"

struct figures_reading {
    int64_t interval_us;
    int64_t taken_at;    /* by the agent's clock */
    int64_t received_at; /* 0: there is no reading */
    int64_t cpu_us;
    int64_t read_bytes;
    int64_t written_bytes;
    int64_t sent_bytes;
    int64_t received_bytes;
    int64_t memory_bytes;
    int64_t disk_bytes;
    int64_t processes;
};

struct figures_news { /* of one sandbox */
    const char *sandbox_id;
    struct figures_reading reading; /* but for received_at */
};

struct figures_of { /* whose */
    int64_t workspace_id;
    int64_t agent_id; /* of another agent's sandbox nothing is stored */
    struct wall_us received_at;
};

/* Those of an agent, by sandbox; none stands twice. */
enum err_code store_figures_put(
    struct sql_conn *conn,
    const struct figures_of *whose,
    const struct figures_news *news,
    size_t count,
    struct err_info *err) MUST_CHECK;

/* Every sandbox, with its newest reading. */
struct figures_record {
    const char *workspace;
    const char *sandbox_id;
    const char *name;
    const char *owner;
    const char *agent_name; /* "": none */
    int64_t agent_seen_at;
    int64_t phase;
    int64_t cpu_millis; /* limits; 0: none */
    int64_t memory_limit_bytes;
    int64_t disk_limit_bytes;
    struct figures_reading reading;
    const char *cursor;
};

struct figures_filter {
    struct str_view cursor; /* of the row before the page; "": from the first */
    char *const *names;     /* only of these */
    size_t name_count;      /* 0: all */
    int64_t limit;
};

/* Records are struct figures_record, by workspace and name; without readings where the database
 * takes no writes, and a standby has none. ERR_INVALID: the cursor is none. */
enum err_code store_figures_list(
    struct sql_conn *conn,
    int64_t workspace_id, /* SQL_ALL_WORKSPACES: all */
    const struct figures_filter *filter,
    struct arena *arena,
    struct store_list *ret_list,
    struct err_info *err) MUST_CHECK;

struct figures_watch {
    int64_t workspace_id;
    int64_t until_us;
};

/* Notes that somebody looks until then, where that is not so at least until enough_us. Records are
 * struct figures_watch: the workspaces it was noted for, whose agents have to hear of it. */
enum err_code store_figures_watch(
    struct sql_conn *conn,
    const struct figures_watch *watch, /* SQL_ALL_WORKSPACES: all that have sandboxes */
    int64_t enough_us,
    struct arena *arena,
    struct store_list *ret_list,
    struct err_info *err) MUST_CHECK;

/* Until when somebody looks; 0: nobody ever did. */
enum err_code store_figures_watched(
    struct sql_conn *conn, int64_t workspace_id, int64_t *ret_until_us, struct err_info *err)
    MUST_CHECK;

#endif
