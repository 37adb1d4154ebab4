/*
 * The floor: the same rows into the same table, by the engine's own library: one transaction a
 * batch; on PostgreSQL one prepared INSERT from UNNEST of binary arrays, as a superuser (so without
 * row-level security); on SQLite one prepared INSERT, run for each row. One thread.
 */
#ifndef TOOLS_BENCH_INGEST_DIRECT_H
#define TOOLS_BENCH_INGEST_DIRECT_H

#include "cmd/server/store/telemetry.h"

struct direct;

/* url: "sqlite:/path" or a PostgreSQL's. */
enum err_code direct_open(const char *url, struct direct **ret_direct, struct err_info *err)
    MUST_CHECK;
void direct_close(struct direct *direct); /* NULL is allowed */

enum err_code direct_insert(
    struct direct *direct, const struct sample_columns *rows, struct err_info *err) MUST_CHECK;

#endif
