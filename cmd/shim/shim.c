#include "cmd/shim/shim.h"

#include "cmd/shim/builder/listener.h"
#include "cmd/shim/builder/workspace.h"
#include "common/base/cleanup.h"
#include "common/sandbox/id_use.h"
#include "common/sandbox/process.h"
#include "common/sandbox/spec.h"
#include "common/sys/fd.h"
#include "common/sys/file.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    DEVPTS_MAGIC = 0x1cd1,
    HELLO_SECONDS = 10,
    INIT_TURN_MESSAGES = 64 /* then the agent has its turn, however much init has to say */
};

#define REMOVE_RETRY_US (10 * US_PER_MS)
/* After the end: how long an agent that is away may come for what it has not taken, and one that is
 * here may take to hang up. */
#define LINGER_US          (5 * US_PER_MINUTE)
#define REMOVE_PATIENCE_US (5 * US_PER_SECOND)

static void spawn_failed(struct shim *shim, uint64_t id, int number)
{
    struct message message = { .type = MESSAGE_STARTED, .id = id };
    message.started.number = (uint64_t)number;
    shim_send(shim, &message, -1);
}

/* It is told with the end, which follows. */
static void fail(struct shim *shim, int number, const char *text)
{
    (void)snprintf(shim->error, sizeof(shim->error), "%s", text);
    shim->error_number = number;
}

/* ---- The end ---- */

static bool waits_for_agent(const struct shim *shim)
{
    LIST_FOR_EACH(node, &shim->programs)
    {
        if (LIST_ENTRY(node, struct program, link)->id != 0) {
            return true;
        }
    }
    return false;
}

void shim_tell_end(struct shim *shim)
{
    struct message failed = { .type = MESSAGE_FAILED };
    struct message ended = { .type = MESSAGE_ENDED };
    struct message sample = { .type = MESSAGE_SAMPLE, .sample = shim->sample };
    if (shim->error[0] != '\0') {
        failed.failed.number = (uint64_t)shim->error_number;
        failed.failed.text = str_of(shim->error);
        if (failed.failed.text.len > MESSAGE_TEXT_BYTES_MAX) {
            failed.failed.text.len = MESSAGE_TEXT_BYTES_MAX;
        }
        shim_send(shim, &failed, -1);
    }
    shim_send(shim, &sample, -1);
    ended.ended = (struct message_ended){ shim->has_status ? 1 : 0, shim->status, shim->reason };
    shim_send(shim, &ended, -1);
}

/* The last act: nothing of the sandbox is left, so its groups can go. */
static void on_linger(void *context)
{
    struct shim *shim = context;
    bool late = loop_now(shim->loop).value - shim->sampled.value > LINGER_US + REMOVE_PATIENCE_US;
    if (!cgroup_set_remove(&shim->cgroups) && !late) {
        cgroup_set_kill(&shim->cgroups);
        loop_timer_arm_after(shim->linger_timer, REMOVE_RETRY_US);
        return;
    }
    loop_stop(shim->loop);
}

/* Everything in the sandbox is dead: what it said is in the pipes, what it used in the groups. */
static void finish(struct shim *shim)
{
    struct err_info err = ERR_INFO_INIT;
    shim->phase = SANDBOX_OVER;
    LIST_FOR_EACH(node, &shim->programs)
    {
        struct program *program = LIST_ENTRY(node, struct program, link);
        if (program->running) {
            struct message_exited killed = { .status = SIGKILL };
            program_reaped(program, &killed);
        }
    }
    shim_measure(shim);
    if (shim_write_exit(shim, &err) != ERR_OK && shim->error[0] == '\0') {
        fail(shim, 0, err.text); /* the disk is full or gone: the agent at least hears of it */
    }
    shim_tell_end(shim);
    shim_pump(shim);
    bool waits = shim->agent >= 0 || waits_for_agent(shim);
    loop_timer_arm_after(shim->linger_timer, waits ? LINGER_US : 0);
}

