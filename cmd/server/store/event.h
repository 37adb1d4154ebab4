/* Events and uploads kept as they came. Inside the caller's transaction. */
#ifndef SERVER_STORE_EVENT_H
#define SERVER_STORE_EVENT_H

#include "cmd/server/store/row.h"

struct event_record {
    int64_t id;
    int64_t agent_id;
    const char *agent_name;
    int64_t time_us;
    int64_t received_at;
    int64_t severity;
    const char *kind;
    const char *device;
    const char *text;
    const char *attributes; /* JSON object */
    const char *workspace;
};

struct event_filter {
    int64_t agent_id; /* 0: any */
    int64_t min_severity;
    struct str_view kind_prefix;
    int64_t start; /* of the agent's time */
    int64_t end;
    int64_t before_id; /* list: 0: the newest */
    int64_t after_id;  /* newer */
    int64_t limit;
};

/*
 * Before the first store_event_add (or _all) of a workspace in a transaction: until it ends no
 * other adds to the workspace. So ids become visible in their order, and who has seen one has seen
 * all below it, also when many servers write. To be called last, by rising workspace, since others
 * wait for the commit.
 */
enum err_code store_event_lock(struct sql_conn *conn, int64_t workspace_id, struct err_info *err)
    MUST_CHECK;
enum err_code store_event_add(
    struct sql_conn *conn,
    int64_t workspace_id,
    const struct event_record *record,
    struct err_info *err) MUST_CHECK;
/* Those of one workspace, which get their ids in the order given: one statement on PostgreSQL, so
 * that the caller bounds what it hands over at once. All of them, or an error. */
enum err_code store_event_add_all(
    struct sql_conn *conn,
    int64_t workspace_id,
    const struct event_record *records,
    size_t count,
    struct err_info *err) MUST_CHECK;
/* struct event_record, newest first. */
enum err_code store_event_list(
    struct sql_conn *conn,
    int64_t workspace_id,
    const struct event_filter *filter,
    struct arena *arena,
    struct store_list *ret_list,
    struct err_info *err) MUST_CHECK;
/* struct event_record, in order, after filter->after_id. */
enum err_code store_event_newer(
    struct sql_conn *conn,
    int64_t workspace_id,
    const struct event_filter *filter,
    struct arena *arena,
    struct store_list *ret_list,
    struct err_info *err) MUST_CHECK;

/* Kinds of a device's events, to be added up. */
enum event_kinds {
    EVENT_LINES = 1, /* what its programs wrote */
    EVENT_NEWS = 2   /* all else that happened to it */
};

/* Of one device (a sandbox, by its id). */
struct event_device_filter {
    struct str_view device;
    unsigned kinds; /* of_device: enum event_kinds, at least one */
    int64_t min_severity;
    int64_t since;    /* of_device: the agent's time */
    int64_t after_id; /* of_device_newer */
    int64_t limit;
};

/* struct event_record, newest first. */
enum err_code store_event_of_device(
    struct sql_conn *conn,
    int64_t workspace_id,
    const struct event_device_filter *filter,
    struct arena *arena,
    struct store_list *ret_list,
    struct err_info *err) MUST_CHECK;
/* Of any kind, all there are. */
enum err_code store_event_count_of_device(
    struct sql_conn *conn,
    int64_t workspace_id,
    struct str_view device,
    int64_t *ret_count,
    struct err_info *err) MUST_CHECK;
/* struct event_record of any kind, in order, after filter->after_id. */
enum err_code store_event_of_device_newer(
    struct sql_conn *conn,
    int64_t workspace_id,
    const struct event_device_filter *filter,
    struct arena *arena,
    struct store_list *ret_list,
    struct err_info *err) MUST_CHECK;
enum err_code store_event_last_id(
    struct sql_conn *conn, int64_t workspace_id, int64_t *ret_id, struct err_info *err) MUST_CHECK;
/* A portion of what was received before; ret_more: not all of it. */
enum err_code store_event_remove(
    struct sql_conn *conn, struct wall_us before, bool *ret_more, struct err_info *err) MUST_CHECK;

struct upload_record {
    int64_t workspace_id;
    int64_t agent_id;
    bool events; /* else telemetry */
    int64_t sequence;
    int64_t captured_at;
    int64_t received_at;
    struct str_view payload;
};

enum err_code store_upload_add(
    struct sql_conn *conn, const struct upload_record *record, struct err_info *err) MUST_CHECK;
enum err_code store_upload_remove(
    struct sql_conn *conn, struct wall_us before, bool *ret_more, struct err_info *err) MUST_CHECK;

#endif
