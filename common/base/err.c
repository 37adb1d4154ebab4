#include "common/base/err.h"

#include "common/base/str.h"

#include <stdarg.h>
#include <stdio.h>

static const char *const err_names[] = {
    [ERR_OK] = "ok",
    [ERR_INVALID] = "invalid",
    [ERR_UNAUTHENTICATED] = "unauthenticated",
    [ERR_DENIED] = "denied",
    [ERR_NOT_FOUND] = "not_found",
    [ERR_EXISTS] = "exists",
    [ERR_CONFLICT] = "conflict",
    [ERR_PRECONDITION] = "precondition",
    [ERR_LIMIT] = "limit",
    [ERR_BUSY] = "busy",
    [ERR_TIMEOUT] = "timeout",
    [ERR_CANCELED] = "canceled",
    [ERR_CORRUPT] = "corrupt",
    [ERR_UNSUPPORTED] = "unsupported",
    [ERR_UNAVAILABLE] = "unavailable",
    [ERR_UNCERTAIN] = "uncertain",
    [ERR_NOMEM] = "nomem",
    [ERR_INTERNAL] = "internal",
};

_Static_assert(
    sizeof(err_names) / sizeof(err_names[0]) == ERR_CODE_COUNT, "every code has its name");

const char *err_name(enum err_code code)
{
    return (unsigned)code < ERR_CODE_COUNT ? err_names[code] : "unknown";
}

static void fill(
    struct err_info *info,
    enum err_code code,
    const char *file,
    int line,
    const char *format,
    va_list args) __attribute__((format(printf, 5, 0)));

static void fill(
    struct err_info *info,
    enum err_code code,
    const char *file,
    int line,
    const char *format,
    va_list args)
{
    info->code = code;
    info->retryable = code == ERR_BUSY || code == ERR_UNAVAILABLE || code == ERR_TIMEOUT;
    info->file = file;
    info->line = line;
    info->number = 0;
    (void)vsnprintf(info->text, sizeof(info->text), format, args);
    str_make_utf8(info->text); /* the words of others, and names cut by a precision */
}

enum err_code err_set_at(
    struct err_info *info, enum err_code code, const char *file, int line, const char *format, ...)
{
    if (info != NULL) {
        va_list args;
        va_start(args, format);
        fill(info, code, file, line, format, args);
        va_end(args);
    }
    return code;
}

enum err_code err_set_errno_at(
    struct err_info *info,
    enum err_code code,
    int number,
    const char *file,
    int line,
    const char *format,
    ...)
{
    if (info != NULL) {
        va_list args;
        va_start(args, format);
        fill(info, code, file, line, format, args);
        va_end(args);
        info->number = number;
        size_t used = strlen(info->text);
        char reason[128];
        (void)snprintf(
            info->text + used,
            sizeof(info->text) - used,
            ": %s",
            strerror_r(number, reason, sizeof(reason)));
        str_make_utf8(info->text);
    }
    return code;
}

void err_prefix(struct err_info *info, const char *format, ...)
{
    if (info == NULL) {
        return;
    }
    char rest[ERR_TEXT_BYTES];
    (void)snprintf(rest, sizeof(rest), "%s", info->text);
    va_list args;
    va_start(args, format);
    (void)vsnprintf(info->text, sizeof(info->text), format, args);
    va_end(args);
    size_t used = strlen(info->text);
    (void)snprintf(info->text + used, sizeof(info->text) - used, ": %s", rest);
    str_make_utf8(info->text);
}
