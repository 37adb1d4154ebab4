/* The floor: the spool's rows, put there by SQLite alone. One thread. */
#ifndef TOOLS_BENCH_SPOOL_RAW_H
#define TOOLS_BENCH_SPOOL_RAW_H

#include "common/base/err.h"

#include <stddef.h>

struct raw;

/* A new file with the spool's schema. */
enum err_code raw_open(const char *path, struct raw **ret_raw, struct err_info *err) MUST_CHECK;
void raw_close(struct raw *raw); /* NULL is allowed */

/* count rows of the same payload in one transaction, on disk when it returns. */
enum err_code raw_append(
    struct raw *raw, const char *payload, size_t len, unsigned count, struct err_info *err)
    MUST_CHECK;

#endif
