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
    const char *const *protections;
    size_t protection_count;
};

struct placement_ask {
    struct placement_room room; /* sandboxes: 1 */
    const char *driver;         /* "": any */
    const char *image;          /* "": none */
    bool needs_restart;         /* the agent shall know how */
    const char *agent;          /* name or digits of the id; "": any */
    const struct selector *selector;
    selector_lookup_fn lookup;
};

enum placement_hindrance {
    PLACEMENT_NOT_ASKED_FOR, /* another agent was named */
    PLACEMENT_OFFLINE,
    PLACEMENT_CORDONED,
    PLACEMENT_NO_DRIVER,
    PLACEMENT_NO_LABELS,
    PLACEMENT_NO_IMAGE,
    PLACEMENT_NO_RESTART,
    PLACEMENT_NO_SLOT,
    PLACEMENT_NO_CPU,
    PLACEMENT_NO_MEMORY,
    PLACEMENT_NO_DISK,
    PLACEMENT_HINDRANCE_COUNT
};

/* A look at one agent after the other; nothing of an agent is kept but its numbers. */
struct placement_search {
    const struct placement_ask *ask;
    size_t count;
    size_t hindered[PLACEMENT_HINDRANCE_COUNT];
    struct placement_room most; /* the most any agent without room has left */
    bool has_best;
    double best_fullness;
    int64_t best_id;
    struct placement_room best_offered;
};

#define PLACEMENT_SEARCH_INIT(asked) \
    {                                \
        .ask = (asked)               \
    }

void placement_look(struct placement_search *search, const struct placement_agent *agent);

/*
 * ERR_PRECONDITION tells how many agents there are and what kept each of them out ("no agent fits:
 * of 3 agents 1 is offline, 2 have too little memory (256 MiB asked, at most 100 MiB free)").
 */
enum err_code placement_end(
    const struct placement_search *search, int64_t *ret_agent_id, struct err_info *err) MUST_CHECK;

/* Whether what is asked for fits beside what is promised. */
bool placement_fits(
    const struct placement_room *asked,
    const struct placement_room *offered,
    const struct placement_room *promised);

/* The same of an agent that is given; ERR_PRECONDITION names the limit ("its agent is without the
 * cpu (1000m asked, at most 0m free)"). */
enum err_code placement_check(
    const struct placement_room *asked,
    const struct placement_room *offered,
    const struct placement_room *promised,
    struct err_info *err) MUST_CHECK;

#endif
