#include "cmd/agent/guest/guests.h"

#include "common/base/cleanup.h"
#include "common/base/list.h"
#include "common/base/log.h"
#include "common/sys/fault.h"
#include "common/sys/fd.h"
#include "common/sys/file.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

enum {
    MODE_PRIVATE = 0600,
    WAIT_ROUNDING_US = 1000
};

struct place {
    struct guest *guest; /* NULL: none, or its record is damaged */
    bool is_damaged;
    struct loan damaged; /* what can be read of that */
};

/* Who asked for the end of a loan. */
struct waiter {
    struct list node;
    const struct guest *guest;
    void *token;
};

struct guests {
    struct guest_host host;
    char *folder;
    bool may_run;
    bool is_stopped;
    const struct guests_ops *ops;
    void *context;
    int pipe; /* our end */
    struct loop_timer *reap_timer;
    struct list waiters;
    struct place places[LOAN_COUNT_MAX + 1]; /* by number */
};

/* ---- Ends ---- */

static void answer(
    struct guests *guests, const struct guest *guest, enum err_code code, const char *text)
{
    LIST_FOR_EACH(node, &guests->waiters)
    {
        struct waiter *waiter = LIST_ENTRY(node, struct waiter, node);
        if (waiter->guest == guest) {
            list_remove(node);
            guests->ops->reclaimed(guests->context, waiter->token, code, text);
            mem_free(waiter);
        }
    }
}

/* Between two turns of the loop: a guest tells of its end from within its own code. */
static void on_reap(void *context)
{
    struct guests *guests = context;
    for (unsigned i = 1; i <= LOAN_COUNT_MAX; i++) {
        struct guest *guest = guests->places[i].guest;
        if (guest != NULL && guest_state(guest) == GUEST_GONE) {
            guests->places[i].guest = NULL;
            guests->ops->changed(guests->context);
            answer(guests, guest, ERR_OK, "");
            guest_destroy(guest);
        }
    }
}

static void on_gone(void *context, struct guest *guest)
{
    struct guests *guests = context;
    (void)guest;
    loop_timer_arm_after(guests->reap_timer, 0);
}

static void on_stuck(void *context, struct guest *guest, const struct err_info *err)
{
    answer(context, guest, ERR_INTERNAL, err->text);
}

/* ---- Opening and closing ---- */

static void resume(struct guests *guests, struct guest *guest)
{
    struct err_info err = ERR_INFO_INIT;
    if (guest_loan(guest)->phase == LOAN_ENDING) {
        if (guest_end(guest, &err) != ERR_OK) {
            log_error("loan_not_ended", LOG_STR("loan", guest_loan(guest)->id), LOG_ERR(&err));
        }
    } else if (guests->may_run) {
        guest_start(guest);
    } else {
        log_warn(
            "guest_waits",
            LOG_STR("loan", guest_loan(guest)->id),
            LOG_STR("reason", "this agent offers no sandboxes now"));
    }
}

static void take_up(struct guests *guests, unsigned number)
{
    struct loan loan;
    struct err_info err = ERR_INFO_INIT;
    struct place *place = &guests->places[number];
    AUTO_FREE char *join = loan_path(guests->folder, number, ".join");
    enum err_code code = loan_load(guests->folder, number, &loan, &err);
    if (code == ERR_NOT_FOUND) {
        (void)unlink(join); /* of a loan that did not come about */
        return;
    }
    if (code != ERR_OK) {
        log_error("loan_damaged", LOG_INT("number", number), LOG_ERR(&err));
        place->is_damaged = true;
        place->damaged = loan;
        return;
    }
    place->guest = guest_create(&guests->host, number, &loan);
    resume(guests, place->guest);
}

static int64_t or_default(int64_t given, int64_t otherwise)
{
    return given == 0 ? otherwise : given;
}

static struct guest_pace pace_of(const struct guest_pace *given)
{
    return (struct guest_pace){ .pause_us = or_default(given->pause_us, US_PER_SECOND),
                                .pause_max_us = or_default(given->pause_max_us, US_PER_MINUTE),
                                .good_us = or_default(given->good_us, US_PER_MINUTE),
                                .grace_us = or_default(given->grace_us, 10 * US_PER_SECOND),
                                .look_us = or_default(given->look_us, 2 * US_PER_SECOND) };
}

