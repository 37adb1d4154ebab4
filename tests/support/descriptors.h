/* A process that may open no further descriptor, for as long as a test needs it. */
#ifndef TESTS_SUPPORT_DESCRIPTORS_H
#define TESTS_SUPPORT_DESCRIPTORS_H

#include <sys/resource.h>

struct test_descriptors {
    struct rlimit before;
};

/* All but so many (0 or 1); those that are open stay so. */
void test_descriptors_take(struct test_descriptors *descriptors, int room);
void test_descriptors_give_back(const struct test_descriptors *descriptors);

#endif
