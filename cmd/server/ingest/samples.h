/*
 * The samples of one batch, gathered in the order they come and handed to the store series by
 * series, with the newest value of each.
 */
#ifndef SERVER_INGEST_SAMPLES_H
#define SERVER_INGEST_SAMPLES_H

#include "cmd/server/store/telemetry.h"

struct samples;

struct samples *samples_create(void);
void samples_destroy(struct samples *samples); /* NULL is allowed */

/* The place of a series here, to be asked once for many samples. */
size_t samples_series(struct samples *samples, int64_t workspace_id, int64_t series_id);

/* is_ahead: stored, but never the newest value. */
void samples_add(
    struct samples *samples, size_t series, const struct sample_row *row, bool is_ahead);

/* Nothing is added after this; both are borrowed from samples. Samples of a series stay in the
 * order they came. */
void samples_sort(
    struct samples *samples, struct sample_runs *ret_runs, struct sample_columns *ret_newest);

#endif
