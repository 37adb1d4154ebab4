#include "tools/bench/common/process.h"

#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "common/base/time.h"
#include "common/sys/fd.h"
#include "common/sys/file.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    LOG_BYTES_MAX = 64 * 1024 * 1024,
    LOOK_MS = 10, /* between two looks at a log or at a child that was told to end */
    STOP_LOOKS = 1000,
    FOLDERS_OPEN = 16
};

/* The environment without what would configure our programs; mem_free the array. */
static char **clean_environment(void)
{
    size_t count = 0;
    while (environ[count] != NULL) {
        count++;
    }
    char **clean = mem_alloc_array(count + 1, sizeof(*clean));
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        if (!str_has_prefix(str_of(environ[i]), STR("BELAY_"))) {
            clean[kept++] = environ[i];
        }
    }
    return clean;
}

enum err_code process_start(
    char *const *argv, const char *log, struct process *ret_process, struct err_info *err)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none;
    pid_t pid = 0;
    AUTO_FREE char **environment = clean_environment();
    (void)sigemptyset(&none);
    (void)posix_spawn_file_actions_init(&actions);
    (void)posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    (void)posix_spawn_file_actions_addopen(
        &actions, STDOUT_FILENO, log, O_WRONLY | O_CREAT | O_APPEND, 0600);
    (void)posix_spawn_file_actions_adddup2(&actions, STDOUT_FILENO, STDERR_FILENO);
    (void)posix_spawnattr_init(&attributes);
    (void)posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
    (void)posix_spawnattr_setsigmask(&attributes, &none);
    int failed = posix_spawn(&pid, argv[0], &actions, &attributes, argv, environment);
    (void)posix_spawnattr_destroy(&attributes);
    (void)posix_spawn_file_actions_destroy(&actions);
    if (failed != 0) {
        return ERR_SET_ERRNO(err, ERR_UNAVAILABLE, failed, "%s: it does not start", argv[0]);
    }
    *ret_process = (struct process){ .pid = pid, .log = mem_strdup(log) };
    return ERR_OK;
}

/* The first line of text that holds mark, else STR_NONE and the last line in *ret_last. */
static struct str_view find_line(struct str_view text, const char *mark, struct str_view *ret_last)
{
    struct str_view line = STR_NONE;
    struct str_view rest = text;
    while (str_cut(rest, '\n', &line, &rest)) {
        if (memmem(line.ptr, line.len, mark, strlen(mark)) != NULL) {
            return line;
        }
        *ret_last = line;
    }
    return STR_NONE;
}

static bool has_ended(struct process *process)
{
    if (process->pid != 0 && waitpid(process->pid, NULL, WNOHANG) == process->pid) {
        process->pid = 0;
    }
    return process->pid == 0;
}

enum err_code process_await(
    struct process *process,
    const char *mark,
    int64_t timeout_us,
    char *ret_line,
    size_t line_bytes,
    struct err_info *err)
{
    int64_t deadline = clock_mono(clock_system()).value + timeout_us;
    for (;;) {
        AUTO_BUF struct buf text = BUF_INIT(LOG_BYTES_MAX);
        struct str_view last = STR("");
        bool ended = has_ended(process); /* before the look, so that its last words are seen */
        TRY(file_read(process->log, LOG_BYTES_MAX, &text, err));
        struct str_view line = find_line(buf_view(&text), mark, &last);
        if (line.ptr != NULL) {
            return str_copy(line, ret_line, line_bytes);
        }
        if (ended) {
            return ERR_SET(err, ERR_UNAVAILABLE, "it ended: %.*s", STR_ARG(last));
        }
        if (clock_mono(clock_system()).value > deadline) {
            return ERR_SET(err, ERR_TIMEOUT, "no '%s' in time; last: %.*s", mark, STR_ARG(last));
        }
        (void)poll(NULL, 0, LOOK_MS);
    }
}

