#include "cmd/agent/image/source.h"

#include "common/base/cleanup.h"
#include "common/crypto/hash.h"
#include "common/sys/fd.h"

#include <zstd.h>

#include <zlib.h>

enum {
    INPUT_BYTES = 65536,
    GZIP_WINDOW = 15 + 16, /* the largest window, gzip's head and tail */
    ZSTD_WINDOW_LOG = 27   /* at most 128 MiB of memory, as zstd's own program allows */
};

struct source {
    int fd;
    enum source_form form;
    uint64_t left; /* bytes that may still come out */
    struct hash_stream *hash;
    size_t at; /* what is left of the input lies here */
    size_t end;
    bool ended; /* no more input */
    bool fresh; /* the compressed stream may end here */
    z_stream gzip;
    ZSTD_DStream *zstd;
    uint8_t input[INPUT_BYTES];
};

static enum err_code fill(struct source *source, struct err_info *err)
{
    size_t got = 0;
    if (source->at < source->end || source->ended) {
        return ERR_OK;
    }
    TRY(fd_read_full(source->fd, source->input, sizeof(source->input), &got, err));
    hash_stream_add(source->hash, str_from((const char *)source->input, got));
    source->at = 0;
    source->end = got;
    source->ended = got < sizeof(source->input);
    return ERR_OK;
}

static bool begins(const struct source *source, const char *magic, size_t bytes)
{
    return source->end >= bytes && memcmp(source->input, magic, bytes) == 0;
}

static enum err_code recognise(struct source *source, struct err_info *err)
{
    if (begins(source, "\x1f\x8b", 2)) {
        source->form = SOURCE_GZIP;
        return inflateInit2(&source->gzip, GZIP_WINDOW) == Z_OK
            ? ERR_OK
            : ERR_SET(err, ERR_NOMEM, "gzip cannot start");
    }
    if (begins(source, "\x28\xb5\x2f\xfd", 4)) {
        source->form = SOURCE_ZSTD;
        source->zstd = ZSTD_createDStream();
        return source->zstd != NULL
                && !ZSTD_isError(
                    ZSTD_DCtx_setParameter(source->zstd, ZSTD_d_windowLogMax, ZSTD_WINDOW_LOG))
            ? ERR_OK
            : ERR_SET(err, ERR_NOMEM, "zstd cannot start");
    }
    if (begins(source, "\xfd\x37zXZ", 5) || begins(source, "BZh", 3)) {
        return ERR_SET(
            err,
            ERR_UNSUPPORTED,
            "xz and bzip2 are not read here; hand it on: xz -dc FILE | ... import NAME -");
    }
    source->form = begins(source, "hsqs", 4) ? SOURCE_SQUASHFS : SOURCE_PLAIN;
    return ERR_OK;
}

enum err_code source_open(
    int fd, uint64_t bytes_max, struct source **ret_source, struct err_info *err)
{
    struct source *source = mem_alloc(sizeof(*source));
    source->fd = fd;
    source->left = bytes_max;
    source->fresh = true;
    source->hash = hash_stream_create();
    enum err_code code = fill(source, err);
    if (code == ERR_OK && source->end == 0) {
        code = ERR_SET(err, ERR_INVALID, "the archive is empty");
    }
    if (code == ERR_OK) {
        code = recognise(source, err);
    }
    if (code != ERR_OK) {
        source_close(source);
        return code;
    }
    *ret_source = source;
    return ERR_OK;
}

void source_close(struct source *source)
{
    if (source == NULL) {
        return;
    }
    (void)inflateEnd(&source->gzip); /* of one that was not begun: does nothing */
    (void)ZSTD_freeDStream(source->zstd);
    hash_stream_destroy(source->hash);
    mem_free(source);
}

enum source_form source_form(const struct source *source)
{
    return source->form;
}

