/*
 * Which agent gets a sandbox: of those that are there, match the selector and have room for all it
 * asks, the one that is least loaded. Pure.
 */
#ifndef SERVER_DOMAIN_PLACEMENT_H
#define SERVER_DOMAIN_PLACEMENT_H

#include "cmd/server/domain/selector.h"

/* What is asked for, or offered, or promised already. */
struct placement_room {
    int64_t cpu_millis;
    int64_t memory_bytes;
    int64_t disk_bytes;
    int64_t sandboxes;
};

struct placement_agent {
    int64_t id;
    const char *name;
    const void *labels; /* for the look-up */
    bool is_online;
    bool is_cordoned;
    struct placement_room offered;
    struct placement_room promised;
    const char *const *drivers;
    size_t driver_count; /* 0: runs no sandboxes */
    const char *const *images;
    size_t image_count;
};

struct placement_ask {
    struct placement_room room; /* sandboxes: 1 */
    const char *driver;         /* "": any */
    const char *image;          /* "": none */
    const char *agent;          /* name or digits of the id; "": any */
    const struct selector *selector;
    selector_lookup_fn lookup;
};

/*
 * ERR_PRECONDITION tells how many agents there are and what kept each of them out ("no agent fits:
 * of 3 agents 1 is offline, 2 have too little memory (256 MiB asked, at most 100 MiB free)").
 */
enum err_code placement_choose(
    const struct placement_ask *ask,
    const struct placement_agent *agents,
    size_t count,
    const struct placement_agent **ret_agent,
    struct err_info *err) MUST_CHECK;

#endif
