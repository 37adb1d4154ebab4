/*
 * Test support: cmocka with its include order fixed, a clock that stands still, temporary folders,
 * and the allocation-failure sweep.
 */
#ifndef TESTS_SUPPORT_TEST_H
#define TESTS_SUPPORT_TEST_H

#include "common/base/time.h"

/* cmocka.h needs these before it. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
/* clang-format on */

#define assert_ok(expression)                                             \
    do {                                                                  \
        enum err_code assert_code_ = (expression);                        \
        if (assert_code_ != ERR_OK) {                                     \
            print_error("%s: %s\n", #expression, err_name(assert_code_)); \
        }                                                                 \
        assert_int_equal(assert_code_, ERR_OK);                           \
    } while (0)

#define assert_code(expected, expression)                                                          \
    do {                                                                                           \
        enum err_code assert_code_ = (expression);                                                 \
        if (assert_code_ != (expected)) {                                                          \
            print_error(                                                                           \
                "%s: %s, expected %s\n", #expression, err_name(assert_code_), err_name(expected)); \
        }                                                                                          \
        assert_int_equal(assert_code_, (expected));                                                \
    } while (0)

/* As assert_ok, and prints the text of err (a struct err_info) on failure. */
#define assert_ok_err(err, expression)                                                    \
    do {                                                                                  \
        enum err_code assert_code_ = (expression);                                        \
        if (assert_code_ != ERR_OK) {                                                     \
            print_error("%s: %s: %s\n", #expression, err_name(assert_code_), (err).text); \
        }                                                                                 \
        assert_int_equal(assert_code_, ERR_OK);                                           \
    } while (0)

/* A clock that moves only by test_clock_advance. */
struct test_clock {
    struct clock clock; /* first, so that &test_clock.clock leads back */
    int64_t mono;
    int64_t wall;
};

void test_clock_init(struct test_clock *clock); /* 2026-01-01T00:00:00Z */
void test_clock_advance(struct test_clock *clock, int64_t us);

/* Fresh folder with mode 0700 below $TMPDIR; the caller frees the text with mem_free. */
char *test_dir_create(void);
void test_dir_remove(char *dir); /* everything below it, and the text */

/* As test_dir_create, for thousands of small files that are written through: on a file system in
 * memory, if the machine has one. */
char *test_dir_create_in_memory(void);

void test_copy_file(const char *from, const char *to); /* as it is now; `to` is new, mode 0600 */

/* Path of a helper given by the build: the repository's root. */
const char *test_source_dir(void);

/*
 * URL of a PostgreSQL database of the test's own ($BELAY_TEST_POSTGRES names the server, an
 * unprivileged throwaway one); NULL when the run has none, which only `tools/test --no-postgres`
 * allows. Remove it with test_postgres_drop.
 */
char *test_postgres_create(void);
void test_postgres_drop(char *url);

/*
 * Runs fn(context) in a child process and returns its wait status, so that a test can see an abort;
 * what the child writes on standard error goes into ret_stderr (may be NULL), cut at bytes - 1.
 */
int test_in_child(void (*fn)(void *context), void *context, char *ret_stderr, size_t bytes);

/* true: the child ended by abort(). */
bool test_aborts(void (*fn)(void *context), void *context, char *ret_stderr, size_t bytes);

/* Runs fn(context) with standard error going into ret_text (a pipe: at most 60 KiB). */
void test_capture_stderr(void (*fn)(void *context), void *context, char *ret_text, size_t bytes);

/* Runs fn with the first, second, ... mem_try_* allocation failing until it returns true (done
 * without failure); at most `limit` rounds. */
void test_allocation_sweep(bool (*fn)(void *context), void *context, long limit);

/* Of the command line `[--every N]`, which sweeps have: N (1: try all); 0: as many as usual. Else
 * the process ends. */
long test_every(int argc, char **argv);

#endif
