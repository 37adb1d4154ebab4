/*
 * A capped log file: when it is full it becomes NAME.1, in place of the one before, and a new one
 * begins. Losing what a full disk refuses is better than stopping the program that wrote it. What
 * one stream alone has written, the two files give back by its offset.
 */
#ifndef SHIM_OUTLOG_H
#define SHIM_OUTLOG_H

#include "common/base/buf.h"

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

/* Of the stream that ends at `end` with the log's last byte: what follows *offset, as much as fits
 * into a buffer that is emptied first. What no file has any more is passed over (*offset); before
 * the stream's first byte there may be an earlier run's. false: there is nothing, or the disk has
 * refused some, and then nobody knows which byte stands where. */
bool outlog_read(const struct outlog *log, uint64_t end, uint64_t *offset, struct buf *into);

#endif
