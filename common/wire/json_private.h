/*
 * Inside common/wire: the texts that ProtoJSON gives to bytes, times and durations, both ways. All
 * pure functions.
 */
#ifndef COMMON_WIRE_JSON_PRIVATE_H
#define COMMON_WIRE_JSON_PRIVATE_H

#include "common/base/buf.h"

enum {
    JSON_DEPTH_MAX = 64,       /* brackets within brackets, read or written */
    JSON_BRACKETS_MAX = 65536, /* read; a pair of empty ones costs jansson some 300 bytes */
    JSON_VALUES_MAX = 524288,  /* read */
    JSON_BYTES_MAX = 16 * 1024 * 1024
};

/* Standard base64 with padding, in quotes. */
void json_append_base64(struct buf *buf, const uint8_t *data, size_t bytes);

/* Either alphabet, padding optional; appends the bytes. false: not base64. */
bool json_decode_base64(struct str_view text, struct buf *buf);

/* "2026-11-22T03:46:00.250Z" in quotes, 0, 3, 6 or 9 digits of fraction; false: out of range. */
bool json_append_timestamp(struct buf *buf, int64_t seconds, int32_t nanos);
bool json_parse_timestamp(struct str_view text, int64_t *ret_seconds, int32_t *ret_nanos);

/* "1.5s" in quotes; both parts have the same sign; false: out of range. */
bool json_append_duration(struct buf *buf, int64_t seconds, int32_t nanos);
bool json_parse_duration(struct str_view text, int64_t *ret_seconds, int32_t *ret_nanos);

/* Shortest text that reads back the same; "NaN" and infinities in quotes. */
void json_append_double(struct buf *buf, double value);
void json_append_float(struct buf *buf, float value);

/* A number, or "NaN", "Infinity", "-Infinity"; false: none of them, or out of a double's range. */
bool json_parse_double(struct str_view text, double *ret_value);

#endif
