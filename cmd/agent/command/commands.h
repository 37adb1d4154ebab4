/*
 * Commands from arrival to answer: verified, on disk before they act, acted on at most once,
 * answered until the stream took the answer. Loop thread; the receiving side never waits.
 *
 * Lanes: what changes the agent itself runs alone (one), everything else in a pool of 16; a full
 * lane answers BUSY at once.
 */
#ifndef CMD_AGENT_COMMAND_COMMANDS_H
#define CMD_AGENT_COMMAND_COMMANDS_H

#include "cmd/agent/command/verify.h"
#include "cmd/agent/spool/command_log.h"
#include "cmd/agent/state/state.h"
#include "common/wire/wire.h"

struct commands;
struct command_run; /* a command that acts */

enum {
    COMMANDS_POOL_LANE = 16,
    COMMANDS_EXCLUSIVE_LANE = 1
};

/* Acts; must end in command_finish, at once or later. */
typedef void (*command_fn)(
    void *context, struct command_run *run, const Agentgateway__V1__AgentCommand *command);

struct command_ops {
    command_fn telemetry_now;
    command_fn set_config;
    command_fn rotate_key;
    command_fn drain;
    command_fn device_command;
    /* These do what is not so already, so one that was cut off by the end of the process acts again
     * when it comes again. */
    command_fn sandbox_create;
    command_fn sandbox_start;
    command_fn sandbox_stop;
    command_fn sandbox_delete;
    command_fn sandbox_policy;
    command_fn lend;
    command_fn reclaim;
    /* ERR_UNAVAILABLE: not now (commands_redeliver is called when it can again). */
    enum err_code (*send_ack)(
        void *context, struct str_view command_id, const struct command_outcome *outcome);
    /* A command that must not act: for the audit trail of this side. */
    void (*refused)(void *context, const char *command_id, const char *actor, const char *reason);
};

struct commands_options {
    struct spool *spool;
    struct state *state;
    const struct wire_schema *schema;
    const struct command_ops *ops;
    void *context;
};

/* Loads the last sequence; commands that were under way when the process ended are answered as
 * interrupted. */
enum err_code commands_create(
    const struct commands_options *options,
    struct commands **ret_commands,
    struct err_info *err) MUST_CHECK;
void commands_destroy(struct commands *commands); /* NULL is allowed; runs under way are dropped */

/* server_id, agent_id and key are those of the enrollment; last_sequence is filled in here. */
void commands_handle(
    struct commands *commands,
    const struct verify_context *who,
    const Agentgateway__V1__ControlCommand *command);

/* Hands over every answer that waits. */
void commands_redeliver(struct commands *commands);

uint64_t commands_last_sequence(const struct commands *commands);
unsigned commands_running(const struct commands *commands);

/* code: agentgateway.v1.AckCode; succeeded when OK or PARTIAL. payload is copied; run is gone
 * afterwards. */
void command_finish(
    struct command_run *take_run, unsigned code, const char *error, struct str_view payload);

#endif
