#include "cmd/agent/guest/guest.h"

#include "cmd/agent/guest/child.h"
#include "common/base/cleanup.h"
#include "common/base/log.h"
#include "common/sys/eraser.h"
#include "common/sys/fault.h"
#include "common/sys/file.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    EXIT_HELD = 75 /* of the agent, AGENT_EXIT_TEMPORARY: its state folder is in use */
};

struct guest {
    const struct guest_host *host;
    unsigned number;
    struct loan loan;
    enum guest_state state;
    struct child *child;
    struct loop_timer *again; /* WAITING, RETRYING */
    struct loop_timer *look;  /* while there is a join string */
    struct mono_us started_at;
    int64_t pause_us; /* the next */
    bool is_stopped;
};

#define TO(state) (1U << (state))

static const unsigned successors[GUEST_STATE_COUNT] = {
    [GUEST_WAITING] = TO(GUEST_RUNNING) | TO(GUEST_CLEARING) | TO(GUEST_RETRYING) | TO(GUEST_GONE),
    [GUEST_RUNNING] = TO(GUEST_WAITING) | TO(GUEST_LEAVING),
    [GUEST_LEAVING] = TO(GUEST_CLEARING) | TO(GUEST_RETRYING) | TO(GUEST_GONE),
    [GUEST_CLEARING] = TO(GUEST_RETRYING) | TO(GUEST_GONE),
    [GUEST_RETRYING] = TO(GUEST_CLEARING) | TO(GUEST_RETRYING) | TO(GUEST_GONE),
    [GUEST_GONE] = 0,
};

static void die_of(const struct guest *guest, enum guest_state state)
{
    log_error("guest_wrong_move", LOG_INT("from", guest->state), LOG_INT("to", state));
    abort();
}

static void move_to(struct guest *guest, enum guest_state state)
{
    if ((successors[guest->state] & TO(state)) == 0) {
        die_of(guest, state);
    }
    guest->state = state;
}

static char *path_of(const struct guest *guest, const char *suffix)
{
    return loan_path(guest->host->folder, guest->number, suffix);
}

/* The pause that is due now; the next is twice as long. */
static int64_t take_pause(struct guest *guest)
{
    const struct guest_pace *pace = &guest->host->pace;
    int64_t due_us = guest->pause_us;
    guest->pause_us = due_us > pace->pause_max_us / 2 ? pace->pause_max_us : 2 * due_us;
    return due_us;
}

/* ---- While the loan lasts ---- */

bool guest_is_enrolled(const struct guest *guest)
{
    AUTO_FREE char *path = path_of(guest, "/enrollment");
    return file_exists(path);
}

/* The join string is of use once, and a secret until then. true: it is still needed. */
static bool keep_join(const struct guest *guest)
{
    AUTO_FREE char *join = path_of(guest, ".join");
    if (file_exists(join) && guest_is_enrolled(guest)) {
        (void)unlink(join);
    }
    return file_exists(join);
}

static void on_look(void *context)
{
    struct guest *guest = context;
    if (keep_join(guest) && guest->state == GUEST_RUNNING) {
        loop_timer_arm_after(guest->look, guest->host->pace.look_us);
    }
}

static void wait_again(struct guest *guest)
{
    move_to(guest, GUEST_WAITING);
    if (!guest->is_stopped) {
        loop_timer_arm_after(guest->again, take_pause(guest));
    }
}

void guest_start(struct guest *guest)
{
    const struct guest_host *host = guest->host;
    struct arguments arguments;
    struct err_info err = ERR_INFO_INIT;
    bool has_join = keep_join(guest);
    loop_timer_disarm(guest->again);
    arguments_run(&host->setup, host->folder, guest->number, &guest->loan, has_join, &arguments);
    enum err_code code =
        child_start(guest->child, host->program, arguments.list, host->lender, &err);
    arguments_deinit(&arguments);
    move_to(guest, GUEST_RUNNING);
    guest->started_at = loop_now(host->loop);
    if (code != ERR_OK) {
        log_error("guest_not_started", LOG_STR("loan", guest->loan.id), LOG_ERR(&err));
        wait_again(guest);
        return;
    }
    log_info(
        "guest_started",
        LOG_STR("loan", guest->loan.id),
        LOG_STR("workspace", guest->loan.workspace),
        LOG_INT("number", guest->number),
        LOG_INT("pid", child_pid(guest->child)));
    loop_timer_arm_after(guest->look, host->pace.look_us);
}

