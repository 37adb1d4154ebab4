#include "common/sandbox/channel.h"

#include "common/base/cleanup.h"
#include "common/sys/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

union control {
    struct cmsghdr header; /* for its alignment */
    char bytes[CMSG_SPACE(sizeof(int) * MESSAGE_FDS_MAX)];
};

void channel_buffer_deinit(struct channel_buffer *buffer)
{
    mem_free(STEAL(buffer->data));
    mem_free(STEAL(buffer->large));
}

void channel_fds_close(struct channel_fds *fds)
{
    for (size_t i = 0; i < fds->count; i++) {
        fd_close(&fds->fds[i]);
    }
    fds->count = 0;
}

void channel_prepare(int fd)
{
    int bytes = MESSAGE_DATAGRAM_BYTES_MAX + 64 * 1024;
    if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof(bytes)) != 0) {
        (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
    }
}

enum err_code channel_set_nonblocking(int fd, struct err_info *err)
{
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0) {
        return ERR_SET_ERRNO(err, ERR_INTERNAL, errno, "O_NONBLOCK");
    }
    return ERR_OK;
}

enum err_code channel_pair(int ret_pair[2], struct err_info *err)
{
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ret_pair) != 0) {
        return ERR_SET_ERRNO(err, ERR_LIMIT, errno, "socketpair");
    }
    channel_prepare(ret_pair[0]);
    channel_prepare(ret_pair[1]);
    return ERR_OK;
}

static void attach(struct msghdr *header, union control *control, const struct channel_fds *fds)
{
    size_t bytes = sizeof(int) * fds->count;
    memset(control, 0, sizeof(*control));
    header->msg_control = control->bytes;
    header->msg_controllen = CMSG_SPACE(bytes);
    struct cmsghdr *part = CMSG_FIRSTHDR(header);
    part->cmsg_level = SOL_SOCKET;
    part->cmsg_type = SCM_RIGHTS;
    part->cmsg_len = CMSG_LEN(bytes);
    memcpy(CMSG_DATA(part), fds->fds, bytes);
}

static enum err_code send_datagram(
    int fd, struct str_view bytes, const struct channel_fds *fds, struct err_info *err)
{
    union control control;
    struct iovec part = { .iov_base = CONST_CAST(char *, bytes.ptr), .iov_len = bytes.len };
    struct msghdr header = { .msg_iov = &part, .msg_iovlen = 1 };
    if (fds != NULL && fds->count > 0) {
        attach(&header, &control, fds);
    }
    ssize_t sent = -1;
    do {
        sent = sendmsg(fd, &header, MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    if (sent == (ssize_t)bytes.len) {
        return ERR_OK;
    }
    if (sent < 0 && (errno == EAGAIN || errno == ENOBUFS || errno == ENOMEM)) {
        return ERR_BUSY;
    }
    return ERR_SET_ERRNO(err, ERR_UNAVAILABLE, errno, "the other end");
}

/* The bytes in memory that both ends see, and a word about it. */
static enum err_code send_large(
    int fd, struct str_view bytes, const struct channel_fds *fds, struct err_info *err)
{
    const struct message message = { .type = MESSAGE_LARGE, .large = { bytes.len } };
    AUTO_BUF struct buf word = BUF_INIT(MESSAGE_DATAGRAM_BYTES_MAX);
    AUTO_FD int memory = memfd_create("message", MFD_CLOEXEC);
    struct channel_fds all = { .fds = { memory }, .count = 1 };
    if (memory < 0) {
        return ERR_SET_ERRNO(err, ERR_LIMIT, errno, "memfd_create");
    }
    if (fds != NULL && fds->count >= MESSAGE_FDS_MAX) {
        return ERR_SET(err, ERR_LIMIT, "message: too many descriptors for its size");
    }
    for (size_t i = 0; fds != NULL && i < fds->count; i++) {
        all.fds[all.count++] = fds->fds[i];
    }
    TRY(fd_write_all(memory, bytes.ptr, bytes.len, err));
    TRY(message_encode(&message, &word, err));
    return send_datagram(fd, buf_view(&word), &all, err);
}

enum err_code channel_send_bytes(
    int fd, struct str_view bytes, const struct channel_fds *fds, struct err_info *err)
{
    return bytes.len > MESSAGE_DATAGRAM_BYTES_MAX ? send_large(fd, bytes, fds, err)
                                                  : send_datagram(fd, bytes, fds, err);
}

enum err_code channel_send(
    int fd, const struct message *message, const struct channel_fds *fds, struct err_info *err)
{
    AUTO_BUF struct buf bytes = BUF_INIT(MESSAGE_BYTES_MAX);
    TRY(message_encode(message, &bytes, err));
    return channel_send_bytes(fd, buf_view(&bytes), fds, err);
}

/* Every descriptor that arrived, wanted or not, so that none leaks. */
static void collect(struct msghdr *header, struct channel_fds *fds)
{
    fds->count = 0;
    for (struct cmsghdr *part = CMSG_FIRSTHDR(header); part != NULL;
         part = CMSG_NXTHDR(header, part)) {
        if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) {
            continue;
        }
        size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count && fds->count < MESSAGE_FDS_MAX; i++) {
            memcpy(&fds->fds[fds->count++], CMSG_DATA(part) + i * sizeof(int), sizeof(int));
        }
    }
}

