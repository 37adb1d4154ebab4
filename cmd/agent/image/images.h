/*
 * The agent's image store: a folder of root file systems by name, each a folder or a squashfs file.
 * An image is read-only in every sandbox that uses it. Any process of the agent's user may come
 * along: a new image appears whole or not at all, and what an import that was killed left is
 * deleted by the next.
 *
 *     STORE/NAME           the image
 *     STORE/.record/NAME   where it came from; an image that was put there by hand has none
 *     STORE/.staging/...   what is being imported or deleted
 *     STORE/.lock          held while a name appears or goes
 */
#ifndef CMD_AGENT_IMAGE_IMAGES_H
#define CMD_AGENT_IMAGE_IMAGES_H

#include "cmd/agent/image/source.h"
#include "common/base/time.h"

enum {
    IMAGE_NAME_BYTES = 65,
    IMAGE_COUNT_MAX = 256 /* of a store */
};

struct image {
    char name[IMAGE_NAME_BYTES];
    bool is_folder;
    char digest[SOURCE_DIGEST_BYTES]; /* of what was imported; "": put there by hand */
    uint64_t bytes;                   /* of its files */
    uint64_t entries;
    uint64_t skipped; /* devices and the like, which are left out */
    struct wall_us imported;
};

struct image_import {
    const char *store;
    const char *name;
    int fd;             /* of a tar archive (plain, gzip, zstd) or a squashfs file */
    uint64_t bytes_max; /* what may come out of it */
    const struct clock *clock;
};

/* ERR_EXISTS, ERR_INVALID (the name), and what source.h and extract.h say. */
enum err_code images_import(
    const struct image_import *wanted, struct image *ret_image, struct err_info *err) MUST_CHECK;

/* By name; at most max of them. A store that is not there has none. */
enum err_code images_list(
    const char *store,
    struct image *ret_images,
    size_t max,
    size_t *ret_count,
    struct err_info *err) MUST_CHECK;

/* Name after name, in no order; a folder that is not there has none. */
void images_each(const char *store, void (*each)(void *context, const char *name), void *context);

/* runs: the folders of sandboxes, each with its spec; NULL at the end. One that is not there has
 * none. ERR_PRECONDITION: one of them uses it. */
enum err_code images_remove(
    const char *store, const char *const *runs, const char *name, struct err_info *err) MUST_CHECK;

/* Removes what imports that were killed left; the next import does so too. */
void images_sweep(const char *store);

/* The path of the image with this name. ERR_NOT_FOUND, ERR_INVALID (the name). */
enum err_code images_find(
    const char *store, const char *name, char *ret_path, size_t path_bytes, struct err_info *err)
    MUST_CHECK;

/* Keeps the image of this path from going until the descriptor is closed. ERR_NOT_FOUND: it has. */
enum err_code images_use(const char *path, int *ret_fd, struct err_info *err) MUST_CHECK;

#endif
