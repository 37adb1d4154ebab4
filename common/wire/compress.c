#include "common/wire/compress.h"

#include "common/base/cleanup.h"

#include <zstd.h>

enum {
    LEVEL = 3,
    WORTH_IT_DIVISOR = 8,
    WINDOW_LOG_MAX = 23,
    CHUNK_BYTES = 16 * 1024
};

bool wire_compress(struct str_view data, struct buf *buf)
{
    size_t bound = ZSTD_compressBound(data.len);
    if (data.len == 0 || ZSTD_isError(bound)) {
        return false;
    }
    AUTO_FREE char *frame = mem_try_alloc(bound);
    if (frame == NULL) {
        return false;
    }
    size_t bytes = ZSTD_compress(frame, bound, data.ptr, data.len, LEVEL);
    if (ZSTD_isError(bytes) || bytes > data.len - data.len / WORTH_IT_DIVISOR) {
        return false;
    }
    buf_append(buf, frame, bytes);
    return buf_ok(buf);
}

static void free_stream(ZSTD_DCtx **stream)
{
    (void)ZSTD_freeDCtx(*stream);
}

/* In chunks, so that memory grows with what is there and not with what the frame's head claims. */
enum err_code wire_decompress(
    struct str_view frame, size_t max_bytes, struct buf *buf, struct err_info *err)
{
    __attribute__((cleanup(free_stream))) ZSTD_DCtx *stream = ZSTD_createDCtx();
    AUTO_FREE char *chunk = mem_try_alloc(CHUNK_BYTES);
    size_t total = 0;
    size_t left = 1;
    if (stream == NULL || chunk == NULL) {
        return ERR_SET(err, ERR_NOMEM, "zstd: out of memory");
    }
    (void)ZSTD_DCtx_setParameter(stream, ZSTD_d_windowLogMax, WINDOW_LOG_MAX);
    ZSTD_inBuffer in = { frame.ptr, frame.len, 0 };
    while (left != 0) {
        ZSTD_outBuffer out = { chunk, CHUNK_BYTES, 0 };
        size_t before = in.pos;
        left = ZSTD_decompressStream(stream, &out, &in);
        if (ZSTD_isError(left)) {
            return ERR_SET(err, ERR_INVALID, "zstd: %s", ZSTD_getErrorName(left));
        }
        if (out.pos == 0 && in.pos == before && left != 0) {
            return ERR_SET(err, ERR_INVALID, "zstd: the frame is cut off");
        }
        total += out.pos;
        if (total > max_bytes) {
            return ERR_SET(err, ERR_LIMIT, "zstd: the frame holds more than %zu bytes", max_bytes);
        }
        buf_append(buf, chunk, out.pos);
    }
    if (in.pos != in.size) {
        return ERR_SET(err, ERR_INVALID, "zstd: bytes after the frame");
    }
    return buf_ok(buf) ? ERR_OK
                       : ERR_SET(err, ERR_LIMIT, "zstd: the frame does not fit its buffer");
}
