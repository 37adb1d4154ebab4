/*
 * Empty workspace images, kept to be copied: mkfs.ext4 and its syncs are most of what a sandbox
 * with a disk of its own waits for, and what it writes is the same for all of one size. One file
 * for each size, in a folder of the agent's beside those of its sandboxes; a few hundred KiB are
 * data. Several shims may use it at once. Whatever is wrong with it means mkfs.ext4, not a failure.
 *
 * Beside it a spare: one more copy, on the disk already, which the next sandbox of this size takes
 * by giving it another name. It is taken once, and never by two.
 */
#ifndef COMMON_SANDBOX_TEMPLATE_H
#define COMMON_SANDBOX_TEMPLATE_H

#include <stdbool.h>
#include <stdint.h>

enum {
    TEMPLATES_MAX = 32,                        /* sizes */
    TEMPLATE_DATA_BYTES_MAX = 16 * 1024 * 1024 /* a larger one is not kept */
};

/* dir: a sandbox's folder, open; image: its file, of that size and all zero. true: it has a copy of
 * the template. false: there is none, and the image is as it was. */
bool template_copy(int dir, uint64_t bytes, int image);

/* From an image that mkfs.ext4 has just made. */
void template_keep(int dir, uint64_t bytes, int image);

/* The spare becomes `name` in the sandbox's folder; false: there is none. */
bool template_take(int dir, uint64_t bytes, const char *name);

/* Makes the spare of a template, if there is that and not this; waits for the disk. folder: the
 * templates'. For one thread of one process at a time. */
void template_spare(const char *folder, uint64_t bytes);

/* What copies that were cut short have left in the folder. A shim that makes one just now goes
 * without it. */
void template_sweep(const char *folder);

#endif
