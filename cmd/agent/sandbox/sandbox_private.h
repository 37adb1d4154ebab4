/* What the parts of this folder share. */
#ifndef CMD_AGENT_SANDBOX_SANDBOX_PRIVATE_H
#define CMD_AGENT_SANDBOX_SANDBOX_PRIVATE_H

#include "cmd/agent/sandbox/ground.h"
#include "cmd/agent/sandbox/id_range.h"
#include "cmd/agent/sandbox/keeper.h"
#include "cmd/agent/sandbox/sandbox.h"
#include "cmd/agent/sandbox/spare.h"
#include "common/base/list.h"
#include "common/base/map.h"
#include "common/sandbox/cgroup.h"
#include "common/sandbox/channel.h"
#include "common/sandbox/process.h"
#include "common/sandbox/record.h"
#include "common/sys/eraser.h"

enum {
    INSTANCE_BYTES = 17
};

struct sandbox {
    struct sandboxes *all;
    char id[SANDBOX_ID_BYTES_MAX + 1];
    char *dir;
    struct buf spec_bytes; /* what spec borrows from */
    struct message_spec spec;
    uint64_t spec_boot; /* process_boot_number of the boot it was written in; 0: nobody knows */
    enum sandbox_status status;
    bool rebooted;
    bool removing;
    bool heard_end;    /* MESSAGE_ENDED came on this connection */
    bool untold;       /* it was over when we found it: `ended` follows with the loop */
    uint64_t taken[2]; /* of the main program's output, by stream, in this life of ours */
    struct sandbox_exit exit;
    uint64_t started_us;
    uint64_t init_pid;

    int fd; /* to its shim, or -1 */
    struct loop_watch *watch;
    struct channel_buffer buffer;
    struct list queue; /* of struct pending: what the shim has not read yet */
    size_t queued_bytes;
    bool blocked;
    bool pauses;       /* nothing is read: this process lacks descriptors */
    bool waits;        /* its listener finds no room among them */
    bool stopping;     /* this run was told to end */
    struct map *execs; /* not released yet; the values say nothing */

    struct eraser *eraser;      /* of its folder, when it is over and removed; NULL: not begun */
    struct mono_us erase_again; /* after it failed */
};

struct sandboxes {
    struct loop *loop;
    const struct clock *clock;
    const struct sandbox_ops *ops;
    void *context;
    char *dir;
    char *image_dir;
    char *shim_path;
    struct id_range ids; /* one slot more than there are, which the probe has */
    uint64_t slots;
    int64_t sample_us;
    int lock_fd;
    bool opening;                  /* nothing is told yet */
    char instance[INSTANCE_BYTES]; /* tells our control groups from those of other agents */
    char boot[PROCESS_BOOT_ID_BYTES];
    struct cgroup_set cgroups;
    struct sandbox_report report;
    struct map *by_id;
    struct keeper *keeper;
    struct ground *ground; /* NULL: no native driver here */
    struct spare *spare;   /* NULL: the host is still looked at */
    bool *slot_used;
    uint64_t next_exec;
    struct loop_timer *again_timer; /* those that pause are heard again */
    struct loop_timer
        *reap_timer; /* what is gone is freed between two turns, never in a callback */
};

/* ---- launch.c ---- */

/* ERR_INVALID: the id is not fit to name a folder; NULL is not either. */
enum err_code launch_check_id(const char *id, struct err_info *err) MUST_CHECK;
/* Writes the sandbox's spec for its next start; groups are made and put into it. */
enum err_code launch_prepare(
    struct sandbox *sandbox, const struct message_spec *spec, struct err_info *err) MUST_CHECK;
/* A shim for the sandbox's folder, the spare one or a new one; ret_fd is our end of its socket. */
enum err_code launch_shim(
    const struct sandboxes *all, const char *dir, int *ret_fd, struct err_info *err) MUST_CHECK;

/* Checks the public spec, whose id is checked already, and fills the one on the wire; lists go into
 * buffers, NUL-terminated. */
struct launch_lists {
    struct buf argv;
    struct buf env;
    struct buf cgroups;
    struct buf binds;
    struct buf read_only;
    struct buf read_write;
    char image[4096];
};
/* The sandbox's control groups, with the limits of its spec, as a list for it. */
enum err_code launch_groups(
    const struct sandboxes *all,
    const struct message_spec *spec,
    struct buf *list,
    struct err_info *err) MUST_CHECK;
void launch_lists_init(struct launch_lists *lists);
void launch_lists_deinit(struct launch_lists *lists);
enum err_code launch_spec(
    const struct sandboxes *all,
    const struct sandbox_spec *wanted,
    struct launch_lists *lists,
    struct message_spec *ret_spec,
    struct err_info *err) MUST_CHECK;
/* NAME=VALUE of the defaults, then of each list in turn; a later one replaces an earlier one. */
void launch_environment(
    const struct message_list *base,
    const char *const *over,
    bool tty,
    bool proxy,
    struct buf *list);

/* ---- shim_link.c ---- */

enum err_code shim_link_open(struct sandbox *sandbox, int take_fd, struct err_info *err) MUST_CHECK;
enum err_code shim_link_connect(struct sandbox *sandbox, struct err_info *err) MUST_CHECK;
/* When its end is heard and nobody waits for its programs: lets the shim go. */
void shim_link_settle(struct sandbox *sandbox);
void shim_link_resume(struct sandbox *sandbox); /* if it pauses */
void shim_link_close(struct sandbox *sandbox);
enum err_code shim_link_send(
    struct sandbox *sandbox, const struct message *message, struct err_info *err) MUST_CHECK;

void shim_link_know_exec(struct sandbox *sandbox, uint64_t exec);
void shim_link_forget_exec(struct sandbox *sandbox, uint64_t exec);

/* ---- adopt.c ---- */

enum err_code adopt_all(struct sandboxes *all, struct err_info *err) MUST_CHECK;
/* Reads exit.json into sandbox->exit; ERR_NOT_FOUND. The record borrows from text. */
enum err_code adopt_exit(
    struct sandbox *sandbox, struct buf *text, struct record *ret_record, struct err_info *err)
    MUST_CHECK;
/* What the main program said and we had not taken when it ended, from its logs. */
void adopt_output(struct sandbox *sandbox);
/* What was taken of one that is over: the next life of the agent is not told of it again. */
void adopt_keep_taken(const struct sandbox *sandbox);
/* The run of this generation is over and nobody knows how; on disk, so that it stays so. */
void adopt_mark_lost(struct sandbox *sandbox, bool rebooted);
/* Its shim is gone without an exit: everything that may be left of it is ended. */
void adopt_lost(struct sandbox *sandbox, bool rebooted);

/* ---- probe.c ---- */

void probe_host(struct sandboxes *all);

/* ---- sandboxes.c ---- */

struct sandbox *sandboxes_add(struct sandboxes *all, const char *id);
void sandbox_ended(struct sandbox *sandbox, enum sandbox_status status);
/* Starts a shim for this generation; what an earlier one left behind is deleted first. */
enum err_code sandbox_launch(struct sandbox *sandbox, uint64_t generation, struct err_info *err)
    MUST_CHECK;
void sandbox_info_of(const struct sandbox *sandbox, struct sandbox_info *ret_info);

#endif
