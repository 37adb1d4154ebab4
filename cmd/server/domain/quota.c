#include "cmd/server/domain/quota.h"

#include "common/base/cleanup.h"

#include <inttypes.h>

struct limit {
    const char *name;
    const char *unit;
    int64_t divisor; /* of the unit shown */
    int64_t most;
    int64_t used;
    int64_t asked;
};

static enum err_code check(const char *whose, const struct limit *limit, struct err_info *err)
{
    bool fits = limit->most == QUOTA_NONE
        || (limit->asked <= limit->most && limit->used <= limit->most - limit->asked);
    if (fits) {
        return ERR_OK;
    }
    return ERR_SET(
        err,
        ERR_LIMIT,
        "the quota of %s: %s: %" PRId64 "%s stand, %" PRId64 "%s asked, at most %" PRId64
        "%s; delete some, or have the quota raised",
        whose,
        limit->name,
        limit->used / limit->divisor,
        limit->unit,
        limit->asked / limit->divisor,
        limit->unit,
        limit->most / limit->divisor,
        limit->unit);
}

enum err_code quota_check(
    const char *whose,
    const struct placement_room *limits,
    const struct placement_room *used,
    const struct placement_room *asked,
    struct err_info *err)
{
    enum {
        MIB = 1024 * 1024
    };

    const struct limit all[] = {
        { "sandboxes", "", 1, limits->sandboxes, used->sandboxes, asked->sandboxes },
        { "cpu", "m", 1, limits->cpu_millis, used->cpu_millis, asked->cpu_millis },
        { "memory", " MiB", MIB, limits->memory_bytes, used->memory_bytes, asked->memory_bytes },
        { "disk", " MiB", MIB, limits->disk_bytes, used->disk_bytes, asked->disk_bytes },
    };
    for (size_t i = 0; i < ARRAY_LENGTH(all); i++) {
        TRY(check(whose, &all[i], err));
    }
    return ERR_OK;
}