enum err_code guests_open(
    const struct guests_options *options, struct guests **ret_guests, struct err_info *err)
{
    int ends[2] = { -1, -1 };
    if (pipe2(ends, O_CLOEXEC) != 0) {
        return ERR_SET_ERRNO(err, ERR_UNAVAILABLE, errno, "a pipe for guests");
    }
    struct guests *guests = mem_alloc(sizeof(*guests));
    guests->folder = mem_strdup(options->folder);
    guests->may_run = options->may_run;
    guests->ops = options->ops;
    guests->context = options->context;
    guests->pipe = ends[1];
    guests->host = (struct guest_host){
        .loop = options->loop,
        .folder = guests->folder,
        .program = options->program == NULL ? "/proc/self/exe" : options->program,
        .setup = options->setup,
        .pace = pace_of(&options->pace),
        .lender = ends[0],
        .gone = on_gone,
        .stuck = on_stuck,
        .context = guests,
    };
    list_init(&guests->waiters);
    guests->reap_timer = loop_timer_create(options->loop, on_reap, guests);
    for (unsigned i = 1; i <= LOAN_COUNT_MAX; i++) {
        take_up(guests, i);
    }
    *ret_guests = guests;
    return ERR_OK;
}

void guests_stop(struct guests *guests)
{
    for (unsigned i = 1; guests != NULL && i <= LOAN_COUNT_MAX; i++) {
        if (guests->places[i].guest != NULL) {
            guest_stop(guests->places[i].guest);
        }
    }
    if (guests != NULL) {
        guests->is_stopped = true;
    }
}

void guests_close(struct guests *guests)
{
    if (guests == NULL) {
        return;
    }
    if (!guests->is_stopped) {
        guests_stop(guests);
    }
    struct mono_us deadline = clock_mono(clock_system());
    deadline.value += guests->host.pace.grace_us + WAIT_ROUNDING_US;
    for (unsigned i = 1; i <= LOAN_COUNT_MAX; i++) {
        if (guests->places[i].guest != NULL) {
            guest_wait(guests->places[i].guest, deadline);
        }
        guest_destroy(guests->places[i].guest);
    }
    LIST_FOR_EACH(node, &guests->waiters)
    {
        list_remove(node);
        mem_free(LIST_ENTRY(node, struct waiter, node));
    }
    loop_timer_destroy(guests->reap_timer);
    fd_close(&guests->host.lender);
    fd_close(&guests->pipe);
    mem_free(guests->folder);
    mem_free(guests);
}

/* ---- Orders ---- */

/* Nothing is left of what is gone but its memory. */
static struct guest *guest_at(const struct guests *guests, unsigned number)
{
    struct guest *guest = guests->places[number].guest;
    return guest == NULL || guest_state(guest) == GUEST_GONE ? NULL : guest;
}

static struct guest *find(const struct guests *guests, const char *loan_id)
{
    for (unsigned i = 1; i <= LOAN_COUNT_MAX; i++) {
        struct guest *guest = guest_at(guests, i);
        if (guest != NULL && strcmp(guest_loan(guest)->id, loan_id) == 0) {
            return guest;
        }
    }
    return NULL;
}

/* One of the damaged is it, or may be. */
static enum err_code check_damaged(
    const struct guests *guests, const char *loan_id, bool may_be, struct err_info *err)
{
    for (unsigned i = 1; i <= LOAN_COUNT_MAX; i++) {
        const struct place *place = &guests->places[i];
        if (place->is_damaged
            && (strcmp(place->damaged.id, loan_id) == 0
                || (may_be && place->damaged.id[0] == '\0'))) {
            return ERR_SET(
                err,
                ERR_CORRUPT,
                "the record of this loan, %s/%u.loan, %s; on the agent's machine, stop the agent, "
                "run 'belay-agent reset --yes --state-dir %s/%u', and delete it",
                guests->folder,
                i,
                place->damaged.id[0] == '\0' ? "may be the one that cannot be read" : "is damaged",
                guests->folder,
                i);
        }
    }
    return ERR_OK;
}

/* 0: there is none. */
static unsigned free_number(const struct guests *guests)
{
    for (unsigned i = 1; i <= LOAN_COUNT_MAX; i++) {
        const struct place *place = &guests->places[i];
        AUTO_FREE char *state = loan_path(guests->folder, i, "");
        if (place->guest == NULL && !place->is_damaged && !file_exists(state)) {
            return i;
        }
    }
    return 0;
}

static enum err_code check_path(const struct guests *guests, struct err_info *err)
{
    AUTO_FREE char *longest = loan_path(guests->folder, LOAN_COUNT_MAX, "");
    return strlen(longest) <= GUEST_STATE_DIR_MAX
        ? ERR_OK
        : ERR_SET(
            err,
            ERR_UNSUPPORTED,
            "the path of this agent's state folder is too long to lend (%s would have more than %d "
            "bytes)",
            longest,
            GUEST_STATE_DIR_MAX);
}

