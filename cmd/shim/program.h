/*
 * One program in the sandbox, as the shim sees it: its pipes or terminal, what it said that nobody
 * took yet, and how it ended. The main program has id 0, and it is never made to wait for a reader.
 * Any other waits when its ring is full. Output goes to log files too, the main program's to its
 * own, from which an agent that was away is told what the ring has dropped; that of all others
 * together to two more, unless it is a terminal's or turns out to be no text.
 */
#ifndef SHIM_PROGRAM_H
#define SHIM_PROGRAM_H

#include "cmd/shim/outlog.h"
#include "cmd/shim/ring.h"
#include "common/base/list.h"
#include "common/sandbox/channel.h"
#include "common/sys/loop.h"

struct shim;
struct program;

enum {
    PROGRAM_WINDOW_BYTES = 256 * 1024, /* sent to the agent and not taken yet, per stream */
    PROGRAM_INPUT_BYTES_MAX = 128 * 1024,
    PROGRAMS_MAX = 256
};

struct stream {
    struct program *program;
    unsigned number; /* 1 or 2 */
    int fd;          /* -1: at its end */
    struct loop_watch *watch;
    struct ring ring;
    uint64_t sent;
    uint64_t taken;     /* by the agent; the ring of the main program may begin later */
    struct outlog *log; /* of the shim's; NULL: none */
};

struct program {
    struct list link;
    struct shim *shim;
    uint64_t id;
    bool tty;
    bool running;
    bool ended; /* exited is valid, and its output is all in the rings */
    bool told;  /* the agent that is connected has been told of the end */
    uint64_t pid;
    struct message_exited exited;
    struct stream streams[2];
    int input; /* pipe or terminal; -1: closed */
    struct loop_watch *input_watch;
    struct buf pending; /* input not written yet */
    uint64_t input_received;
    uint64_t input_written;
    bool input_ends;
    struct loop_timer *end_timer; /* a terminal's end of input is said again; NULL: never said */
    int64_t end_after_us;
};

/* Asks init for it. An errno that kept it from that, or 0. */
int program_start(struct shim *shim, uint64_t id, const struct message_exec *exec);
struct program *program_find(struct shim *shim, uint64_t id);
void program_destroy(struct program *program);

void program_started(struct program *program, const struct message_started *started);
void program_reaped(struct program *program, const struct message_exited *exited);
void program_input(struct program *program, struct str_view data);
void program_input_end(struct program *program);
void program_taken(struct program *program, unsigned stream, uint64_t offset);
void program_resize(struct program *program, uint64_t rows, uint64_t columns);

/* Reads what there is right now, to the end of what the rings hold. */
void program_drain(struct program *program);

#endif
