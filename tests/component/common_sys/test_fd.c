#include "common/sys/fd.h"
#include "tests/support/test.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

static bool is_open(int fd)
{
    return fcntl(fd, F_GETFD) >= 0;
}

static void test_scope_closes_unless_stolen(void **state)
{
    (void)state;
    int closed = -1;
    int stolen = -1;
    {
        AUTO_FD int first = open("/dev/null", O_RDONLY | O_CLOEXEC);
        AUTO_FD int second = open("/dev/null", O_RDONLY | O_CLOEXEC);
        AUTO_FD int never = -1;
        assert_true(first >= 0 && second >= 0 && never == -1);
        closed = first;
        stolen = fd_steal(&second);
        assert_int_equal(second, -1);
    }
    assert_false(is_open(closed));
    assert_true(is_open(stolen));
    errno = ERANGE;
    fd_close(&stolen);
    assert_int_equal(stolen, -1);
    assert_int_equal(errno, ERANGE);
    fd_close(&stolen);
}

struct writer {
    int fd;
    size_t bytes;
};

static void *write_pattern(void *context)
{
    struct writer *writer = context;
    static const char block[100000] = { 'x' };
    enum err_code code = fd_write_all(writer->fd, block, writer->bytes, NULL);
    (void)close(writer->fd);
    return code == ERR_OK ? writer : NULL;
}

/* More than a pipe holds, so that writes and reads are partial. */
static void test_whole_writes_and_reads(void **state)
{
    (void)state;
    int ends[2];
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    struct writer writer = { ends[1], 100000 };
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, write_pattern, &writer), 0);
    static char data[100001];
    size_t got = 0;
    struct err_info err = ERR_INFO_INIT;
    assert_ok_err(err, fd_read_full(ends[0], data, sizeof(data), &got, &err));
    assert_int_equal(got, 100000);
    assert_int_equal(data[0], 'x');
    void *result = NULL;
    assert_int_equal(pthread_join(thread, &result), 0);
    assert_non_null(result);
    (void)close(ends[0]);
}

static void test_errors_are_told_apart(void **state)
{
    (void)state;
    struct err_info err = ERR_INFO_INIT;
    size_t got = 7;
    char byte = 0;
    assert_code(ERR_UNAVAILABLE, fd_read_full(-1, &byte, 1, &got, &err));
    assert_int_equal(got, 7);
    AUTO_FD int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
    if (full >= 0) {
        assert_code(ERR_LIMIT, fd_write_all(full, "x", 1, &err));
        assert_non_null(strstr(err.text, "No space left"));
    }
    int ends[2];
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    (void)signal(SIGPIPE, SIG_IGN);
    (void)close(ends[0]);
    assert_code(ERR_UNAVAILABLE, fd_write_all(ends[1], "x", 1, &err));
    (void)close(ends[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scope_closes_unless_stolen),
        cmocka_unit_test(test_whole_writes_and_reads),
        cmocka_unit_test(test_errors_are_told_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
