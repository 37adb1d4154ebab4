/*
 * Inside the reading of JSON: the open brackets and the wire bytes made so far. json_decode.c walks
 * the document, json_put.c writes values.
 */
#ifndef COMMON_WIRE_JSON_DECODE_PRIVATE_H
#define COMMON_WIRE_JSON_DECODE_PRIVATE_H

#include "common/wire/json_private.h"
#include "common/wire/wire_private.h"

#include <jansson.h>

enum {
    LENGTHS_MAX = JSON_DEPTH_MAX * 4
}; /* Struct opens three for one bracket */

enum frame_kind {
    FRAME_MESSAGE,
    FRAME_ENTRIES,
    FRAME_MAP
};

struct json_frame {
    enum frame_kind kind;
    const struct wire_type *type;   /* of FRAME_MESSAGE */
    const struct wire_field *field; /* of the others */
    json_t *value;
    void *member; /* where the walk over an object stands */
    size_t entry; /* where the walk over an array stands: the next one */
    const char *name;
    size_t first_length;
    uint64_t seen[WIRE_TYPE_FIELDS_MAX / 64 + 1]; /* fields and, behind them, oneofs */
};

struct json_decoder {
    struct buf out;
    struct err_info *err;
    size_t depth;
    size_t length_count;
    size_t lengths[LENGTHS_MAX];
    struct json_frame frames[JSON_DEPTH_MAX];
};

/* ERR_INVALID with the path of the member that is being read. */
enum err_code json_fail(const struct json_decoder *decoder, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

void json_put_varint(struct buf *out, uint64_t value);
void json_put_tag(struct buf *out, uint32_t number, unsigned tag);
void json_put_text(struct buf *out, uint32_t number, struct str_view text);

/* Bytes for a length that is not known yet, and the filling in of those opened since there were
 * count. */
enum err_code json_open_length(struct json_decoder *decoder);
void json_close_lengths(struct json_decoder *decoder, size_t count);

/* A value that is no message, with its tag; the content of a Timestamp or Duration. */
enum err_code json_put_scalar(
    struct json_decoder *decoder, const struct wire_field *field, const json_t *value);
enum err_code json_put_time(
    struct json_decoder *decoder, enum wire_special special, const json_t *value);

#endif
