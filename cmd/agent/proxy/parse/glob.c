#include "cmd/agent/proxy/parse/glob.h"

#define ENCODED_SLASH "%2F"

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

enum {
    PLACE_BITS = 64,
    PLACE_WORDS = GLOB_BYTES_MAX / PLACE_BITS + 1,
    CODE_BYTES = 3 /* a percent sign and two digits */
};

/* A pattern as sets of places, one bit each: a character or a run of stars; the last is its end. */
struct glob {
    size_t words;
    size_t end;
    uint64_t stars[PLACE_WORDS];
    uint64_t deep[PLACE_WORDS];     /* those that slashes pass, too */
    uint64_t of[256 * PLACE_WORDS]; /* where this character stands, `words` for each */
};

static void set_place(uint64_t *places, size_t at)
{
    places[at / PLACE_BITS] |= UINT64_C(1) << (at % PLACE_BITS);
}

static size_t count_stars(struct str_view pattern, size_t at)
{
    size_t count = 0;
    while (at + count < pattern.len && pattern.ptr[at + count] == '*') {
        count++;
    }
    return count;
}

static void glob_read(struct str_view pattern, struct glob *glob)
{
    *glob = (struct glob){ .words = pattern.len / PLACE_BITS + 1 };
    for (size_t i = 0; i < pattern.len; glob->end++) {
        size_t stars = count_stars(pattern, i);
        if (stars == 0) {
            set_place(glob->of + (unsigned char)pattern.ptr[i] * glob->words, glob->end);
        } else {
            set_place(glob->stars, glob->end);
        }
        if (stars > 1) {
            set_place(glob->deep, glob->end);
        }
        i += stars == 0 ? 1 : stars;
    }
}

/* From the places that the path has come to, over one more character; false: there is none left.
 * A star may stand for nothing, and two are never side by side. */
static bool glob_step(const struct glob *glob, unsigned char c, uint64_t *places)
{
    const uint64_t *same = glob->of + c * glob->words;
    const uint64_t *stay = c == '/' ? glob->deep : glob->stars;
    uint64_t moved = 0;
    uint64_t passed = 0;
    uint64_t any = 0;
    for (size_t w = 0; w < glob->words; w++) {
        uint64_t move = places[w] & same[w];
        uint64_t next = (places[w] & stay[w]) | move << 1 | moved;
        uint64_t pass = next & glob->stars[w];
        next |= pass << 1 | passed;
        moved = move >> (PLACE_BITS - 1);
        passed = pass >> (PLACE_BITS - 1);
        places[w] = next;
        any |= next;
    }
    return any != 0;
}

/* All places at once, so that no path takes longer than its length times the pattern's words. */
static bool glob_run(struct str_view pattern, struct str_view path)
{
    struct glob glob;
    uint64_t places[PLACE_WORDS] = { 3 }; /* it begins with a star: on it, and behind it */
    glob_read(pattern, &glob);
    for (size_t i = 0; i < path.len; i++) {
        if (!glob_step(&glob, (unsigned char)path.ptr[i], places)) {
            return false;
        }
    }
    return (places[glob.end / PLACE_BITS] >> (glob.end % PLACE_BITS) & 1) != 0;
}

bool glob_matches(struct str_view pattern, struct str_view path)
{
    if (pattern.len == 0 || pattern.len > GLOB_BYTES_MAX) {
        return pattern.len == 0;
    }
    const char *star = memchr(pattern.ptr, '*', pattern.len);
    size_t plain = star == NULL ? pattern.len : (size_t)(star - pattern.ptr);
    if (path.len < plain || memcmp(pattern.ptr, path.ptr, plain) != 0) {
        return false;
    }
    struct str_view rest = str_from(pattern.ptr + plain, pattern.len - plain);
    struct str_view tail = str_from(path.ptr + plain, path.len - plain);
    if (rest.len == 0 || (rest.len > 1 && count_stars(rest, 0) == rest.len)) {
        return rest.len > 0 || tail.len == 0;
    }
    return glob_run(rest, tail);
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

/* How many characters stand between two segments here; 0: none. */
static size_t separator_at(struct str_view path, size_t at, bool encoded_slash)
{
    if (path.ptr[at] == '/') {
        return 1;
    }
    bool code = encoded_slash && path.len - at >= CODE_BYTES
        && memcmp(path.ptr + at, ENCODED_SLASH, CODE_BYTES) == 0;
    return code ? CODE_BYTES : 0;
}

/* Also between encoded slashes: a server that takes them for slashes would take what is between
 * them for segments. */
static bool has_odd_segment(struct str_view path, bool encoded_slash)
{
    size_t begin = 1;
    size_t at = 1;
    while (at <= path.len) {
        bool last = at == path.len;
        size_t width = last ? 1 : separator_at(path, at, encoded_slash);
        struct str_view part = str_from(path.ptr + begin, at - begin);
        if (width == 0) {
            at++;
            continue;
        }
        if (str_equal(part, STR(".")) || str_equal(part, STR("..")) || (!last && part.len == 0)) {
            return true; /* an empty last part is the slash at the end of a folder's name */
        }
        at += width;
        begin = at;
    }
    return false;
}

struct str_view glob_open_slashes(struct str_view plain, char *out)
{
    size_t bytes = 0;
    for (size_t i = 0; i < plain.len; bytes++) {
        size_t width = separator_at(plain, i, true);
        out[bytes] = width > 0 ? '/' : plain.ptr[i];
        i += width > 0 ? width : 1;
    }
    return str_from(out, bytes);
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
            memcpy(out + bytes, ENCODED_SLASH, CODE_BYTES);
            bytes += CODE_BYTES;
        } else {
            out[bytes++] = (char)octet;
        }
        i += code ? 2 : 0;
    }
    *ret_plain = str_from(out, bytes);
    return !has_odd_segment(*ret_plain, encoded_slash);
}
