#include "tools/bench/sim/sim.h"

#include "common/base/cleanup.h"
#include "common/base/log.h"
#include "common/crypto/secret.h"
#include "common/sys/fd.h"
#include "tools/bench/sim/conductor.h"
#include "tools/bench/sim/crew.h"
#include "tools/bench/sim/fleet.h"

#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>

enum {
    EXIT_GOOD = 0,
    EXIT_FAILED = 1,
    EXIT_USAGE = 64,
    EXIT_UNAVAILABLE = 69,
    TEXT_BYTES = 256 * 1024,
    DESCRIPTORS_KEPT = 64
};

#define WATCH_US (200 * US_PER_MS)

struct sim {
    struct plan plan;
    struct board *board;
    int board_fd;
    bool is_member; /* of a crew: the parent conducts */
    unsigned slot;
    struct loop *loop;
    struct loop_timer *crew_timer;
    struct fleet *fleet;
    struct crew *crew;
    struct conductor *conductor;
    bool has_failed;
};

static void on_finished(void *context)
{
    struct sim *sim = context;
    if (sim->is_member) {
        loop_stop(sim->loop);
    }
}

static void on_signal(void *context, int number)
{
    struct sim *sim = context;
    (void)number;
    if (sim->conductor != NULL) {
        conductor_stop(sim->conductor);
    } else {
        atomic_store(&sim->board->is_stopping, true);
    }
}

static void on_crew_timer(void *context)
{
    struct sim *sim = context;
    loop_timer_arm_after(sim->crew_timer, WATCH_US);
    if (crew_lost_one(sim->crew) && !board_is_finished(sim->board)) {
        (void)fprintf(stderr, "belay-sim: one of its processes has failed\n");
        sim->has_failed = true;
        loop_stop(sim->loop);
    }
}

/* "FD:SLOT", given by the process that started this one. */
static enum err_code join_board(struct sim *sim, const char *text, struct err_info *err)
{
    struct str_view fd = STR_NONE;
    struct str_view slot = STR_NONE;
    int64_t numbers[2] = { 0, 0 };
    if (!str_cut(str_of(text), ':', &fd, &slot)
        || str_parse_int64(fd, 0, INT32_MAX, &numbers[0]) != ERR_OK
        || str_parse_int64(slot, 0, PLAN_PROCESSES_MAX - 1, &numbers[1]) != ERR_OK) {
        return ERR_SET(err, ERR_INVALID, "--board: not for people to give");
    }
    TRY(board_open((int)numbers[0], &sim->board, err));
    if (numbers[1] >= (int64_t)sim->board->slot_count) {
        return ERR_SET(err, ERR_INVALID, "--board: no such slot");
    }
    sim->is_member = true;
    sim->slot = (unsigned)numbers[1];
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    return ERR_OK;
}

static enum err_code check_descriptors(const struct sim *sim, struct err_info *err)
{
    unsigned first = 0;
    size_t limit = fd_raise_limit();
    size_t needed = fleet_share(&sim->plan, sim->slot, &first) + DESCRIPTORS_KEPT;
    unsigned processes = (unsigned)(sim->plan.agents / (limit - DESCRIPTORS_KEPT)) + 1;
    return needed <= limit
        ? ERR_OK
        : ERR_SET(
            err,
            ERR_LIMIT,
            "a process may open %zu descriptors, and each agent needs one: --processes %u",
            limit,
            processes);
}

static enum err_code open_fleet(struct sim *sim, struct err_info *err)
{
    const struct fleet_options options = {
        .plan = &sim->plan,
        .board = sim->board,
        .slot = sim->slot,
        .loop = sim->loop,
        .finished = on_finished,
        .context = sim,
    };
    TRY(check_descriptors(sim, err));
    TRY(fleet_create(&options, &sim->fleet, err));
    fleet_start(sim->fleet);
    return ERR_OK;
}

