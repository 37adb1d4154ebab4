#include "cmd/shim/builder/talk.h"

#include "common/base/cleanup.h"
#include "common/sys/fd.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

union control {
    struct cmsghdr header; /* for its alignment */
    char bytes[CMSG_SPACE(sizeof(int))];
};

int talk_say(int fd, const struct talk_word *word, int passed)
{
    union control control = { .bytes = { 0 } };
    struct iovec part = { .iov_base = CONST_CAST(struct talk_word *, word),
                          .iov_len = sizeof(*word) };
    struct msghdr header = { .msg_iov = &part, .msg_iovlen = 1 };
    if (passed >= 0) {
        header.msg_control = control.bytes;
        header.msg_controllen = sizeof(control.bytes);
        struct cmsghdr *rights = CMSG_FIRSTHDR(&header);
        rights->cmsg_level = SOL_SOCKET;
        rights->cmsg_type = SCM_RIGHTS;
        rights->cmsg_len = CMSG_LEN(sizeof(passed));
        memcpy(CMSG_DATA(rights), &passed, sizeof(passed));
    }
    return sendmsg(fd, &header, MSG_NOSIGNAL) == (ssize_t)sizeof(*word) ? 0 : -1;
}

static int take_descriptor(struct msghdr *header)
{
    int passed = -1;
    struct cmsghdr *part = CMSG_FIRSTHDR(header);
    if (part != NULL && part->cmsg_level == SOL_SOCKET && part->cmsg_type == SCM_RIGHTS) {
        memcpy(&passed, CMSG_DATA(part), sizeof(passed));
    }
    return passed;
}

int talk_hear(int fd, struct talk_word *ret_word, int *ret_fd)
{
    union control control = { .bytes = { 0 } };
    struct talk_word word;
    struct iovec part = { .iov_base = &word, .iov_len = sizeof(word) };
    struct msghdr header = { .msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = control.bytes,
                             .msg_controllen = sizeof(control.bytes) };
    ssize_t bytes = -1;
    do {
        bytes = recvmsg(fd, &header, MSG_CMSG_CLOEXEC);
        /* Reset: it closed with a word unread. That is said once, and before what it has said. */
    } while (bytes < 0 && (errno == EINTR || errno == ECONNRESET));
    if (bytes < 0) {
        return -1;
    }
    AUTO_FD int passed = take_descriptor(&header);
    if (bytes != (ssize_t)sizeof(word) || (passed >= 0 && ret_fd == NULL)) {
        errno = bytes == 0 ? EPIPE : EPROTO;
        return -1;
    }
    *ret_word = word;
    if (ret_fd != NULL) {
        *ret_fd = fd_steal(&passed);
    }
    return 0;
}

int talk_await(int fd, enum talk_kind kind, int *ret_fd)
{
    struct talk_word word;
    if (talk_hear(fd, &word, ret_fd) != 0) {
        return -1;
    }
    if (word.kind == kind) {
        return 0;
    }
    if (ret_fd != NULL) {
        fd_close(ret_fd);
    }
    errno = EPROTO;
    return -1;
}
