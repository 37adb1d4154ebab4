/*
 * The commands an agent was given, in the spool's file: each is on disk before it acts, so that it
 * acts at most once whatever ends in between, and its answer is kept until it was handed over.
 * Same owner and thread as the spool.
 */
#ifndef CMD_AGENT_SPOOL_COMMAND_LOG_H
#define CMD_AGENT_SPOOL_COMMAND_LOG_H

#include "cmd/agent/spool/spool.h"

enum command_status {
    COMMAND_RUNNING = 1,
    COMMAND_DONE,
    COMMAND_ACKED
};

enum {
    COMMAND_ID_BYTES = 513,
    COMMAND_LOG_KEPT = 1000,
    COMMAND_ERROR_BYTES = 1024
};

struct command_entry {
    struct str_view command_id;
    struct str_view actor;
    struct str_view action; /* "telemetry_now" */
    uint64_t sequence;
};

struct command_outcome {
    bool succeeded;
    unsigned code; /* agentgateway.v1.AckCode */
    char error[COMMAND_ERROR_BYTES];
    struct str_view payload; /* of a query: in the caller's arena */
};

/* ERR_EXISTS: this id was given before. On ERR_OK the command may act. */
enum err_code command_log_begin(
    struct spool *spool, const struct command_entry *entry, struct err_info *err) MUST_CHECK;

enum err_code command_log_finish(
    struct spool *spool,
    struct str_view command_id,
    const struct command_outcome *outcome,
    struct err_info *err) MUST_CHECK;

/* The server's stream took the answer. */
enum err_code command_log_set_acked(
    struct spool *spool, struct str_view command_id, struct err_info *err) MUST_CHECK;

/* ERR_NOT_FOUND: never seen. The outcome is filled in unless the status is COMMAND_RUNNING. */
enum err_code command_log_find(
    struct spool *spool,
    struct str_view command_id,
    struct arena *arena,
    enum command_status *ret_status,
    struct command_outcome *ret_outcome,
    struct err_info *err) MUST_CHECK;

/* Calls each for at most max finished commands whose answer was not handed over, oldest first. */
enum err_code command_log_each_unacked(
    struct spool *spool,
    unsigned max,
    void (*each)(void *context, struct str_view command_id, const struct command_outcome *outcome),
    void *context,
    struct err_info *err) MUST_CHECK;

/* At start: what was running when the process ended is finished with this code and text; it never
 * runs again. Orders about sandboxes stay as they are for COMMAND_LOG_RESUME_US. */
enum err_code command_log_interrupt(
    struct spool *spool, unsigned code, const char *text, struct err_info *err) MUST_CHECK;

#define COMMAND_LOG_RESUME_US (30 * US_PER_DAY) /* as long as an order may be on its way */

struct command_line {
    struct str_view command_id;
    struct str_view action;
    struct str_view actor;
    struct wall_us received_at;
    enum command_status status;
    bool succeeded;
    unsigned code;
    struct str_view error;
};

/* The newest max commands, newest first; lines are valid until each returns. */
enum err_code command_log_each_recent(
    struct spool *spool,
    unsigned max,
    void (*each)(void *context, const struct command_line *line),
    void *context,
    struct err_info *err) MUST_CHECK;

#endif
