#include "common/sql/postgres_wait.h"

#include <poll.h>

enum {
    POLL_MAX_MS = 60000
};

/* false: the time is over. A broken socket counts as ready: the next read tells. */
static bool wait_socket(PGconn *pg, short events, struct mono_us deadline)
{
    int64_t left_us = deadline.value - clock_mono(clock_system()).value;
    if (left_us <= 0) {
        return false;
    }
    int64_t left_ms = (left_us + US_PER_MS - 1) / US_PER_MS;
    struct pollfd wanted = { .fd = PQsocket(pg), .events = events };
    (void)poll(&wanted, 1, left_ms > POLL_MAX_MS ? POLL_MAX_MS : (int)left_ms);
    return true;
}

/* What is encrypted may have been read from the socket and wait inside the library: there the
 * socket tells nothing before it was asked. */
static bool hides_input(PGconn *pg)
{
    return PQsslInUse(pg) != 0 || PQgssEncInUse(pg) != 0;
}

/* A read of the socket costs a call of the kernel: none is made for what was read already, nor
 * before the socket has something. */
bool postgres_wait(PGconn *pg, struct mono_us deadline)
{
    bool may_read = hides_input(pg);
    for (;;) {
        int unsent = PQflush(pg);
        if (unsent < 0 || PQsocket(pg) < 0 || PQisBusy(pg) == 0) {
            return true;
        }
        if (may_read && (PQconsumeInput(pg) == 0 || PQisBusy(pg) == 0)) {
            return true;
        }
        short events = unsent > 0 ? POLLIN | POLLOUT : POLLIN;
        if (!wait_socket(pg, events, deadline)) {
            return false;
        }
        may_read = true;
    }
}

bool postgres_is_copy(const PGresult *result)
{
    ExecStatusType status = PQresultStatus(result);
    return status == PGRES_COPY_IN || status == PGRES_COPY_OUT || status == PGRES_COPY_BOTH;
}

PGresult *postgres_take_last(PGconn *pg, struct mono_us deadline, bool *ret_in_time)
{
    PGresult *last = NULL;
    *ret_in_time = true;
    for (;;) {
        if (!postgres_wait(pg, deadline)) {
            PQclear(last);
            *ret_in_time = false;
            return NULL;
        }
        PGresult *result = PQgetResult(pg);
        if (result == NULL) {
            return last;
        }
        PQclear(last);
        last = result;
        if (postgres_is_copy(last)) {
            return last;
        }
    }
}
