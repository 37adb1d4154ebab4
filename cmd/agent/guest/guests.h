/*
 * What this agent has lent: its loans on the disk and a guest for each. A guest is an agent of its
 * own, a child process with state, keys, enrollment, spool and session of its own, enrolled in the
 * borrower's workspace: tenants are as far apart as two agents on one machine are.
 *
 * A child ends with its lender, however that ends: it has the read end of a pipe as standard input
 * whose other end nobody but the lender has, and stops when that hangs up. Unlike a signal at the
 * parent's death (PR_SET_PDEATHSIG) this has no moment, between fork and the child's first call,
 * in which the parent's end is missed, and it does not depend on which of its threads made the
 * child. Loop thread.
 */
#ifndef CMD_AGENT_GUEST_GUESTS_H
#define CMD_AGENT_GUEST_GUESTS_H

#include "cmd/agent/guest/guest.h"

struct guests;

enum {
    GUEST_STATE_DIR_MAX = 90 /* bytes of the path of a state folder: see the option state-dir */
};

struct guests_ops {
    void (*changed)(void *context); /* what is lent is another now */
    /* Answers guests_reclaim, also from within it. ERR_OK: nothing of the loan is left. */
    void (*reclaimed)(void *context, void *token, enum err_code code, const char *text);
};

struct guests_options {
    struct loop *loop;
    const char *folder;  /* of the loans, made with the first */
    const char *program; /* NULL: this one */
    struct guest_setup setup;
    struct guest_pace pace;
    bool may_run; /* false: this agent offers no sandboxes now, and its guests wait */
    const struct guests_ops *ops;
    void *context;
};

/* Takes up what is on the disk: starts guests, and carries on with what was being ended. A record
 * that is damaged is left alone, and logged. */
enum err_code guests_open(
    const struct guests_options *options,
    struct guests **ret_guests,
    struct err_info *err) MUST_CHECK;
void guests_stop(struct guests *guests); /* SIGTERM to all; NULL is allowed */
/* guests_stop, then waits for them, for the grace at most. Who reclaims is not answered any more.
 * NULL is allowed. */
void guests_close(struct guests *guests);

/*
 * On the disk, and its guest is being started, when this returns. A loan of this id that is there
 * is left as it is. left: what this agent has for all loans. ERR_LIMIT: room, or number of loans.
 * ERR_BUSY: the loan of this id is being ended, or this agent is. ERR_UNSUPPORTED: the state
 * folder's path is too long, or may_run is not so. ERR_CORRUPT: its record is damaged.
 */
enum err_code guests_lend(
    struct guests *guests,
    const struct loan *loan,
    struct str_view join,
    const struct room *left,
    struct err_info *err) MUST_CHECK;

/* Ends a loan and removes all of it; ops->reclaimed follows, with the token. */
void guests_reclaim(struct guests *guests, const char *loan_id, void *token);

/* What all loans have; also those that are being ended. */
void guests_lent(const struct guests *guests, struct room *ret_lent);

struct guest_view {
    unsigned number;
    const struct loan *loan;
    const char *phase; /* starting, running, waiting, ending, damaged */
    pid_t pid;         /* 0: no process */
};

/* Walk: start with *cursor = 0. Valid until the loop turns. */
bool guests_next(const struct guests *guests, size_t *cursor, struct guest_view *ret_view);

#endif
