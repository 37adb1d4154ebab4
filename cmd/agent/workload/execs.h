/*
 * Who listens to a program in a sandbox. Number 0 is the main program, whose output is the
 * sandbox's log; every other number belongs to whoever had it started (a relay, say), and what the
 * sandboxes tell of it comes here and goes on to that owner. A program without an owner (its relay
 * ended, or the agent was started anew) is killed, its output thrown away. The same for connections
 * to a sandbox's loopback, whose numbers are of the same count. Loop thread.
 *
 * Owners write, resize and signal by sandbox.h with the number they were given.
 */
#ifndef CMD_AGENT_WORKLOAD_EXECS_H
#define CMD_AGENT_WORKLOAD_EXECS_H

#include "cmd/agent/sandbox/sandbox.h"

struct execs;

/* Never called from within a call of the owner's; data is valid during the call. Each may be NULL.
 */
struct exec_ops {
    void (*started)(void *context, int number); /* errno of the exec; 0: it runs */
    /* Who has dealt with it says so with sandbox_taken; a full window stops the program. */
    void (*output)(void *context, const struct message_output *output);
    void (*input_taken)(void *context, uint64_t offset);
    /* The last call, after all output, or after a start that failed; the program is released by
     * itself. NULL: nobody knows how it ended, its sandbox is gone. */
    void (*exited)(void *context, const struct message_exited *exited);
    /* Of a connection: the last call, unless exited(NULL) came. As in struct sandbox_ops. */
    void (*connected)(void *context, int take_fd, int number);
};

struct exec_owner {
    const struct exec_ops *ops;
    void *context;
};

struct execs *execs_create(void);
void execs_destroy(struct execs *execs); /* tells nobody; NULL is allowed */
/* Once, after sandboxes_open, whose ops call the functions below. */
void execs_set_sandboxes(struct execs *execs, struct sandboxes *sandboxes);

/* As sandbox_exec; what happens from now on is told to the owner. */
enum err_code execs_start(
    struct execs *execs,
    const char *sandbox_id,
    const struct sandbox_exec *exec,
    const struct exec_owner *owner,
    uint64_t *ret_exec,
    struct err_info *err) MUST_CHECK;

/* As sandbox_connect; the owner hears connected, or exited(NULL). */
enum err_code execs_connect(
    struct execs *execs,
    const char *sandbox_id,
    const struct sandbox_port *to,
    const struct exec_owner *owner,
    uint64_t *ret_connection,
    struct err_info *err) MUST_CHECK;

/* The owner goes: it hears nothing more, and the program is killed if it still runs. */
void execs_leave(struct execs *execs, uint64_t exec);

/* What the log calls the program; NULL: its output is not logged (a terminal, nobody's). Until the
 * next call. */
const char *execs_log_name(const struct execs *execs, uint64_t exec);

size_t execs_count(const struct execs *execs, const char *sandbox_id); /* those with an owner */

/* What struct sandbox_ops tells of numbers above 0. */
void execs_started(struct execs *execs, const char *sandbox_id, uint64_t exec, int number);
void execs_output(
    struct execs *execs,
    const char *sandbox_id,
    uint64_t exec,
    const struct message_output *output);
void execs_input_taken(struct execs *execs, uint64_t exec, uint64_t offset);
void execs_exited(
    struct execs *execs,
    const char *sandbox_id,
    uint64_t exec,
    const struct message_exited *exited);
void execs_connected(struct execs *execs, uint64_t connection, int take_fd, int number);
/* The sandbox is over: whoever still waits for a program in it hears so. */
void execs_ended(struct execs *execs, const char *sandbox_id);

#endif
