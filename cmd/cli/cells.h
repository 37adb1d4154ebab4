/* Cells that many views share. Each appends text and returns its style. */
#ifndef CMD_CLI_CELLS_H
#define CMD_CLI_CELLS_H

#include "cmd/cli/output.h"

#include <google/protobuf/timestamp.pb-c.h>

/* Microseconds of a timestamp; false: unset. */
bool cells_time_us(const Google__Protobuf__Timestamp *time, int64_t *ret_us);

/* "3m" before now (in detail "2026-11-22T03:46:00Z (3m ago)"); "-" when unset. */
enum text_style cells_age(
    const struct view_cell *cell, const Google__Protobuf__Timestamp *time, struct buf *out);

/* The same of milliseconds since 1970; 0: unset. */
enum text_style cells_age_ms(const struct view_cell *cell, int64_t ms, struct buf *out);

/* "in 5m", "expired"; in detail the time too. */
enum text_style cells_until(
    const struct view_cell *cell, const Google__Protobuf__Timestamp *time, struct buf *out);

/* Always the time itself; in lists to the millisecond. */
enum text_style cells_time(
    const struct view_cell *cell, const Google__Protobuf__Timestamp *time, struct buf *out);

/* Entries of a map<string, string>: "a=1,b=2" by key. */
enum text_style cells_pairs(const void *entries, size_t count, struct buf *out);

enum text_style cells_text(const char *text, struct buf *out);
enum text_style cells_number(int64_t number, struct buf *out);
enum text_style cells_bytes(uint64_t bytes, struct buf *out);
enum text_style cells_texts(char *const *texts, size_t count, struct buf *out);

/* "90s", "5m", "3h", "12d": the two greatest units at most. */
void cells_duration(int64_t us, struct buf *out);

/* Definitions of column writers that show one member of a message as it is. */
#define CELL_DEFINE_(fn, type, call)                                         \
    static enum text_style fn(const struct view_cell *cell, struct buf *out) \
    {                                                                        \
        const type *item = cell->item;                                       \
        return call;                                                         \
    }
#define CELL_TEXT(fn, type, member)  CELL_DEFINE_(fn, type, cells_text(item->member, out))
#define CELL_AGE(fn, type, member)   CELL_DEFINE_(fn, type, cells_age(cell, item->member, out))
#define CELL_UNTIL(fn, type, member) CELL_DEFINE_(fn, type, cells_until(cell, item->member, out))
#define CELL_TIME(fn, type, member)  CELL_DEFINE_(fn, type, cells_time(cell, item->member, out))
#define CELL_NUMBER(fn, type, member) \
    CELL_DEFINE_(fn, type, cells_number((int64_t)item->member, out))
#define CELL_PAIRS(fn, type, member) \
    CELL_DEFINE_(fn, type, cells_pairs(item->member, item->n_##member, out))
#define CELL_TEXTS(fn, type, member) \
    CELL_DEFINE_(fn, type, cells_texts(item->member, item->n_##member, out))

/* Definition of what -o name prints. */
#define CELL_NAME(fn, type, member)                                \
    static void fn(const void *item, struct buf *out)              \
    {                                                              \
        buf_append_str(out, str_of(((const type *)item)->member)); \
    }

#endif
