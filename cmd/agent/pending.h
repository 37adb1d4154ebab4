/*
 * An enrollment that is not finished: the join string and what to register with, kept in the state
 * folder so that it goes on after a crash with the same keys. Holds a secret: deinit wipes it.
 */
#ifndef CMD_AGENT_PENDING_H
#define CMD_AGENT_PENDING_H

#include "cmd/agent/link/link.h"
#include "cmd/agent/state/state.h"
#include "common/base/join.h"

struct pending {
    struct join_string join;
    char name[STATE_NAME_BYTES];
    char *labels[LINK_LABELS_MAX]; /* "key=value" */
    unsigned label_count;
};

void pending_deinit(struct pending *pending);

/*
 * Reads the join string, fetches the server's CA by its pin (waits for the network) and keeps
 * everything in the state folder. ERR_UNAVAILABLE: the server is not there.
 */
enum err_code pending_begin(
    struct state *state,
    struct str_view join_text,
    const struct pending *with,
    struct err_info *err) MUST_CHECK;

/* ERR_NOT_FOUND: none. */
enum err_code pending_load(struct state *state, struct pending *ret_pending, struct err_info *err)
    MUST_CHECK;

/* Borrows from pending. */
void pending_fill(const struct pending *pending, struct link_join *ret_join);

#endif
