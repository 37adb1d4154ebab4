#include "cmd/shim/builder/listener.h"

#include "common/base/cleanup.h"
#include "common/sandbox/channel.h"
#include "common/sys/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/nsfs.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    BACKLOG = 128
};

int listener_make(unsigned port)
{
    int on = 1;
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_port = htons((uint16_t)port),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    AUTO_FD int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (fd < 0 || bind(fd, (const struct sockaddr *)&address, sizeof(address)) != 0
        || listen(fd, BACKLOG) != 0) {
        return -1;
    }
    return fd_steal(&fd);
}

/* Root may enter at once. Who is not has the right in the user namespace that the network belongs
 * to, once in there: it is one that this user made. */
static bool enter(int network)
{
    if (setns(network, CLONE_NEWNET) == 0) {
        return true;
    }
    AUTO_FD int owner = ioctl(network, NS_GET_USERNS);
    return owner >= 0 && setns(owner, CLONE_NEWUSER) == 0 && setns(network, CLONE_NEWNET) == 0;
}

/* In a process of its own, which does not come back from there. Returns its status. */
static int lend(int network, unsigned port, int socket)
{
    const struct message message = { .type = MESSAGE_HELLO };
    int fd = enter(network) ? listener_make(port) : -1;
    if (fd < 0) {
        return errno == 0 ? EINVAL : errno & 0xff;
    }
    const struct channel_fds fds = { .fds = { fd }, .count = 1 };
    return channel_send(socket, &message, &fds, NULL) == ERR_OK ? 0 : EIO;
}

static int await(pid_t helper)
{
    int status = 0;
    while (waitpid(helper, &status, 0) < 0 && errno == EINTR) {
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : EINTR;
}

static enum err_code take(int socket, int *ret_fd, struct err_info *err)
{
    struct message message;
    struct channel_fds fds = CHANNEL_FDS_NONE;
    struct channel_buffer buffer = { .data = NULL };
    enum err_code code = channel_receive(socket, &buffer, &message, &fds, err);
    channel_buffer_deinit(&buffer);
    if (code == ERR_OK && fds.count != 1) {
        channel_fds_close(&fds);
        return ERR_SET(err, ERR_INTERNAL, "the listener did not come");
    }
    if (code == ERR_OK) {
        *ret_fd = fds.fds[0];
    }
    return code;
}

enum err_code listener_open(pid_t pid, unsigned port, int *ret_fd, struct err_info *err)
{
    int pair[2] = { -1, -1 };
    AUTO_FREE char *path = mem_printf("/proc/%d/ns/net", (int)pid);
    AUTO_FD int network = open(path, O_RDONLY | O_CLOEXEC);
    if (network < 0) {
        return ERR_SET_ERRNO(err, ERR_UNSUPPORTED, errno, "the sandbox's network: %s", path);
    }
    TRY(channel_pair(pair, err));
    AUTO_FD int ours = pair[0];
    AUTO_FD int theirs = pair[1];
    pid_t helper = fork();
    if (helper == 0) {
        _exit(lend(network, port, theirs));
    }
    fd_close(&theirs); /* so that a helper that fails ends the wait below, too */
    int number = helper < 0 ? errno : await(helper);
    return number == 0
        ? take(ours, ret_fd, err)
        : ERR_SET_ERRNO(err, ERR_UNSUPPORTED, number, "listening in the sandbox's network");
}
