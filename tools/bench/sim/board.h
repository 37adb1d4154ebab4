/*
 * What the processes of one run share: when the load began, whether to stop, and how far each of
 * them is. In memory that child processes map; the parent is slot-less. Counters are atomic, as the
 * conductor reads them while they change; a slot's tally is read after its process has finished.
 */
#ifndef TOOLS_BENCH_SIM_BOARD_H
#define TOOLS_BENCH_SIM_BOARD_H

#include "tools/bench/sim/tally.h"

#include <stdatomic.h>

struct board_slot {
    atomic_uint online;          /* agents with an accepted control stream */
    atomic_llong last_online_us; /* monotonic time of the last one that became so */
    atomic_uint cuts;            /* connections cut by steps so far */
    atomic_bool is_finished;     /* the tally is final */
    struct tally tally;
};

enum {
    BOARD_RUN_BYTES = 9
};

struct board {
    atomic_llong started_us;   /* monotonic; 0: not all are online yet */
    atomic_bool is_stopping;   /* end early, gently */
    char run[BOARD_RUN_BYTES]; /* of this run alone: names of agents are unique in a workspace */
    unsigned slot_count;
    struct board_slot slots[];
};

/* Shared memory for so many slots; ret_fd (of the caller) is what a child process is given. */
enum err_code board_create(
    unsigned slot_count, struct board **ret_board, int *ret_fd, struct err_info *err) MUST_CHECK;
enum err_code board_open(int fd, struct board **ret_board, struct err_info *err) MUST_CHECK;
void board_close(struct board *board); /* NULL is allowed */

unsigned board_online(struct board *board);
unsigned board_cuts(struct board *board);
int64_t board_last_online_us(struct board *board);
bool board_is_finished(struct board *board); /* every slot */

#endif
