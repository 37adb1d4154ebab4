#include "tools/bench/sim/conductor.h"

#include "common/base/cleanup.h"
#include "tools/bench/sim/fleet.h"

#include <inttypes.h>
#include <stdio.h>

enum {
    REPORT_BYTES_MAX = 256 * 1024
};

#define LOOK_US (10 * US_PER_MS)

struct conductor {
    const struct plan *plan;
    struct board *board;
    struct loop *loop;
    struct loop_timer *timer;
    int64_t began_us;
    int64_t online_us;                        /* since the beginning; 0: never all */
    int64_t recovered_us[SCENARIO_STEPS_MAX]; /* since the step; -1: never all */
    unsigned next_step;                       /* of those that cut */
    unsigned cuts_expected;
    bool is_stopping;
};

static void say(const struct conductor *conductor, const char *what, int64_t us)
{
    (void)fprintf(
        stderr,
        "belay-sim: %s: %u of %u agents online after %.3f s\n",
        what,
        board_online(conductor->board),
        conductor->plan->agents,
        (double)us / (double)US_PER_SECOND);
}

static void stop(struct conductor *conductor)
{
    conductor->is_stopping = true;
    atomic_store(&conductor->board->is_stopping, true);
}

static void await_start(struct conductor *conductor, int64_t now)
{
    const struct plan *plan = conductor->plan;
    if (board_online(conductor->board) == plan->agents) {
        conductor->online_us = board_last_online_us(conductor->board) - conductor->began_us;
        atomic_store(&conductor->board->started_us, now);
        say(conductor, "load begins", conductor->online_us);
    } else if (now - conductor->began_us > plan->ramp_us + plan->patience_us) {
        say(conductor, "out of patience", now - conductor->began_us);
        stop(conductor);
    }
}

/* Cuts that the step makes, over all processes. */
static unsigned cuts_of(const struct plan *plan, const struct scenario_step *step)
{
    unsigned sum = 0;
    for (unsigned slot = 0; slot < plan->processes; slot++) {
        unsigned first = 0;
        sum += fleet_part(fleet_share(plan, slot, &first), step->value);
    }
    return sum;
}

static void await_recovery(struct conductor *conductor, int64_t now)
{
    const struct plan *plan = conductor->plan;
    while (conductor->next_step < plan->step_count
           && !scenario_cuts(plan->steps[conductor->next_step].action)) {
        conductor->next_step++;
    }
    if (conductor->next_step == plan->step_count) {
        return;
    }
    const struct scenario_step *step = &plan->steps[conductor->next_step];
    int64_t at = atomic_load(&conductor->board->started_us) + step->at_us;
    unsigned expected = conductor->cuts_expected + cuts_of(plan, step);
    if (now < at || board_cuts(conductor->board) < expected
        || board_online(conductor->board) < plan->agents) {
        return;
    }
    int64_t last = board_last_online_us(conductor->board);
    conductor->recovered_us[conductor->next_step] = last > at ? last - at : 0;
    say(conductor,
        scenario_action_name(step->action),
        conductor->recovered_us[conductor->next_step]);
    conductor->cuts_expected = expected;
    conductor->next_step++;
}

static void on_timer(void *context)
{
    struct conductor *conductor = context;
    int64_t now = loop_now(conductor->loop).value;
    loop_timer_arm_after(conductor->timer, LOOK_US);
    if (board_is_finished(conductor->board)) {
        loop_stop(conductor->loop);
    } else if (conductor->online_us == 0 && !conductor->is_stopping) {
        await_start(conductor, now);
    } else {
        await_recovery(conductor, now);
    }
}

struct conductor *conductor_create(const struct plan *plan, struct board *board, struct loop *loop)
{
    struct conductor *conductor = mem_alloc(sizeof(*conductor));
    conductor->plan = plan;
    conductor->board = board;
    conductor->loop = loop;
    conductor->began_us = loop_now(loop).value;
    conductor->timer = loop_timer_create(loop, on_timer, conductor);
    for (unsigned i = 0; i < SCENARIO_STEPS_MAX; i++) {
        conductor->recovered_us[i] = -1;
    }
    loop_timer_arm_after(conductor->timer, LOOK_US);
    return conductor;
}

void conductor_destroy(struct conductor *conductor)
{
    if (conductor != NULL) {
        loop_timer_destroy(conductor->timer);
        mem_free(conductor);
    }
}

void conductor_stop(struct conductor *conductor)
{
    if (conductor->is_stopping) {
        loop_stop(conductor->loop);
    }
    stop(conductor);
}

static void steps_json(const struct conductor *conductor, struct buf *buf)
{
    buf_append_str(buf, STR("\"steps\":["));
    for (unsigned i = 0; i < conductor->plan->step_count; i++) {
        const struct scenario_step *step = &conductor->plan->steps[i];
        buf_printf(
            buf,
            "%s{\"at_us\":%" PRId64 ",\"action\":\"%s\",\"value\":%" PRId64,
            i == 0 ? "" : ",",
            step->at_us,
            scenario_action_name(step->action),
            step->value);
        if (scenario_cuts(step->action)) {
            buf_printf(buf, ",\"recovered_us\":%" PRId64, conductor->recovered_us[i]);
        }
        buf_append_char(buf, '}');
    }
    buf_append_char(buf, ']');
}

static void print_json(
    const struct conductor *conductor, const struct tally *tally, bool is_good, struct buf *buf)
{
    buf_printf(
        buf,
        "{\"agents\":%u,\"processes\":%u,\"good\":%s,\"online_us\":%" PRId64 ",",
        conductor->plan->agents,
        conductor->plan->processes,
        is_good ? "true" : "false",
        conductor->online_us);
    steps_json(conductor, buf);
    buf_append_char(buf, ',');
    tally_json(tally, buf);
    buf_append_str(buf, STR("}\n"));
}

static const char *verdict_of(const struct conductor *conductor, const struct tally *tally)
{
    const uint64_t *counts = tally->counts;
    if (conductor->online_us == 0) {
        return "not every agent came online";
    }
    if (counts[TALLY_MISSING] > 0 || counts[TALLY_STORED_TWICE] > 0) {
        return "acknowledged records are missing in the store, or are there twice";
    }
    if (counts[TALLY_RECORDS_ACKED] < counts[TALLY_RECORDS_MADE]) {
        return "not every record was acknowledged in time (--settle)";
    }
    if (conductor->plan->verify && counts[TALLY_STORED] < counts[TALLY_RECORDS_ACKED]) {
        return "the check at the end did not see every process";
    }
    return NULL;
}

bool conductor_report(struct conductor *conductor)
{
    AUTO_BUF struct buf buf = BUF_INIT(REPORT_BYTES_MAX);
    AUTO_FREE struct tally *tally = mem_alloc(sizeof(*tally));
    for (unsigned i = 0; i < conductor->board->slot_count; i++) {
        tally_merge(tally, &conductor->board->slots[i].tally);
    }
    const char *problem = verdict_of(conductor, tally);
    if (conductor->plan->json) {
        print_json(conductor, tally, problem == NULL, &buf);
    } else {
        tally_text(tally, &buf);
    }
    (void)fputs(buf_text(&buf), stdout);
    if (problem != NULL) {
        (void)fprintf(stderr, "belay-sim: %s\n", problem);
    }
    return problem == NULL;
}
