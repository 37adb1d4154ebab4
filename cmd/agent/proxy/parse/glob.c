#include "cmd/agent/proxy/parse/glob.h"

const char *glob_check(struct str_view pattern)
{
    if (pattern.len > GLOB_BYTES_MAX) {
        return "a path pattern has at most 256 characters";
    }
    for (size_t i = 0; i < pattern.len; i++) {
        if ((unsigned char)pattern.ptr[i] < 0x20 || pattern.ptr[i] == 0x7f) {
            return "control characters in a path pattern";
        }
    }
    return pattern.len == 0 || pattern.ptr[0] == '/' || pattern.ptr[0] == '*'
        ? NULL
        : "a path pattern begins with '/' or a star";
}

/* Which places of the pattern the path so far may have come to: [pattern.len] is its end. */
struct places {
    bool at[GLOB_BYTES_MAX + 1];
};

static size_t star_width(struct str_view pattern, size_t at)
{
    if (pattern.ptr[at] != '*') {
        return 0;
    }
    return at + 1 < pattern.len && pattern.ptr[at + 1] == '*' ? 2 : 1;
}

/* A star may stand for nothing. */
static void pass_stars(struct str_view pattern, struct places *places)
{
    for (size_t i = 0; i < pattern.len; i++) {
        if (places->at[i]) {
            size_t width = star_width(pattern, i);
            places->at[i + width] = true;
        }
    }
}

/* Every place at once, so that no path takes longer than its length times the pattern's. */
bool glob_matches(struct str_view pattern, struct str_view path)
{
    struct places now = { { true } };
    if (pattern.len == 0 || pattern.len > GLOB_BYTES_MAX) {
        return pattern.len == 0;
    }
    pass_stars(pattern, &now);
    for (size_t k = 0; k < path.len; k++) {
        struct places next = { { false } };
        for (size_t i = 0; i < pattern.len; i++) {
            size_t width = now.at[i] ? star_width(pattern, i) : 0;
            if (width == 2 || (width == 1 && path.ptr[k] != '/')) {
                next.at[i] = true;
            } else if (now.at[i] && width == 0 && pattern.ptr[i] == path.ptr[k]) {
                next.at[i + 1] = true;
            }
        }
        now = next;
        pass_stars(pattern, &now);
    }
    return now.at[pattern.len];
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
