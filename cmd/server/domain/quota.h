/* How much may stand at the same time, and whether more fits. Pure. */
#ifndef SERVER_DOMAIN_QUOTA_H
#define SERVER_DOMAIN_QUOTA_H

#include "cmd/server/domain/placement.h"

enum {
    QUOTA_NONE = -1 /* no limit of that kind */
};

/* ERR_LIMIT names whose quota it is, the first limit that would be passed, what stands and what was
 * asked for. limits: QUOTA_NONE or the most of each. */
enum err_code quota_check(
    const char *whose, /* "workspace 'default'", "user:local/0" */
    const struct placement_room *limits,
    const struct placement_room *used,
    const struct placement_room *asked,
    struct err_info *err) MUST_CHECK;

#endif
