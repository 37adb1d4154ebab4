/*
 * The sandboxes of this agent. Each is a folder below the agent's state, and while it runs a shim
 * (cmd/shim) of its own, which outlives us. All calls are of the loop's thread and return at once;
 * what happens is told through struct sandbox_ops, never from within a call. Texts and data given
 * to an op are valid during it. A sandbox is named by its id; an exec by a number of ours.
 *
 * What protects what: docs/sandboxes.md. A protection that was asked for and that this host cannot
 * give is ERR_UNSUPPORTED with the reason; nothing is ever left out silently.
 */
#ifndef CMD_AGENT_SANDBOX_SANDBOX_H
#define CMD_AGENT_SANDBOX_SANDBOX_H

#include "common/sandbox/message.h"
#include "common/sandbox/spec.h"
#include "common/sys/loop.h"

#include <sys/types.h>

struct sandboxes;

enum {
    SANDBOX_ID_BYTES_MAX = 63,
    SANDBOX_SLOTS_MAX = 4096,
    SANDBOX_INPUT_WINDOW_BYTES = 96 * 1024 /* of one exec, sent and not yet reported as taken */
};

/* Where an agent keeps its sandboxes below its state, and what lies in there. */
#define SANDBOXES_DIR    "sandboxes"
#define SANDBOXES_IMAGES "images"
#define SANDBOXES_RUNS   "run"

struct sandbox_bind {
    const char *source; /* absolute, no symbolic link on the way; not /, /proc, /sys, /dev, /run */
    const char *destination;
    bool writable;
};

/* What to make. Zero or NULL: the default in brackets. Everything is copied. */
struct sandbox_spec {
    const char *id;             /* letters, digits, '-', '_'; required */
    enum sandbox_driver driver; /* [native as root, else bwrap] */
    const char *hostname;       /* [sandbox] */
    const char *image;          /* name in the image store [the host's tools] */
    const char *const *argv;    /* the main program [none: execs alone] */
    const char *const *env;     /* NAME=VALUE, over the defaults */
    const char *cwd;            /* [/sandbox] */
    const struct sandbox_bind *binds;
    size_t bind_count;
    const char *const *read_only;  /* Landlock [/] */
    const char *const *read_write; /* Landlock [/sandbox /tmp /dev /proc, and writable binds] */
    uint64_t flags;                /* SANDBOX_FLAG_* */
    uint64_t rows;                 /* [24] */
    uint64_t columns;              /* [80] */
    uint64_t memory_bytes;         /* limits [none] */
    uint64_t cpu_milli;
    uint64_t pids;
    uint64_t io_bytes_per_second;
    uint64_t disk_bytes; /* cap of the workspace [none: a plain folder] */
    uint64_t tmp_bytes;  /* [64 MiB] */
    uint64_t log_bytes;  /* of each log file [4 MiB] */
    uint64_t open_files; /* [4096] */
    uint64_t wall_us;    /* [none] */
    bool want_landlock;  /* refuse where there is none [use it where there is] */
    enum sandbox_network network;
};

struct sandbox_exec {
    const char *const *argv;
    const char *const *env; /* over the defaults and the sandbox's own */
    const char *cwd;        /* [/sandbox] */
    bool tty;
    uint64_t rows;    /* [24] */
    uint64_t columns; /* [80] */
};

/* A port on the sandbox's own loopback. */
struct sandbox_port {
    uint32_t address; /* below 127.0.0.0/8, as a number; 0: ::1 */
    uint16_t port;
};

enum sandbox_status {
    SANDBOX_STATUS_STARTING,
    SANDBOX_STATUS_READY,
    SANDBOX_STATUS_ENDED, /* exit is valid; it can be started again */
    SANDBOX_STATUS_LOST   /* its shim died, or the host was started anew: no exit is known */
};

