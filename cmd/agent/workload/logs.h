/*
 * What programs in sandboxes say, line by line, on its way to the server as events of the kind
 * "sandbox.log". Lines are gathered for a fifth of a second or until they fill a record; they count
 * as taken once the spool has them. A sandbox that says more than its share, or more than the spool
 * has room for, loses lines here and is never made to wait; one event says how many. Everything it
 * said is in its log files beside that. Loop thread.
 *
 * The attribute "target" is "stdout" or "stderr" of the main program, "exec.stdout" or
 * "exec.stderr" of one that an operator runs; of those "program" is its name and "exec" its number.
 * They use at most half of a share that is full, and what is said here of them holds nobody up:
 * whoever has them run takes their output, not we.
 */
#ifndef CMD_AGENT_WORKLOAD_LOGS_H
#define CMD_AGENT_WORKLOAD_LOGS_H

#include "common/base/time.h"
#include "common/sandbox/message.h"
#include "common/sys/loop.h"

#include "proto/agentgateway/v1/agentgateway.pb-c.h"

struct logs;

enum {
    LOGS_LINE_BYTES = 4095,        /* a longer one is cut into several */
    LOGS_RATE_BYTES = 32 * 1024,   /* of one sandbox, each second; a line counts 128 more */
    LOGS_BURST_BYTES = 256 * 1024, /* of one sandbox, at once */
    LOGS_FACTOR_ALL = 2,           /* so many times that for all of them together */
    LOGS_BATCH_BYTES = 64 * 1024,
    LOGS_PROGRAM_BYTES = 64 /* of a program's name; the rest of it is cut */
};

struct logs_ops {
    enum err_code (*emit)(
        void *context, const Agentgateway__V1__EventBatch *batch, struct err_info *err);
    bool (*has_room)(void *context);
    /* What a stream said before this offset is kept, or dropped for good. */
    void (*taken)(void *context, const char *sandbox_id, unsigned stream, uint64_t offset);
};

struct logs *logs_create(
    struct loop *loop, const struct clock *clock, const struct logs_ops *ops, void *context);
void logs_destroy(struct logs *logs); /* what waits is let go untaken; NULL is allowed */

void logs_add(struct logs *logs, const char *sandbox_id, const struct message_output *output);
/* Of a program beside the main one. From its first output with a NUL on, what it says there is
 * taken to be no text (an archive, say) and not logged, which one line says. */
void logs_add_exec(
    struct logs *logs,
    const char *sandbox_id,
    uint64_t exec,
    const char *program,
    const struct message_output *output);
/* That program is over: its last line, without an end, is one too. Unknown to us: nothing. */
void logs_end_exec(struct logs *logs, const char *sandbox_id, uint64_t exec);
/* The sandbox is over: a last line without an end is one too. Everything goes now. */
void logs_end(struct logs *logs, const char *sandbox_id);
void logs_flush(struct logs *logs);

#endif