static void on_pidfd(void *context, uint32_t events)
{
    struct shim *shim = context;
    (void)events;
    loop_watch_remove(shim->pidfd_watch);
    shim->pidfd_watch = NULL;
    if (shim->phase == SANDBOX_RUNNING) {
        shim->reason = shim->stopping ? SANDBOX_END_STOPPED : SANDBOX_END_DIED;
    }
    loop_watch_remove(shim->init_watch);
    shim->init_watch = NULL;
    while (waitpid(-1, NULL, WNOHANG) > 0) {
    }
    cgroup_set_kill(&shim->cgroups);
    finish(shim);
}

void shim_end(struct shim *shim, enum sandbox_end reason)
{
    if (shim->phase >= SANDBOX_ENDING) {
        return;
    }
    shim->phase = SANDBOX_ENDING;
    shim->reason = reason;
    loop_timer_disarm(shim->wall_timer);
    loop_timer_disarm(shim->kill_timer);
    loop_timer_disarm(shim->sample_timer);
    shim_measure(shim); /* the counters of memory are about to fall to nothing */
    if (shim->built.pidfd < 0) {
        finish(shim);
        return;
    }
    process_kill(shim->built.pidfd, SIGKILL);
}

void shim_main_ended(struct shim *shim, uint64_t status)
{
    if (shim->phase == SANDBOX_OVER) {
        return; /* it was killed with the rest */
    }
    shim->has_status = true;
    shim->status = status;
    if ((shim->spec.flags & SANDBOX_FLAG_KEEP) == 0) {
        shim_end(shim, shim->stopping ? SANDBOX_END_STOPPED : SANDBOX_END_MAIN);
    }
}

static void on_wall(void *context)
{
    shim_end(context, SANDBOX_END_TIMEOUT);
}

static void on_grace_over(void *context)
{
    shim_end(context, SANDBOX_END_STOPPED);
}

static void on_sample(void *context)
{
    struct shim *shim = context;
    shim_measure(shim);
    struct message message = { .type = MESSAGE_SAMPLE, .sample = shim->sample };
    shim_send(shim, &message, -1);
    loop_timer_arm_after(shim->sample_timer, (int64_t)shim->spec.sample_us);
}

/* ---- Connections to the sandbox's loopback ---- */

static uint64_t *find_dial(struct shim *shim, uint64_t id)
{
    for (size_t i = 0; i < SHIM_DIALS_MAX; i++) {
        if (shim->dials[i] == id) {
            return &shim->dials[i];
        }
    }
    return NULL;
}

static void tell_connected(struct shim *shim, uint64_t id, int number, int fd)
{
    struct message message = { .type = MESSAGE_CONNECTED, .id = id };
    message.connected.number = (uint64_t)number;
    shim_send(shim, &message, fd);
}

/* Init makes the socket, since it lives in the sandbox's network on both drivers. */
static int ask_to_dial(struct shim *shim, const struct message *asked)
{
    struct message message = { .type = MESSAGE_DIAL, .id = asked->id, .connect = asked->connect };
    uint64_t *slot = find_dial(shim, 0);
    if (shim->phase != SANDBOX_RUNNING) {
        return ESRCH;
    }
    if (!message_connect_is_local(&asked->connect) || shim->spec.network == SANDBOX_NETWORK_HOST) {
        return EACCES; /* the host's loopback is not the sandbox's */
    }
    if (asked->id == 0 || find_dial(shim, asked->id) != NULL) {
        return EINVAL;
    }
    if (slot == NULL || channel_send(shim->built.socket, &message, NULL, NULL) != ERR_OK) {
        return EAGAIN;
    }
    *slot = asked->id;
    return 0;
}

static void start_connection(struct shim *shim, const struct message *asked)
{
    int number = ask_to_dial(shim, asked);
    if (number != 0) {
        tell_connected(shim, asked->id, number, -1);
    }
}

static bool is_option(int fd, int option, int wanted)
{
    int value = -1;
    socklen_t bytes = sizeof(value);
    return getsockopt(fd, SOL_SOCKET, option, &value, &bytes) == 0 && value == wanted;
}

