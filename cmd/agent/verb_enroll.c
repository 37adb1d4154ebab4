/* enroll: keys, the server's CA, the token's one use, and waiting for an operator. */
#include "belay_descriptors.h"
#include "cmd/agent/agent.h"
#include "cmd/agent/outcome.h"
#include "cmd/agent/pending.h"
#include "cmd/agent/verbs.h"
#include "common/base/cleanup.h"
#include "common/base/log.h"
#include "common/sys/fd.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

struct enroll {
    const struct config *config;
    struct loop *loop;
    struct wire_schema *schema;
    struct state *state;
    struct link *link;
    struct host_facts facts;
    bool is_pending;
    bool is_done;
    struct err_info problem; /* why it ended without */
};

static void on_pending(void *context, const char *fingerprint)
{
    struct enroll *enroll = context;
    enroll->is_pending = true;
    (void)printf(
        "The server knows this agent and waits for an operator to confirm it.\n"
        "Fingerprint: %s\n"
        "Compare it with the one of 'belay enroll list', then: belay enroll confirm ID %s\n",
        fingerprint,
        fingerprint);
    (void)fflush(stdout);
    if (!config_bool(enroll->config, "wait")) {
        link_stop(enroll->link);
    }
}

static void on_enrolled(void *context)
{
    struct enroll *enroll = context;
    enroll->is_done = true;
    link_stop(enroll->link);
}

/* Before the server has taken us in, a failure is told at once; while waiting, it is only an
 * outage. */
static void on_problem(void *context, enum err_code code, const char *text)
{
    struct enroll *enroll = context;
    bool is_final = code == ERR_UNAUTHENTICATED || code == ERR_DENIED || code == ERR_INVALID
        || code == ERR_UNSUPPORTED;
    if (enroll->is_done || (enroll->is_pending && !is_final)) {
        return;
    }
    (void)ERR_SET(&enroll->problem, code, "%.500s", text);
    if (is_final || !enroll->is_pending) {
        state_drop_pending(enroll->state);
    }
    link_stop(enroll->link);
}

static void on_command(void *context, const Agentgateway__V1__ControlCommand *command)
{
    (void)context; /* no session is opened here */
    (void)command;
}

static void on_stopped(void *context)
{
    struct enroll *enroll = context;
    loop_stop(enroll->loop);
}

static void on_signal(void *context, int number)
{
    struct enroll *enroll = context;
    (void)number;
    (void)ERR_SET(
        &enroll->problem,
        ERR_CANCELED,
        "interrupted; 'belay-agent run' goes on with this enrollment");
    loop_stop(enroll->loop);
}

static const struct link_ops ops = { .pending = on_pending,
                                     .enrolled = on_enrolled,
                                     .problem = on_problem,
                                     .command = on_command,
                                     .stopped = on_stopped };

static enum err_code refuse_enrolled(struct enroll *enroll, struct err_info *err)
{
    struct state_enrollment enrollment;
    enum err_code code = state_load_enrollment(enroll->state, &enrollment, err);
    if (code == ERR_NOT_FOUND) {
        return ERR_OK;
    }
    TRY(code);
    return ERR_SET(
        err,
        ERR_EXISTS,
        "already enrolled at %s as agent %" PRId64
        "; to forget that: belay-agent reset --yes --state-dir %s",
        enrollment.target,
        enrollment.agent_id,
        state_dir(enroll->state));
}

/* "-": from standard input, so that the token stands in no list of processes. */
static enum err_code read_join(const char *word, struct buf *text, struct err_info *err)
{
    char bytes[JOIN_TEXT_MAX];
    size_t got = 0;
    if (strcmp(word, "-") != 0) {
        buf_append_str(text, str_of(word));
        return ERR_OK;
    }
    TRY(fd_read_full(STDIN_FILENO, bytes, sizeof(bytes), &got, err));
    buf_append_str(text, str_trim(str_from(bytes, got)));
    secret_wipe(bytes, sizeof(bytes));
    return buf_ok(text) ? ERR_OK : ERR_SET(err, ERR_INVALID, "the join string is too long");
}

static enum err_code open_ground(struct enroll *enroll, struct err_info *err)
{
    agent_hold_signals(); /* not before: the join string may be waited for */
    host_facts_read("", &enroll->facts);
    TRY(wire_schema_load(belay_descriptors, belay_descriptors_size, &enroll->schema, err));
    TRY(loop_create(clock_system(), &enroll->loop, err));
    TRY(loop_signals(enroll->loop, on_signal, enroll, err));
    TRY(state_open(config_text(enroll->config, "state-dir"), &enroll->state, err));
    TRY(refuse_enrolled(enroll, err));
    return state_load_keys(enroll->state, err);
}

static enum err_code open_link(struct enroll *enroll, struct err_info *err)
{
    struct pending pending = { .label_count = 0 };
    struct link_join join;
    TRY(pending_load(enroll->state, &pending, err));
    pending_fill(&pending, &join);
    struct link_options options = { .loop = enroll->loop,
                                    .clock = clock_system(),
                                    .schema = enroll->schema,
                                    .state = enroll->state,
                                    .facts = &enroll->facts,
                                    .agent_version = BELAY_VERSION,
                                    .ops = &ops,
                                    .context = enroll,
                                    .join = &join };
    enum err_code code = link_create(&options, &enroll->link, err);
    pending_deinit(&pending);
    return code;
}

static enum err_code open_enroll(struct enroll *enroll, struct err_info *err)
{
    AUTO_BUF struct buf join_text = BUF_INIT(4096);
    if (config_word_count(enroll->config) < 2) {
        return ERR_SET(
            err, ERR_INVALID, "enroll: which server? Give the join string of 'belay enroll token'");
    }
    TRY(read_join(config_word(enroll->config, 1), &join_text, err));
    TRY(open_ground(enroll, err));
    TRY(outcome_begin_join(
        enroll->config, enroll->state, &enroll->facts, buf_text(&join_text), err));
    return open_link(enroll, err);
}

static void close_enroll(struct enroll *enroll)
{
    link_destroy(enroll->link);
    state_close(enroll->state);
    loop_destroy(enroll->loop);
    wire_schema_destroy(enroll->schema);
}

static void print_done(struct enroll *enroll)
{
    const struct state_enrollment *enrollment = link_enrollment(enroll->link);
    (void)printf(
        "Enrolled at %s as agent %" PRId64
        " (%s).\nStart it with: belay-agent run --state-dir %s\n",
        enrollment->target,
        enrollment->agent_id,
        enrollment->name,
        state_dir(enroll->state));
}

int verb_enroll(const struct config *config)
{
    struct enroll enroll = { .config = config };
    struct err_info err = ERR_INFO_INIT;
    if (!config_is_set(config, "log-level")) {
        log_set_level(LOG_ERROR); /* a person watches: the text says it all */
    }
    enum err_code code = open_enroll(&enroll, &err);
    if (code != ERR_OK) {
        close_enroll(&enroll);
        return outcome_fail(code, &err);
    }
    link_start(enroll.link);
    loop_run(enroll.loop);
    int status = AGENT_EXIT_OK;
    if (enroll.is_done) {
        print_done(&enroll);
    } else if (enroll.problem.code != ERR_OK) {
        status = outcome_fail(enroll.problem.code, &enroll.problem);
    } else {
        (void)printf("Start it with 'belay-agent run': it goes on when it is confirmed.\n");
    }
    close_enroll(&enroll);
    return status;
}
