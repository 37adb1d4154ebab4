/* Room that is lent: the orders lend and reclaim, and what differs in an agent that has such room.
 */
#include "cmd/agent/app.h"
#include "cmd/agent/outcome.h"
#include "common/base/cleanup.h"
#include "common/base/join.h"
#include "common/base/log.h"

#include <inttypes.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <unistd.h>

#define ACK(name) AGENTGATEWAY__V1__ACK_CODE__ACK_CODE_##name

bool app_is_lent(const struct app *app)
{
    return config_bool(app->config, "lent");
}

/* ---- The lender ---- */

static struct room room_of(const struct workload_offer *offer)
{
    return (struct room){ .sandboxes = offer->slots,
                          .cpu_millis = (uint64_t)(offer->cpus * 1000 + 0.5),
                          .memory_bytes = offer->memory_bytes,
                          .disk_bytes = offer->disk_bytes };
}

static void set_lent(struct app *app)
{
    struct room lent;
    guests_lent(app->guests, &lent);
    const struct workload_offer less = { .cpus = (double)lent.cpu_millis / 1000,
                                         .memory_bytes = lent.memory_bytes,
                                         .disk_bytes = lent.disk_bytes,
                                         .slots = lent.sandboxes };
    if (app->workload != NULL) {
        workload_set_lent(app->workload, &less);
    }
}

/* The server must not place on what is lent: it is told now, not with the next heartbeat. */
static void on_changed(void *context)
{
    struct app *app = context;
    set_lent(app);
    if (app->link != NULL) {
        link_tell_capacity(app->link);
    }
}

static unsigned ack_of(enum err_code code)
{
    switch (code) {
    case ERR_OK:
        return ACK(OK);
    case ERR_INVALID:
        return ACK(BAD_REQUEST);
    case ERR_UNSUPPORTED:
        return ACK(AGENT_INCAPABLE);
    case ERR_LIMIT:
    case ERR_BUSY:
        return ACK(BUSY);
    default:
        return ACK(INTERNAL);
    }
}

static void on_reclaimed(void *context, void *token, enum err_code code, const char *text)
{
    (void)context;
    command_finish(token, ack_of(code), text, STR_NONE);
}

static const struct guests_ops ops = { .changed = on_changed, .reclaimed = on_reclaimed };

enum err_code app_open_guests(struct app *app, struct err_info *err)
{
    const struct config *config = app->config;
    if (app_is_lent(app)) {
        return ERR_OK;
    }
    app->guest_images = outcome_image_dir(config);
    AUTO_FREE char *folder = mem_printf("%s/" STATE_GUESTS, state_dir(app->state));
    const struct guests_options options = {
        .loop = app->loop,
        .folder = folder,
        .setup = { .images = app->guest_images,
                   .cgroup = config_text(config, "sandbox-cgroup"),
                   .limits = config_text(config, "sandbox-limits"),
                   .io_rate = (uint64_t)config_int(config, "sandbox-io-rate"),
                   .resolvers = config_text(config, "sandbox-resolvers"),
                   .log_level = config_text(config, "log-level"),
                   .config_file = config_text(config, "config") },
        .may_run = app->workload != NULL,
        .ops = &ops,
        .context = app,
    };
    TRY(guests_open(&options, &app->guests, err));
    set_lent(app);
    return ERR_OK;
}

void app_close_guests(struct app *app)
{
    guests_close(STEAL(app->guests));
    mem_free(STEAL(app->guest_images));
}

static enum err_code read_loan(
    const Agentgateway__V1__AgentLend *lend, struct loan *loan, struct err_info *err)
{
    const Agentgateway__V1__LoanRoom *room = lend->room;
    if (str_copy(str_of(lend->loan_id), loan->id, sizeof(loan->id)) != ERR_OK
        || str_copy(str_of(lend->workspace), loan->workspace, sizeof(loan->workspace)) != ERR_OK
        || str_copy(str_of(lend->name), loan->name, sizeof(loan->name)) != ERR_OK) {
        return ERR_SET(err, ERR_INVALID, "lend: an id, workspace or name that is too long");
    }
    loan->room = (struct room){ .sandboxes = room->sandboxes,
                                .cpu_millis = room->cpu_millis,
                                .memory_bytes = room->memory_bytes,
                                .disk_bytes = room->disk_bytes };
    loan->phase = LOAN_RUNNING;
    return ERR_OK;
}

