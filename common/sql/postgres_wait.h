/*
 * Waiting for an answer with an end: libpq's own waiting lasts as long as the server keeps its
 * socket, so a server that is stopped or stuck would hold the caller for ever. Private to
 * common/sql. The connection must be in libpq's non-blocking mode.
 */
#ifndef COMMON_SQL_POSTGRES_WAIT_H
#define COMMON_SQL_POSTGRES_WAIT_H

#include "common/base/time.h"

#include <libpq-fe.h>

/* true: PQgetResult answers at once (also when the connection broke); false: deadline (clock_mono
 * of the system) has passed. */
bool postgres_wait(PGconn *pg, struct mono_us deadline);

/*
 * Takes every result of what was sent and returns the last, as PQexec does; a COPY ends it. NULL
 * with ret_in_time false: the deadline has passed, and the connection is good for nothing but
 * PQfinish. The caller clears the result.
 */
PGresult *postgres_take_last(PGconn *pg, struct mono_us deadline, bool *ret_in_time);

/* A COPY leaves the connection in another mode. NULL: not one. */
bool postgres_is_copy(const PGresult *result);

#endif
