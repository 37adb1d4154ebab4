/*
 * Errors: one closed set of codes, returned by every fallible function, with detail in a
 * caller-owned struct err_info. Text may be shown to a peer: it never holds SQL, secrets or keys.
 */
#ifndef COMMON_BASE_ERR_H
#define COMMON_BASE_ERR_H

#include <stdbool.h>

enum err_code {
    ERR_OK = 0,
    ERR_INVALID,         /* the input breaks a rule; text names the field and the bound */
    ERR_UNAUTHENTICATED, /* no proof, or a wrong one */
    ERR_DENIED,          /* known, but may not */
    ERR_NOT_FOUND,
    ERR_EXISTS,
    ERR_CONFLICT,     /* lost a race or an optimistic check; the caller may retry from the start */
    ERR_PRECONDITION, /* the thing is not in a state that allows this */
    ERR_LIMIT,        /* a quota, a size or a rate */
    ERR_BUSY,         /* would have to wait */
    ERR_TIMEOUT,
    ERR_CANCELED,
    ERR_CORRUPT,     /* stored or received data fails its checks */
    ERR_UNSUPPORTED, /* not built, not in this mode */
    ERR_UNAVAILABLE, /* a peer or a disk is away; retry later */
    ERR_UNCERTAIN,   /* a commit whose answer was lost: resolve by idempotency key */
    ERR_NOMEM,
    ERR_INTERNAL,
    ERR_CODE_COUNT
};

enum {
    ERR_TEXT_BYTES = 512
};

struct err_info {
    enum err_code code;
    bool retryable;
    const char *file; /* where it was set; static storage */
    int line;
    int number; /* the errno that it was made of; 0: none */
    char text[ERR_TEXT_BYTES];
};

#define ERR_INFO_INIT  \
    {                  \
        .code = ERR_OK \
    }

#define MUST_CHECK __attribute__((warn_unused_result))

/* Name of a code, in lower case with underscores ("not_found"). */
const char *err_name(enum err_code code);

/*
 * Fills info (NULL is allowed) with code and a formatted text, cut at ERR_TEXT_BYTES, and returns
 * code. The text is UTF-8 whatever it is made of (str_make_utf8). Use through ERR_SET so that the
 * origin is kept.
 */
enum err_code err_set_at(
    struct err_info *info, enum err_code code, const char *file, int line, const char *format, ...)
    __attribute__((format(printf, 5, 6)));

/* As err_set_at, adds ": " and strerror(number), and keeps the number. */
enum err_code err_set_errno_at(
    struct err_info *info,
    enum err_code code,
    int number,
    const char *file,
    int line,
    const char *format,
    ...) __attribute__((format(printf, 6, 7)));

/* Puts "prefix: " in front of the text of an error that is already set. */
void err_prefix(struct err_info *info, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#define ERR_SET(info, code, ...) err_set_at((info), (code), __FILE__, __LINE__, __VA_ARGS__)
#define ERR_SET_ERRNO(info, code, number, ...) \
    err_set_errno_at((info), (code), (number), __FILE__, __LINE__, __VA_ARGS__)

/* Passes an error up. Only where everything held is borrowed, in an arena or cleaned up by scope.
 */
#define TRY(expression)                         \
    do {                                        \
        enum err_code try_code_ = (expression); \
        if (try_code_ != ERR_OK) {              \
            return try_code_;                   \
        }                                       \
    } while (0)

#endif
