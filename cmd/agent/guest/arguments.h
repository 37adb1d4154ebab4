/* The command lines of what is run for a loan. Nothing secret stands in them. Pure. */
#ifndef CMD_AGENT_GUEST_ARGUMENTS_H
#define CMD_AGENT_GUEST_ARGUMENTS_H

#include "cmd/agent/guest/loan.h"

enum {
    ARGUMENTS_MAX = 32
};

/* What guests have of the lender's options, beside its environment; NULL: not set. Borrowed for as
 * long as there are guests. */
struct guest_setup {
    const char *images; /* folder of root file systems; required */
    const char *cgroup;
    const char *limits;
    uint64_t io_rate; /* 0: not set */
    const char *resolvers;
    const char *log_level;
    const char *config_file;
};

struct arguments {
    char *list[ARGUMENTS_MAX + 1]; /* NULL at the end */
    size_t count;
};

/* Of the agent that has the loan; has_join: it is to enroll first. */
void arguments_run(
    const struct guest_setup *setup,
    const char *folder,
    unsigned number,
    const struct loan *loan,
    bool has_join,
    struct arguments *ret_arguments);

/* Of what ends that agent's sandboxes and forgets its keys. */
void arguments_reset(
    const struct guest_setup *setup,
    const char *folder,
    unsigned number,
    struct arguments *ret_arguments);

void arguments_deinit(struct arguments *arguments);

#endif
