/*
 * Growable byte buffer with a cap and a sticky failure: append freely, check buf_ok once at the
 * end. The bytes are always followed by a NUL that is not counted, so text in it can be printed.
 */
#ifndef COMMON_BASE_BUF_H
#define COMMON_BASE_BUF_H

#include "common/base/str.h"

struct buf {
    char *data; /* NULL while empty */
    size_t len;
    size_t capacity;
    size_t cap;  /* hard bound of len */
    bool failed; /* an append did not fit or memory was out; nothing is appended from then on */
};

#define BUF_INIT(cap_bytes) \
    {                       \
        .cap = (cap_bytes)  \
    }

void buf_deinit(struct buf *buf);
void buf_clear(struct buf *buf); /* empties, keeps the memory, forgets a failure */
void buf_append(struct buf *buf, const void *data, size_t bytes);
void buf_append_str(struct buf *buf, struct str_view text);
void buf_append_char(struct buf *buf, char c);
void buf_printf(struct buf *buf, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Appends bytes for the caller to fill and returns where they start; NULL when they do not fit. */
char *buf_extend(struct buf *buf, size_t bytes);
void buf_append_u64_be(struct buf *buf, uint64_t value);

/*
 * Text that others wrote, for people: what is deceptive (str_is_deceptive) as \n, \r, \t, \x1b,
 * \u{202e}, broken bytes as \xff. is_shown may refuse more; NULL: it does not.
 */
void buf_append_escaped(struct buf *buf, struct str_view text, bool (*is_shown)(uint32_t code));

/* JSON string with quotes: control characters, quotes and malformed UTF-8 are escaped. */
void buf_append_json(struct buf *buf, struct str_view text);

bool buf_ok(const struct buf *buf);
struct str_view buf_view(const struct buf *buf);
const char *buf_text(const struct buf *buf); /* NUL-terminated, "" while empty */
char *buf_steal(struct buf *buf);            /* the caller frees with mem_free; NULL when failed */

#define AUTO_BUF __attribute__((cleanup(buf_deinit)))

#endif
