/*
 * The shim as it is, with an init from the other side: what it does is the sandbox's host name.
 * Built from the shim's own sources; only where belay-init would start, this does.
 */
#include "cmd/shim/init.h"
#include "common/base/cleanup.h"
#include "common/sandbox/channel.h"
#include "common/sandbox/spec.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <stdint.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    SOCKET = 3,
    STRANGE_BYTES = 300000,
    STRANGE_FDS = 200,
    LIES = 2000
};

int honest_main(void); /* the shim's own init_main, under another name here */

/* ---- Words ---- */

static void send_raw(const void *data, size_t bytes, const int *fds, size_t fd_count)
{
    union {
        char bytes[CMSG_SPACE(sizeof(int) * STRANGE_FDS)];
        struct cmsghdr align;
    } control;
    struct iovec part = { .iov_base = CONST_CAST(void *, data), .iov_len = bytes };
    struct msghdr header = { .msg_iov = &part, .msg_iovlen = 1 };
    memset(&control, 0, sizeof(control));
    if (fd_count > 0) {
        header.msg_control = control.bytes;
        header.msg_controllen = CMSG_SPACE(sizeof(int) * fd_count);
        struct cmsghdr *rights = CMSG_FIRSTHDR(&header);
        rights->cmsg_level = SOL_SOCKET;
        rights->cmsg_type = SCM_RIGHTS;
        rights->cmsg_len = CMSG_LEN(sizeof(int) * fd_count);
        memcpy(CMSG_DATA(rights), fds, fd_count * sizeof(int));
    }
    ssize_t sent = sendmsg(SOCKET, &header, MSG_NOSIGNAL);
    (void)sent;
}

/* The same descriptor so many times. */
static void say_raw(const void *data, size_t bytes, int fd, size_t fd_count)
{
    int fds[STRANGE_FDS];
    for (size_t i = 0; i < fd_count; i++) {
        fds[i] = fd;
    }
    send_raw(data, bytes, fds, fd_count);
}

static void say_fds(const struct message *message, const int *fds, size_t fd_count)
{
    AUTO_BUF struct buf bytes = BUF_INIT(MESSAGE_BYTES_MAX);
    if (message_encode(message, &bytes, NULL) == ERR_OK) {
        send_raw(bytes.data, bytes.len, fds, fd_count);
    }
}

static void say(const struct message *message, int fd, size_t fd_count)
{
    AUTO_BUF struct buf bytes = BUF_INIT(MESSAGE_BYTES_MAX);
    if (message_encode(message, &bytes, NULL) == ERR_OK) {
        say_raw(bytes.data, bytes.len, fd, fd_count);
    }
}

static void spawned(uint64_t id, uint64_t pid)
{
    struct message message = { .type = MESSAGE_SPAWNED, .id = id };
    message.started.pid = pid;
    say(&message, -1, 0);
}

static void reaped(uint64_t id, uint64_t status)
{
    struct message message = { .type = MESSAGE_REAPED, .id = id };
    message.exited = (struct message_exited){ status, UINT64_MAX, UINT64_MAX, UINT64_MAX };
    say(&message, -1, 0);
}

/* The next message from the shim. */
static bool hear(struct message *ret_message)
{
    static struct channel_buffer buffer;
    struct channel_fds fds = CHANNEL_FDS_NONE;
    if (channel_receive(SOCKET, &buffer, ret_message, &fds, NULL) != ERR_OK) {
        return false;
    }
    channel_fds_close(&fds);
    return true;
}

static void rest(void)
{
    for (;;) {
        (void)pause();
    }
}

/* As agreed, so that what comes after is heard. */
static void greet(void)
{
    struct message message;
    struct message hello = { .type = MESSAGE_HELLO };
    int pts = open("/dev/pts", O_PATH | O_DIRECTORY | O_CLOEXEC);
    (void)hear(&message);
    say(&hello, pts, 1);
    (void)close(pts);
}

/* ---- What an init may do, by the name of it ---- */

static void leave(void)
{
    _exit(0);
}

static void noise(void)
{
    AUTO_FREE char *data = mem_alloc(STRANGE_BYTES);
    memset(data, 0xa5, STRANGE_BYTES);
    say_raw(data, 20, -1, 0);
    rest();
}

static void hello_without(void)
{
    say(&(struct message){ .type = MESSAGE_HELLO }, -1, 0);
    rest();
}

static void hello_null(void)
{
    say(&(struct message){ .type = MESSAGE_HELLO }, open("/dev/null", O_RDWR), 1);
    rest();
}

