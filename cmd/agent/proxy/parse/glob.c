#include "cmd/agent/proxy/parse/glob.h"

const char *glob_check(struct str_view pattern)
{
    size_t stars = 0;
    if (pattern.len > GLOB_BYTES_MAX) {
        return "a path pattern has at most 1024 characters";
    }
    for (size_t i = 0; i < pattern.len; i++) {
        char c = pattern.ptr[i];
        if ((unsigned char)c < 0x20 || c == 0x7f) {
            return "control characters in a path pattern";
        }
        stars += c == '*' && (i == 0 || pattern.ptr[i - 1] != '*') ? 1 : 0;
    }
    if (stars > GLOB_STARS_MAX) {
        return "a path pattern has at most 8 stars";
    }
    return pattern.len == 0 || pattern.ptr[0] == '/' || pattern.ptr[0] == '*'
        ? NULL
        : "a path pattern begins with '/' or a star";
}

/* Where to go on when the rest does not fit: behind a star, which then takes one more character. */
struct retreat {
    size_t pattern; /* behind the star; 0: there was none */
    size_t path;
};

struct match {
    struct str_view pattern;
    struct str_view path;
    size_t at;     /* in the pattern */
    size_t offset; /* in the path */
    struct retreat one;
    struct retreat any;
};

static void take_star(struct match *match)
{
    bool any = match->at + 1 < match->pattern.len && match->pattern.ptr[match->at + 1] == '*';
    while (match->at < match->pattern.len && match->pattern.ptr[match->at] == '*') {
        match->at++;
    }
    *(any ? &match->any : &match->one) = (struct retreat){ match->at, match->offset };
    if (any) {
        match->one.pattern = 0; /* what lies before a "**" need not be tried again */
    }
}

static bool step_back(struct match *match)
{
    bool one = match->one.pattern != 0 && match->one.path < match->path.len
        && match->path.ptr[match->one.path] != '/';
    struct retreat *to = one ? &match->one : &match->any;
    if (to->pattern == 0 || to->path >= match->path.len) {
        return false;
    }
    to->path++;
    match->at = to->pattern;
    match->offset = to->path;
    if (to == &match->any) {
        match->one.pattern = 0;
    }
    return true;
}

bool glob_matches(struct str_view pattern, struct str_view path)
{
    struct match match = { .pattern = pattern, .path = path };
    if (pattern.len == 0) {
        return true;
    }
    while (match.offset < path.len || match.at < pattern.len) {
        bool more = match.at < pattern.len;
        if (more && pattern.ptr[match.at] == '*') {
            take_star(&match);
        } else if (
            more && match.offset < path.len && pattern.ptr[match.at] == path.ptr[match.offset]) {
            match.at++;
            match.offset++;
        } else if (!step_back(&match)) {
            return false;
        }
    }
    return true;
}

static int nibble(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static bool decode(struct str_view path, size_t at, unsigned char *ret_octet)
{
    int high = at + 2 < path.len ? nibble(path.ptr[at + 1]) : -1;
    int low = at + 2 < path.len ? nibble(path.ptr[at + 2]) : -1;
    if (high < 0 || low < 0) {
        return false;
    }
    *ret_octet = (unsigned char)(high * 16 + low);
    return true;
}

static bool has_odd_segment(struct str_view path)
{
    struct str_view rest = str_from(path.ptr + 1, path.len - 1);
    bool more = true;
    while (more) {
        struct str_view part = rest;
        struct str_view tail = STR_NONE;
        more = str_cut(rest, '/', &part, &tail);
        part = more ? part : rest;
        bool dots = str_equal(part, STR(".")) || str_equal(part, STR(".."));
        if (dots || (more && part.len == 0)) {
            return true; /* an empty last part is the slash at the end of a folder's name */
        }
        rest = tail;
    }
    return false;
}

bool glob_plain_path(
    struct str_view path, bool encoded_slash, char *out, struct str_view *ret_plain)
{
    size_t bytes = 0;
    if (path.len == 0 || path.ptr[0] != '/') {
        return false;
    }
    for (size_t i = 0; i < path.len; i++) {
        unsigned char octet = (unsigned char)path.ptr[i];
        bool code = octet == '%';
        if (code && !decode(path, i, &octet)) {
            return false;
        }
        if (octet < 0x20 || octet == 0x7f || octet == '\\' || octet == ';'
            || (code && octet == '/' && !encoded_slash)) {
            return false;
        }
        if (code && octet == '/') { /* it stays a code: it is part of a name, not between names */
            out[bytes++] = '%';
            out[bytes++] = '2';
            out[bytes++] = 'F';
        } else {
            out[bytes++] = (char)octet;
        }
        i += code ? 2 : 0;
    }
    *ret_plain = str_from(out, bytes);
    return !has_odd_segment(*ret_plain);
}
