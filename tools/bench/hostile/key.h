/* An operator's key, made through the server's local socket. */
#ifndef TOOLS_BENCH_HOSTILE_KEY_H
#define TOOLS_BENCH_HOSTILE_KEY_H

#include "common/base/err.h"

enum {
    KEY_BYTES = 128
};

/* target: "unix:/path" of the operators' socket. */
enum err_code key_make(const char *target, char ret_key[KEY_BYTES], struct err_info *err)
    MUST_CHECK;

#endif
