/*
 * A network of the test's own: loopback up, with 10.77.0.1, 93.184.216.34 (as if this machine were
 * in public) and fd77::1 on it, and no way out.
 */
#ifndef TESTS_SUPPORT_NETNS_H
#define TESTS_SUPPORT_NETNS_H

/* This process's, once; skips the test (and says why) where the kernel does not allow it. */
void test_netns_enter(void);

#endif
