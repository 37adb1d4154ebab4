/*
 * Periodic work of the server on a thread and a connection of its own: heartbeats are flushed,
 * tokens, challenges and commands expire, partitions are made ahead of time and old ones dropped.
 * On PostgreSQL a second thread carries the other replicas' notifications to the hub.
 */
#ifndef SERVER_HOUSEKEEPING_H
#define SERVER_HOUSEKEEPING_H

#include "cmd/server/core/service.h"

struct housekeeping;

enum err_code housekeeping_start(
    struct service *service,
    struct housekeeping **ret_housekeeping,
    struct err_info *err) MUST_CHECK;
void housekeeping_stop(struct housekeeping *self); /* a last flush, then joins; NULL is allowed */

#endif
