/* The floor: the row of a credential by its hash, by the engine's own library. One thread. */
#ifndef TOOLS_BENCH_TOKEN_RAW_H
#define TOOLS_BENCH_TOKEN_RAW_H

#include "common/base/err.h"

#include <stdint.h>

struct raw;

enum err_code raw_open(const char *url, struct raw **ret_raw, struct err_info *err) MUST_CHECK;
void raw_close(struct raw *raw); /* NULL is allowed */

/* The server process of its connection where that is on this machine; 0: not so, or SQLite. */
int raw_backend(const struct raw *raw);

/* Whether the hash stands for a session (or an API key) in force; every column is read. */
bool raw_find(struct raw *raw, bool is_session, const uint8_t hash[32], int64_t now_us);

#endif
