#include "cmd/shim/init.h"

#include "cmd/shim/fence.h"
#include "common/base/cleanup.h"
#include "common/base/list.h"
#include "common/sandbox/channel.h"
#include "common/sys/fd.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    SOCKET = 3,
    LOCKED_BYTES_MAX = 64 * 1024 * 1024,
    STACK_BYTES = 64 * 1024 /* of a child until its exec, beside a page that ends it */
};

struct program {
    struct list link;
    uint64_t id;
    pid_t pid;
};

struct init {
    int signals;
    char *stack; /* above the page that nobody may touch */
    struct channel_buffer buffer;
    struct list programs;
};

static void set_limit(int what, rlim_t value)
{
    struct rlimit limit;
    if (getrlimit((unsigned)what, &limit) == 0 && limit.rlim_max > value) {
        limit.rlim_cur = value;
        limit.rlim_max = value;
        (void)setrlimit((unsigned)what, &limit);
    }
}

static bool set_up(const struct message_setup *setup, unsigned *ret_abi)
{
    set_limit(RLIMIT_CORE, 0);
    set_limit(RLIMIT_MEMLOCK, LOCKED_BYTES_MAX);
    if (setup->open_files > 0) {
        set_limit(RLIMIT_NOFILE, setup->open_files);
    }
    *ret_abi = fence_abi();
    if (setup->want_landlock == 0 || (setup->want_landlock == 2 && *ret_abi == 0)) {
        *ret_abi = 0;
        return true;
    }
    return fence_raise(&setup->read_only, &setup->read_write) == 0;
}

/* Takes the first message and answers it. */
static bool greet(struct init *init)
{
    struct message message;
    struct channel_fds fds = CHANNEL_FDS_NONE;
    unsigned abi = 0;
    if (channel_receive(SOCKET, &init->buffer, &message, NULL, NULL) != ERR_OK
        || message.type != MESSAGE_SETUP) {
        return false;
    }
    fds.fds[fds.count++] = open("/dev/pts", O_PATH | O_DIRECTORY | O_CLOEXEC);
    bool good = fds.fds[0] >= 0 && set_up(&message.setup, &abi);
    struct message hello = { .type = MESSAGE_HELLO, .hello = { .landlock_abi = abi } };
    good = good && channel_send(SOCKET, &hello, &fds, NULL) == ERR_OK;
    channel_fds_close(&fds);
    return good;
}

/*
 * ---- The child, until it is the program ----
 *
 * It has our memory, and we stand still until it has executed or is gone: a copy of the memory
 * would cost more than all else here. So it allocates nothing, and leaves its word in the start.
 */

struct start {
    const struct message_exec *exec;
    const struct channel_fds *fds;
    const char *cwd;
    char *const *argv;
    char *const *env;
    int number; /* errno of the failure; 0: it runs, or was killed before */
};

/* None of them is one of the three: those are taken from the beginning. */
static void arrange_fds(const struct channel_fds *fds)
{
    for (int i = 0; i < 3; i++) {
        (void)dup2(fds->fds[fds->count == 1 ? 0 : i], i);
    }
}

static int try_exec(const char *path, char *const *argv, char *const *env, int worst)
{
    (void)execve(path, argv, env);
    return errno == ENOENT || errno == ENOTDIR ? worst : errno;
}

static const char *find_path(char *const *env)
{
    for (size_t i = 0; env[i] != NULL; i++) {
        if (strncmp(env[i], "PATH=", 5) == 0) {
            return env[i] + 5;
        }
    }
    return "/usr/local/bin:/usr/bin:/bin";
}

static int try_folder(struct str_view folder, char *const *argv, char *const *env, int worst)
{
    char path[PATH_MAX];
    size_t name = strlen(argv[0]) + 1;
    folder = folder.len == 0 ? STR(".") : folder;
    if (name >= sizeof(path) || folder.len >= sizeof(path) - name) {
        return ENAMETOOLONG;
    }
    memcpy(path, folder.ptr, folder.len);
    path[folder.len] = '/';
    memcpy(path + folder.len + 1, argv[0], name);
    return try_exec(path, argv, env, worst);
}

