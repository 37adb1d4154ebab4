/*
 * Periodic work that many servers on one database share: whoever comes first when it is due does
 * it, in one transaction with the note that it was done. So nobody has to be elected, and what a
 * server that died had begun is done by the next. Inside the caller's transaction, over all
 * workspaces.
 */
#ifndef SERVER_STORE_TASK_H
#define SERVER_STORE_TASK_H

#include "cmd/server/store/row.h"

/*
 * ret_mine: the task is due (every_us after its last run) and nobody else is at it. Then it is
 * noted as run now, and until the transaction ends no other server gets it.
 */
enum err_code store_task_take(
    struct sql_conn *conn,
    const char *name,
    int64_t every_us, /* 0: now, whenever it ran last */
    struct wall_us now,
    bool *ret_mine,
    struct err_info *err) MUST_CHECK;

#endif