struct sandbox_exit {
    enum sandbox_end reason;
    bool has_status;
    int status; /* of the main program, as wait(2) gives it */
    char error[256];
    struct message_sample last; /* the closing figures */
};

struct sandbox_info {
    const char *id;
    const char *dir; /* its folder, gone with it; files named own.* there are the caller's */
    enum sandbox_status status;
    enum sandbox_driver driver;
    uint64_t generation; /* 1 at its first start */
    uint64_t uid_base;
    uint64_t cpu_milli; /* limits; 0: none */
    uint64_t memory_bytes;
    uint64_t disk_bytes;
    pid_t init_pid;
    struct wall_us started;
    bool rebooted; /* LOST because the host was started anew */
    bool waits;    /* STARTING: the agent has no descriptor for its listener */
    const struct sandbox_exit *exit;
};

struct sandbox_ops {
    void (*ready)(void *context, const char *id);
    /* It stays STARTING, since this process has no descriptor left for its listener: said once,
     * and tried each second. */
    void (*waits)(void *context, const char *id);
    /* ENDED or LOST. At the start of the agent also for each that is so already. */
    void (*ended)(void *context, const struct sandbox_info *info);
    void (*removed)(void *context, const char *id);
    /* number: errno of the exec, 0 when it runs. Main program: exec 0. Said again after a restart
     * of the agent for what still runs, or ended and was not released. */
    void (*started)(void *context, const char *id, uint64_t exec, int number);
    /* Until sandbox_taken has been told an offset beyond it, the bytes count against the window;
     * a full window stops the program (not the main one, whose oldest bytes are dropped: offset).
     */
    void (*output)(
        void *context, const char *id, uint64_t exec, const struct message_output *output);
    void (*input_taken)(void *context, const char *id, uint64_t exec, uint64_t offset);
    /* After all its output. The exec is kept until sandbox_release. */
    void (*exited)(
        void *context, const char *id, uint64_t exec, const struct message_exited *exited);
    void (*sample)(void *context, const char *id, const struct message_sample *sample);
    /* Before ready, of a sandbox with SANDBOX_NETWORK_PROXY (refused where this op is NULL): the
     * socket that listens inside on SANDBOX_PROXY_PORT. Also after a restart of the agent. */
    void (*listening)(void *context, const char *id, int take_fd);
    /* Answers sandbox_connect: a TCP socket that is connected or about to be (it polls as writable
     * when that is known), or -1 and an errno. It came from inside: use MSG_DONTWAIT, never trust
     * its flags. Left alone (NULL here), it is closed. */
    void (*connected)(void *context, const char *id, uint64_t connection, int take_fd, int number);
};

struct sandboxes_options {
    struct loop *loop;
    const struct clock *clock;
    const char *dir;       /* made if missing, mode 0700 */
    const char *image_dir; /* the image store; NULL: dir/images */
    const char *cgroup;    /* where their groups are made, on version 2; NULL: in ours */
    const char *shim_path; /* NULL: belay-shim beside this program */
    uint64_t uid_base;     /* first host id of the range; 0: one that is free (id_range.h) */
    uint64_t slots;        /* how many sandboxes may exist; 0: 1024 */
    int64_t sample_us;     /* 0: 10 s */
    const struct sandbox_ops *ops; /* any op may be NULL */
    void *context;
};

#define SANDBOX_UID_BASE UINT64_C(1900019712)

/* What this host can do, found by doing it. */
struct sandbox_report {
    bool native;
    bool bwrap;
    char native_reason[256]; /* why not */
    char bwrap_reason[256];
    unsigned landlock_abi;
    bool disk_cap;   /* loop devices and mkfs.ext4, native alone */
    unsigned memory; /* version of the control group, 0: none; so below */
    unsigned pids;
    unsigned cpu;
    unsigned io;
};

/* Opens the folder, takes up what is in it, and probes the host. ERR_BUSY: another agent has it, or
 * some of the ids that were asked for. */
