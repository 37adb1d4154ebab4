/*
 * The words between agent, shim and init: one SEQPACKET datagram is one message. This header is the
 * wire: every type, every field in its order, every bound (message.c holds the same as one table).
 *
 *     offset 0   u16 version (MESSAGE_VERSION)      offset 8   u64 id: the exec it is about, or 0;
 *                                                               of a spec: the boot (process.h) in
 *                                                               which it was written, 0: unknown
 *     offset 2   u16 type                           offset 16  the fields of the type, in the order
 *     offset 4   u32 bytes that follow offset 16               of its struct below
 *
 * Little endian. A number takes eight bytes; bytes and lists take a u32 length and their content. A
 * list is strings that each end with a NUL. Nothing may be missing and nothing may follow. The
 * version changes when a field does: an agent that was upgraded meets shims that were not, so it
 * must keep speaking each version that may still run (see docs/sandboxes.md).
 *
 * Descriptors travel beside a message (SCM_RIGHTS); a type's comment says which. What comes from
 * init is data from the sandbox's side: decoded here, bounded here, and never the authority on
 * whether the sandbox lives (that is its pidfd).
 */
#ifndef COMMON_SANDBOX_MESSAGE_H
#define COMMON_SANDBOX_MESSAGE_H

#include "common/base/buf.h"

enum {
    MESSAGE_VERSION = 1,
    MESSAGE_HEADER_BYTES = 16,
    MESSAGE_WORDS_BYTES_MAX = 1024 * 1024, /* argv, or env, with their NULs */
    MESSAGE_WORDS_MAX = 4096,
    MESSAGE_DATA_BYTES_MAX = 32 * 1024,
    MESSAGE_TEXT_BYTES_MAX = 500,
    MESSAGE_BYTES_MAX = 2560 * 1024,
    MESSAGE_DATAGRAM_BYTES_MAX = 400 * 1024, /* a larger message travels as MESSAGE_LARGE */
    MESSAGE_FDS_MAX = 4
};

enum message_type {
    /* agent -> shim */
    MESSAGE_ATTACH = 1, /* first on a connection */
    MESSAGE_EXEC,       /* start a program; id is the agent's choice, not 0 */
    MESSAGE_INPUT,      /* bytes for its standard input */
    MESSAGE_INPUT_END,
    MESSAGE_TAKEN, /* output up to this offset is the agent's business from here on */
    MESSAGE_RESIZE,
    MESSAGE_SIGNAL,
    MESSAGE_RELEASE, /* the exit is known: forget the exec */
    MESSAGE_STOP,    /* SIGTERM to the main program's group, SIGKILL to all after the grace */
    MESSAGE_MEASURE, /* asks for a MESSAGE_SAMPLE */
    MESSAGE_CONNECT, /* to a port on the sandbox's own loopback; id is the agent's choice, not 0 */
    MESSAGE_ORDER,   /* to a shim that was started ahead, before all else: its folder, open and
                        locked, and a ground if there is one */
    /* shim -> agent */
    MESSAGE_STATE = 32, /* answers ATTACH; STARTED, OUTPUT and EXITED of each exec follow */
    MESSAGE_READY,      /* init answers; with the egress listener if the sandbox has one */
    MESSAGE_FAILED,     /* the sandbox could not be built, or ended by a fault of ours */
    MESSAGE_STARTED,    /* pid in the sandbox, or the errno of its exec */
    MESSAGE_OUTPUT,
    MESSAGE_INPUT_TAKEN, /* input up to this offset was written on */
    MESSAGE_EXITED,
    MESSAGE_SAMPLE,
    MESSAGE_ENDED,     /* the sandbox is over and exit.json is on disk */
    MESSAGE_CONNECTED, /* with a TCP socket that is connected, or about to be; or an errno */
    /* shim -> init */
    MESSAGE_SETUP = 64, /* once, first */
    MESSAGE_SPAWN,      /* with three descriptors, or one: a terminal */
    MESSAGE_KILL,
    MESSAGE_DIAL,
    /* init -> shim */
    MESSAGE_HELLO = 96, /* answers SETUP; with /dev/pts */
    MESSAGE_SPAWNED,
    MESSAGE_REAPED,
    MESSAGE_DIALED, /* as MESSAGE_CONNECTED */
    /* agent -> shim -> init: a message that is larger than a datagram, in the first descriptor; its
     * own descriptors follow. The channel's business: nobody else sees one. */
    MESSAGE_LARGE = 120,
    /* a file, not a datagram: what the agent asks the shim to build */
    MESSAGE_SPEC = 128
};

