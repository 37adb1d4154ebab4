/*
 * The agent's part in the server's sandboxes: orders come in, reports, log lines and figures go
 * out. What runs is in cmd/agent/sandbox; here is what the server is told of it, and what of that
 * must outlive the process. Loop thread; nothing here waits for the network.
 *
 * Reports are level-triggered: each says what is so now, under a number that rises over restarts.
 * A hello carries one for every sandbox, so a report that no stream took is not missed.
 */
#ifndef CMD_AGENT_WORKLOAD_WORKLOAD_H
#define CMD_AGENT_WORKLOAD_WORKLOAD_H

#include "cmd/agent/sandbox/sandbox.h"
#include "cmd/agent/workload/egress.h"
#include "cmd/agent/workload/execs.h"
#include "common/base/arena.h"
#include "common/wire/wire.h"

#include "proto/agentgateway/v1/agentgateway.pb-c.h"

struct workload;

/* Where it goes. Never called from within workload_open. */
struct workload_ops {
    /* To the control stream; false: none takes it now. */
    bool (*report)(void *context, const Agentgateway__V1__SandboxReport *report);
    bool (*is_online)(void *context); /* there is a control stream to try it with */
    /* To the control stream, if one takes it now; nobody misses one. */
    void (*readings)(void *context, const Agentgateway__V1__ControlSandboxReadings *readings);
    /* To the spool: kept for the server once this says ERR_OK. ERR_UNAVAILABLE: it waits in memory,
     * since the disk refuses. */
    enum err_code (*emit)(
        void *context, const Agentgateway__V1__EventBatch *batch, struct err_info *err);
    /* Whether the spool has room for what may be dropped: log lines. */
    bool (*has_room)(void *context);
};

/* What the server may place here, at most. Zero: none of it. */
struct workload_offer {
    double cpus;
    uint64_t memory_bytes;
    uint64_t disk_bytes;
    uint64_t slots; /* sandboxes at the same time */
};

struct workload_options {
    struct loop *loop;
    const struct clock *clock;
    const struct wire_schema *schema;
    const char *dir;
    const char *image_dir; /* NULL: images below dir */
    const char *shim_path; /* NULL: belay-shim beside this program */
    const char *boot_id;
    const char *cgroup; /* NULL: the default of sandbox.h; so below */
    uint64_t uid_base;
    struct workload_offer offer;
    uint64_t io_rate; /* of each sandbox, bytes a second; 0: no bound */
    /* A limit that this host cannot enforce is left out and said so, not refused. */
    bool is_lenient;
    const struct workload_ops *ops;
    void *context;
    const struct egress *egress; /* NULL: sandboxes have no network */
};

/* ERR_UNSUPPORTED: no driver works here, or none of those can enforce limits; why. ERR_BUSY:
 * another agent has the folder. Adopts what runs. */
enum err_code workload_open(
    const struct workload_options *options,
    struct workload **ret_workload,
    struct err_info *err) MUST_CHECK;
/* Lets go; what runs runs on. NULL is allowed. */
void workload_close(struct workload *workload);

struct sandboxes *workload_sandboxes(struct workload *workload);
struct execs *workload_execs(struct workload *workload);

/* As the options say, whatever of it is lent or taken. */
void workload_get_offer(const struct workload *workload, struct workload_offer *ret_offer);
/* What the sandboxes here may use by their limits, also those that are stopped: they can be started
 * again. */
void workload_get_taken(const struct workload *workload, struct workload_offer *ret_taken);
/* What others have of the offer: the server is told of the rest alone. */
void workload_set_lent(struct workload *workload, const struct workload_offer *lent);

/* What there is room for, and with which images. Borrows from the arena until that is reset.
 * ERR_LIMIT. */
enum err_code workload_fill_capacity(
    const struct workload *workload,
    struct arena *arena,
    Agentgateway__V1__Capacity *capacity,
    struct err_info *err) MUST_CHECK;

/* One report per sandbox; what their texts make it too long for goes without them, and is reported
 * again by itself. Borrows from the arena until that is reset. ERR_LIMIT. */
enum err_code workload_fill_hello(
    struct workload *workload,
    struct arena *arena,
    Agentgateway__V1__ControlHello *hello,
    struct err_info *err) MUST_CHECK;

/* Now and then, and when a stream is live: what no stream took since the hello, or the disk kept us
 * from saying, is said again. Does nothing while there is no stream. */
void workload_catch_up(struct workload *workload);

/* Somebody looks at what the sandboxes use: see figures.h. */
void workload_watch(struct workload *workload, const Agentgateway__V1__ControlSandboxWatch *order);

/* An event about one sandbox, for its watchers and for the log of the workspace. */
struct workload_event {
    const char *sandbox_id;
    const char *kind; /* "sandbox.denied" */
    const char *text;
    int severity; /* agentgateway.v1.Severity */
    /* name, value, name, value, ...; NULL at the end. NULL: none */
    const char *const *attributes;
};

void workload_tell(struct workload *workload, const struct workload_event *event);

/* The newest state of one to the server; there is none: that it is gone. */
void workload_report(struct workload *workload, const char *sandbox_id);

#endif
