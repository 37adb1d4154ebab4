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
    uint64_t places[PLACE_WORDS] = { 1 };
    glob_read(pattern, &glob);
    places[0] |= (glob.stars[0] & 1) << 1; /* a star may stand for nothing */
    for (size_t i = 0; i < path.len; i++) {
        if (!glob_step(&glob, (unsigned char)path.ptr[i], places)) {
            return false;
        }
    }
    return (places[glob.end / PLACE_BITS] >> (glob.end % PLACE_BITS) & 1) != 0;
}

/*
 * The quick way. A pattern is pieces of plain text with stars between them, the first at the path's
 * beginning and the last at its end (either may be empty). Each piece begins as far left as those
 * beside it allow: behind the one before it, and, where a single star stands between the two, in
 * the segment in which that one ends. Whatever is found wrong moves a piece to the right, never
 * back, so that either nothing is wrong any more or a piece finds no place: then no other choice
 * fits either. Pieces are sought as memmem does it, many characters at a time.
 */
enum {
    PIECES_MAX = 32,
    MOVES_MAX = 256 /* a path that needs more was made to; the sets of places bound it */
};

struct piece {
    struct str_view text;
    bool deep; /* the stars before it pass slashes */
    size_t at;
};

enum guess {
    GUESS_NO,
    GUESS_YES,
    GUESS_OPEN /* too long for the quick way */
};

/* false: more than there is room for. */
static bool cut_pieces(struct str_view pattern, struct piece *pieces, size_t *ret_count)
{
    size_t count = 0;
    size_t stars = 0;
    for (size_t i = 0; i <= pattern.len && count < PIECES_MAX; count++) {
        size_t bytes = 0;
        while (i + bytes < pattern.len && pattern.ptr[i + bytes] != '*') {
            bytes++;
        }
        pieces[count] =
            (struct piece){ .text = str_from(pattern.ptr + i, bytes), .deep = stars > 1 };
        i += bytes;
        stars = count_stars(pattern, i);
        i += stars == 0 ? 1 : stars; /* past the end, which is behind the last piece */
        *ret_count = count + 1;
        if (stars == 0) {
            return true;
        }
    }
    return false;
}

static size_t end_of(const struct piece *piece)
{
    return piece->at + piece->text.len;
}

/* The first place from there on. */
static bool move_piece(struct piece *piece, struct str_view path, size_t from)
{
    const char *found = from > path.len
        ? NULL
        : memmem(path.ptr + from, path.len - from, piece->text.ptr, piece->text.len);
    if (found != NULL) {
        piece->at = (size_t)(found - path.ptr);
    }
    return found != NULL;
}

/* As if slashes did not matter: where one has no place now it has none at all. */
static bool place_roughly(struct piece *pieces, size_t count, struct str_view path)
{
    for (size_t i = 1; i + 1 < count; i++) {
        if (!move_piece(&pieces[i], path, end_of(&pieces[i - 1]))) {
            return false;
        }
    }
    return end_of(&pieces[count - 2]) <= pieces[count - 1].at;
}

static enum guess place_pieces(struct piece *pieces, size_t count, struct str_view path)
{
    size_t moves = 0;
    size_t i = 1;
    while (i < count) {
        struct piece *before = &pieces[i - 1];
        struct piece *piece = &pieces[i];
        size_t from = end_of(before);
        if (piece->at < from && (i == count - 1 || !move_piece(piece, path, from))) {
            return GUESS_NO;
        }
        const char *slash = piece->deep ? NULL : memrchr(path.ptr + from, '/', piece->at - from);
        if (slash == NULL) {
            i++;
            continue;
        }
        size_t behind = (size_t)(slash - path.ptr) + 1;
        if (i == 1 || !move_piece(before, path, behind - before->text.len)) {
            return GUESS_NO;
        }
        i--;
        if (++moves > MOVES_MAX) {
            return GUESS_OPEN;
        }
    }
    return GUESS_YES;
}

static bool has_suffix(struct str_view text, struct str_view end)
{
    return text.len >= end.len && str_equal(str_from(text.ptr + text.len - end.len, end.len), end);
}

static enum guess glob_guess(struct str_view pattern, struct str_view path)
{
    struct piece pieces[PIECES_MAX];
    size_t count = 0;
    if (!cut_pieces(pattern, pieces, &count)) {
        return GUESS_OPEN;
    }
    struct str_view first = pieces[0].text;
    struct piece *last = &pieces[count - 1];
    if (count == 1) {
        return str_equal(first, path) ? GUESS_YES : GUESS_NO;
    }
    if (!str_has_prefix(path, first) || !has_suffix(path, last->text)) {
        return GUESS_NO;
    }
    last->at = path.len - last->text.len;
    return place_roughly(pieces, count, path) ? place_pieces(pieces, count, path) : GUESS_NO;
}

bool glob_matches(struct str_view pattern, struct str_view path)
{
    if (pattern.len == 0 || pattern.len > GLOB_BYTES_MAX) {
        return pattern.len == 0;
    }
    enum guess guess = glob_guess(pattern, path);
    return guess == GUESS_OPEN ? glob_run(pattern, path) : guess == GUESS_YES;
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