/* Some bytes out of what lies in the input; 0 when that does not suffice. */
static enum err_code step_gzip(
    struct source *source, void *data, size_t bytes, size_t *ret_bytes, struct err_info *err)
{
    z_stream *gzip = &source->gzip;
    gzip->next_in = source->input + source->at;
    gzip->avail_in = (unsigned)(source->end - source->at);
    gzip->next_out = data;
    gzip->avail_out = (unsigned)bytes;
    if (source->fresh && inflateReset(gzip) != Z_OK) {
        return ERR_SET(err, ERR_INTERNAL, "gzip cannot go on");
    }
    int result = inflate(gzip, Z_NO_FLUSH);
    source->at = source->end - gzip->avail_in;
    source->fresh = result == Z_STREAM_END; /* another member may follow */
    *ret_bytes = bytes - gzip->avail_out;
    return result == Z_OK || result == Z_STREAM_END || result == Z_BUF_ERROR
        ? ERR_OK
        : ERR_SET(err, ERR_CORRUPT, "the gzip stream is damaged");
}

static enum err_code step_zstd(
    struct source *source, void *data, size_t bytes, size_t *ret_bytes, struct err_info *err)
{
    ZSTD_inBuffer in = { source->input + source->at, source->end - source->at, 0 };
    ZSTD_outBuffer out = { data, bytes, 0 };
    size_t result = ZSTD_decompressStream(source->zstd, &out, &in);
    if (ZSTD_isError(result)) {
        return ERR_SET(
            err, ERR_CORRUPT, "the zstd stream is damaged: %s", ZSTD_getErrorName(result));
    }
    source->at += in.pos;
    source->fresh = result == 0;
    *ret_bytes = out.pos;
    return ERR_OK;
}

static enum err_code step_plain(
    struct source *source, void *data, size_t bytes, size_t *ret_bytes, struct err_info *err)
{
    size_t there = source->end - source->at;
    (void)err;
    *ret_bytes = bytes < there ? bytes : there;
    memcpy(data, source->input + source->at, *ret_bytes);
    source->at += *ret_bytes;
    return ERR_OK;
}

static enum err_code step(
    struct source *source, void *data, size_t bytes, size_t *ret_bytes, struct err_info *err)
{
    switch (source->form) {
    case SOURCE_GZIP:
        return step_gzip(source, data, bytes, ret_bytes, err);
    case SOURCE_ZSTD:
        return step_zstd(source, data, bytes, ret_bytes, err);
    case SOURCE_PLAIN:
    case SOURCE_SQUASHFS:
        break;
    }
    return step_plain(source, data, bytes, ret_bytes, err);
}

enum err_code source_read(
    struct source *source, void *data, size_t bytes, size_t *ret_bytes, struct err_info *err)
{
    size_t total = 0;
    while (total < bytes) {
        size_t got = 0;
        TRY(fill(source, err));
        bool drained = source->at == source->end;
        if (drained && source->fresh) {
            break;
        }
        TRY(step(source, (char *)data + total, bytes - total, &got, err));
        if (got > source->left) {
            return ERR_SET(err, ERR_LIMIT, "the image is larger than --image-max-bytes allows");
        }
        source->left -= got;
        total += got;
        if (drained && got == 0) {
            return ERR_SET(err, ERR_CORRUPT, "the compressed stream breaks off");
        }
    }
    *ret_bytes = total;
    return ERR_OK;
}

enum err_code source_digest(
    struct source *source, char ret_digest[SOURCE_DIGEST_BYTES], struct err_info *err)
{
    static const char prefix[] = "sha256:";
    uint8_t digest[HASH_SHA256_BYTES];
    do {
        source->at = source->end;
        TRY(fill(source, err));
    } while (source->at < source->end);
    hash_stream_end(source->hash, digest);
    memcpy(ret_digest, prefix, sizeof(prefix));
    str_hex_encode(digest, sizeof(digest), ret_digest + sizeof(prefix) - 1);
    return ERR_OK;
}
