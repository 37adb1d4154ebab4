#include "tests/support/test.h"

#include "common/base/id.h"
#include "common/base/mem.h"
#include "common/base/str.h"
#include "common/sys/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static struct mono_us test_mono(const struct clock *clock)
{
    return (struct mono_us){ ((const struct test_clock *)(const void *)clock)->mono };
}

static struct wall_us test_wall(const struct clock *clock)
{
    return (struct wall_us){ ((const struct test_clock *)(const void *)clock)->wall };
}

void test_clock_init(struct test_clock *clock)
{
    clock->clock.mono = test_mono;
    clock->clock.wall = test_wall;
    clock->mono = 1000 * US_PER_SECOND;
    clock->wall = INT64_C(1767225600) * US_PER_SECOND;
}

void test_clock_advance(struct test_clock *clock, int64_t us)
{
    clock->mono += us;
    clock->wall += us;
}

char *test_dir_create(void)
{
    const char *base = getenv("TMPDIR");
    char *dir = mem_printf("%s/belay-test-XXXXXX", base == NULL ? "/tmp" : base);
    if (mkdtemp(dir) == NULL) {
        fail_msg("mkdtemp: %s", dir);
    }
    return dir;
}

char *test_dir_create_in_memory(void)
{
    char *dir = mem_strdup("/dev/shm/belay-test-XXXXXX");
    if (mkdtemp(dir) != NULL) {
        return dir;
    }
    mem_free(dir);
    return test_dir_create();
}

void test_copy_file(const char *from, const char *to)
{
    struct stat info;
    AUTO_FD int in = open(from, O_RDONLY | O_CLOEXEC);
    AUTO_FD int out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    assert_true(in >= 0 && out >= 0);
    assert_int_equal(fstat(in, &info), 0);
    for (off_t done = 0; done < info.st_size;) {
        assert_true(sendfile(out, in, &done, (size_t)(info.st_size - done)) > 0);
    }
}

static int remove_entry(const char *path, const struct stat *info, int type, struct FTW *ftw)
{
    (void)info;
    (void)type;
    (void)ftw;
    return remove(path);
}

void test_dir_remove(char *dir)
{
    (void)nftw(dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    mem_free(dir);
}

const char *test_source_dir(void)
{
    return BELAY_SOURCE_DIR;
}

static int run_psql(const char *server, const char *command)
{
    char *const args[] = { (char *)(uintptr_t) "psql", (char *)(uintptr_t) "-X",
                           (char *)(uintptr_t) "-q",   (char *)(uintptr_t) "-d",
                           (char *)(uintptr_t)server,  (char *)(uintptr_t) "-c",
                           (char *)(uintptr_t)command, NULL };
    pid_t child = 0;
    extern char **environ;
    if (posix_spawnp(&child, "psql", NULL, NULL, args, environ) != 0) {
        return -1;
    }
    int status = 0;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

char *test_postgres_create(void)
{
    const char *server =
        getenv("BELAY_TEST_POSTGRES"); /* postgresql://user@host:port/postgres?... */
    if (server == NULL || server[0] == '\0') {
        if (getenv("BELAY_TEST_NO_POSTGRES") == NULL) {
            fail_msg("BELAY_TEST_POSTGRES is not set: run the tests through tools/test");
        }
        return NULL;
    }
    uint64_t number = 0;
    id_random(&number, sizeof(number));
    char name[32];
    (void)snprintf(name, sizeof(name), "t_%016llx", (unsigned long long)number);
    char *command = mem_printf("CREATE DATABASE %s", name);
    int failed = run_psql(server, command);
    mem_free(command);
    assert_int_equal(failed, 0);
    const char *slash = strrchr(server, '/');
    const char *query = strchr(server, '?');
    assert_non_null(slash);
    if (query != NULL
        && slash > query) { /* a socket folder in the query: the path ends before it */
        slash = query;
        while (slash > server && *slash != '/') {
            slash--;
        }
    }
    return mem_printf("%.*s/%s%s", (int)(slash - server), server, name, query == NULL ? "" : query);
}

void test_postgres_drop(char *url)
{
    if (url == NULL) {
        return;
    }
    const char *name = strstr(url, "/t_");
    assert_non_null(name);
    char *command = mem_printf("DROP DATABASE IF EXISTS %.18s WITH (FORCE)", name + 1);
    (void)run_psql(getenv("BELAY_TEST_POSTGRES"), command);
    mem_free(command);
    mem_free(url);
}

/* Reads to the end; keeps what fits. */
static void drain(int fd, char *text, size_t bytes)
{
    char spill[512];
    size_t used = 0;
    for (;;) {
        bool room = text != NULL && used + 1 < bytes;
        ssize_t got = read(fd, room ? text + used : spill, room ? bytes - 1 - used : sizeof(spill));
        if (got == 0 || (got < 0 && errno != EINTR)) {
            break;
        }
        used += got > 0 && room ? (size_t)got : 0;
    }
    if (text != NULL) {
        text[used] = '\0';
    }
}

int test_in_child(void (*fn)(void *context), void *context, char *ret_stderr, size_t bytes)
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    (void)fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        (void)dup2(ends[1], STDERR_FILENO);
        (void)close(ends[0]);
        (void)close(ends[1]);
        (void)signal(SIGABRT, SIG_DFL); /* cmocka catches it */
        fn(context);
        _exit(0);
    }
    (void)close(ends[1]);
    drain(ends[0], ret_stderr, bytes);
    (void)close(ends[0]);
    int status = 0;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    return status;
}

bool test_aborts(void (*fn)(void *context), void *context, char *ret_stderr, size_t bytes)
{
    int status = test_in_child(fn, context, ret_stderr, bytes);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

void test_capture_stderr(void (*fn)(void *context), void *context, char *ret_text, size_t bytes)
{
    int ends[2];
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    int saved = dup(STDERR_FILENO);
    assert_true(saved >= 0 && dup2(ends[1], STDERR_FILENO) >= 0);
    fn(context);
    (void)dup2(saved, STDERR_FILENO);
    (void)close(saved);
    (void)close(ends[1]);
    drain(ends[0], ret_text, bytes);
    (void)close(ends[0]);
}

void test_allocation_sweep(bool (*fn)(void *context), void *context, long limit)
{
    for (long round = 0; round < limit; round++) {
        mem_fail_after(round);
        bool done = fn(context);
        mem_fail_after(-1);
        if (done) {
            return;
        }
    }
    fail_msg("still failing after %ld rounds", limit);
}

long test_every(int argc, char **argv)
{
    uint64_t every = 0;
    bool is_given = argc == 3 && strcmp(argv[1], "--every") == 0
        && str_parse_uint64(str_of(argv[2]), LONG_MAX, &every) == ERR_OK && every > 0;
    if (argc > 1 && !is_given) {
        (void)fprintf(stderr, "usage: [--every N]\n");
        exit(64);
    }
    return (long)every;
}
