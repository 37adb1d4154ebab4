#include "common/crypto/secret.h"

#include "common/base/mem.h"

#include <sodium.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

struct secret {
    uint8_t *bytes; /* guarded pages, locked, left out of core dumps; one NUL past the end */
    size_t count;
};

/* NULL: there is no memory of that kind, and take_secret is gone. */
static struct secret *give_pages(struct secret *take_secret, size_t bytes, uint8_t **ret_bytes)
{
    /* Repeated calls cost one lock; it keeps callers right that never ran crypto_start. */
    bool is_ready = bytes < SIZE_MAX && sodium_init() >= 0;
    take_secret->bytes = is_ready ? sodium_malloc(bytes + 1) : NULL;
    if (take_secret->bytes == NULL) {
        mem_free(take_secret);
        return NULL;
    }
    sodium_memzero(take_secret->bytes, bytes + 1);
    take_secret->count = bytes;
    *ret_bytes = take_secret->bytes;
    return take_secret;
}

struct secret *secret_try_create_zeroed(size_t bytes, uint8_t **ret_bytes)
{
    struct secret *secret = mem_try_alloc(sizeof(*secret));
    return secret == NULL ? NULL : give_pages(secret, bytes, ret_bytes);
}

struct secret *secret_create_zeroed(size_t bytes, uint8_t **ret_bytes)
{
    struct secret *secret = give_pages(mem_alloc(sizeof(*secret)), bytes, ret_bytes);
    if (secret == NULL) {
        (void)fputs("{\"level\":\"fatal\",\"event\":\"out_of_secret_memory\"}\n", stderr);
        abort();
    }
    return secret;
}

struct secret *secret_create(const void *data, size_t bytes)
{
    uint8_t *target = NULL;
    struct secret *secret = secret_create_zeroed(bytes, &target);
    if (bytes > 0) {
        memcpy(target, data, bytes);
    }
    return secret;
}

void secret_destroy(struct secret *secret)
{
    if (secret == NULL) {
        return;
    }
    sodium_free(secret->bytes);
    mem_free(secret);
}

struct str_view secret_peek(const struct secret *secret)
{
    return str_from((const char *)secret->bytes, secret->count);
}

bool secret_equal(struct str_view a, struct str_view b)
{
    return a.len == b.len && (a.len == 0 || sodium_memcmp(a.ptr, b.ptr, a.len) == 0);
}

void secret_wipe(void *data, size_t bytes)
{
    if (bytes > 0) {
        sodium_memzero(data, bytes);
    }
}

enum err_code crypto_start(struct err_info *err)
{
    if (sodium_init() < 0) {
        return ERR_SET(err, ERR_INTERNAL, "libsodium does not start");
    }
    /*
     * A core dump handed to a program (kernel.core_pattern with a pipe) ignores this limit; secrets
     * are still not in it, because libsodium marks their pages MADV_DONTDUMP.
     */
    const struct rlimit none = { 0, 0 };
    if (setrlimit(RLIMIT_CORE, &none) != 0) {
        return ERR_SET_ERRNO(err, ERR_INTERNAL, errno, "cannot turn core dumps off");
    }
    return ERR_OK;
}
