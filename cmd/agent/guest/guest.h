/*
 * One loan's guest: the process of its agent, kept running while the loan lasts, and all of it
 * removed at the end.
 *
 *     WAITING --start--> RUNNING --it ended--> WAITING (a pause that doubles)
 *        |                  | guest_end: SIGTERM
 *        | guest_end        v
 *        |               LEAVING --it ended--+
 *        +-----------------------------------+--> CLEARING --done--> GONE
 *                                                  ^   | failed
 *                                                  |   v
 *                                                RETRYING (a pause that doubles)
 *
 * CLEARING is a process of its own, `belay-agent reset`: it takes the sandboxes up, ends and
 * deletes them, which may take long, and forgets the keys. Loop thread.
 */
#ifndef CMD_AGENT_GUEST_GUEST_H
#define CMD_AGENT_GUEST_GUEST_H

#include "cmd/agent/guest/arguments.h"
#include "common/sys/loop.h"

#include <sys/types.h>

struct guest;

enum guest_state {
    GUEST_WAITING,
    GUEST_RUNNING,
    GUEST_LEAVING,
    GUEST_CLEARING,
    GUEST_RETRYING,
    GUEST_GONE,
    GUEST_STATE_COUNT
};

/* Zero: the default in brackets. */
struct guest_pace {
    int64_t pause_us;     /* the first [1 s]; doubles */
    int64_t pause_max_us; /* [60 s] */
    int64_t good_us;      /* who ran this long begins with the first pause again [60 s] */
    int64_t grace_us;     /* from SIGTERM to SIGKILL [10 s] */
    int64_t look_us;      /* how often it is looked whether it has enrolled [2 s] */
};

/* What all guests of an agent share; outlives them. */
struct guest_host {
    struct loop *loop;
    const char *folder; /* of the loans */
    const char *program;
    struct guest_setup setup;
    struct guest_pace pace; /* filled in */
    int lender;             /* the end of a pipe that guests get as standard input */
    /* Nothing is left of it; the guest may not be destroyed from within. */
    void (*gone)(void *context, struct guest *guest);
    /* It could not be removed; it is tried again. */
    void (*stuck)(void *context, struct guest *guest, const struct err_info *err);
    void *context;
};

/* Of a loan that is on the disk; does nothing yet. loan is copied. */
struct guest *guest_create(const struct guest_host *host, unsigned number, const struct loan *loan);
/* Whatever of it runs is killed; what is on the disk stays. NULL is allowed. */
void guest_destroy(struct guest *guest);

void guest_start(struct guest *guest); /* WAITING */
/* The loan is over: keeps that, then removes everything; `gone` follows. Once more while it is
 * RETRYING: at once. */
enum err_code guest_end(struct guest *guest, struct err_info *err) MUST_CHECK;
/* With the lender: SIGTERM, and nothing is started any more. */
void guest_stop(struct guest *guest);
void guest_wait(struct guest *guest, struct mono_us deadline); /* see child_wait */

const struct loan *guest_loan(const struct guest *guest);
unsigned guest_number(const struct guest *guest);
enum guest_state guest_state(const struct guest *guest);
pid_t guest_pid(const struct guest *guest); /* of its agent, or of what clears up; 0: none */
bool guest_is_enrolled(const struct guest *guest);

#endif
