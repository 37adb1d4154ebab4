#include "cmd/cli/cells.h"

#include "cmd/cli/term/plot.h"
#include "common/wire/timestamp.h"

#include <stdlib.h>

bool cells_time_us(const Google__Protobuf__Timestamp *time, int64_t *ret_us)
{
    if (time == NULL || (time->seconds == 0 && time->nanos == 0)) {
        return false;
    }
    if (time->seconds < 0 || time->seconds > WALL_US_MAX / US_PER_SECOND) {
        return false;
    }
    *ret_us = wire_timestamp_us(time, 0);
    return true;
}

void cells_duration(int64_t us, struct buf *out)
{
    int64_t seconds = us / US_PER_SECOND;
    if (seconds < 120) {
        buf_printf(out, "%llds", (long long)seconds);
    } else if (seconds < 600 && seconds % 60 != 0) {
        buf_printf(out, "%lldm%llds", (long long)(seconds / 60), (long long)(seconds % 60));
    } else if (seconds < 7200) {
        buf_printf(out, "%lldm", (long long)(seconds / 60));
    } else if (seconds < 172800) {
        buf_printf(out, "%lldh", (long long)(seconds / 3600));
    } else {
        buf_printf(out, "%lldd", (long long)(seconds / 86400));
    }
}

static void put_time(int64_t us, struct buf *out)
{
    char text[TIME_TEXT_BYTES];
    buf_append_str(out, str_of(time_format((struct wall_us){ us }, text)));
}

enum text_style cells_age(
    const struct view_cell *cell, const Google__Protobuf__Timestamp *time, struct buf *out)
{
    int64_t us = 0;
    if (!cells_time_us(time, &us)) {
        buf_append_str(out, cell->detail ? STR("") : STR("-"));
        return TEXT_DIM;
    }
    int64_t age = cell->now.value - us;
    if (cell->detail) {
        put_time(us, out);
        buf_append_str(out, STR(" ("));
    }
    cells_duration(age < 0 ? 0 : age, out);
    if (cell->detail) {
        buf_append_str(out, STR(" ago)"));
    }
    return TEXT_PLAIN;
}

enum text_style cells_age_ms(const struct view_cell *cell, int64_t ms, struct buf *out)
{
    const Google__Protobuf__Timestamp time = wire_timestamp_of((struct wall_us){ ms * US_PER_MS });
    return cells_age(cell, ms > 0 && ms < WALL_US_MAX / US_PER_MS ? &time : NULL, out);
}

enum text_style cells_until(
    const struct view_cell *cell, const Google__Protobuf__Timestamp *time, struct buf *out)
{
    int64_t us = 0;
    if (!cells_time_us(time, &us)) {
        buf_append_str(out, cell->detail ? STR("") : STR("-"));
        return TEXT_DIM;
    }
    int64_t left = us - cell->now.value;
    if (cell->detail) {
        put_time(us, out);
        buf_append_str(out, STR(" ("));
    }
    if (left <= 0) {
        buf_append_str(out, STR("over"));
    } else {
        buf_append_str(out, STR("in "));
        cells_duration(left, out);
    }
    if (cell->detail) {
        buf_append_char(out, ')');
    }
    return left <= 0 ? TEXT_DIM : TEXT_PLAIN;
}

enum text_style cells_time(
    const struct view_cell *cell, const Google__Protobuf__Timestamp *time, struct buf *out)
{
    int64_t us = 0;
    if (cells_time_us(time, &us)) {
        put_time(cell->detail ? us : us - us % US_PER_MS, out);
    }
    return TEXT_PLAIN;
}

/* All entry messages of maps from text to text have this one shape. */
struct pair {
    const char *key;
    const char *value;
};

static struct pair pair_of(const ProtobufCMessage *entry)
{
    const ProtobufCFieldDescriptor *fields = entry->descriptor->fields;
    const char *base = (const char *)entry;
    struct pair pair;
    memcpy(&pair.key, base + fields[0].offset, sizeof(pair.key));
    memcpy(&pair.value, base + fields[1].offset, sizeof(pair.value));
    return pair;
}

static int compare_pairs(const void *a, const void *b)
{
    const struct pair *left = a;
    const struct pair *right = b;
    return strcmp(left->key, right->key);
}

enum text_style cells_pairs(const void *entries, size_t count, struct buf *out)
{
    const ProtobufCMessage *const *list = entries;
    if (count == 0) {
        return TEXT_PLAIN;
    }
    AUTO_FREE struct pair *pairs = mem_alloc_array(count, sizeof(*pairs));
    for (size_t i = 0; i < count; i++) {
        pairs[i] = pair_of(list[i]);
    }
    qsort(pairs, count, sizeof(*pairs), compare_pairs);
    for (size_t i = 0; i < count; i++) {
        buf_printf(out, "%s%s=%s", i > 0 ? "," : "", pairs[i].key, pairs[i].value);
    }
    return TEXT_PLAIN;
}

enum text_style cells_text(const char *text, struct buf *out)
{
    buf_append_str(out, str_of(text));
    return TEXT_PLAIN;
}

enum text_style cells_number(int64_t number, struct buf *out)
{
    buf_printf(out, "%lld", (long long)number);
    return TEXT_PLAIN;
}

enum text_style cells_bytes(uint64_t bytes, struct buf *out)
{
    plot_format_value((double)bytes, "bytes", out);
    return TEXT_PLAIN;
}

enum text_style cells_texts(char *const *texts, size_t count, struct buf *out)
{
    for (size_t i = 0; i < count; i++) {
        buf_printf(out, "%s%s", i > 0 ? "," : "", texts[i]);
    }
    return TEXT_PLAIN;
}
