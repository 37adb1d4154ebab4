#include "cmd/shim/builder/network.h"

#include "common/base/cleanup.h"
#include "common/sys/fd.h"

#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#define OWN "/proc/self/ns/net"

int network_raise_loopback(void)
{
    struct ifreq request = { .ifr_name = "lo" };
    AUTO_FD int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    request.ifr_flags = IFF_UP | IFF_RUNNING;
    return fd < 0 ? -1 : ioctl(fd, SIOCSIFFLAGS, &request);
}

int network_make(void)
{
    AUTO_FD int home = open(OWN, O_RDONLY | O_CLOEXEC);
    if (home < 0 || unshare(CLONE_NEWNET) != 0) {
        return -1;
    }
    AUTO_FD int made = open(OWN, O_RDONLY | O_CLOEXEC);
    bool is_up = made >= 0 && network_raise_loopback() == 0;
    if (setns(home, CLONE_NEWNET) != 0) {
        abort(); /* nothing may go on here as if it were at home */
    }
    return is_up ? fd_steal(&made) : -1;
}