static enum err_code open_join(
    const struct app *app,
    const Agentgateway__V1__AgentLend *lend,
    struct secret **ret_join,
    struct err_info *err)
{
    struct str_view box = str_from((const char *)lend->sealed_join.data, lend->sealed_join.len);
    struct join_string join;
    AUTO_SECRET struct secret *text = NULL;
    if (key_open(state_encryption(app->state), box, &text) != ERR_OK) {
        return ERR_SET(err, ERR_INVALID, "lend: the join string is not sealed for this agent");
    }
    enum err_code code = join_parse(secret_peek(text), &join, err);
    secret_wipe(&join, sizeof(join));
    TRY(code);
    *ret_join = STEAL(text);
    return ERR_OK;
}

static enum err_code lend(
    struct app *app, const Agentgateway__V1__AgentLend *order, struct err_info *err)
{
    struct loan loan;
    struct workload_offer offer;
    struct workload_offer taken;
    AUTO_SECRET struct secret *join = NULL;
    TRY(read_loan(order, &loan, err));
    TRY(open_join(app, order, &join, err));
    workload_get_offer(app->workload, &offer);
    workload_get_taken(app->workload, &taken);
    struct room left = room_of(&offer);
    const struct room own = room_of(&taken);
    room_subtract(&left, &own);
    return guests_lend(app->guests, &loan, secret_peek(join), &left, err);
}

void app_lend(void *context, struct command_run *run, const Agentgateway__V1__AgentCommand *command)
{
    struct app *app = context;
    struct err_info err = ERR_INFO_INIT;
    if (app_is_lent(app)) {
        command_finish(
            run, ACK(FORBIDDEN), "this agent has lent room itself, and lends none", STR_NONE);
        return;
    }
    if (app->workload == NULL) {
        command_finish(
            run,
            ACK(AGENT_INCAPABLE),
            "this agent offers no sandboxes (its option 'sandboxes')",
            STR_NONE);
        return;
    }
    enum err_code code = lend(app, command->lend, &err);
    command_finish(run, ack_of(code), code == ERR_OK ? "" : err.text, STR_NONE);
}

void app_reclaim(
    void *context, struct command_run *run, const Agentgateway__V1__AgentCommand *command)
{
    struct app *app = context;
    if (app_is_lent(app)) {
        command_finish(run, ACK(OK), "", STR_NONE); /* it has lent nothing */
        return;
    }
    guests_reclaim(app->guests, command->reclaim->loan_id, run);
}

/* ---- The guest ---- */

/* It knows what it may use, and not whose machine it is on. */
static void reduce_facts(struct app *app)
{
    const struct config *config = app->config;
    struct host_facts *facts = &app->facts;
    const char *name = config_text(config, "name");
    uint64_t milli = (uint64_t)config_int(config, "sandbox-cpu");
    facts->machine_id[0] = '\0';
    facts->hostname[0] = '\0';
    if (name != NULL) {
        (void)!str_copy(str_of(name), facts->hostname, sizeof(facts->hostname));
    }
    facts->cpu_count = (uint32_t)((milli + 999) / 1000);
    facts->memory_bytes = (uint64_t)config_int(config, "sandbox-memory");
}

static void on_lender(void *context, uint32_t events)
{
    struct app *app = context;
    (void)events;
    loop_watch_remove(STEAL(app->lender));
    log_info("lender_gone", LOG_STR("state", state_dir(app->state)));
    if (!app->is_stopping) {
        app_stop(app);
    }
}

enum err_code app_be_lent(struct app *app, struct err_info *err)
{
    if (!app_is_lent(app)) {
        return ERR_OK;
    }
    reduce_facts(app);
    /* See guests.h. */
    enum err_code code =
        loop_watch_add(app->loop, STDIN_FILENO, EPOLLIN, on_lender, app, &app->lender, err);
    if (code != ERR_OK) {
        return ERR_SET(
            err,
            ERR_INVALID,
            "--lent: for agents that another one starts, whose standard input is a pipe from it");
    }
    return ERR_OK;
}