static void hello_many(void)
{
    say(&(struct message){ .type = MESSAGE_HELLO }, open("/dev/pts", O_RDONLY), STRANGE_FDS);
    rest();
}

/* A listener of its own in place of the one that is made from outside, with a copy to itself. */
static int listen_first(void)
{
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_port = htons(SANDBOX_PROXY_PORT),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(fd, (const struct sockaddr *)&address, sizeof(address)) != 0 || listen(fd, 5) != 0) {
        _exit(1);
    }
    return fd;
}

static void hello_listener(void)
{
    struct message message;
    int fds[] = { open("/dev/pts", O_PATH | O_DIRECTORY), listen_first() };
    (void)hear(&message);
    say_fds(&(struct message){ .type = MESSAGE_HELLO }, fds, 2);
    rest();
}

static void listener_first(void)
{
    (void)listen_first();
    greet();
    rest();
}

static void other_first(void)
{
    spawned(1, 2);
    rest();
}

static void wrong_version(void)
{
    const uint8_t data[MESSAGE_HEADER_BYTES + 8] = { 99, 0, MESSAGE_HELLO, 0, 8 };
    say_raw(data, sizeof(data), open("/dev/pts", O_RDONLY), 1);
    rest();
}

static void too_large(void)
{
    AUTO_FREE char *data = mem_alloc(STRANGE_BYTES);
    const uint8_t head[] = { MESSAGE_VERSION, 0, MESSAGE_HELLO, 0, 0xff, 0xff, 0xff, 0x7f };
    memcpy(data, head, sizeof(head));
    say_raw(data, STRANGE_BYTES, -1, 0);
    rest();
}

static void greet_then_noise(void)
{
    greet();
    noise();
}

static void greet_then_leave(void)
{
    greet();
}

static void greet_then_nothing(void)
{
    greet();
    rest();
}

static void greet_then_empty(void)
{
    greet();
    say_raw("", 0, -1, 0);
    rest();
}

static void greet_then_descriptors(void)
{
    int fd = open("/dev/null", O_RDWR);
    greet();
    for (int i = 0; i < LIES; i++) {
        say(&(struct message){ .type = MESSAGE_REAPED, .id = 7 }, fd, 2);
    }
    rest();
}

/* Everything twice, out of order, and about programs that nobody asked for. */
static void greet_then_lies(void)
{
    struct message message;
    greet();
    while (hear(&message)) {
        for (uint64_t other = 0; other < 50; other++) {
            spawned(message.id + 1 + other, other);
            reaped(message.id + 1 + other, 0);
        }
        reaped(message.id, 9); /* before it began */
        spawned(message.id, 1);
        spawned(message.id, 2);
        reaped(message.id, UINT64_MAX);
        reaped(message.id, 0);
        spawned(message.id, 3);
    }
}

/* As fast as it can, for ever, from many processes. */
static void greet_then_flood(void)
{
    AUTO_BUF struct buf bytes = BUF_INIT(MESSAGE_BYTES_MAX);
    const struct message message = { .type = MESSAGE_REAPED, .id = 1000 };
    greet();
    if (message_encode(&message, &bytes, NULL) != ERR_OK) {
        return;
    }
    for (int i = 0; i < 3; i++) {
        if (fork() == 0) {
            break;
        }
    }
    for (;;) {
        say_raw(bytes.data, bytes.len, -1, 0);
    }
}

static const struct {
    const char *name;
    void (*run)(void);
} ways[] = { { "leave", leave },
             { "silent", rest },
             { "noise", noise },
             { "hello-without", hello_without },
             { "hello-null", hello_null },
             { "hello-many", hello_many },
             { "hello-listener", hello_listener },
             { "listener-first", listener_first },
             { "other-first", other_first },
             { "wrong-version", wrong_version },
             { "too-large", too_large },
             { "then-noise", greet_then_noise },
             { "then-leave", greet_then_leave },
             { "then-nothing", greet_then_nothing },
             { "then-empty", greet_then_empty },
             { "then-descriptors", greet_then_descriptors },
             { "then-lies", greet_then_lies },
             { "then-flood", greet_then_flood } };

int init_main(void)
{
    char name[65] = { 0 };
    (void)gethostname(name, sizeof(name) - 1);
    for (size_t i = 0; i < ARRAY_LENGTH(ways); i++) {
        if (strcmp(ways[i].name, name) == 0) {
            ways[i].run();
            return 0;
        }
    }
    return honest_main();
}
