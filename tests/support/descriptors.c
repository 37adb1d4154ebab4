#include "tests/support/descriptors.h"

#include "tests/support/test.h"

#include <unistd.h>

void test_descriptors_take(struct test_descriptors *descriptors, int room)
{
    int next = dup(STDERR_FILENO); /* the lowest that is free */
    assert_true(next >= 0);
    assert_int_equal(close(next), 0);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &descriptors->before), 0);
    const struct rlimit limit = { .rlim_cur = (rlim_t)(next + room),
                                  .rlim_max = descriptors->before.rlim_max };
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

void test_descriptors_give_back(const struct test_descriptors *descriptors)
{
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &descriptors->before), 0);
}
