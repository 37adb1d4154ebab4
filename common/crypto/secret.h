/* Secret bytes: locked, zeroed memory that no log field and no formatter takes. */
#ifndef COMMON_CRYPTO_SECRET_H
#define COMMON_CRYPTO_SECRET_H

#include "common/base/str.h"

struct secret; /* immutable after creation */

struct secret *secret_create(const void *data, size_t bytes);
struct secret *secret_create_zeroed(
    size_t bytes, uint8_t **ret_bytes); /* to be filled in by the caller at once */
struct secret *secret_try_create_zeroed(
    size_t bytes, uint8_t **ret_bytes);     /* for sizes a peer chooses: may be NULL */
void secret_destroy(struct secret *secret); /* wipes; NULL is allowed */
struct str_view secret_peek(const struct secret *secret); /* NUL-terminated one past the end */
bool secret_equal(
    struct str_view a, struct str_view b); /* constant time in the bytes, not the lengths */
void secret_wipe(void *data, size_t bytes);

static inline void secret_destroy_(struct secret **secret)
{
    secret_destroy(*secret);
}

#define AUTO_SECRET __attribute__((cleanup(secret_destroy_)))

/* Once in main, before threads: libsodium, and no core dumps of secrets. */
enum err_code crypto_start(struct err_info *err) MUST_CHECK;

#endif
