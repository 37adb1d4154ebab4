/*
 * What a sandbox with the host's tools sees of the host: which files, and whether they are still
 * those that they were.
 */
#ifndef COMMON_SANDBOX_HOST_FILES_H
#define COMMON_SANDBOX_HOST_FILES_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

enum {
    HOST_FILES_MAX = 64
};

/* Folders of the host's programs, below "/"; the list ends with NULL. */
extern const char *const host_files_programs[];
/* The files of /etc that they need and that hold nothing secret. */
extern const char *const host_files_etc[];

/* What tells one state of a file from another; all zero for one that is not there. Of a folder only
 * which one it is. */
struct host_file {
    uint64_t device;
    uint64_t number;
    uint64_t mode;
    uint64_t bytes;
    uint64_t modified_s;
    uint64_t modified_ns;
    uint64_t changed_s;
    uint64_t changed_ns;
};

struct host_files {
    struct host_file files[HOST_FILES_MAX];
};

void host_files_look(struct host_files *ret_files);
bool host_files_same(const struct host_files *one, const struct host_files *other);

#endif
