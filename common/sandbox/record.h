/*
 * A flat JSON object of texts and whole numbers: state.json and exit.json. Small on purpose; what
 * nests has no place in these files. A record is read from one text and borrows from it.
 */
#ifndef COMMON_SANDBOX_RECORD_H
#define COMMON_SANDBOX_RECORD_H

#include "common/sandbox/message.h"

enum {
    RECORD_FIELDS_MAX = 48,
    RECORD_BYTES_MAX = 16384
};

struct record_field {
    struct str_view name;
    struct str_view text; /* of a text without escapes, or the digits of a number */
    bool is_number;
};

struct record {
    struct record_field fields[RECORD_FIELDS_MAX];
    size_t count;
};

/* A text with an escape is refused: our own ids and paths need none. */
enum err_code record_parse(struct str_view json, struct record *ret_record, struct err_info *err)
    MUST_CHECK;

struct str_view record_text(
    const struct record *record, const char *name);                    /* STR_NONE: not there */
uint64_t record_number(const struct record *record, const char *name); /* 0: not there */
bool record_has(const struct record *record, const char *name);

/* Writing: open, put each, close. */
void record_open(struct buf *buf);
void record_put_text(struct buf *buf, const char *name, struct str_view text);
void record_put_number(struct buf *buf, const char *name, uint64_t value);
/* Words of others, which may hold what a record cannot: each such character becomes a "'", each
 * byte that is no UTF-8 a '?'. */
void record_tame(char *text);
void record_close(struct buf *buf);

/* The figures of a sample, each under its name. */
void record_put_sample(struct buf *buf, const struct message_sample *sample);
void record_sample(const struct record *record, struct message_sample *ret_sample);

#endif
