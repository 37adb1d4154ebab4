#include "cmd/cli/session/terminal.h"

#include "common/base/cleanup.h"
#include "common/sys/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

/* What the guard is told: both modes; SCREEN when the other screen is taken; DONE when it is not
 * needed any more. */
struct modes {
    struct termios before;
    struct termios raw;
};

#define DONE   'd'
#define SCREEN 's'

#define TAKE_SCREEN  "\033[?1049h\033[?25l"
#define LEAVE_SCREEN "\033[?1049l\033[?25h"

struct terminal {
    int fd;
    struct modes modes;
    int guard; /* our end of its pipe; -1: there is none */
    pid_t guard_pid;
    bool has_screen;
};

bool terminal_size(int fd, unsigned *ret_columns, unsigned *ret_rows)
{
    struct winsize size = { 0 };
    if (ioctl(fd, TIOCGWINSZ, &size) != 0 || size.ws_col == 0 || size.ws_row == 0) {
        return false;
    }
    *ret_columns = size.ws_col;
    *ret_rows = size.ws_row;
    return true;
}

/* ---- the guard ---- */

/* Of a process group of its own, so that a signal to ours does not end both. */
static bool spawn_guard(struct terminal *terminal, int in)
{
    char *const words[] = { CONST_CAST(char *, "belay"),
                            CONST_CAST(char *, TERMINAL_GUARD_COMMAND),
                            NULL };
    char *const no_environment[] = { NULL };
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attributes;
    if (posix_spawn_file_actions_init(&files) != 0) {
        return false;
    }
    if (posix_spawnattr_init(&attributes) != 0) {
        posix_spawn_file_actions_destroy(&files);
        return false;
    }
    /* The terminal first: it is standard input itself. */
    bool good = posix_spawn_file_actions_adddup2(&files, terminal->fd, STDOUT_FILENO) == 0
        && posix_spawn_file_actions_adddup2(&files, in, STDIN_FILENO) == 0
        && posix_spawn_file_actions_addopen(&files, STDERR_FILENO, "/dev/null", O_WRONLY, 0) == 0
        && posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP) == 0
        && posix_spawnattr_setpgroup(&attributes, 0) == 0
        && posix_spawn(
               &terminal->guard_pid, "/proc/self/exe", &files, &attributes, words, no_environment)
            == 0;
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&files);
    return good;
}

/* Without a guard the session goes on: it is the net below the net. */
static void start_guard(struct terminal *terminal)
{
    int ends[2] = { -1, -1 };
    struct err_info err = ERR_INFO_INIT;
    if (pipe2(ends, O_CLOEXEC) != 0) {
        return;
    }
    bool good = spawn_guard(terminal, ends[0])
        && fd_write_all(ends[1], &terminal->modes, sizeof(terminal->modes), &err) == ERR_OK;
    fd_close(&ends[0]);
    if (good) {
        terminal->guard = ends[1];
    } else {
        fd_close(&ends[1]);
    }
}

static void stop_guard(struct terminal *terminal)
{
    static const char done[] = { DONE };
    struct err_info err = ERR_INFO_INIT;
    if (terminal->guard >= 0) {
        (void)!fd_write_all(terminal->guard, done, sizeof(done), &err);
        fd_close(&terminal->guard);
    }
    if (terminal->guard_pid > 0) {
        (void)waitpid(terminal->guard_pid, NULL, 0);
    }
}

/* As a background process group it may set modes only while SIGTTOU is blocked. */
static void set_from_background(int fd, const struct termios *modes)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTTOU);
    (void)pthread_sigmask(SIG_BLOCK, &set, NULL);
    (void)tcsetattr(fd, TCSANOW, modes);
}

static bool is_same(const struct termios *a, const struct termios *b)
{
    return a->c_iflag == b->c_iflag && a->c_oflag == b->c_oflag && a->c_cflag == b->c_cflag
        && a->c_lflag == b->c_lflag && memcmp(a->c_cc, b->c_cc, sizeof(a->c_cc)) == 0;
}

/* The last word of the one we guard; 0: it has said none of its end. */
static char read_words(int in_fd, bool *ret_has_screen)
{
    struct err_info err = ERR_INFO_INIT;
    size_t bytes = 0;
    char word = 0;
    *ret_has_screen = false;
    while (fd_read_full(in_fd, &word, 1, &bytes, &err) == ERR_OK && bytes == 1) {
        if (word == DONE) {
            return word;
        }
        *ret_has_screen = *ret_has_screen || word == SCREEN;
    }
    return 0;
}

int terminal_guard(int in_fd, int terminal_fd)
{
    struct modes modes;
    struct termios now;
    struct err_info err = ERR_INFO_INIT;
    size_t bytes = 0;
    bool has_screen = false;
    if (fd_read_full(in_fd, &modes, sizeof(modes), &bytes, &err) != ERR_OK
        || bytes != sizeof(modes)) {
        return 1;
    }
    if (read_words(in_fd, &has_screen) == DONE) {
        return 0;
    }
    if (has_screen) {
        (void)!fd_write_all(terminal_fd, LEAVE_SCREEN, sizeof(LEAVE_SCREEN) - 1, &err);
    }
    /* A shell that has set modes of its own meanwhile is left alone. */
    if (tcgetattr(terminal_fd, &now) == 0 && is_same(&now, &modes.raw)) {
        set_from_background(terminal_fd, &modes.before);
    }
    return 0;
}

/* ---- raw mode ---- */

enum err_code terminal_open(int fd, struct terminal **ret_terminal, struct err_info *err)
{
    struct terminal *terminal = mem_alloc(sizeof(*terminal));
    terminal->fd = fd;
    terminal->guard = -1;
    if (tcgetattr(fd, &terminal->modes.before) != 0) {
        int number = errno;
        mem_free(terminal);
        return ERR_SET_ERRNO(err, ERR_UNSUPPORTED, number, "the terminal's modes");
    }
    struct termios raw = terminal->modes.before;
    cfmakeraw(&raw);
    raw.c_cc[VMIN] = 1;
    raw.c_cc[VTIME] = 0;
    terminal->modes.raw = raw;
    start_guard(terminal);
    if (tcsetattr(fd, TCSADRAIN, &raw) != 0) {
        int number = errno;
        terminal_close(terminal);
        return ERR_SET_ERRNO(err, ERR_UNSUPPORTED, number, "raw mode of the terminal");
    }
    *ret_terminal = terminal;
    return ERR_OK;
}

enum err_code terminal_take_screen(struct terminal *terminal, struct err_info *err)
{
    static const char word[] = { SCREEN };
    if (terminal->guard >= 0) {
        TRY(fd_write_all(terminal->guard, word, sizeof(word), err));
    }
    terminal->has_screen = true;
    return fd_write_all(terminal->fd, TAKE_SCREEN, sizeof(TAKE_SCREEN) - 1, err);
}

void terminal_close(struct terminal *terminal)
{
    if (terminal != NULL) {
        struct err_info err = ERR_INFO_INIT;
        if (terminal->has_screen) {
            (void)!fd_write_all(terminal->fd, LEAVE_SCREEN, sizeof(LEAVE_SCREEN) - 1, &err);
        }
        (void)tcsetattr(terminal->fd, TCSADRAIN, &terminal->modes.before);
        stop_guard(terminal);
        mem_free(terminal);
    }
}