static void log_end(const struct guest *guest, const char *event, int status)
{
    log_warn(
        event,
        LOG_STR("loan", guest->loan.id),
        LOG_INT("exit", WIFEXITED(status) ? WEXITSTATUS(status) : -1),
        LOG_INT("signal", WIFSIGNALED(status) ? WTERMSIG(status) : 0));
}

static void on_agent_ended(struct guest *guest, int status)
{
    const struct guest_host *host = guest->host;
    int64_t ran_us = loop_now(host->loop).value - guest->started_at.value;
    if (!guest->is_stopped) {
        log_end(guest, "guest_ended", status);
    }
    if (ran_us >= host->pace.good_us) {
        guest->pause_us = host->pace.pause_us;
    }
    (void)keep_join(guest);
    wait_again(guest);
}

/* ---- Once it is over ---- */

/* The record goes last: as long as it is there, the next life of the lender carries on. */
static enum err_code erase(const struct guest *guest, struct err_info *err)
{
    AUTO_FREE char *state = path_of(guest, "");
    AUTO_FREE char *join = path_of(guest, ".join");
    AUTO_FREE char *record = path_of(guest, ".loan");
    TRY(eraser_run(state, err));
    FAULT_POINT("agent.loan.erased");
    if (unlink(join) != 0 && errno != ENOENT) {
        return ERR_SET_ERRNO(err, ERR_UNAVAILABLE, errno, "%s", join);
    }
    if (unlink(record) != 0 && errno != ENOENT) {
        return ERR_SET_ERRNO(err, ERR_UNAVAILABLE, errno, "%s", record);
    }
    TRY(file_sync(guest->host->folder, err));
    FAULT_POINT("agent.loan.gone");
    return ERR_OK;
}

static void be_stuck(struct guest *guest, const struct err_info *err)
{
    log_error("guest_not_removed", LOG_STR("loan", guest->loan.id), LOG_ERR(err));
    move_to(guest, GUEST_RETRYING);
    loop_timer_arm_after(guest->again, take_pause(guest));
    guest->host->stuck(guest->host->context, guest, err);
}

static void finish(struct guest *guest)
{
    struct err_info err = ERR_INFO_INIT;
    if (erase(guest, &err) != ERR_OK) {
        be_stuck(guest, &err);
        return;
    }
    log_info("loan_ended", LOG_STR("loan", guest->loan.id), LOG_INT("number", guest->number));
    move_to(guest, GUEST_GONE);
    guest->host->gone(guest->host->context, guest);
}

static void clear(struct guest *guest)
{
    const struct guest_host *host = guest->host;
    struct arguments arguments;
    struct err_info err = ERR_INFO_INIT;
    AUTO_FREE char *state = path_of(guest, "");
    loop_timer_disarm(guest->again);
    if (!file_exists(state)) {
        finish(guest); /* it never came to run, or it was cleared before */
        return;
    }
    arguments_reset(&host->setup, host->folder, guest->number, &arguments);
    enum err_code code =
        child_start(guest->child, host->program, arguments.list, host->lender, &err);
    arguments_deinit(&arguments);
    if (code != ERR_OK) {
        be_stuck(guest, &err);
        return;
    }
    move_to(guest, GUEST_CLEARING);
}

/* The guest of a lender that was killed has its folder until it has ended: soon. */
static bool is_held(const struct guest *guest, int status)
{
    return WIFEXITED(status) && WEXITSTATUS(status) == EXIT_HELD
        && guest->pause_us < guest->host->pace.pause_max_us;
}

