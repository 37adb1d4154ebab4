#include "tests/support/netns.h"

#include "common/sys/fd.h"
#include "tests/support/test.h"

#include <arpa/inet.h>
#include <linux/ipv6.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

static void bring_up(int fd)
{
    struct ifreq request = { .ifr_name = "lo" };
    assert_int_equal(ioctl(fd, SIOCGIFFLAGS, &request), 0);
    request.ifr_flags = (short)(request.ifr_flags | IFF_UP);
    assert_int_equal(ioctl(fd, SIOCSIFFLAGS, &request), 0);
}

static void add_v4(int fd, const char *name, const char *text)
{
    struct ifreq request = { .ifr_name = "" };
    struct sockaddr_in address = { .sin_family = AF_INET };
    (void)snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", name);
    assert_int_equal(inet_pton(AF_INET, text, &address.sin_addr), 1);
    memcpy(&request.ifr_addr, &address, sizeof(address));
    assert_int_equal(ioctl(fd, SIOCSIFADDR, &request), 0);
}

static void add_v6(const char *text)
{
    AUTO_FD int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct in6_ifreq request = { .ifr6_prefixlen = 128, .ifr6_ifindex = (int)if_nametoindex("lo") };
    assert_int_equal(inet_pton(AF_INET6, text, &request.ifr6_addr), 1);
    assert_int_equal(ioctl(fd, SIOCSIFADDR, &request), 0);
}

/* Whether this process stands in a network that this function made is told by its address. */
static bool is_inside(int fd)
{
    struct ifreq request = { .ifr_name = "lo:test" };
    return ioctl(fd, SIOCGIFADDR, &request) == 0;
}

void test_netns_enter(void)
{
    AUTO_FD int before = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (is_inside(before)) {
        return;
    }
    if (unshare(geteuid() == 0 ? CLONE_NEWNET : CLONE_NEWUSER | CLONE_NEWNET) != 0) {
        print_message("skipped: this kernel gives no network namespace\n");
        assert_int_not_equal(geteuid(), 0);
        skip();
    }
    AUTO_FD int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bring_up(fd);
    add_v4(fd, "lo:test", "10.77.0.1");
    add_v4(fd, "lo:public", "93.184.216.34");
    add_v6("fd77::1");
}
