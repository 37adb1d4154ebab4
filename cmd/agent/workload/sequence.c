#include "cmd/agent/workload/sequence.h"

#include "common/base/cleanup.h"
#include "common/sys/file.h"

#include <inttypes.h>
#include <stdio.h>

enum {
    BLOCK = 4096,
    TEXT_BYTES = 32
};

/* 2026-01-01: a clock that stands before it was never set. */
#define EARLIEST_US INT64_C(1767225600000000)

static void begin(struct sequence *sequence, const char *path, uint64_t number)
{
    sequence->path = mem_strdup(path);
    sequence->next = number;
    sequence->end = number;
    sequence->last = 0;
}

enum err_code sequence_open(struct sequence *sequence, const char *path, struct err_info *err)
{
    AUTO_BUF struct buf text = BUF_INIT(TEXT_BYTES);
    uint64_t number = 1;
    enum err_code code = file_read(path, TEXT_BYTES - 1, &text, err);
    if (code == ERR_OK && str_parse_uint64(buf_view(&text), UINT64_MAX / 2, &number) != ERR_OK) {
        return ERR_SET(err, ERR_CORRUPT, "%s: one number expected", path);
    }
    if (code != ERR_OK && code != ERR_NOT_FOUND) {
        return code;
    }
    begin(sequence, path, number);
    return ERR_OK;
}

void sequence_open_anew(struct sequence *sequence, const char *path, struct wall_us now)
{
    begin(sequence, path, (uint64_t)(now.value < EARLIEST_US ? EARLIEST_US : now.value));
}

void sequence_deinit(struct sequence *sequence)
{
    mem_free(sequence->path);
    sequence->path = NULL;
}

static enum err_code reserve(struct sequence *sequence, struct err_info *err)
{
    char text[TEXT_BYTES];
    int length = snprintf(text, sizeof(text), "%" PRIu64, sequence->next + BLOCK);
    TRY(file_write_atomic(sequence->path, text, (size_t)length, 0600, err));
    sequence->end = sequence->next + BLOCK;
    return ERR_OK;
}

enum err_code sequence_next(struct sequence *sequence, uint64_t *ret_number, struct err_info *err)
{
    if (sequence->next == sequence->end) {
        TRY(reserve(sequence, err));
    }
    sequence->last = sequence->next++;
    *ret_number = sequence->last;
    return ERR_OK;
}
