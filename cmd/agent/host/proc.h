/*
 * The kernel's text files as numbers. Pure functions over text: no I/O, no allocation, any thread.
 * Lines that are damaged or unknown are passed over; an answer that has nothing of what it should
 * hold is ERR_CORRUPT. Sizes are bytes, times are ticks of USER_HZ or microseconds as named.
 */
#ifndef CMD_AGENT_HOST_PROC_H
#define CMD_AGENT_HOST_PROC_H

#include "common/base/str.h"

enum {
    PROC_NAME_BYTES = 64,   /* of a block device or a network interface */
    PROC_MOUNT_BYTES = 256, /* of a mount point; longer ones are passed over */
    PROC_CORES_MAX = 256,
    PROC_DISKS_MAX = 64,
    PROC_MOUNTS_MAX = 32,
    PROC_INTERFACES_MAX = 64
};

struct proc_cpu {
    uint64_t user;   /* with nice */
    uint64_t system; /* with irq and softirq */
    uint64_t idle;
    uint64_t iowait;
    uint64_t steal;
};

struct proc_stat {
    struct proc_cpu total;
    struct proc_cpu cores[PROC_CORES_MAX];
    unsigned core_count;
};

struct proc_load {
    double load1;
    double load5;
    double load15;
    uint64_t tasks; /* processes and threads */
};

struct proc_memory {
    uint64_t total;
    uint64_t available; /* estimated from free and caches on kernels without MemAvailable */
    uint64_t swap_total;
    uint64_t swap_free;
};

struct proc_disk {
    char name[PROC_NAME_BYTES];
    uint64_t read_bytes;
    uint64_t written_bytes;
    uint64_t busy_ms;
};

struct proc_interface {
    char name[PROC_NAME_BYTES];
    uint64_t received_bytes;
    uint64_t received_errors; /* with drops */
    uint64_t sent_bytes;
    uint64_t sent_errors;
};

struct proc_mount {
    char source[PROC_MOUNT_BYTES];
    char point[PROC_MOUNT_BYTES];
};

struct proc_cgroup {
    char unified[PROC_MOUNT_BYTES]; /* path in cgroup v2, "" when not there */
    char memory[PROC_MOUNT_BYTES];  /* path in the v1 memory hierarchy, "" when not there */
    char cpu[PROC_MOUNT_BYTES];     /* path in the v1 cpuacct hierarchy, "" when not there */
};

enum err_code proc_parse_stat(struct str_view text, struct proc_stat *ret_stat) MUST_CHECK;
enum err_code proc_parse_load(struct str_view text, struct proc_load *ret_load) MUST_CHECK;
enum err_code proc_parse_memory(struct str_view text, struct proc_memory *ret_memory) MUST_CHECK;
enum err_code proc_parse_uptime(struct str_view text, int64_t *ret_us) MUST_CHECK;

/* Each fills at most max rows and returns how many; loop and ram devices without traffic are left
 * out. */
unsigned proc_parse_disks(struct str_view text, struct proc_disk *rows, unsigned max);
unsigned proc_parse_interfaces(struct str_view text, struct proc_interface *rows, unsigned max);

/* File systems on block devices (and zfs, btrfs, an overlay root), each source once. */
unsigned proc_parse_mounts(struct str_view text, struct proc_mount *rows, unsigned max);

/* /proc/self/cgroup, versions 1 and 2 and mixed. */
void proc_parse_cgroup(struct str_view text, struct proc_cgroup *ret_cgroup);

/* The number after "name " at the start of a line, as in cpu.stat and /proc/stat. */
enum err_code proc_find_number(struct str_view text, struct str_view name, uint64_t *ret_value)
    MUST_CHECK;

/* One number and perhaps a newline, as most files of /sys hold; a minus sign is allowed. */
enum err_code proc_parse_number(struct str_view text, int64_t *ret_value) MUST_CHECK;

/* The value of NAME=value or NAME="value", as in os-release, unquoted; STR_NONE: not there. */
struct str_view proc_find_release(struct str_view text, struct str_view name);

#endif
