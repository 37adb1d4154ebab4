/*
 * The shim: the one process of a sandbox outside of it. It starts the sandbox, holds everything
 * that must outlive the agent (init's socket and pidfd, terminals, output that nobody took yet, the
 * clock of the wall time), and writes down how it ended. One thread, one loop; at most one agent is
 * connected, the newest.
 */
#ifndef SHIM_SHIM_H
#define SHIM_SHIM_H

#include "cmd/shim/builder/builder.h"
#include "cmd/shim/program.h"
#include "common/base/list.h"
#include "common/sandbox/channel.h"
#include "common/sandbox/spec.h"
#include "common/sys/loop.h"

enum {
    SHIM_DIALS_MAX = 64, /* asked of init and not answered yet */
    SHIM_LOGS = 4        /* the two outputs of the main program, and of all others */
};

struct shim {
    const struct clock *clock;
    struct loop *loop;
    const char *dir;
    int dir_fd;
    int program_fd;
    int ids_fd;            /* holds the host's user ids, to our end; -1: the agent's own are used */
    int ground;            /* until the sandbox is built on a copy of it; or -1 */
    int network;           /* until the sandbox is in it; or -1 */
    struct buf spec_bytes; /* what spec borrows from */
    struct message_spec spec;
    struct cgroup_set cgroups;
    enum sandbox_phase phase;
    struct built built;
    uint64_t init_start;
    int pts;      /* /dev/pts of the sandbox */
    int listener; /* of the egress proxy, in the sandbox's network */
    struct loop_watch *init_watch;
    struct loop_watch *pidfd_watch;
    struct channel_buffer from_init;

    /* The agent's side. */
    int socket;    /* listening */
    int agent;     /* connected, or -1 */
    bool attached; /* it has said ATTACH */
    bool blocked;  /* its socket is full: wait for EPOLLOUT */
    struct loop_watch *socket_watch;
    struct loop_watch *agent_watch;
    struct channel_buffer from_agent;
    struct list queue; /* of struct outgoing, when the agent is slow */
    size_t queued;

    struct list programs;
    size_t program_count;
    struct outlog logs[SHIM_LOGS];
    struct program *main;           /* NULL: none, or gone */
    uint64_t dials[SHIM_DIALS_MAX]; /* 0: free */

    struct wall_us started;
    struct mono_us started_mono;
    struct mono_us sampled;
    struct message_sample sample; /* the latest */
    struct loop_timer *sample_timer;
    struct loop_timer *wall_timer;
    struct loop_timer *kill_timer;   /* the grace of a stop */
    struct loop_timer *linger_timer; /* after the end */
    enum sandbox_end reason;
    bool stopping;
    bool has_status;
    uint64_t status;
    char error[ERR_TEXT_BYTES]; /* of a failure */
    int error_number;
};

/* What a shim begins with: descriptors are the shim's, -1 says that there is none. */
struct shim_start {
    const char *dir; /* absolute */
    int dir_fd;      /* of it, with its lock; -1: both are taken */
    int agent;       /* a connected socket */
    int ground;
    int network;
};

/* Runs the sandbox of this folder to its end. Exit status. */
int shim_main(const struct shim_start *start);

/* To the agent if one is attached; keeps order, never waits. */
void shim_send(struct shim *shim, const struct message *message, int fd);
/* Output and exits that the agent can take now. */
void shim_pump(struct shim *shim);
/* A message from the agent. */
void shim_obey(struct shim *shim, const struct message *message);
/* How it ended, to an agent that comes after the end too. */
void shim_tell_end(struct shim *shim);
/* Begins the end: everything in the sandbox is killed. */
void shim_end(struct shim *shim, enum sandbox_end reason);
/* The main program is gone. */
void shim_main_ended(struct shim *shim, uint64_t status);

/* agent.c: the connection. */
enum err_code shim_agent_open(struct shim *shim, int agent, struct err_info *err) MUST_CHECK;
void shim_agent_close(struct shim *shim);

/* account.c: figures and records. */
void shim_measure(struct shim *shim);
enum err_code shim_write_state(struct shim *shim, struct err_info *err) MUST_CHECK;
enum err_code shim_write_exit(struct shim *shim, struct err_info *err) MUST_CHECK;

#endif