static bool is_tcp(int fd)
{
    return (is_option(fd, SO_DOMAIN, AF_INET) || is_option(fd, SO_DOMAIN, AF_INET6))
        && is_option(fd, SO_TYPE, SOCK_STREAM) && is_option(fd, SO_PROTOCOL, IPPROTO_TCP);
}

/* false: nonsense, which an init of ours does not say. */
static bool on_dialed(
    struct shim *shim, const struct message *message, const struct channel_fds *fds)
{
    uint64_t *slot = message->id == 0 ? NULL : find_dial(shim, message->id);
    int number = (int)message->connected.number;
    if (slot == NULL || fds->count != (number == 0 ? 1U : 0U)
        || (number == 0 && !is_tcp(fds->fds[0]))) {
        return false;
    }
    *slot = 0;
    tell_connected(shim, message->id, number, number == 0 ? fds->fds[0] : -1);
    return true;
}

/* ---- What the agent says ---- */

static void signal_program(struct shim *shim, uint64_t id, uint64_t number)
{
    struct message message = { .type = MESSAGE_KILL, .id = id };
    message.signal.number = number;
    enum err_code code =
        shim->built.socket < 0 ? ERR_OK : channel_send(shim->built.socket, &message, NULL, NULL);
    if (code != ERR_OK && code != ERR_BUSY) {
        shim_end(shim, SANDBOX_END_DIED);
    }
}

static void stop(struct shim *shim, uint64_t grace_us)
{
    shim->stopping = true;
    if (shim->main == NULL || !shim->main->running || grace_us == 0) {
        shim_end(shim, SANDBOX_END_STOPPED);
        return;
    }
    signal_program(shim, 0, SIGTERM);
    if (shim->main->tty) { /* a shell at a terminal does not hear the first */
        signal_program(shim, 0, SIGHUP);
        signal_program(shim, 0, SIGCONT);
    }
    loop_timer_arm_after(shim->kill_timer, (int64_t)grace_us);
}

static void start_program(struct shim *shim, uint64_t id, const struct message_exec *exec)
{
    struct message_exec resolved = *exec;
    int number = EINVAL;
    resolved.uid = shim->spec.uid;
    if (shim->phase != SANDBOX_RUNNING) {
        number = ESRCH;
    } else if (id != 0 && program_find(shim, id) == NULL && exec->argv.len > 0) {
        number = program_start(shim, id, &resolved);
    }
    if (number != 0) {
        spawn_failed(shim, id, number);
    }
}

static void obey_program(struct shim *shim, struct program *program, const struct message *message)
{
    switch (message->type) {
    case MESSAGE_INPUT:
        program_input(program, message->input.data);
        break;
    case MESSAGE_INPUT_END:
        program_input_end(program);
        break;
    case MESSAGE_TAKEN:
        program_taken(program, (unsigned)message->taken.stream, message->taken.offset);
        break;
    case MESSAGE_RESIZE:
        program_resize(program, message->resize.rows, message->resize.columns);
        break;
    case MESSAGE_SIGNAL:
        signal_program(shim, program->id, message->signal.number);
        break;
    case MESSAGE_RELEASE:
        if (program->ended && program->id != 0) {
            program_destroy(program);
        }
        break;
    default:
        break; /* of a version that we do not speak: refused by the decoder before */
    }
}

void shim_obey(struct shim *shim, const struct message *message)
{
    struct program *program = NULL;
    switch (message->type) {
    case MESSAGE_EXEC:
        start_program(shim, message->id, &message->exec);
        return;
    case MESSAGE_CONNECT:
        start_connection(shim, message);
        return;
    case MESSAGE_STOP:
        stop(shim, message->stop.grace_us);
        return;
    case MESSAGE_MEASURE:
        if (shim->phase == SANDBOX_RUNNING) {
            loop_timer_disarm(shim->sample_timer);
            on_sample(shim);
        }
        return;
    default:
        break;
    }
    program = program_find(shim, message->id);
    if (program != NULL) {
        obey_program(shim, program, message);
    }
}

