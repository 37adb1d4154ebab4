/*
 * Host user ids that a running sandbox uses, as a shared lock on as many bytes of one file. Its
 * shim holds it, so it lasts as long as the sandbox, with and without an agent; the kernel frees it
 * with the shim, however that ends. Agents that look for ids of their own pass these over. Any
 * thread.
 */
#ifndef COMMON_SANDBOX_ID_USE_H
#define COMMON_SANDBOX_ID_USE_H

#include "common/base/err.h"

#include <stdint.h>

#define ID_USE_FILE "/run/belay-sandbox-ids-used"

/* ret_fd holds them until it is closed: the caller's. For root; ERR_DENIED, ERR_INTERNAL. */
enum err_code id_use_hold(uint64_t base, uint64_t count, int *ret_fd, struct err_info *err)
    MUST_CHECK;

/* ERR_BUSY: a sandbox uses some of them; ret_free is where those of one such end. */
enum err_code id_use_check(uint64_t base, uint64_t count, uint64_t *ret_free, struct err_info *err)
    MUST_CHECK;

#endif