enum err_code sandboxes_open(
    const struct sandboxes_options *options,
    struct sandboxes **ret_sandboxes,
    struct err_info *err) MUST_CHECK;
/* Lets go: the sandboxes run on. NULL is allowed. */
void sandboxes_close(struct sandboxes *sandboxes);
/* Waits until all that describes those that were ready is on the disk (keeper.h). */
void sandboxes_sync(struct sandboxes *sandboxes);
const struct sandbox_report *sandboxes_report(const struct sandboxes *sandboxes);

/* The spec is on disk when this returns; ready, or ended with a reason, follows. ERR_EXISTS,
 * ERR_UNSUPPORTED (what is missing), ERR_LIMIT (no slot), ERR_INVALID (which field). */
enum err_code sandbox_create(
    struct sandboxes *sandboxes, const struct sandbox_spec *spec, struct err_info *err) MUST_CHECK;
/* Once more, with its workspace as it was left. ERR_PRECONDITION: it runs. */
enum err_code sandbox_start(struct sandboxes *sandboxes, const char *id, struct err_info *err)
    MUST_CHECK;
/* SIGTERM to the main program, SIGKILL to everything after the grace. */
enum err_code sandbox_stop(
    struct sandboxes *sandboxes, const char *id, int64_t grace_us, struct err_info *err) MUST_CHECK;
/* Ends it if it runs and deletes all of it; `removed` follows. */
enum err_code sandbox_remove(struct sandboxes *sandboxes, const char *id, struct err_info *err)
    MUST_CHECK;

enum err_code sandbox_exec(
    struct sandboxes *sandboxes,
    const char *id,
    const struct sandbox_exec *exec,
    uint64_t *ret_exec,
    struct err_info *err) MUST_CHECK;
/* At most SANDBOX_INPUT_WINDOW_BYTES beyond what input_taken told. */
enum err_code sandbox_input(
    struct sandboxes *sandboxes,
    const char *id,
    uint64_t exec,
    struct str_view data,
    struct err_info *err) MUST_CHECK;
/* It has not read for a while, and what is said to it waits in memory: who can choose says no more.
 */
bool sandbox_is_behind(const struct sandboxes *sandboxes, const char *id);
/* The rest needs no answer: to what is gone it is said in vain. */
void sandbox_input_end(struct sandboxes *sandboxes, const char *id, uint64_t exec);
void sandbox_taken(
    struct sandboxes *sandboxes, const char *id, uint64_t exec, unsigned stream, uint64_t offset);
void sandbox_resize(
    struct sandboxes *sandboxes, const char *id, uint64_t exec, uint64_t rows, uint64_t columns);
void sandbox_signal(struct sandboxes *sandboxes, const char *id, uint64_t exec, int number);
void sandbox_release(struct sandboxes *sandboxes, const char *id, uint64_t exec);

/* `connected` follows, unless the sandbox ends first. ERR_UNSUPPORTED: its network is the host's.
 */
enum err_code sandbox_connect(
    struct sandboxes *sandboxes,
    const char *id,
    const struct sandbox_port *to,
    uint64_t *ret_connection,
    struct err_info *err) MUST_CHECK;
void sandbox_measure(struct sandboxes *sandboxes, const char *id); /* a sample follows */

/* Also those that are going. */
size_t sandboxes_count(const struct sandboxes *sandboxes);
/* sandbox_remove was called, and not all of it is gone: `removed` follows. */
bool sandbox_is_going(const struct sandboxes *sandboxes, const char *id);
/* false: there is none, or it is going. The info is valid until the next call. */
bool sandbox_find(const struct sandboxes *sandboxes, const char *id, struct sandbox_info *ret_info);
/* Walk: start with *cursor = 0; no sandbox may be added or removed meanwhile. */
bool sandbox_next(const struct sandboxes *sandboxes, size_t *cursor, struct sandbox_info *ret_info);

#endif