/* As a shell would find it. Returns the errno of the failure. */
static int exec_program(char *const *argv, char *const *env)
{
    int worst = ENOENT;
    if (strchr(argv[0], '/') != NULL) {
        return try_exec(argv[0], argv, env, worst);
    }
    struct str_view rest = str_of(find_path(env));
    bool more = rest.len > 0;
    while (more && argv[0][0] != '\0') {
        struct str_view folder = rest;
        struct str_view tail = STR_NONE;
        more = str_cut(rest, ':', &folder, &tail);
        folder = more ? folder : rest;
        rest = tail;
        worst = try_folder(folder, argv, env, worst);
    }
    return worst;
}

static int run_program(void *context)
{
    struct start *start = context;
    sigset_t none;
    (void)setsid();
    arrange_fds(start->fds);
    if (start->exec->tty != 0) {
        (void)ioctl(0, TIOCSCTTY, 0);
    }
    (void)sigemptyset(&none);
    (void)pthread_sigmask(SIG_SETMASK, &none, NULL);
    (void)umask(022);
    start->number = start->exec->cwd.len > 0 && chdir(start->cwd) != 0
        ? errno
        : exec_program(start->argv, start->env);
    _exit(127);
}

/* ---- Process 1 ---- */

static struct program *find_program(struct init *init, uint64_t id, pid_t pid)
{
    LIST_FOR_EACH(node, &init->programs)
    {
        struct program *program = LIST_ENTRY(node, struct program, link);
        if (pid == 0 ? program->id == id : program->pid == pid) {
            return program;
        }
    }
    return NULL;
}

static bool report_spawned(uint64_t id, pid_t pid, int number)
{
    struct message message = { .type = MESSAGE_SPAWNED, .id = id };
    message.started.pid = number == 0 ? (uint64_t)pid : 0;
    message.started.number = (uint64_t)number;
    return channel_send(SOCKET, &message, NULL, NULL) == ERR_OK;
}

/* Returns the errno of the failure. */
static int start_program(
    const struct init *init,
    const struct message_exec *exec,
    const struct channel_fds *fds,
    pid_t *ret_pid)
{
    AUTO_FREE char *cwd = mem_printf("%.*s", STR_ARG(exec->cwd));
    AUTO_FREE const char **argv = message_list_array(&exec->argv);
    AUTO_FREE const char **env = message_list_array(&exec->env);
    struct start start = { .exec = exec,
                           .fds = fds,
                           .cwd = cwd,
                           .argv = CONST_CAST(char *const *, argv),
                           .env = CONST_CAST(char *const *, env) };
    pid_t pid =
        clone(run_program, init->stack + STACK_BYTES, CLONE_VM | CLONE_VFORK | SIGCHLD, &start);
    if (pid < 0) {
        return errno;
    }
    *ret_pid = pid;
    return start.number;
}

static bool spawn(struct init *init, const struct message *message, const struct channel_fds *fds)
{
    pid_t pid = 0;
    int number = start_program(init, &message->exec, fds, &pid);
    if (number == 0) {
        struct program *program = mem_alloc(sizeof(*program));
        program->id = message->id;
        program->pid = pid;
        list_append(&init->programs, &program->link);
    }
    return report_spawned(message->id, pid, number);
}

static uint64_t us_of(struct timeval time)
{
    return (uint64_t)time.tv_sec * 1000000 + (uint64_t)time.tv_usec;
}

static bool reap(struct init *init)
{
    int status = 0;
    struct rusage usage;
    pid_t pid = 0;
    while ((pid = wait4(-1, &status, WNOHANG, &usage)) > 0) {
        struct program *program = find_program(init, 0, pid);
        if (program == NULL) {
            continue; /* an orphan, or an exec that failed and was reported */
        }
        struct message message = { .type = MESSAGE_REAPED, .id = program->id };
        message.exited = (struct message_exited){ .status = (uint64_t)status,
                                                  .user_us = us_of(usage.ru_utime),
                                                  .system_us = us_of(usage.ru_stime),
                                                  .peak_kib = (uint64_t)usage.ru_maxrss };
        list_remove(&program->link);
        mem_free(program);
        if (channel_send(SOCKET, &message, NULL, NULL) != ERR_OK) {
            return false;
        }
    }
    return true;
}