/* The join string first: a record without one could never enroll. */
static enum err_code keep(
    const struct guests *guests,
    unsigned number,
    const struct loan *loan,
    struct str_view join,
    struct err_info *err)
{
    AUTO_FREE char *path = loan_path(guests->folder, number, ".join");
    TRY(file_make_dir(guests->folder, 0700, err));
    TRY(file_write_atomic(path, join.ptr, join.len, MODE_PRIVATE, err));
    FAULT_POINT("agent.loan.join_kept");
    enum err_code code = loan_save(guests->folder, number, loan, err);
    if (code != ERR_OK) {
        (void)unlink(path);
    }
    return code;
}

static enum err_code check(
    const struct guests *guests,
    const struct loan *loan,
    const struct room *left,
    struct err_info *err)
{
    struct room rest = *left;
    struct room lent;
    TRY(check_damaged(guests, loan->id, false, err));
    if (guests->is_stopped) {
        return ERR_SET(err, ERR_BUSY, "this agent is stopping");
    }
    if (!guests->may_run) {
        return ERR_SET(err, ERR_UNSUPPORTED, "this agent runs no guests now");
    }
    TRY(check_path(guests, err));
    guests_lent(guests, &lent);
    room_subtract(&rest, &lent);
    return room_check(&rest, &loan->room, err);
}

enum err_code guests_lend(
    struct guests *guests,
    const struct loan *loan,
    struct str_view join,
    const struct room *left,
    struct err_info *err)
{
    const struct guest *known = find(guests, loan->id);
    if (known != NULL) {
        return guest_loan(known)->phase == LOAN_RUNNING
            ? ERR_OK
            : ERR_SET(err, ERR_BUSY, "this loan is being ended");
    }
    TRY(check(guests, loan, left, err));
    unsigned number = free_number(guests);
    if (number == 0) {
        return ERR_SET(
            err, ERR_LIMIT, "this agent has %d guests, the most there may be", LOAN_COUNT_MAX);
    }
    TRY(keep(guests, number, loan, join, err));
    FAULT_POINT("agent.loan.kept");
    guests->places[number].guest = guest_create(&guests->host, number, loan);
    guest_start(guests->places[number].guest);
    guests->ops->changed(guests->context);
    return ERR_OK;
}

void guests_reclaim(struct guests *guests, const char *loan_id, void *token)
{
    struct err_info err = ERR_INFO_INIT;
    struct guest *guest = find(guests, loan_id);
    if (guest == NULL) {
        enum err_code code = check_damaged(guests, loan_id, true, &err);
        guests->ops->reclaimed(guests->context, token, code, err.text);
        return;
    }
    struct waiter *waiter = mem_alloc(sizeof(*waiter));
    waiter->guest = guest;
    waiter->token = token;
    list_append(&guests->waiters, &waiter->node);
    if (guest_end(guest, &err) != ERR_OK) {
        answer(guests, guest, err.code, err.text);
    }
}

/* ---- Looks ---- */

void guests_lent(const struct guests *guests, struct room *ret_lent)
{
    struct room lent = { .sandboxes = 0 };
    for (unsigned i = 1; i <= LOAN_COUNT_MAX; i++) {
        const struct guest *guest = guest_at(guests, i);
        if (guest != NULL) {
            room_add(&lent, &guest_loan(guest)->room);
        }
        room_add(&lent, &guests->places[i].damaged.room);
    }
    *ret_lent = lent;
}

static const char *phase_of(const struct guest *guest)
{
    switch (guest_state(guest)) {
    case GUEST_WAITING:
        return "waiting";
    case GUEST_RUNNING:
        return guest_is_enrolled(guest) ? "running" : "starting";
    case GUEST_LEAVING:
    case GUEST_CLEARING:
    case GUEST_RETRYING:
    case GUEST_GONE:
    case GUEST_STATE_COUNT:
        break;
    }
    return "ending";
}

bool guests_next(const struct guests *guests, size_t *cursor, struct guest_view *ret_view)
{
    while (*cursor < LOAN_COUNT_MAX) {
        unsigned number = (unsigned)++*cursor;
        const struct place *place = &guests->places[number];
        const struct guest *guest = guest_at(guests, number);
        if (place->is_damaged) {
            *ret_view = (struct guest_view){ .number = number,
                                             .loan = &place->damaged,
                                             .phase = "damaged" };
            return true;
        }
        if (guest != NULL) {
            *ret_view = (struct guest_view){ .number = number,
                                             .loan = guest_loan(guest),
                                             .phase = phase_of(guest),
                                             .pid = guest_pid(guest) };
            return true;
        }
    }
    return false;
}
