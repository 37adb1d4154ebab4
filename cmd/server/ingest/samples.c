#include "cmd/server/ingest/samples.h"

#include "common/base/map.h"
#include "common/base/mem.h"

enum {
    FIRST_ROOM = 256
};

struct row {
    size_t series;
    struct sample_row sample;
};

struct series {
    int64_t count;
    bool has_newest;
    struct sample_row newest;
};

struct samples {
    struct map *places; /* series id -> size_t place in the arrays of series */
    size_t series_count;
    size_t series_room;
    struct series *series;
    int64_t *workspace_ids;
    int64_t *series_ids;
    size_t row_count;
    size_t row_room;
    struct row *rows;
    /* Made by samples_sort: */
    int64_t *firsts;
    int64_t *lasts;
    int64_t *times_us;
    double *values;
    int64_t *newest_ids[2]; /* workspaces, series */
    int64_t *newest_times_us;
    double *newest_values;
};

struct samples *samples_create(void)
{
    struct samples *samples = mem_alloc(sizeof(*samples));
    samples->places = map_create();
    return samples;
}

void samples_destroy(struct samples *samples)
{
    if (samples == NULL) {
        return;
    }
    map_destroy(samples->places, mem_free);
    mem_free(samples->series);
    mem_free(samples->workspace_ids);
    mem_free(samples->series_ids);
    mem_free(samples->rows);
    mem_free(samples->firsts);
    mem_free(samples->lasts);
    mem_free(samples->times_us);
    mem_free(samples->values);
    mem_free(samples->newest_ids[0]);
    mem_free(samples->newest_ids[1]);
    mem_free(samples->newest_times_us);
    mem_free(samples->newest_values);
    mem_free(samples);
}

static size_t more_room(size_t room)
{
    return room == 0 ? FIRST_ROOM : room * 2;
}

size_t samples_series(struct samples *samples, int64_t workspace_id, int64_t series_id)
{
    const size_t *known = map_find(samples->places, map_key_of(&series_id));
    if (known != NULL) {
        return *known;
    }
    size_t place = samples->series_count++;
    if (place == samples->series_room) {
        size_t room = more_room(samples->series_room);
        samples->series = mem_realloc(samples->series, room * sizeof(*samples->series));
        samples->workspace_ids = mem_realloc(samples->workspace_ids, room * sizeof(int64_t));
        samples->series_ids = mem_realloc(samples->series_ids, room * sizeof(int64_t));
        samples->series_room = room;
    }
    samples->series[place] = (struct series){ .count = 0 };
    samples->workspace_ids[place] = workspace_id;
    samples->series_ids[place] = series_id;
    (void)map_put(samples->places, map_key_of(&series_id), mem_dup(&place, sizeof(place)));
    return place;
}

void samples_add(
    struct samples *samples, size_t series, const struct sample_row *row, bool is_ahead)
{
    struct series *of = &samples->series[series];
    if (samples->row_count == samples->row_room) {
        samples->row_room = more_room(samples->row_room);
        samples->rows = mem_realloc(samples->rows, samples->row_room * sizeof(*samples->rows));
    }
    samples->rows[samples->row_count++] = (struct row){ series, *row };
    of->count++;
    if (!is_ahead && (!of->has_newest || of->newest.time_us <= row->time_us)) {
        of->has_newest = true;
        of->newest = *row;
    }
}

/* Each series gets the places behind those of the series before it. */
static void sort_rows(struct samples *samples)
{
    int64_t place = 0;
    samples->firsts = mem_alloc_array(samples->series_count, sizeof(int64_t));
    samples->lasts = mem_alloc_array(samples->series_count, sizeof(int64_t));
    samples->times_us = mem_alloc_array(samples->row_count, sizeof(int64_t));
    samples->values = mem_alloc_array(samples->row_count, sizeof(double));
    for (size_t i = 0; i < samples->series_count; i++) {
        samples->firsts[i] = place + 1;
        samples->lasts[i] = place; /* moves on with each row */
        place += samples->series[i].count;
    }
    for (size_t i = 0; i < samples->row_count; i++) {
        const struct row *row = &samples->rows[i];
        int64_t at = samples->lasts[row->series]++;
        samples->times_us[at] = row->sample.time_us;
        samples->values[at] = row->sample.value;
    }
}

static size_t pick_newest(struct samples *samples)
{
    size_t count = 0;
    samples->newest_ids[0] = mem_alloc_array(samples->series_count, sizeof(int64_t));
    samples->newest_ids[1] = mem_alloc_array(samples->series_count, sizeof(int64_t));
    samples->newest_times_us = mem_alloc_array(samples->series_count, sizeof(int64_t));
    samples->newest_values = mem_alloc_array(samples->series_count, sizeof(double));
    for (size_t i = 0; i < samples->series_count; i++) {
        if (samples->series[i].has_newest) {
            samples->newest_ids[0][count] = samples->workspace_ids[i];
            samples->newest_ids[1][count] = samples->series_ids[i];
            samples->newest_times_us[count] = samples->series[i].newest.time_us;
            samples->newest_values[count++] = samples->series[i].newest.value;
        }
    }
    return count;
}

void samples_sort(
    struct samples *samples, struct sample_runs *ret_runs, struct sample_columns *ret_newest)
{
    sort_rows(samples);
    size_t newest_count = pick_newest(samples);
    *ret_runs = (struct sample_runs){
        .series_count = samples->series_count,
        .workspace_ids = samples->workspace_ids,
        .series_ids = samples->series_ids,
        .firsts = samples->firsts,
        .lasts = samples->lasts,
        .count = samples->row_count,
        .times_us = samples->times_us,
        .values = samples->values,
    };
    *ret_newest = (struct sample_columns){
        .count = newest_count,
        .workspace_ids = samples->newest_ids[0],
        .series_ids = samples->newest_ids[1],
        .times_us = samples->newest_times_us,
        .values = samples->newest_values,
    };
}
