/*
 * Structured log: one JSON line per event on standard error, event names constant. Values are
 * escaped and cut at LOG_VALUE_BYTES. Secrets have a type of their own (common/crypto/secret.h) for
 * which no field exists here. ERROR: an operator must act. WARN: degraded. Thread-safe.
 *
 *     log_info("agent_online", LOG_INT("agent_id", id), LOG_STR("name", name));
 */
#ifndef COMMON_BASE_LOG_H
#define COMMON_BASE_LOG_H

#include "common/base/err.h"
#include "common/base/str.h"

enum log_level {
    LOG_DEBUG,
    LOG_INFO,
    LOG_WARN,
    LOG_ERROR,
    LOG_OFF
};

enum {
    LOG_VALUE_BYTES = 512
};

struct log_field {
    const char *key;

    enum {
        LOG_FIELD_STR,
        LOG_FIELD_INT,
        LOG_FIELD_UINT,
        LOG_FIELD_BOOL
    } type;
    struct str_view text;
    int64_t number;
};

#define LOG_STR(name, value) \
    ((struct log_field){ .key = (name), .type = LOG_FIELD_STR, .text = str_of(value) })
#define LOG_VIEW(name, value) \
    ((struct log_field){ .key = (name), .type = LOG_FIELD_STR, .text = (value) })
#define LOG_INT(name, value) \
    ((struct log_field){ .key = (name), .type = LOG_FIELD_INT, .number = (int64_t)(value) })
#define LOG_UINT(name, value) \
    ((struct log_field){ .key = (name), .type = LOG_FIELD_UINT, .number = (int64_t)(value) })
#define LOG_BOOL(name, value) \
    ((struct log_field){ .key = (name), .type = LOG_FIELD_BOOL, .number = (value) ? 1 : 0 })
#define LOG_ERR(info) LOG_STR("error", (info)->text)

/* Threshold of the process; the default is LOG_INFO. */
void log_set_level(enum log_level level);
enum log_level log_get_level(void);
enum err_code log_parse_level(struct str_view text, enum log_level *ret_level) MUST_CHECK;

/* Put into every line as "component"; static storage; call once before threads start. */
void log_set_component(const char *name);

void log_write(
    enum log_level level, const char *event, const struct log_field *fields, size_t count);

/* Every list of fields ends with one that is not written, so that an event may have none. */
#define LOG_WRITE_(level, event, ...)                                                       \
    do {                                                                                    \
        if (log_get_level() <= (level)) {                                                   \
            const struct log_field fields_[] = { __VA_ARGS__ };                             \
            log_write((level), (event), fields_, sizeof(fields_) / sizeof(fields_[0]) - 1); \
        }                                                                                   \
    } while (0)

/* log_<level>(event, fields...) */
#define log_debug(...) LOG_WRITE_(LOG_DEBUG, __VA_ARGS__, LOG_INT("", 0))
#define log_info(...)  LOG_WRITE_(LOG_INFO, __VA_ARGS__, LOG_INT("", 0))
#define log_warn(...)  LOG_WRITE_(LOG_WARN, __VA_ARGS__, LOG_INT("", 0))
#define log_error(...) LOG_WRITE_(LOG_ERROR, __VA_ARGS__, LOG_INT("", 0))

#endif