void process_stop(struct process *process)
{
    if (process->pid != 0) {
        (void)kill(process->pid, SIGTERM);
    }
    for (int i = 0; i < STOP_LOOKS && !has_ended(process); i++) {
        (void)poll(NULL, 0, LOOK_MS);
    }
    if (process->pid != 0) {
        (void)kill(process->pid, SIGKILL);
        (void)waitpid(process->pid, NULL, 0);
        process->pid = 0;
    }
    mem_free(STEAL(process->log));
}

uint64_t process_line_number(const char *line, const char *name)
{
    AUTO_FREE char *key = mem_printf("\"%s\":", name);
    const char *at = strstr(line, key);
    return at == NULL ? 0 : strtoull(at + strlen(key), NULL, 10);
}

static bool is_called(pid_t pid, const char *name)
{
    char path[64];
    AUTO_BUF struct buf text = BUF_INIT(64);
    (void)snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
    return file_read(path, 32, &text, NULL) == ERR_OK
        && str_equal(str_trim(buf_view(&text)), str_of(name));
}

bool process_keep_on_core(pid_t pid, const char *name, int core)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET((size_t)core, &set);
    return (name == NULL || is_called(pid, name)) && sched_setaffinity(pid, sizeof(set), &set) == 0;
}

int64_t process_cpu_us(pid_t pid)
{
    clockid_t clock = CLOCK_PROCESS_CPUTIME_ID;
    struct timespec time = { 0 };
    if ((pid != 0 && clock_getcpuclockid(pid, &clock) != 0) || clock_gettime(clock, &time) != 0) {
        return 0;
    }
    return time.tv_sec * US_PER_SECOND + time.tv_nsec / 1000;
}

int64_t process_memory_bytes(pid_t pid, const char *field)
{
    AUTO_FREE char *path = mem_printf("/proc/%d/smaps_rollup", pid == 0 ? getpid() : pid);
    AUTO_BUF struct buf text = BUF_INIT(LOG_BYTES_MAX);
    struct str_view line = STR_NONE;
    if (file_read(path, LOG_BYTES_MAX, &text, NULL) != ERR_OK) {
        return -1;
    }
    for (struct str_view rest = buf_view(&text); str_cut(rest, '\n', &line, &rest);) {
        struct str_view name = STR_NONE;
        struct str_view value = STR_NONE;
        int64_t kilobytes = 0;
        if (str_cut(line, ':', &name, &value) && str_equal(name, str_of(field))
            && str_cut(str_trim(value), ' ', &value, &name)
            && str_parse_int64(value, 0, INT64_MAX / 1024, &kilobytes) == ERR_OK) {
            return kilobytes * 1024;
        }
    }
    return -1;
}

char *process_program(const char *name)
{
    const char *folder = getenv("BELAY_BIN");
    if (folder != NULL) {
        return mem_printf("%s/%s", folder, name);
    }
    char self[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", self, sizeof(self) - 1);
    self[length < 0 ? 0 : length] = '\0';
    char *slash = strrchr(self, '/');
    if (slash != NULL) {
        *slash = '\0';
    }
    return mem_printf("%s/../bin/%s", self, name);
}

char *process_folder_make(const char *bench)
{
    const char *parent = getenv("TMPDIR");
    char *path = mem_printf("%s/belay-bench-%s-XXXXXX", parent == NULL ? "/tmp" : parent, bench);
    if (mkdtemp(path) == NULL) {
        (void)fprintf(stderr, "%s: no such folder can be made\n", path);
        exit(1);
    }
    return path;
}

static int remove_one(const char *path, const struct stat *info, int type, struct FTW *place)
{
    (void)info;
    (void)type;
    (void)place;
    (void)remove(path);
    return 0;
}

void process_folder_remove(const char *path)
{
    (void)nftw(path, remove_one, FOLDERS_OPEN, FTW_DEPTH | FTW_PHYS);
}
