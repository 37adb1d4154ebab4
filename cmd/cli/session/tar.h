/*
 * Archives between this machine and a sandbox. Packing reads the operator's own files. Unpacking
 * reads what a hostile sandbox says: nothing is made or changed outside the named target, whatever
 * names, links, types and sizes the archive has.
 */
#ifndef CMD_CLI_SESSION_TAR_H
#define CMD_CLI_SESSION_TAR_H

#include "common/base/str.h"

struct tar_counts {
    uint64_t files;
    uint64_t folders;
    uint64_t links;
    uint64_t bytes;
    uint64_t refused; /* devices, pipes, sockets, links that lead out: not copied */
    char first_refused[256];
};

/*
 * Writes path (a file, link or folder with all below it) as an archive whose one top-level member
 * is called name. ERR_CANCELED: nobody reads out_fd any more.
 */
enum err_code tar_pack(
    const char *path, const char *name, int out_fd, struct tar_counts *counts, struct err_info *err)
    MUST_CHECK;

struct tar_target {
    int folder_fd;      /* the folder the target is in */
    const char *name;   /* what the archive's top-level member becomes there; one component */
    const char *member; /* what it is called in the archive; anything else is refused */
    uint64_t bytes_max; /* of all files together */
    uint64_t entries_max;
    uint64_t names_max; /* bytes of all paths together: they are kept until the end */
    uint32_t umask;     /* what the caller's own new files do not get of a mode */
};

/*
 * ERR_CORRUPT: not such an archive, or it tries to leave the target. ERR_LIMIT: more than the
 * target may get. ERR_INVALID: its name has more than 255 bytes. Modes keep their permission bits
 * alone, less the umask; owners are the caller's.
 */
enum err_code tar_unpack(
    int in_fd, const struct tar_target *target, struct tar_counts *counts, struct err_info *err)
    MUST_CHECK;

#endif
