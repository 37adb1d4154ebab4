/*
 * The bytes of an archive, whatever they are wrapped in: plain, gzip or zstd. What comes out is
 * capped, so that a small file cannot become a large disk; what went in is hashed.
 */
#ifndef CMD_AGENT_IMAGE_SOURCE_H
#define CMD_AGENT_IMAGE_SOURCE_H

#include "common/base/buf.h"

struct source;

enum source_form {
    SOURCE_PLAIN,
    SOURCE_GZIP,
    SOURCE_ZSTD,
    SOURCE_SQUASHFS /* read as it is */
};

enum {
    SOURCE_DIGEST_BYTES = 72 /* "sha256:", 64 digits and a NUL */
};

/* Reads the first bytes to see what it is. fd is borrowed. ERR_UNSUPPORTED: xz and others. */
enum err_code source_open(
    int fd, uint64_t bytes_max, struct source **ret_source, struct err_info *err) MUST_CHECK;
void source_close(struct source *source); /* NULL is allowed */
enum source_form source_form(const struct source *source);

/* Up to so many bytes; fewer only at the end. ERR_LIMIT: more came out than is allowed. */
enum err_code source_read(
    struct source *source, void *data, size_t bytes, size_t *ret_bytes, struct err_info *err)
    MUST_CHECK;

/* Reads the rest of what went in and tells the digest of all of it. */
enum err_code source_digest(
    struct source *source, char ret_digest[SOURCE_DIGEST_BYTES], struct err_info *err) MUST_CHECK;

#endif
