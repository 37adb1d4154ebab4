/*
 * SQLite maps the index of its write-ahead log: where the disk has no room for a page of it, or
 * fails, a store to that memory gives no error to anybody, but SIGBUS. SQLite writes to each page
 * before it maps it; on a file system that is full to the last block that is not always enough
 * (ext4, seen with Linux 6.18 about once in a hundred starts on a full disk).
 */
#ifndef COMMON_SQL_SQLITE_MAPPING_H
#define COMMON_SQL_SQLITE_MAPPING_H

enum {
    SQLITE_MAPPING_EXIT_STATUS = 75 /* EX_TEMPFAIL: a supervisor starts the program again */
};

/* From now on that ends the process with this status and a line on standard error that says so.
 * What was acknowledged is on the disk; it is as after kill -9. Any other SIGBUS stays what it is.
 * Before any thread exists. */
void sqlite_mapping_end_in_words(void);

#endif