/* Never waits: whether the port answers is for who gets the socket to find out. */
static int dial(const struct message_connect *to, int *ret_fd)
{
    struct sockaddr_in6 six = { .sin6_family = AF_INET6,
                                .sin6_port = htons((uint16_t)to->port),
                                .sin6_addr = IN6ADDR_LOOPBACK_INIT };
    struct sockaddr_in four = { .sin_family = AF_INET,
                                .sin_port = htons((uint16_t)to->port),
                                .sin_addr.s_addr = htonl((uint32_t)to->address) };
    bool is_six = to->address == MESSAGE_LOOPBACK_6;
    const struct sockaddr *address = is_six ? (const void *)&six : (const void *)&four;
    socklen_t bytes = is_six ? sizeof(six) : sizeof(four);
    if (!message_connect_is_local(to)) {
        return EACCES;
    }
    AUTO_FD int fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || (connect(fd, address, bytes) != 0 && errno != EINPROGRESS)) {
        return errno;
    }
    *ret_fd = fd_steal(&fd);
    return 0;
}

static bool report_dialed(const struct message *asked)
{
    struct message message = { .type = MESSAGE_DIALED, .id = asked->id };
    AUTO_FD int fd = -1;
    struct channel_fds fds = CHANNEL_FDS_NONE;
    message.connected.number = (uint64_t)dial(&asked->connect, &fd);
    if (fd >= 0) {
        fds.fds[fds.count++] = fd;
    }
    return channel_send(SOCKET, &message, &fds, NULL) == ERR_OK;
}

static bool obey(struct init *init)
{
    struct message message;
    struct channel_fds fds = CHANNEL_FDS_NONE;
    bool good = true;
    if (channel_receive(SOCKET, &init->buffer, &message, &fds, NULL) != ERR_OK) {
        return false;
    }
    if (message.type == MESSAGE_SPAWN && message.exec.argv.len > 0
        && fds.count == (message.exec.tty != 0 ? 1U : 3U)) {
        good = spawn(init, &message, &fds);
    } else if (message.type == MESSAGE_DIAL) {
        good = report_dialed(&message);
    } else if (message.type == MESSAGE_KILL) {
        const struct program *program = find_program(init, message.id, 0);
        if (program != NULL) {
            (void)kill(-program->pid, (int)message.signal.number);
        }
    } else {
        good = false;
    }
    channel_fds_close(&fds);
    return good;
}

/* Descriptors 0 to 2 exist, so that nothing of ours ever gets their numbers. */
static bool fill_standard_fds(void)
{
    for (int fd = 0; fd < 3; fd++) {
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) != fd) {
            return false;
        }
    }
    return fcntl(SOCKET, F_SETFD, FD_CLOEXEC) == 0 && close_range(SOCKET + 1, ~0U, 0) == 0;
}

static int open_signals(void)
{
    sigset_t all;
    sigset_t child;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, NULL);
    (void)sigemptyset(&child);
    (void)sigaddset(&child, SIGCHLD);
    return signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);
}

static char *map_stack(void)
{
    size_t guard = (size_t)sysconf(_SC_PAGESIZE);
    char *bytes = mmap(
        NULL,
        guard + STACK_BYTES,
        PROT_READ | PROT_WRITE,
        MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK,
        -1,
        0);
    return bytes == MAP_FAILED || mprotect(bytes, guard, PROT_NONE) != 0 ? NULL : bytes + guard;
}

int init_main(void)
{
    struct init init = { .signals = -1, .buffer = { .takes_large = true } };
    list_init(&init.programs);
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0 || !fill_standard_fds()) {
        return 1;
    }
    init.signals = open_signals();
    init.stack = map_stack();
    if (init.signals < 0 || init.stack == NULL || !greet(&init)) {
        return 1;
    }
    struct pollfd watched[] = { { .fd = SOCKET, .events = POLLIN },
                                { .fd = init.signals, .events = POLLIN } };
    bool good = true;
    while (good) {
        struct signalfd_siginfo info;
        if (poll(watched, ARRAY_LENGTH(watched), -1) < 0 && errno != EINTR) {
            break;
        }
        if (watched[1].revents != 0) {
            while (read(init.signals, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
            }
            good = reap(&init);
        }
        good = good && (watched[0].revents == 0 || obey(&init));
    }
    return 0;
}
