/*
 * One end of what the proxy joins: a socket, what it still has to take, and which of its two
 * directions are over. Loop's thread.
 */
#ifndef CMD_AGENT_PROXY_SIDE_H
#define CMD_AGENT_PROXY_SIDE_H

#include "common/base/buf.h"
#include "common/sys/loop.h"

enum {
    SIDE_PENDING_BYTES_MAX = 128 * 1024
};

struct side {
    int fd; /* -1: none */
    struct loop *loop;
    loop_watch_fn fn;
    void *context;
    struct loop_watch *watch; /* NULL while nothing is waited for: a hang-up can wait, too */
    uint32_t events;          /* that are watched */
    struct buf pending;
    size_t sent; /* of pending */
    bool read_ended;
    bool write_ends; /* when pending is out */
    bool write_ended;
};

void side_open(struct side *side, struct loop *loop, int take_fd, loop_watch_fn fn, void *context);
void side_close(struct side *side);

/* Writes what the socket takes and keeps the rest. false: it takes nothing any more. */
bool side_write(struct side *side, struct str_view data);
bool side_flush(struct side *side);
bool side_has_pending(const struct side *side);
/* No more bytes to it: the socket is told when all is out. */
void side_end_writing(struct side *side);

/* Bytes read; 0: none now, or at its end (read_ended). false: it is broken. */
bool side_read(struct side *side, char *data, size_t bytes, size_t *ret_bytes);

/* Waits for bytes if wanted, and for room if something is pending. false: it cannot be watched. */
bool side_watch(struct side *side, bool want_read);

#endif
