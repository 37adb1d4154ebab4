/*
 * Control groups by direct file access. Each controller may be on the unified hierarchy (version
 * 2), on one of its own (version 1) or absent; a host may mix them. Placement, kill and "is it
 * empty" use the unified hierarchy wherever it is mounted, with whatever controllers.
 *
 * One group per sandbox and hierarchy. The agent makes it and sets its limits, the shim puts the
 * sandbox into it, reads it and removes it at the end; the agent removes what a dead shim left.
 */
#ifndef COMMON_SANDBOX_CGROUP_H
#define COMMON_SANDBOX_CGROUP_H

#include "common/sandbox/message.h"

#include <sys/types.h>

enum cgroup_controller {
    CGROUP_CORE, /* the unified hierarchy itself */
    CGROUP_MEMORY,
    CGROUP_PIDS,
    CGROUP_CPU,
    CGROUP_CPUACCT, /* on version 2 the core counts */
    CGROUP_IO,
    CGROUP_CONTROLLER_COUNT
};

struct cgroup_place {
    unsigned version; /* 0: absent */
    char *dir;        /* absolute; of the host: the folder in which groups are made */
};

/* Of the host, or of one sandbox. */
struct cgroup_set {
    struct cgroup_place places[CGROUP_CONTROLLER_COUNT];
};

struct cgroup_limits {
    uint64_t memory_bytes; /* 0: none, here and below */
    uint64_t pids;
    uint64_t cpu_milli; /* thousandths of one processor */
    uint64_t io_bytes_per_second;
    dev_t io_device; /* the whole disk that the workspace is on, no partition of it */
};

struct cgroup_usage {
    uint64_t cpu_us;
    uint64_t memory_bytes;
    uint64_t memory_peak_bytes;
    uint64_t read_bytes; /* from the host's disks, and to them */
    uint64_t write_bytes;
    uint64_t pids;
    uint64_t pids_peak;
    uint64_t oom_kills;
};

const char *cgroup_controller_name(enum cgroup_controller controller);

/*
 * Where this process may make groups. On a host with version 2 controllers it moves this process
 * into a leaf of its own first, since a group with processes cannot hand controllers on; a
 * controller for which that fails counts as absent. Never fails: everything may be absent.
 *
 * unified: a group of the version 2 hierarchy that was handed to us, whose processes are moved into
 * its leaf. NULL, or it is not there: our own.
 */
void cgroup_host_detect(const char *unified, struct cgroup_set *ret_host);

/* Only what stands in these texts (/proc/self/mountinfo and /proc/self/cgroup); touches no group.
 * On version 2 a process in an agent's leaf may make groups beside that, not in it. */
void cgroup_host_parse(struct str_view mountinfo, struct str_view own, struct cgroup_set *ret_host);

/* ERR_UNSUPPORTED: a limit is asked for and its controller is absent. */
enum err_code cgroup_set_create(
    const struct cgroup_set *host,
    const char *name,
    const struct cgroup_limits *limits,
    struct cgroup_set *ret_set,
    struct err_info *err) MUST_CHECK;

/*
 * A device of the sandbox's own, the loop device of its workspace: the rate of the limits holds
 * there as well (0: none, and what is written there is counted, where that needs a rule). On the
 * host's disk alone it would not hold writers, whose bytes the loop device takes into memory.
 */
enum err_code cgroup_set_add_disk(
    const struct cgroup_set *set, dev_t device, uint64_t bytes_per_second, struct err_info *err)
    MUST_CHECK;

void cgroup_set_deinit(struct cgroup_set *set); /* frees the paths, touches no group */

/* As a list for the spec, and back. */
void cgroup_set_format(const struct cgroup_set *set, struct buf *list);
enum err_code cgroup_set_parse(
    const struct message_list *list, struct cgroup_set *ret_set, struct err_info *err) MUST_CHECK;

/* The folder of the unified hierarchy for CLONE_INTO_CGROUP, or -1: there is none. */
int cgroup_set_open_core(const struct cgroup_set *set);

/*
 * Moves the calling process, which has one thread: version 1 hierarchies alone, or all (for who was
 * not cloned into the core). In version 1 nobody else's move is as fast: the kernel stops all of
 * the host's threads from starting others meanwhile, which takes it several milliseconds, but for
 * who moves one thread, itself (cgroup1_procs_write, "If we migrate a single thread").
 */
enum err_code cgroup_set_join(const struct cgroup_set *set, bool with_core, struct err_info *err)
    MUST_CHECK;
/* As cgroup_set_join, somebody else. */
enum err_code cgroup_set_attach(
    const struct cgroup_set *set, pid_t pid, bool with_core, struct err_info *err) MUST_CHECK;

void cgroup_set_measure(const struct cgroup_set *set, struct cgroup_usage *ret_usage);

void cgroup_set_kill(const struct cgroup_set *set);
/* false: something still lives in one of them; try again. */
bool cgroup_set_remove(const struct cgroup_set *set);

#endif