/* A copy of what is in it, so that nobody changes it while it is read. */
static enum err_code read_large(
    struct channel_buffer *buffer, int fd, uint64_t bytes, struct err_info *err)
{
    struct stat info;
    size_t done = 0;
    if (bytes == 0 || fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)
        || (uint64_t)info.st_size != bytes) {
        return ERR_SET(err, ERR_INVALID, "message: not the memory it tells of");
    }
    buffer->large = mem_alloc((size_t)bytes);
    while (done < bytes) {
        ssize_t got = pread(fd, buffer->large + done, (size_t)bytes - done, (off_t)done);
        if (got <= 0 && errno != EINTR) {
            return ERR_SET(err, ERR_INVALID, "message: shorter than it tells");
        }
        done += got > 0 ? (size_t)got : 0;
    }
    return ERR_OK;
}

/* Puts the message that it stands for in its place; its own descriptors stay. */
static enum err_code take_large(
    struct channel_buffer *buffer,
    struct message *message,
    struct channel_fds *fds,
    struct err_info *err)
{
    uint64_t bytes = message->large.bytes;
    if (!buffer->takes_large || fds->count == 0) {
        return ERR_SET(err, ERR_INVALID, "message: larger than this end takes");
    }
    AUTO_FD int memory = fds->fds[0];
    fds->count--;
    memmove(fds->fds, fds->fds + 1, fds->count * sizeof(fds->fds[0]));
    TRY(read_large(buffer, memory, bytes, err));
    TRY(message_decode(str_from(buffer->large, (size_t)bytes), message, err));
    return message->type == MESSAGE_LARGE ? ERR_SET(err, ERR_INVALID, "message: one in another")
                                          : ERR_OK;
}

static ssize_t receive(int fd, struct msghdr *header, int flags)
{
    ssize_t got = -1;
    do {
        got = recvmsg(fd, header, flags | MSG_CMSG_CLOEXEC);
    } while (got < 0 && errno == EINTR);
    return got;
}

/* Of a message that was only looked at: its descriptors are ours by that, the rest can go. */
static enum err_code take_or_leave(
    int fd, const struct msghdr *header, struct channel_fds *fds, struct err_info *err)
{
    char byte;
    if ((header->msg_flags & MSG_CTRUNC) != 0) {
        channel_fds_close(fds);
        return ERR_SET(err, ERR_LIMIT, "this process has no descriptor left");
    }
    (void)recv(fd, &byte, sizeof(byte), 0);
    return ERR_OK;
}

enum err_code channel_receive(
    int fd,
    struct channel_buffer *buffer,
    struct message *ret_message,
    struct channel_fds *ret_fds,
    struct err_info *err)
{
    union control control;
    struct channel_fds fds;
    if (buffer->data == NULL) {
        buffer->data = mem_alloc(MESSAGE_DATAGRAM_BYTES_MAX);
    }
    struct iovec part = { .iov_base = buffer->data, .iov_len = MESSAGE_DATAGRAM_BYTES_MAX };
    struct msghdr header = { .msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = control.bytes,
                             .msg_controllen = sizeof(control.bytes) };
    ssize_t got = receive(fd, &header, buffer->leaves_cut ? MSG_PEEK : 0);
    if (got < 0 && errno == EAGAIN) {
        return ERR_BUSY;
    }
    if (got <= 0) {
        return ERR_SET(err, ERR_UNAVAILABLE, "the other end is gone");
    }
    collect(&header, &fds);
    if (buffer->leaves_cut) {
        TRY(take_or_leave(fd, &header, &fds, err));
    }
    buffer->was_cut = buffer->takes_cut && (header.msg_flags & MSG_CTRUNC) != 0;
    if (buffer->was_cut) {
        channel_fds_close(&fds); /* not some of them */
        header.msg_flags &= ~MSG_CTRUNC;
    }
    enum err_code code = (header.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0
        ? ERR_SET(err, ERR_INVALID, "message: larger than %d bytes", MESSAGE_DATAGRAM_BYTES_MAX)
        : message_decode(str_from(buffer->data, (size_t)got), ret_message, err);
    mem_free(STEAL(buffer->large));
    if (code == ERR_OK && ret_message->type == MESSAGE_LARGE) {
        code = take_large(buffer, ret_message, &fds, err);
    }
    if (code == ERR_OK && fds.count > 0 && ret_fds == NULL) {
        code = ERR_SET(err, ERR_INVALID, "message: descriptors that were not asked for");
    }
    if (code != ERR_OK || ret_fds == NULL) {
        channel_fds_close(&fds);
        return code;
    }
    *ret_fds = fds;
    return ERR_OK;
}

enum err_code channel_check_peer(int fd, unsigned uid, struct err_info *err)
{
    struct ucred peer = { .pid = 0 };
    socklen_t bytes = sizeof(peer);
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &bytes) != 0) {
        return ERR_SET_ERRNO(err, ERR_DENIED, errno, "SO_PEERCRED");
    }
    if (peer.uid != uid) {
        return ERR_SET(err, ERR_DENIED, "the other end is uid %u, not %u", peer.uid, uid);
    }
    return ERR_OK;
}
