#include "common/sql/sqlite_mapping.h"
#include "tests/support/test.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

/* A page of a file that has no room behind it any more. */
static void store_behind_the_end(void)
{
    const size_t size = (size_t)sysconf(_SC_PAGESIZE);
    int fd = memfd_create("mapped", MFD_CLOEXEC);
    if (fd < 0 || ftruncate(fd, (off_t)size) != 0) {
        _exit(1);
    }
    volatile char *page = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (page == MAP_FAILED || ftruncate(fd, 0) != 0) {
        _exit(1);
    }
    page[0] = 1;
    _exit(0);
}

static void send_the_signal(void)
{
    const struct rlimit no_core = { 0, 0 };
    (void)setrlimit(RLIMIT_CORE, &no_core);
    (void)raise(SIGBUS);
    (void)raise(SIGBUS);
    _exit(0);
}

/* Its wait status, and what it said. */
static int run_child(void (*run)(void), char *said, size_t size)
{
    int ends[2];
    int status = 0;
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    pid_t child = fork();
    if (child == 0) {
        (void)dup2(ends[1], STDERR_FILENO);
        sqlite_mapping_end_in_words();
        run();
    }
    (void)close(ends[1]);
    ssize_t got = read(ends[0], said, size - 1);
    said[got < 0 ? 0 : got] = '\0';
    (void)close(ends[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

static void test_a_store_without_room_ends_in_words(void **state)
{
    (void)state;
    char said[512];
    int status = run_child(store_behind_the_end, said, sizeof(said));
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), SQLITE_MAPPING_EXIT_STATUS);
    assert_non_null(strstr(said, "the disk is full"));
}

static void test_another_bus_error_stays_one(void **state)
{
    (void)state;
    char said[512];
    int status = run_child(send_the_signal, said, sizeof(said));
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGBUS);
    assert_string_equal(said, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_store_without_room_ends_in_words),
        cmocka_unit_test(test_another_bus_error_stays_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
