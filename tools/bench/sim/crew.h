/* The further processes of a run: this program again, each with its slot of the board. */
#ifndef TOOLS_BENCH_SIM_CREW_H
#define TOOLS_BENCH_SIM_CREW_H

#include "common/base/err.h"

struct crew;

/* argv: this program's own; board_fd is inherited. They end when this process does. */
enum err_code crew_start(
    unsigned count, char *const *argv, int board_fd, struct crew **ret_crew, struct err_info *err)
    MUST_CHECK;

/* One of them has ended that had not finished; the caller knows by the board. */
bool crew_lost_one(struct crew *crew);

void crew_join(struct crew *crew); /* ends those that run, and frees; NULL is allowed */

#endif