/* Strings, each with its NUL, one after the other. Borrowed from the bytes that were decoded. */
struct message_list {
    const char *ptr;
    size_t len;
};

struct message_attach {
    uint64_t last_sample; /* sequence of the last sample the agent kept */
};

struct message_exec {
    uint64_t tty; /* 0 or 1 */
    uint64_t rows;
    uint64_t columns;
    uint64_t uid; /* inside; MESSAGE_SPAWN only has what the shim resolved */
    struct str_view cwd;
    struct message_list argv; /* at least one */
    struct message_list env;
};

struct message_input {
    struct str_view data;
};

struct message_taken {
    uint64_t stream; /* 1 or 2; MESSAGE_INPUT_TAKEN: 0 */
    uint64_t offset; /* bytes since the start of the stream */
};

struct message_resize {
    uint64_t rows;
    uint64_t columns;
};

struct message_signal {
    uint64_t number; /* 1..64 */
};

struct message_connect {
    uint64_t address; /* IPv4, as a number; below 127.0.0.0/8, or MESSAGE_LOOPBACK_6 */
    uint64_t port;
};

#define MESSAGE_LOOPBACK_6 UINT64_C(0) /* ::1 */

struct message_order {
    struct str_view dir; /* absolute */
};

struct message_connected {
    uint64_t number; /* errno; 0: a descriptor comes with it */
};

struct message_stop {
    uint64_t grace_us;
};

struct message_state {
    uint64_t phase; /* enum sandbox_phase of spec.h */
    uint64_t init_pid;
    uint64_t init_start; /* clock ticks since boot */
    uint64_t started_us; /* wall time at which init answered */
    uint64_t has_main;
};

struct message_failed {
    uint64_t number; /* errno, or 0 */
    struct str_view text;
};

struct message_started {
    uint64_t pid;
    uint64_t number; /* errno of the exec; 0: it runs */
    uint64_t tty;
};

struct message_output {
    uint64_t stream; /* 1 or 2 */
    uint64_t offset; /* of the first byte; a jump tells what was dropped */
    struct str_view data;
};

struct message_exited {
    uint64_t status; /* as wait(2) gives it */
    uint64_t user_us;
    uint64_t system_us;
    uint64_t peak_kib; /* largest resident set */
};

/* Sums since the sandbox's start; see docs/sandboxes.md on what each host can count. */
struct message_sample {
    uint64_t sequence; /* rises by one; with boot id and sandbox id the key of a usage row */
    uint64_t time_us;  /* wall time */
    uint64_t run_us;   /* since the start */
    uint64_t cpu_us;
    uint64_t memory_bytes;
    uint64_t memory_peak_bytes;
    uint64_t memory_byte_ms; /* integral of memory_bytes */
    uint64_t read_bytes;
    uint64_t write_bytes;
    uint64_t pids;
    uint64_t pids_peak;
    uint64_t disk_bytes; /* blocks of the workspace */
    uint64_t oom_kills;
};

struct message_ended {
    uint64_t has_status; /* 0: it ended without its main program (stop, timeout, fault) */
    uint64_t status;
    uint64_t reason; /* enum sandbox_end of spec.h */
};

