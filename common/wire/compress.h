/*
 * zstd for payloads that are stored or sent once. A frame from a peer is decompressed only up to a
 * bound, whatever it says of itself. Any thread.
 */
#ifndef COMMON_WIRE_COMPRESS_H
#define COMMON_WIRE_COMPRESS_H

#include "common/base/buf.h"

/* Appends one frame when it is at least an eighth smaller than data; false (and nothing appended)
 * when not. */
bool wire_compress(struct str_view data, struct buf *buf);

/* Appends what one whole frame holds. ERR_LIMIT: more than max_bytes. ERR_INVALID: damaged, cut
 * off, or more than one frame. */
enum err_code wire_decompress(
    struct str_view frame, size_t max_bytes, struct buf *buf, struct err_info *err) MUST_CHECK;

#endif
