/* What a client wants to see of a sandbox's log: least level, sources, since when. Pure. */
#ifndef SERVER_OPENSHELL_LOG_FILTER_H
#define SERVER_OPENSHELL_LOG_FILTER_H

#include "cmd/server/store/event.h"

struct log_filter {
    int64_t min_severity;
    unsigned kinds; /* enum event_kinds: lines are of the source "sandbox", news of "gateway" */
};

/* level: "", TRACE, DEBUG, INFO, WARN or ERROR, in any case; sources: none, or some of "gateway"
 * and "sandbox"; without any, both. ERR_INVALID names the field. */
enum err_code log_filter_parse(
    const char *level,
    char *const *sources,
    size_t source_count,
    struct log_filter *ret_filter,
    struct err_info *err) MUST_CHECK;

#endif