/* ---- What init says: data from the sandbox's side ---- */

static void fail_main(struct shim *shim, int number)
{
    const char *reason = strerrordesc_np(number); /* NULL: init made it up */
    char text[128];
    (void)snprintf(
        text,
        sizeof(text),
        "the main program could not be started: %s (errno %d)",
        reason != NULL ? reason : "unknown error",
        number);
    fail(shim, number, text);
    shim_end(shim, SANDBOX_END_FAILED);
}

static void on_init_message(struct shim *shim, const struct message *message)
{
    struct program *program = program_find(shim, message->id);
    if (program == NULL) {
        return;
    }
    if (message->type == MESSAGE_SPAWNED && program->pid == 0) {
        bool is_main = program->id == 0;
        int number = (int)message->started.number;
        program_started(program, &message->started);
        if (is_main && number != 0) {
            fail_main(shim, number);
        }
    } else if (message->type == MESSAGE_REAPED && program->pid != 0 && program->running) {
        program_reaped(program, &message->exited);
    }
}

/* One message; descriptors come with no other than a dialed connection. */
static enum err_code hear_init(struct shim *shim)
{
    struct message message;
    struct channel_fds fds = CHANNEL_FDS_NONE;
    bool good = true;
    TRY(channel_receive(shim->built.socket, &shim->from_init, &message, &fds, NULL));
    if (message.type == MESSAGE_DIALED) {
        good = on_dialed(shim, &message, &fds);
    } else if (fds.count > 0) {
        good = false;
    } else {
        on_init_message(shim, &message);
    }
    channel_fds_close(&fds);
    return good ? ERR_OK : ERR_INVALID;
}

static void on_init(void *context, uint32_t events)
{
    struct shim *shim = context;
    enum err_code code = ERR_OK;
    (void)events;
    for (int i = 0; i < INIT_TURN_MESSAGES && code == ERR_OK && shim->init_watch != NULL; i++) {
        code = hear_init(shim);
    }
    if (code != ERR_BUSY && code != ERR_OK) {
        /* Closed, or nonsense: an init that is not ours any more. */
        loop_watch_remove(shim->init_watch);
        shim->init_watch = NULL;
        shim_end(shim, shim->stopping ? SANDBOX_END_STOPPED : SANDBOX_END_DIED);
    }
}

/* ---- The start ---- */

static bool is_devpts(int fd)
{
    struct statfs info;
    return fstatfs(fd, &info) == 0 && info.f_type == DEVPTS_MAGIC;
}

/* The first words to init, before anything of the workload runs. */
static struct message setup_for(const struct shim *shim)
{
    const struct message_spec *spec = &shim->spec;
    struct message message = { .type = MESSAGE_SETUP };
    message.setup = (struct message_setup){ .open_files = spec->open_files,
                                            .want_landlock = spec->landlock,
                                            .read_only = spec->read_only,
                                            .read_write = spec->read_write };
    return message;
}

