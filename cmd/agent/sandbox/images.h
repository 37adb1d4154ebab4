/*
 * The agent's image store: a folder of root file systems by name, each a folder or a squashfs file.
 * An image is read-only in every sandbox that uses it.
 */
#ifndef CMD_AGENT_SANDBOX_IMAGES_H
#define CMD_AGENT_SANDBOX_IMAGES_H

#include "common/base/buf.h"

/* The path of the image with this name. ERR_NOT_FOUND, ERR_INVALID (the name). */
enum err_code images_find(
    const char *dir, const char *name, char *ret_path, size_t path_bytes, struct err_info *err)
    MUST_CHECK;

/* Name after name, in no order; a folder that is not there has none. */
void images_each(const char *dir, void (*each)(void *context, const char *name), void *context);

#endif