static void on_reset_ended(struct guest *guest, int status)
{
    struct err_info err = ERR_INFO_INIT;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
        finish(guest);
        return;
    }
    if (guest->is_stopped) {
        move_to(guest, GUEST_RETRYING); /* it was told to end: the lender's next life goes on */
        return;
    }
    log_end(guest, "guest_reset_failed", status);
    if (is_held(guest, status)) {
        move_to(guest, GUEST_RETRYING);
        loop_timer_arm_after(guest->again, take_pause(guest));
        return;
    }
    (void)ERR_SET(
        &err,
        ERR_INTERNAL,
        "the guest's sandboxes and keys could not be removed ('reset' ended with %d; the agent's "
        "log tells why); it is tried again",
        WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status));
    be_stuck(guest, &err);
}

enum err_code guest_end(struct guest *guest, struct err_info *err)
{
    struct loan ending = guest->loan;
    ending.phase = LOAN_ENDING;
    if (guest->loan.phase != LOAN_ENDING) {
        TRY(loan_save(guest->host->folder, guest->number, &ending, err));
        guest->loan.phase = LOAN_ENDING;
        guest->pause_us = guest->host->pace.pause_us;
        FAULT_POINT("agent.loan.ending");
    }
    if (guest->state == GUEST_RUNNING) {
        move_to(guest, GUEST_LEAVING);
        child_stop(guest->child);
    } else if (
        !guest->is_stopped && (guest->state == GUEST_WAITING || guest->state == GUEST_RETRYING)) {
        clear(guest);
    }
    return ERR_OK;
}

/* ---- Events ---- */

static void on_ended(void *context, int status)
{
    struct guest *guest = context;
    switch (guest->state) {
    case GUEST_RUNNING:
        on_agent_ended(guest, status);
        return;
    case GUEST_LEAVING:
        FAULT_POINT("agent.loan.left");
        if (guest->is_stopped) {
            move_to(guest, GUEST_RETRYING); /* by the next life of the lender */
        } else {
            clear(guest);
        }
        return;
    case GUEST_CLEARING:
        on_reset_ended(guest, status);
        return;
    case GUEST_WAITING:
    case GUEST_RETRYING:
    case GUEST_GONE:
    case GUEST_STATE_COUNT:
        break;
    }
    die_of(guest, guest->state); /* no child runs in these */
}

static void on_again(void *context)
{
    struct guest *guest = context;
    if (guest->state == GUEST_WAITING) {
        guest_start(guest);
    } else if (guest->state == GUEST_RETRYING) {
        clear(guest);
    }
}

struct guest *guest_create(const struct guest_host *host, unsigned number, const struct loan *loan)
{
    struct guest *guest = mem_alloc(sizeof(*guest));
    *guest = (struct guest){ .host = host,
                             .number = number,
                             .loan = *loan,
                             .state = GUEST_WAITING,
                             .pause_us = host->pace.pause_us };
    guest->child = child_create(host->loop, host->pace.grace_us, on_ended, guest);
    guest->again = loop_timer_create(host->loop, on_again, guest);
    guest->look = loop_timer_create(host->loop, on_look, guest);
    return guest;
}

void guest_destroy(struct guest *guest)
{
    if (guest == NULL) {
        return;
    }
    child_destroy(guest->child);
    loop_timer_destroy(guest->again);
    loop_timer_destroy(guest->look);
    mem_free(guest);
}

void guest_stop(struct guest *guest)
{
    guest->is_stopped = true;
    loop_timer_disarm(guest->again);
    loop_timer_disarm(guest->look);
    child_stop(guest->child);
}

void guest_wait(struct guest *guest, struct mono_us deadline)
{
    child_wait(guest->child, deadline);
}

const struct loan *guest_loan(const struct guest *guest)
{
    return &guest->loan;
}

unsigned guest_number(const struct guest *guest)
{
    return guest->number;
}

enum guest_state guest_state(const struct guest *guest)
{
    return guest->state;
}

pid_t guest_pid(const struct guest *guest)
{
    return child_pid(guest->child);
}
