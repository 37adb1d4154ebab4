/*
 * Patterns of paths: "*" is any run without a slash, "**" any run at all, every other character
 * itself. A path takes at most its length times a word for each 64 characters of the pattern, and
 * nearly always no more than memmem does. And the one form of a path that patterns are held
 * against. Pure.
 */
#ifndef CMD_AGENT_PROXY_PARSE_GLOB_H
#define CMD_AGENT_PROXY_PARSE_GLOB_H

#include "common/base/str.h"

enum {
    GLOB_BYTES_MAX = 256
};

/* NULL: good; else what is wrong. Empty is good and matches everything. */
const char *glob_check(struct str_view pattern);
bool glob_matches(struct str_view pattern, struct str_view path);

/*
 * The path with its percent codes resolved, into out (at least path.len bytes). false: servers read
 * it in different ways (dot segments, empty segments, an encoded slash unless allowed, a backslash,
 * control characters, a broken code), so no pattern can say what it means.
 */
bool glob_plain_path(
    struct str_view path, bool encoded_slash, char *out, struct str_view *ret_plain);

/* The same path as it is for a server that takes encoded slashes for slashes; out as above. */
struct str_view glob_open_slashes(struct str_view plain, char *out);

#endif
