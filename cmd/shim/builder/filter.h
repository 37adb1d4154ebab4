/*
 * The system call filter every sandbox runs under: calls that reach for the host are refused, new
 * namespaces are refused, sockets are of four families alone, and every call newer than those that
 * were reviewed does not exist. Built from tables, without a library; loaded once, before init, so
 * that no program of the sandbox can have missed it.
 */
#ifndef SHIM_BUILDER_FILTER_H
#define SHIM_BUILDER_FILTER_H

#include "common/base/err.h"

#include <linux/filter.h>

enum {
    FILTER_INSTRUCTIONS_MAX = 320,
    FILTER_NEWEST_CALL = 450 /* set_mempolicy_home_node, Linux 5.17 */
};

struct filter {
    struct sock_filter code[FILTER_INSTRUCTIONS_MAX];
    unsigned short count;
};

/* allow_debug: ptrace and process_vm_* pass. */
void filter_build(struct filter *filter, bool allow_debug);

/* For this process and all that come from it; no_new_privs must be set. Returns 0 or an errno. */
int filter_load(const struct filter *filter);

#endif
