#include "cmd/server/openshell/log_filter.h"

#include "common/base/cleanup.h"

static const struct level {
    const char *name;
    int64_t severity; /* agentgateway.v1.Severity */
} levels[] = {
    { "", 0 },     { "TRACE", 0 },   { "DEBUG", 1 }, { "INFO", 2 },
    { "WARN", 3 }, { "WARNING", 3 }, { "ERROR", 4 },
};

static enum err_code parse_level(const char *name, int64_t *ret, struct err_info *err)
{
    for (size_t i = 0; i < ARRAY_LENGTH(levels); i++) {
        if (str_equal_fold(str_of(name), str_of(levels[i].name))) {
            *ret = levels[i].severity;
            return ERR_OK;
        }
    }
    return ERR_SET(
        err, ERR_INVALID, "min_level: TRACE, DEBUG, INFO, WARN or ERROR, not \"%.32s\"", name);
}

enum err_code log_filter_parse(
    const char *level,
    char *const *sources,
    size_t source_count,
    struct log_filter *ret_filter,
    struct err_info *err)
{
    struct log_filter filter = { .kinds = source_count == 0 ? EVENT_LINES | EVENT_NEWS : 0 };
    TRY(parse_level(level, &filter.min_severity, err));
    for (size_t i = 0; i < source_count; i++) {
        if (str_equal(str_of(sources[i]), STR("sandbox"))) {
            filter.kinds |= EVENT_LINES;
        } else if (str_equal(str_of(sources[i]), STR("gateway"))) {
            filter.kinds |= EVENT_NEWS;
        } else {
            return ERR_SET(
                err, ERR_INVALID, "sources: gateway or sandbox, not \"%.32s\"", sources[i]);
        }
    }
    *ret_filter = filter;
    return ERR_OK;
}
