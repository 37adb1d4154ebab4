/*
 * Deletes a folder and all in it, whatever a stranger put there: any depth, any length of path, any
 * mode. It holds three descriptors, recurses nowhere and follows no link; a mount is not entered.
 * What lies deep is moved up, folder by folder, so that no path is ever longer than two names.
 * Piece by piece, for who has a loop to turn meanwhile. One thread.
 */
#ifndef COMMON_SYS_ERASER_H
#define COMMON_SYS_ERASER_H

#include "common/base/err.h"

#include <stddef.h>

struct eraser;

/* path: a folder, or a file; not there: good. ERR_UNAVAILABLE. */
enum err_code eraser_open(const char *path, struct eraser **ret_eraser, struct err_info *err)
    MUST_CHECK;
void eraser_close(struct eraser *eraser); /* NULL is allowed; what is not deleted yet stays */

/*
 * At most *budget entries, of which it takes off what it used. ret_done: all is gone. An entry that
 * resists does not keep the others; ERR_UNAVAILABLE comes when nothing else is left, ERR_BUSY when
 * somebody keeps adding. After an error only eraser_close.
 */
enum err_code eraser_step(
    struct eraser *eraser, size_t *budget, bool *ret_done, struct err_info *err) MUST_CHECK;

/* All of it at once. */
enum err_code eraser_run(const char *path, struct err_info *err) MUST_CHECK;

#endif