struct message_large {
    uint64_t bytes;
};

struct message_setup {
    uint64_t open_files;    /* RLIMIT_NOFILE */
    uint64_t want_landlock; /* 0, or 1: needed; 2: if the kernel has it */
    struct message_list read_only;
    struct message_list read_write;
};

struct message_hello {
    uint64_t landlock_abi; /* in force; 0: none */
};

/* One file per sandbox, written before its shim starts. */
struct message_spec {
    uint64_t driver;     /* enum sandbox_driver */
    uint64_t generation; /* counts the starts of this sandbox */
    uint64_t uid_base;   /* first of SANDBOX_UID_COUNT host ids */
    uint64_t uid;        /* inside */
    uint64_t flags;      /* SANDBOX_FLAG_* */
    uint64_t network;    /* enum sandbox_network */
    uint64_t landlock;   /* as message_setup.want_landlock */
    uint64_t tmp_bytes;
    uint64_t disk_bytes; /* 0: the workspace is a plain folder without a cap */
    uint64_t log_bytes;  /* of each log file; two are kept */
    uint64_t open_files;
    uint64_t wall_us; /* 0: none; the sandbox ends this long after its start */
    uint64_t sample_us;
    uint64_t rows;
    uint64_t columns;
    uint64_t memory_bytes; /* the limits that its control groups are made with at each start */
    uint64_t pids;
    uint64_t cpu_milli;
    uint64_t io_bytes_per_second;
    struct str_view id;
    struct str_view hostname;
    struct str_view image; /* folder or squashfs file; empty: the host's tools */
    struct str_view cwd;
    struct message_list argv; /* the main program; empty: none */
    struct message_list env;
    struct message_list cgroups; /* as cgroup_set_format writes them */
    struct message_list binds;   /* triples: "ro" or "rw", source, destination */
    struct message_list read_only;
    struct message_list read_write;
};

struct message {
    enum message_type type;
    uint64_t id;

    union {
        struct message_attach attach;
        struct message_exec exec; /* EXEC and SPAWN */
        struct message_input input;
        struct message_taken taken; /* TAKEN and INPUT_TAKEN */
        struct message_resize resize;
        struct message_signal signal;   /* SIGNAL and KILL */
        struct message_connect connect; /* CONNECT and DIAL */
        struct message_order order;
        struct message_connected connected; /* CONNECTED and DIALED */
        struct message_stop stop;
        struct message_state state;
        struct message_failed failed;
        struct message_started started; /* STARTED and SPAWNED */
        struct message_output output;
        struct message_exited exited; /* EXITED and REAPED */
        struct message_sample sample;
        struct message_ended ended;
        struct message_large large;
        struct message_setup setup;
        struct message_hello hello;
        struct message_spec spec;
    };
};

/* Whether it leads to nothing but the loopback. */
bool message_connect_is_local(const struct message_connect *connect);

/* Appends the message. A field out of its bounds: ERR_INVALID, and nothing is appended. */
enum err_code message_encode(const struct message *message, struct buf *buf, struct err_info *err)
    MUST_CHECK;

/* Views and lists of ret_message borrow from data. ERR_INVALID, ERR_UNSUPPORTED (the version). */
enum err_code message_decode(
    struct str_view data, struct message *ret_message, struct err_info *err) MUST_CHECK;

const char *message_name(enum message_type type); /* NULL: there is no such type */

/* Walk of a list: start with *cursor = 0; false at the end. */
bool message_list_next(const struct message_list *list, size_t *cursor, struct str_view *ret_item);
size_t message_list_count(const struct message_list *list);

/* Appends one item to a buffer that becomes a list; the NUL comes with it. */
void message_list_add(struct buf *buf, struct str_view item);
struct message_list message_list_of(const struct buf *buf);

/* The items as a NULL-terminated array, which the caller frees; the texts are borrowed. */
const char **message_list_array(const struct message_list *list);

#endif
