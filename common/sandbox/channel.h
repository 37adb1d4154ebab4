/*
 * One end of a SEQPACKET Unix socket that carries messages, with descriptors beside them. Neither
 * call waits unless the socket is blocking.
 */
#ifndef COMMON_SANDBOX_CHANNEL_H
#define COMMON_SANDBOX_CHANNEL_H

#include "common/sandbox/message.h"

/* Bytes for receiving; one per owner, reused. What a received message borrows lives here. */
struct channel_buffer {
    char *data;       /* MESSAGE_DATAGRAM_BYTES_MAX bytes, on first use */
    char *large;      /* of the message that came last, if it was one */
    bool takes_large; /* set by who trusts the other end: it chooses the descriptor that is read */
    bool takes_cut;   /* the same: a message whose descriptors found no room here comes without */
    bool was_cut;     /* the one that came last did */
    bool leaves_cut;  /* such a message stays where it is, for another try */
};

void channel_buffer_deinit(struct channel_buffer *buffer);

/* Descriptors that came with a message; the receiver owns them. */
struct channel_fds {
    int fds[MESSAGE_FDS_MAX];
    size_t count;
};

#define CHANNEL_FDS_NONE \
    {                    \
        .count = 0       \
    }

void channel_fds_close(struct channel_fds *fds);

/* A pair of connected sockets, both CLOEXEC, with room for the largest message. */
enum err_code channel_pair(int ret_pair[2], struct err_info *err) MUST_CHECK;
/* From here on neither call waits. */
enum err_code channel_set_nonblocking(int fd, struct err_info *err) MUST_CHECK;
void channel_prepare(int fd); /* room for the largest message on a socket made elsewhere */

/* ERR_BUSY: would wait. ERR_UNAVAILABLE: the other end is gone. fds may be NULL. */
enum err_code channel_send(
    int fd, const struct message *message, const struct channel_fds *fds, struct err_info *err)
    MUST_CHECK;
/* The same with bytes already encoded. */
enum err_code channel_send_bytes(
    int fd, struct str_view bytes, const struct channel_fds *fds, struct err_info *err) MUST_CHECK;

/*
 * ERR_BUSY: nothing there. ERR_LIMIT: its descriptors find no room (leaves_cut). ERR_UNAVAILABLE:
 * closed by the other end. ERR_INVALID: what came is no message, or more descriptors than any has,
 * or than fit into this process; they are closed. ret_fds may be NULL: descriptors are then not
 * accepted.
 */
enum err_code channel_receive(
    int fd,
    struct channel_buffer *buffer,
    struct message *ret_message,
    struct channel_fds *ret_fds,
    struct err_info *err) MUST_CHECK;

/* The other end's process has this uid (SO_PEERCRED); ERR_DENIED otherwise. */
enum err_code channel_check_peer(int fd, unsigned uid, struct err_info *err) MUST_CHECK;

#endif