/* And from it. */
static enum err_code greet(struct shim *shim, struct err_info *err)
{
    struct message message;
    struct channel_fds fds = CHANNEL_FDS_NONE;
    struct timeval patience = { .tv_sec = HELLO_SECONDS };
    (void)setsockopt(shim->built.socket, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    enum err_code code = channel_receive(shim->built.socket, &shim->from_init, &message, &fds, err);
    if (code != ERR_OK) {
        return ERR_SET(err, ERR_UNSUPPORTED, "init did not answer: Landlock or /dev/pts failed");
    }
    if (message.type != MESSAGE_HELLO || fds.count != 1 || !is_devpts(fds.fds[0])) {
        channel_fds_close(&fds);
        return ERR_SET(err, ERR_INTERNAL, "init's first words are not as agreed");
    }
    shim->pts = fds.fds[0];
    return channel_set_nonblocking(shim->built.socket, err);
}

static enum err_code start_main(struct shim *shim, struct err_info *err)
{
    const struct message_spec *spec = &shim->spec;
    struct message_exec exec = { .tty = (spec->flags & SANDBOX_FLAG_TTY) != 0 ? 1 : 0,
                                 .rows = spec->rows,
                                 .columns = spec->columns,
                                 .uid = spec->uid,
                                 .cwd = spec->cwd,
                                 .argv = spec->argv,
                                 .env = spec->env };
    if (spec->argv.len == 0) {
        return ERR_OK;
    }
    int number = program_start(shim, 0, &exec);
    return number == 0 ? ERR_OK
                       : ERR_SET_ERRNO(err, ERR_LIMIT, number, "starting the main program");
}

static enum err_code watch_sandbox(struct shim *shim, struct err_info *err)
{
    TRY(loop_watch_add(
        shim->loop, shim->built.pidfd, EPOLLIN, on_pidfd, shim, &shim->pidfd_watch, err));
    return loop_watch_add(
        shim->loop, shim->built.socket, EPOLLIN, on_init, shim, &shim->init_watch, err);
}

/* What is there before the sandbox: its host user ids, ours while we live, and its workspace. */
static enum err_code prepare(struct shim *shim, struct err_info *err)
{
    const struct message_spec *spec = &shim->spec;
    if (spec->driver == SANDBOX_DRIVER_NATIVE) {
        TRY(id_use_hold(spec->uid_base, SANDBOX_UID_COUNT, &shim->ids_fd, err));
    }
    return workspace_prepare(
        shim->dir_fd, spec->disk_bytes, (uid_t)(spec->uid_base + spec->uid), err);
}

static enum err_code launch(struct shim *shim, struct err_info *err)
{
    const struct message_spec *spec = &shim->spec;
    const struct message setup = setup_for(shim);
    struct build build = { .spec = spec,
                           .setup = &setup,
                           .cgroups = &shim->cgroups,
                           .dir = shim->dir,
                           .dir_fd = shim->dir_fd,
                           .program_fd = shim->program_fd,
                           .ground = shim->ground,
                           .network = shim->network };
    TRY(prepare(shim, err));
    TRY(spec->driver == SANDBOX_DRIVER_NATIVE ? native_build(&build, &shim->built, err)
                                              : bwrap_build(&build, &shim->built, err));
    fd_close(&shim->ground); /* it is not for us to keep them alive */
    fd_close(&shim->network);
    TRY(watch_sandbox(shim, err));
    TRY(greet(shim, err));
    shim->listener = shim->built.listener;
    if (spec->network == SANDBOX_NETWORK_PROXY && shim->listener < 0) {
        /* Its loopback is up, and nothing runs there. */
        TRY(listener_open(shim->built.pid, SANDBOX_PROXY_PORT, &shim->listener, err));
    }
    shim->started = clock_wall(shim->clock);
    shim->started_mono = loop_now(shim->loop);
    shim->sampled = shim->started_mono;
    TRY(shim_write_state(shim, err));
    shim->phase = SANDBOX_RUNNING;
    struct message ready = { .type = MESSAGE_READY };
    shim_send(shim, &ready, shim->listener);
    if (spec->wall_us > 0) {
        loop_timer_arm_after(shim->wall_timer, (int64_t)spec->wall_us);
    }
    if (spec->sample_us > 0) {
        loop_timer_arm_after(shim->sample_timer, (int64_t)spec->sample_us);
    }
    return start_main(shim, err);
}

static void on_launch(void *context)
{
    struct shim *shim = context;
    struct err_info err = ERR_INFO_INIT;
    enum err_code code = launch(shim, &err);
    if (code != ERR_OK) {
        fail(shim, 0, err.text);
        shim_end(shim, SANDBOX_END_FAILED);
    }
}

static enum err_code read_spec(struct shim *shim, struct err_info *err)
{
    struct message message;
    AUTO_FREE char *path = mem_printf("%s/" SANDBOX_FILE_SPEC, shim->dir);
    TRY(file_read(path, MESSAGE_BYTES_MAX, &shim->spec_bytes, err));
    TRY(message_decode(buf_view(&shim->spec_bytes), &message, err));
    if (message.type != MESSAGE_SPEC) {
        return ERR_SET(err, ERR_INVALID, "%s: not a spec", path);
    }
    shim->spec = message.spec;
    shim->sample.sequence = message.spec.generation << 32;
    return cgroup_set_parse(&message.spec.cgroups, &shim->cgroups, err);
}

static enum err_code lock_folder(struct shim *shim, struct err_info *err)
{
    shim->dir_fd = open(shim->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (shim->dir_fd < 0) {
        return ERR_SET_ERRNO(err, ERR_NOT_FOUND, errno, "%s", shim->dir);
    }
    return flock(shim->dir_fd, LOCK_EX | LOCK_NB) == 0
        ? ERR_OK
        : ERR_SET_ERRNO(err, ERR_BUSY, errno, "%s: another shim has it", shim->dir);
}

static enum err_code open_all(struct shim *shim, int agent, struct err_info *err)
{
    if (shim->dir_fd < 0) {
        TRY(lock_folder(shim, err));
    }
    shim->program_fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    if (shim->program_fd < 0) {
        return ERR_SET_ERRNO(err, ERR_NOT_FOUND, errno, "/proc/self/exe");
    }
    TRY(read_spec(shim, err));
    TRY(loop_create(shim->clock, &shim->loop, err));
    shim->sample_timer = loop_timer_create(shim->loop, on_sample, shim);
    shim->wall_timer = loop_timer_create(shim->loop, on_wall, shim);
    shim->kill_timer = loop_timer_create(shim->loop, on_grace_over, shim);
    shim->linger_timer = loop_timer_create(shim->loop, on_linger, shim);
    return shim_agent_open(shim, agent, err);
}

static void close_all(struct shim *shim)
{
    LIST_FOR_EACH(node, &shim->programs)
    {
        program_destroy(LIST_ENTRY(node, struct program, link));
    }
    if (shim->loop != NULL) {
        (void)flock(shim->dir_fd, LOCK_UN); /* first: the agent may start the next one at once */
        shim_agent_close(shim);
    }
    for (size_t i = 0; i < SHIM_LOGS; i++) {
        outlog_close(&shim->logs[i]);
    }
    loop_timer_destroy(shim->sample_timer);
    loop_timer_destroy(shim->wall_timer);
    loop_timer_destroy(shim->kill_timer);
    loop_timer_destroy(shim->linger_timer);
    loop_destroy(shim->loop);
    cgroup_set_deinit(&shim->cgroups);
    channel_buffer_deinit(&shim->from_init);
    buf_deinit(&shim->spec_bytes);
}

int shim_main(const struct shim_start *start)
{
    struct shim shim = { .clock = clock_system(),
                         .dir = start->dir,
                         .dir_fd = start->dir_fd,
                         .program_fd = -1,
                         .ids_fd = -1,
                         .ground = start->ground,
                         .network = start->network,
                         .spec_bytes = BUF_INIT(MESSAGE_BYTES_MAX),
                         .from_agent = { .takes_large = true },
                         .built = { .pidfd = -1, .socket = -1, .listener = -1 },
                         .pts = -1,
                         .listener = -1,
                         .socket = -1,
                         .agent = -1 };
    struct err_info err = ERR_INFO_INIT;
    for (size_t i = 0; i < SHIM_LOGS; i++) {
        shim.logs[i].fd = -1;
    }
    list_init(&shim.programs);
    list_init(&shim.queue);
    (void)prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    (void)signal(SIGPIPE, SIG_IGN);
    enum err_code code = open_all(&shim, start->agent, &err);
    if (code == ERR_OK) {
        struct loop_timer *launch_timer = loop_timer_create(shim.loop, on_launch, &shim);
        loop_timer_arm_after(launch_timer, 0);
        loop_run(shim.loop);
        loop_timer_destroy(launch_timer);
    }
    close_all(&shim);
    return code == ERR_OK ? 0 : 1;
}
