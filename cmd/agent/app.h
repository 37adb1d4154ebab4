/*
 * The running agent: ties sampler, spool, link and commands to one event loop. One thread owns it
 * all; the only other is the rpc client's poller. Spool writes happen on the loop, each an
 * fsynced transaction: events at once, samples that the server has not acknowledged within a delay.
 */
#ifndef CMD_AGENT_APP_H
#define CMD_AGENT_APP_H

#include "cmd/agent/command/commands.h"
#include "cmd/agent/device/host_device.h"
#include "cmd/agent/guest/guests.h"
#include "cmd/agent/host/sampler.h"
#include "cmd/agent/link/batch.h"
#include "cmd/agent/link/link.h"
#include "cmd/agent/proxy/proxy.h"
#include "cmd/agent/relay/bridges.h"
#include "cmd/agent/status/status_socket.h"
#include "cmd/agent/workload/workload.h"
#include "common/config/config.h"

enum {
    APP_SPOOL_MIN_BYTES = 2 * 1024 * 1024
};

#define APP_INTERVAL_MIN_US (250 * US_PER_MS)

struct app {
    const struct config *config;
    const struct clock *clock;
    struct loop *loop;
    struct wire_schema *schema;
    struct state *state;
    struct spool *spool;
    struct host_facts facts;
    struct host_sampler *sampler;
    struct link *link;
    struct commands *commands;
    struct workload *workload; /* NULL: no sandboxes for the server */
    struct bridges *bridges;   /* NULL: as above */
    struct guests *guests;     /* NULL: this one is a guest itself */
    char *guest_images;        /* their image store: ours */
    struct loop_watch *lender; /* of a guest: the pipe from whom it is run by */
    struct proxy *proxy;       /* what sandboxes reach the network by */
    struct egress egress;
    struct device_policy policy;
    struct status_socket *status;
    struct loop_timer *sample_timer;
    struct loop_timer *tick_timer;
    struct loop_timer *reboot_timer;
    struct mono_us started_at;
    int64_t sample_interval_us;
    int64_t tick_us;
    uint64_t spool_max_bytes;
    int64_t spool_max_age_us;
    struct spool_stats told; /* drops already reported as events */
    struct mono_us told_at;
    bool is_stopping;
    bool ends_refused; /* while it enrolls with a server beside it, which then starts it anew */
    int exit_status;
};

/* Runs until a signal; returns the exit status. */
int app_run(const struct config *config);

/* Puts an event into the spool. */
void app_event(struct app *app, const struct batch_event *event);

/* An EventBatch on its way to the server; compressed in place. */
enum err_code app_keep_events(
    struct app *app, struct wall_us time, struct buf *payload, struct err_info *err) MUST_CHECK;

/* Whose signature counts, and what its clock says. */
struct verify_context app_server(const struct app *app);

/* Operators in the sandboxes, where there are any; after the link. */
void app_open_relays(struct app *app);
void app_sandbox_watch(void *context, const Agentgateway__V1__ControlSandboxWatch *order);
void app_relay_open(void *context, const Agentgateway__V1__ControlRelayOpen *order);
bool app_has_relays(void *context);

/* As the options say; ERR_OK with app->workload NULL where they leave it to the host. */
enum err_code app_open_sandboxes(struct app *app, struct err_info *err) MUST_CHECK;
/* Of those that run on without the agent: what it has counted by destination goes with it. */
void app_tell_networks(struct app *app);
void app_sandbox_create(
    void *context, struct command_run *run, const Agentgateway__V1__AgentCommand *command);
void app_sandbox_start(
    void *context, struct command_run *run, const Agentgateway__V1__AgentCommand *command);
void app_sandbox_stop(
    void *context, struct command_run *run, const Agentgateway__V1__AgentCommand *command);
void app_sandbox_delete(
    void *context, struct command_run *run, const Agentgateway__V1__AgentCommand *command);
void app_sandbox_policy(
    void *context, struct command_run *run, const Agentgateway__V1__AgentCommand *command);

/* What this agent has lent; after the sandboxes, before the link. */
enum err_code app_open_guests(struct app *app, struct err_info *err) MUST_CHECK;
void app_close_guests(struct app *app); /* waits for them */
void app_lend(
    void *context, struct command_run *run, const Agentgateway__V1__AgentCommand *command);
void app_reclaim(
    void *context, struct command_run *run, const Agentgateway__V1__AgentCommand *command);

/* It runs for a loan: in room of another agent, on a machine that is not its own. */
bool app_is_lent(const struct app *app);
/* Nothing where it is not. ERR_INVALID: nobody has lent it anything. After the facts are read. */
enum err_code app_be_lent(struct app *app, struct err_info *err) MUST_CHECK;

/* Gently: what is under way is finished first. The second time: at once. */
void app_stop(struct app *app);

/* One round of samples into the spool; none, of a host that is not its own. */
void app_sample(struct app *app, struct host_samples *ret_samples);

/* Bounds and interval, as set; what set_config changed was kept before. */
void app_apply_limits(struct app *app);
void app_arm_sampling(struct app *app);

extern const struct command_ops app_command_ops;

/* The local view, and its part about sandboxes (NULL: none are offered), which lists 200 at most
 * and says how many there are. */
void app_write_sandboxes(const struct sandboxes *all, struct buf *json, struct buf *text);
/* Its part about what is lent; NULL: nothing can be. */
void app_write_guests(const struct guests *guests, struct buf *json, struct buf *text);
void app_write_status(void *context, struct buf *json, struct buf *text);

#endif
