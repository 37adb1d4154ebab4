/* links: agent_image */
/*
 * What an image is imported from: each block of an archive, and the extended headers between them.
 * Names stay within their bounds, and nothing is asked for that a bound does not cover.
 */
#include "cmd/agent/image/tar.h"
#include "common/base/cleanup.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_entry(const struct tar_entry *entry)
{
    if (memchr(entry->path, '\0', sizeof(entry->path)) == NULL
        || memchr(entry->target, '\0', sizeof(entry->target)) == NULL || entry->mode > 07777
        || (entry->kind != TAR_FILE && entry->bytes != 0)) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO_FREE struct tar_reader *reader = mem_alloc(sizeof(*reader));
    enum tar_step step = TAR_STEP_EMPTY;
    size_t at = 0;
    while (step != TAR_STEP_END && size - at >= TAR_BLOCK_BYTES) {
        if (tar_block(reader, data + at, &step, NULL) != ERR_OK) {
            return 0;
        }
        at += TAR_BLOCK_BYTES;
        uint64_t follows = step == TAR_STEP_META ? reader->meta_bytes
            : step == TAR_STEP_ENTRY             ? reader->entry.bytes
                                                 : 0;
        if (step == TAR_STEP_ENTRY) {
            check_entry(&reader->entry);
        }
        if (follows > size - at) {
            return 0;
        }
        /* In memory of its very size, so that a read beyond it is seen. */
        AUTO_FREE char *meta = mem_dup(data + at, (size_t)follows);
        if (step == TAR_STEP_META
            && tar_meta(reader, str_from(meta, (size_t)follows), NULL) != ERR_OK) {
            return 0;
        }
        follows += tar_padding(follows);
        at = follows > size - at ? size : at + (size_t)follows;
    }
    return 0;
}
