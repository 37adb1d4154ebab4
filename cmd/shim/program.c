#include "cmd/shim/program.h"

#include "cmd/shim/shim.h"
#include "common/base/cleanup.h"
#include "common/sys/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

enum {
    READ_BYTES = 12288,
    TTY_GROUP = 5,
    END_OF_TRANSMISSION = 4
};

#define END_AGAIN_US     US_PER_SECOND
#define END_AGAIN_MAX_US (64 * US_PER_SECOND)

/* The ends that init gets, and ours. */
struct ends {
    struct channel_fds theirs;
    int input;
    int output[2];
};

static void ends_close(struct ends *ends)
{
    channel_fds_close(&ends->theirs);
    fd_close(&ends->input);
    fd_close(&ends->output[0]);
    fd_close(&ends->output[1]);
}

static int set_size(int fd, uint64_t rows, uint64_t columns)
{
    struct winsize size = { .ws_row = (unsigned short)rows, .ws_col = (unsigned short)columns };
    return ioctl(fd, TIOCSWINSZ, &size);
}

/* A terminal of the sandbox's own devpts: a host's would show inside what it is called here. */
static int open_terminal(struct shim *shim, const struct message_exec *exec, struct ends *ends)
{
    int unlocked = 0;
    uid_t base = (uid_t)shim->spec.uid_base;
    AUTO_FD int master =
        openat(shim->pts, "ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW);
    if (master < 0 || ioctl(master, TIOCSPTLCK, &unlocked) != 0) {
        return errno;
    }
    AUTO_FD int slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (slave < 0
        || (geteuid() == 0
            && (fchown(slave, base + (uid_t)exec->uid, base + TTY_GROUP) != 0
                || fchmod(slave, 0620) != 0))
        || set_size(master, exec->rows, exec->columns) != 0) {
        return errno;
    }
    ends->input = fcntl(master, F_DUPFD_CLOEXEC, 0);
    ends->output[0] = fd_steal(&master);
    ends->theirs.fds[ends->theirs.count++] = fd_steal(&slave);
    return ends->input < 0 ? errno : 0;
}

/* A pipe is its maker's; the program must own it to open it again by /dev/stdout. */
static int make_pipe(uid_t owner, int *ret_ours, struct channel_fds *theirs, bool we_write)
{
    int pair[2];
    if (pipe2(pair, O_CLOEXEC) != 0) {
        return errno;
    }
    int ours = pair[we_write ? 1 : 0];
    (void)fcntl(ours, F_SETFL, O_NONBLOCK);
    *ret_ours = ours;
    theirs->fds[theirs->count++] = pair[we_write ? 0 : 1];
    return geteuid() == 0 && fchown(ours, owner, owner) != 0 ? errno : 0;
}

static int open_pipes(const struct shim *shim, const struct message_exec *exec, struct ends *ends)
{
    uid_t owner = (uid_t)(shim->spec.uid_base + exec->uid);
    int number = make_pipe(owner, &ends->input, &ends->theirs, true);
    for (size_t i = 0; i < 2 && number == 0; i++) {
        number = make_pipe(owner, &ends->output[i], &ends->theirs, false);
    }
    return number;
}

static void close_stream(struct stream *stream)
{
    loop_watch_remove(stream->watch);
    stream->watch = NULL;
    fd_close(&stream->fd);
}

/* An archive that passes through a program is not for a log, and would cost a disk its speed. */
static void write_log(struct stream *stream, struct str_view data)
{
    if (stream->log != NULL && stream->program->id != 0
        && memchr(data.ptr, '\0', data.len) != NULL) {
        stream->log = NULL;
    }
    if (stream->log != NULL) {
        outlog_append(stream->log, data);
    }
}

/* One read into the ring; false: nothing there, no room, or the end. */
static bool read_some(struct stream *stream)
{
    char data[READ_BYTES];
    size_t room = ring_room(&stream->ring);
    if (stream->fd < 0 || room == 0) {
        return false;
    }
    ssize_t got = read(stream->fd, data, room < sizeof(data) ? room : sizeof(data));
    if (got < 0 && errno == EINTR) {
        return true;
    }
    if (got < 0 && errno == EAGAIN) {
        return false;
    }
    if (got <= 0) {
        close_stream(stream); /* the end; EIO from a terminal that nobody has open */
        return false;
    }
    write_log(stream, str_from(data, (size_t)got));
    ring_write(&stream->ring, str_from(data, (size_t)got));
    return true;
}

static void on_output(void *context, uint32_t events);

/*
 * A full ring is not read into: the pipe fills, and then the program waits. The watch goes for that
 * time, since one without events would still be called for a hang-up, again and again.
 */
static void watch_stream(struct stream *stream)
{
    bool wanted = stream->fd >= 0 && ring_room(&stream->ring) > 0;
    if (!wanted) {
        loop_watch_remove(stream->watch);
        stream->watch = NULL;
    } else if (
        stream->watch == NULL
        && loop_watch_add(
               stream->program->shim->loop,
               stream->fd,
               EPOLLIN,
               on_output,
               stream,
               &stream->watch,
               NULL)
            != ERR_OK) {
        close_stream(stream);
    }
}

static void close_input(struct program *program)
{
    loop_watch_remove(program->input_watch);
    program->input_watch = NULL;
    fd_close(&program->input);
    buf_clear(&program->pending);
}

/* After the program's end, what still holds the pipe open is not waited for. */
static void settle(struct program *program)
{
    if (program->running || program->ended) {
        return;
    }
    program_drain(program);
    for (size_t i = 0; i < 2; i++) {
        if (program->streams[i].fd >= 0 && ring_room(&program->streams[i].ring) == 0) {
            return; /* more may be there once some of it is taken */
        }
    }
    program->ended = true;
    close_stream(&program->streams[0]);
    close_stream(&program->streams[1]);
    close_input(program);
    if (program->id == 0) {
        shim_main_ended(program->shim, program->exited.status);
    }
}

static void on_output(void *context, uint32_t events)
{
    struct stream *stream = context;
    (void)events;
    (void)read_some(stream);
    watch_stream(stream);
    settle(stream->program);
    shim_pump(stream->program->shim);
}

void program_drain(struct program *program)
{
    for (size_t i = 0; i < 2; i++) {
        while (read_some(&program->streams[i])) {
        }
    }
}

static void report_input(struct program *program)
{
    struct message message = { .type = MESSAGE_INPUT_TAKEN, .id = program->id };
    message.taken.offset = program->input_written;
    shim_send(program->shim, &message, -1);
}

/*
 * The terminal stays open for output, so its end of input is a character, which is lost when nobody
 * reads it before the terminal changes its mode, as each shell does at its start. It is said again,
 * less and less often, for as long as nothing else is typed.
 */
static void say_end(void *context)
{
    struct program *program = context;
    char end = END_OF_TRANSMISSION;
    if (!program->running || program->input < 0) {
        return;
    }
    ssize_t written = write(program->input, &end, 1);
    (void)written;
    loop_timer_arm_after(program->end_timer, program->end_after_us);
    program->end_after_us *= program->end_after_us < END_AGAIN_MAX_US ? 2 : 1;
}

static void finish_input(struct program *program)
{
    if (program->tty) {
        if (program->end_timer == NULL) {
            program->end_timer = loop_timer_create(program->shim->loop, say_end, program);
        }
        program->end_after_us = END_AGAIN_US;
        program->input_ends = false;
        say_end(program);
    } else {
        close_input(program);
    }
}

static void on_input_room(void *context, uint32_t events);

/* Watched only while there is something to write, for the reason of watch_stream. */
static void watch_input(struct program *program)
{
    bool wanted = program->input >= 0 && program->pending.len > 0;
    if (!wanted) {
        loop_watch_remove(program->input_watch);
        program->input_watch = NULL;
    } else if (
        program->input_watch == NULL
        && loop_watch_add(
               program->shim->loop,
               program->input,
               EPOLLOUT,
               on_input_room,
               program,
               &program->input_watch,
               NULL)
            != ERR_OK) {
        close_input(program);
    }
}

static void forget_front(struct buf *buf, size_t bytes)
{
    buf->len -= bytes;
    memmove(buf->data, buf->data + bytes, buf->len);
}

static void write_input(struct program *program)
{
    uint64_t before = program->input_written;
    while (program->input >= 0 && program->pending.len > 0) {
        ssize_t written = write(program->input, program->pending.data, program->pending.len);
        if (written < 0 && errno == EINTR) {
            continue;
        }
        if (written < 0 && errno == EAGAIN) {
            break;
        }
        if (written < 0) {
            /* Nobody reads it: what comes is taken and dropped, as a pipe to a dead end would. */
            program->input_written = program->input_received;
            close_input(program);
            break;
        }
        program->input_written += (uint64_t)written;
        forget_front(&program->pending, (size_t)written);
    }
    if (program->input_ends && program->pending.len == 0 && program->input >= 0) {
        finish_input(program);
    }
    watch_input(program);
    if (program->input_written != before) {
        report_input(program);
    }
}

static void on_input_room(void *context, uint32_t events)
{
    (void)events;
    write_input(context);
}

void program_input(struct program *program, struct str_view data)
{
    program->input_received += data.len;
    if (program->input < 0 || program->input_ends) {
        program->input_written = program->input_received;
        report_input(program);
        return;
    }
    if (program->end_timer != NULL) {
        loop_timer_disarm(program->end_timer);
    }
    buf_append_str(&program->pending, data);
    write_input(program);
}

void program_input_end(struct program *program)
{
    program->input_ends = true;
    write_input(program);
}

void program_taken(struct program *program, unsigned stream, uint64_t offset)
{
    if (stream < 1 || stream > 2) {
        return;
    }
    struct stream *target = &program->streams[stream - 1];
    uint64_t taken = offset < target->sent ? offset : target->sent;
    target->taken = taken > target->taken ? taken : target->taken;
    ring_release(&target->ring, target->taken);
    watch_stream(target);
    settle(program);
    shim_pump(program->shim);
}

void program_resize(struct program *program, uint64_t rows, uint64_t columns)
{
    if (program->tty && program->input >= 0) {
        (void)set_size(program->input, rows, columns);
    }
}

struct program *program_find(struct shim *shim, uint64_t id)
{
    LIST_FOR_EACH(node, &shim->programs)
    {
        struct program *program = LIST_ENTRY(node, struct program, link);
        if (program->id == id) {
            return program;
        }
    }
    return NULL;
}

void program_destroy(struct program *program)
{
    for (size_t i = 0; i < 2; i++) {
        close_stream(&program->streams[i]);
        ring_deinit(&program->streams[i].ring);
    }
    close_input(program);
    loop_timer_destroy(program->end_timer);
    buf_deinit(&program->pending);
    list_remove(&program->link);
    program->shim->program_count--;
    if (program->shim->main == program) {
        program->shim->main = NULL;
    }
    mem_free(program);
}

/* Opened when they are first needed, and kept: several programs write into one. */
static struct outlog *find_log(struct program *program, unsigned number)
{
    static const char *const names[SHIM_LOGS] = {
        SANDBOX_FILE_OUT, SANDBOX_FILE_ERR, SANDBOX_FILE_EXEC_OUT, SANDBOX_FILE_EXEC_ERR
    };
    struct shim *shim = program->shim;
    size_t at = (program->id == 0 ? 0 : 2) + number - 1;
    if (program->id != 0 && program->tty) {
        return NULL;
    }
    if (shim->logs[at].fd < 0) {
        outlog_open(&shim->logs[at], shim->dir_fd, names[at], shim->spec.log_bytes);
    }
    return &shim->logs[at];
}

static void adopt_stream(struct program *program, unsigned number, int fd)
{
    struct stream *stream = &program->streams[number - 1];
    stream->program = program;
    stream->number = number;
    stream->fd = fd;
    stream->ring.overwrites = program->id == 0;
    stream->log = fd < 0 ? NULL : find_log(program, number);
    watch_stream(stream);
}

static int ask_init(
    struct shim *shim, uint64_t id, const struct message_exec *exec, struct ends *ends)
{
    struct err_info err = ERR_INFO_INIT;
    struct message spawn = { .type = MESSAGE_SPAWN, .id = id, .exec = *exec };
    enum err_code code = channel_send(shim->built.socket, &spawn, &ends->theirs, &err);
    channel_fds_close(&ends->theirs);
    return code == ERR_OK ? 0 : code == ERR_BUSY ? EAGAIN : E2BIG;
}

int program_start(struct shim *shim, uint64_t id, const struct message_exec *exec)
{
    struct ends ends = { .input = -1, .output = { -1, -1 } };
    if (shim->program_count >= PROGRAMS_MAX) {
        return EAGAIN;
    }
    int number = exec->tty != 0 ? open_terminal(shim, exec, &ends) : open_pipes(shim, exec, &ends);
    number = number != 0 ? number : ask_init(shim, id, exec, &ends);
    if (number != 0) {
        ends_close(&ends);
        return number;
    }
    struct program *program = mem_alloc(sizeof(*program));
    program->shim = shim;
    program->id = id;
    program->tty = exec->tty != 0;
    program->running = true;
    program->input = ends.input;
    program->pending = (struct buf)BUF_INIT(PROGRAM_INPUT_BYTES_MAX);
    list_append(&shim->programs, &program->link);
    shim->program_count++;
    adopt_stream(program, 1, ends.output[0]);
    adopt_stream(program, 2, ends.output[1]);
    shim->main = id == 0 ? program : shim->main;
    return 0;
}

void program_started(struct program *program, const struct message_started *started)
{
    struct message message = { .type = MESSAGE_STARTED, .id = program->id, .started = *started };
    message.started.tty = program->tty ? 1 : 0;
    program->pid = started->pid;
    shim_send(program->shim, &message, -1);
    if (started->number != 0) {
        program_destroy(program);
    }
}

void program_reaped(struct program *program, const struct message_exited *exited)
{
    program->exited = *exited;
    program->running = false;
    settle(program);
    shim_pump(program->shim);
}
