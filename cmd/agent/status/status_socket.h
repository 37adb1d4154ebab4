/*
 * The local view: a Unix socket (mode 0600) that answers every connection with one line of JSON,
 * then the same for people, and closes. Works whether the server is there or not. Loop thread.
 */
#ifndef CMD_AGENT_STATUS_STATUS_SOCKET_H
#define CMD_AGENT_STATUS_STATUS_SOCKET_H

#include "common/base/buf.h"
#include "common/sys/loop.h"

struct status_socket;

enum {
    STATUS_BYTES_MAX = 192 * 1024
};

/* write appends the JSON (no newline) and the text. A stale socket file of ours is replaced. */
enum err_code status_socket_open(
    struct loop *loop,
    const char *path,
    void (*write)(void *context, struct buf *json, struct buf *text),
    void *context,
    struct status_socket **ret_socket,
    struct err_info *err) MUST_CHECK;
void status_socket_close(struct status_socket *listener); /* NULL is allowed */

/* The client's side: the JSON line or the text. ERR_UNAVAILABLE: nobody answers there. */
enum err_code status_socket_ask(
    const char *path, bool json, struct buf *answer, struct err_info *err) MUST_CHECK;

#endif
