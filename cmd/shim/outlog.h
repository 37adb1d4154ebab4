/*
 * A capped log file: when it is full it becomes NAME.1, in place of the one before, and a new one
 * begins. Losing what a full disk refuses is better than stopping the program that wrote it.
 */
#ifndef SHIM_OUTLOG_H
#define SHIM_OUTLOG_H

#include "common/base/str.h"

struct outlog {
    int dir; /* borrowed */
    const char *name;
    int fd;
    uint64_t bytes; /* in the file */
    uint64_t cap;
    uint64_t dropped; /* bytes the disk refused */
};

void outlog_open(
    struct outlog *log, int dir, const char *name, uint64_t cap); /* continues a file */
void outlog_close(struct outlog *log);
void outlog_append(struct outlog *log, struct str_view data);

#endif