static enum err_code open_sim(
    struct sim *sim, const struct config *config, char **argv, struct err_info *err)
{
    const char *board = config_text(config, "board");
    TRY(plan_of(config, &sim->plan, err));
    TRY(crypto_start(err));
    TRY(loop_create(clock_system(), &sim->loop, err));
    TRY(loop_signals(sim->loop, on_signal, sim, err));
    if (board != NULL) {
        TRY(join_board(sim, board, err));
        return open_fleet(sim, err);
    }
    TRY(board_create(sim->plan.processes, &sim->board, &sim->board_fd, err));
    if (sim->plan.processes == 1) {
        TRY(open_fleet(sim, err));
    } else {
        TRY(check_descriptors(sim, err));
        TRY(crew_start(sim->plan.processes, argv, sim->board_fd, &sim->crew, err));
        sim->crew_timer = loop_timer_create(sim->loop, on_crew_timer, sim);
        loop_timer_arm_after(sim->crew_timer, WATCH_US);
    }
    sim->conductor = conductor_create(&sim->plan, sim->board, sim->loop);
    return ERR_OK;
}

static void close_sim(struct sim *sim)
{
    crew_join(sim->crew);
    conductor_destroy(sim->conductor);
    fleet_destroy(sim->fleet);
    loop_timer_destroy(sim->crew_timer);
    loop_destroy(sim->loop);
    board_close(sim->board);
    fd_close(&sim->board_fd);
}

static int run(const struct config *config, char **argv)
{
    struct sim sim = { .board_fd = -1 };
    struct err_info err = ERR_INFO_INIT;
    int status = EXIT_GOOD;
    enum err_code code = open_sim(&sim, config, argv, &err);
    if (code == ERR_OK) {
        loop_run(sim.loop);
        bool is_good = sim.conductor == NULL || conductor_report(sim.conductor);
        status = is_good && !sim.has_failed ? EXIT_GOOD : EXIT_FAILED;
    } else {
        (void)fprintf(stderr, "belay-sim: %s\n", err.text);
        status = code == ERR_INVALID ? EXIT_USAGE : EXIT_UNAVAILABLE;
    }
    close_sim(&sim);
    return status;
}

static int print(void (*write)(struct buf *buf))
{
    AUTO_BUF struct buf text = BUF_INIT(TEXT_BYTES);
    write(&text);
    (void)fputs(buf_text(&text), stdout);
    return EXIT_GOOD;
}

static void write_help(struct buf *buf)
{
    buf_append_str(
        buf,
        STR("usage: belay-sim --operator-socket PATH [options]\n"
            "       belay-sim config reference|man\n\n"
            "Simulates agents against a running server: enrolls them, keeps their streams and\n"
            "heartbeats, uploads telemetry and answers commands. Never point it at a server\n"
            "whose data you want to keep apart from that of simulated agents.\n\n"));
    config_help(plan_options, plan_option_count, buf);
    buf_append_str(
        buf,
        STR("\nExit status: 0 all went well, 1 something was lost or not all came online,\n"
            "64 usage, 69 the server cannot be reached or a limit is in the way\n"));
}

static void write_reference(struct buf *buf)
{
    config_reference(plan_options, plan_option_count, buf);
}

static int dispatch(const struct config *config, char **argv)
{
    size_t words = config_word_count(config);
    if (config_bool(config, "help")) {
        return print(write_help);
    }
    if (config_bool(config, "version")) {
        (void)printf("belay-sim %s\n", BELAY_VERSION);
        return EXIT_GOOD;
    }
    if (words == 2 && strcmp(config_word(config, 0), "config") == 0) {
        if (strcmp(config_word(config, 1), "reference") == 0) {
            return print(write_reference);
        }
        if (strcmp(config_word(config, 1), "man") == 0) {
            return print(plan_manual);
        }
    }
    if (words > 0) {
        (void)fprintf(stderr, "belay-sim: no such command; try belay-sim --help\n");
        return EXIT_USAGE;
    }
    return run(config, argv);
}

/* Before any thread: signals are the loop's. */
static void prepare(const struct config *config)
{
    sigset_t set;
    enum log_level level = LOG_WARN;
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGINT);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGHUP);
    (void)pthread_sigmask(SIG_BLOCK, &set, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
    log_set_component("belay-sim");
    if (log_parse_level(str_of(config_text(config, "log-level")), &level) == ERR_OK) {
        log_set_level(level);
    }
}

int sim_main(int argc, char **argv)
{
    struct config *config = NULL;
    struct err_info err = ERR_INFO_INIT;
    if (plan_load(argc, argv, &config, &err) != ERR_OK) {
        (void)fprintf(stderr, "belay-sim: %s\n", err.text);
        return EXIT_USAGE;
    }
    prepare(config);
    int status = dispatch(config, argv);
    config_destroy(config);
    return status;
}
