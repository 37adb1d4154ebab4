/* The agent's program without its process: what app.c ties together, on the agent's real loop. */
#include "cmd/agent/link/batch.h"
#include "tests/cluster/cluster.h"
#include "tests/support/memory.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define ACK(name) AGENTGATEWAY__V1__ACK_CODE__ACK_CODE_##name

#define TICK_US US_PER_SECOND

enum {
    SPOOL_BYTES = 64 * 1024 * 1024
};

/* A command that acts for a while; its end is an event of the world. */
struct slow_run {
    struct list link;
    struct cluster_agent *agent;
    struct command_run *run;
    uint64_t end;
};

static void end_run(void *context)
{
    struct slow_run *slow = context;
    list_remove(&slow->link);
    command_finish(slow->run, ACK(OK), "", STR_NONE);
    mem_free(slow);
}

/* The effect is counted first: what ends in between must not make it happen again. */
static void run_device_command(
    void *context, struct command_run *run, const Agentgateway__V1__AgentCommand *command)
{
    struct cluster_agent *agent = context;
    struct sim *sim = agent->cluster->sim;
    uint64_t number = 0;
    assert_ok(
        str_parse_uint64(str_of(command->device_command->device), CLUSTER_ORDERS_MAX - 1, &number));
    agent->cluster->orders[number].effects++;
    sim_note(sim, "%s acts on %u", agent->name, (unsigned)number);
    if (sim_chance(sim, 600)) {
        command_finish(run, ACK(OK), "", STR_NONE);
        return;
    }
    struct slow_run *slow = mem_alloc(sizeof(*slow));
    slow->agent = agent;
    slow->run = run;
    slow->end = sim_after(sim, sim_between(sim, 0, 20 * US_PER_SECOND), end_run, slow);
    list_append(&agent->runs, &slow->link);
}

static void run_rotate_key(
    void *context, struct command_run *run, const Agentgateway__V1__AgentCommand *command)
{
    struct cluster_agent *agent = context;
    const ProtobufCBinaryData *box = &command->rotate_key->sealed_api_key;
    struct err_info err = ERR_INFO_INIT;
    AUTO_SECRET struct secret *key = NULL;
    assert_ok(key_open(
        state_encryption(agent->state), str_from((const char *)box->data, box->len), &key));
    assert_ok_err(err, state_save_api_key(agent->state, true, key, &err));
    command_finish(run, ACK(OK), "", STR_NONE);
    link_renew(agent->link);
}

static void run_other(
    void *context, struct command_run *run, const Agentgateway__V1__AgentCommand *command)
{
    (void)context;
    (void)command;
    command_finish(run, ACK(UNIMPLEMENTED), "not in this test", STR_NONE);
}

static enum err_code send_ack(
    void *context, struct str_view command_id, const struct command_outcome *outcome)
{
    struct cluster_agent *agent = context;
    struct err_info err = ERR_INFO_INIT;
    return link_send_ack(agent->link, command_id, outcome, &err);
}

static const struct command_ops command_ops = { .telemetry_now = run_other,
                                                .set_config = run_other,
                                                .rotate_key = run_rotate_key,
                                                .drain = run_other,
                                                .device_command = run_device_command,
                                                .lend = run_other,
                                                .reclaim = run_other,
                                                .send_ack = send_ack };

static void on_pending(void *context, const char *fingerprint)
{
    (void)fingerprint;
    cluster_order_confirm(context);
}

static void on_enrolled(void *context)
{
    struct cluster_agent *agent = context;
    agent->id = link_enrollment(agent->link)->agent_id;
    sim_note(agent->cluster->sim, "%s is agent %d", agent->name, (int)agent->id);
}

static void on_online(void *context)
{
    struct cluster_agent *agent = context;
    sim_note(agent->cluster->sim, "%s online", agent->name);
    commands_redeliver(agent->commands);
}

static void on_command(void *context, const Agentgateway__V1__ControlCommand *command)
{
    struct cluster_agent *agent = context;
    const struct state_enrollment *enrollment = link_enrollment(agent->link);
    const struct verify_context who = { .server_id = enrollment->server_id,
                                        .agent_id = enrollment->agent_id,
                                        .command_pubkey = enrollment->command_pubkey,
                                        .now = link_server_time(agent->link) };
    commands_handle(agent->commands, &who, command);
}

static void on_status(void *context, struct link_status *ret_status)
{
    struct cluster_agent *agent = context;
    ret_status->commands_running = commands_running(agent->commands);
    ret_status->last_command_sequence = commands_last_sequence(agent->commands);
}

static void on_problem(void *context, enum err_code code, const char *text)
{
    struct cluster_agent *agent = context;
    sim_note(agent->cluster->sim, "%s: %s: %s", agent->name, err_name(code), text);
}

static const struct link_ops link_ops = { .pending = on_pending,
                                          .enrolled = on_enrolled,
                                          .online = on_online,
                                          .command = on_command,
                                          .get_status = on_status,
                                          .problem = on_problem };

static void open_link(struct cluster_agent *agent)
{
    struct err_info err = ERR_INFO_INIT;
    struct state_enrollment enrollment;
    const struct link_join join = { .token = str_of(agent->token),
                                    .target = "unix:/cluster",
                                    .name = agent->name };
    bool is_enrolled = state_load_enrollment(agent->state, &enrollment, &err) == ERR_OK;
    const struct link_options options = { .loop = agent->loop,
                                          .clock = &agent->clock.clock,
                                          .schema = agent->cluster->place->schema,
                                          .state = agent->state,
                                          .spool = agent->spool,
                                          .facts = &agent->facts,
                                          .agent_version = "test",
                                          .ops = &link_ops,
                                          .context = agent,
                                          .join = is_enrolled ? NULL : &join };
    sim_net_set_host(agent->cluster->net, agent->host);
    assert_ok_err(err, link_create(&options, &agent->link, &err));
    agent->id = is_enrolled ? enrollment.agent_id : 0;
}

static void on_tick(void *context)
{
    struct cluster_agent *agent = context;
    spool_tick(agent->spool);
    loop_timer_arm_after(agent->tick, TICK_US);
}

/* What was held becomes `fate`. */
static void settle_held(struct cluster_agent *agent, enum cluster_fate fate)
{
    for (unsigned stream = 0; stream < SPOOL_STREAM_COUNT; stream++) {
        for (unsigned n = 0; n < agent->offered[stream]; n++) {
            if (agent->fates[stream][n] == CLUSTER_HELD) {
                agent->fates[stream][n] = fate;
            }
        }
    }
}

static bool holds_any(const struct cluster_agent *agent)
{
    struct spool_stats stats;
    spool_get_stats(agent->spool, &stats);
    return stats.ring_records > 0;
}

void cluster_agent_start(struct cluster_agent *agent)
{
    struct err_info err = ERR_INFO_INIT;
    if (agent->is_running || agent->token[0] == '\0' || agent->cluster->is_ending) {
        return;
    }
    AUTO_FREE char *path = mem_printf("%s/spool.db", agent->dir);
    const struct spool_options spool_options = { .path = path,
                                                 .clock = &agent->clock.clock,
                                                 .max_bytes = SPOOL_BYTES,
                                                 .max_age_us = 365 * US_PER_DAY,
                                                 .delay_us = agent->delay_us };
    assert_ok_err(err, loop_create(&agent->clock.clock, &agent->loop, &err));
    assert_ok_err(err, state_open(agent->dir, &agent->state, &err));
    assert_ok_err(err, state_load_keys(agent->state, &err));
    assert_ok_err(err, spool_open(&spool_options, &agent->spool, &err));
    open_link(agent);
    const struct commands_options commands_options = { .spool = agent->spool,
                                                       .state = agent->state,
                                                       .schema = agent->cluster->place->schema,
                                                       .ops = &command_ops,
                                                       .context = agent };
    assert_ok_err(err, commands_create(&commands_options, &agent->commands, &err));
    agent->tick = loop_timer_create(agent->loop, on_tick, agent);
    loop_timer_arm_after(agent->tick, TICK_US);
    agent->is_running = true;
    agent->is_paused = false;
    sim_note(agent->cluster->sim, "%s starts", agent->name);
    link_start(agent->link);
}

/* What is on disk at this moment, as it lies there. */
static char *copy_folder(const char *from)
{
    char *to = mem_printf("%s.left", from);
    assert_int_equal(mkdir(to, 0700), 0);
    DIR *dir = opendir(from);
    assert_non_null(dir);
    for (struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        if (entry->d_type == DT_REG) {
            AUTO_FREE char *source = mem_printf("%s/%s", from, entry->d_name);
            AUTO_FREE char *target = mem_printf("%s/%s", to, entry->d_name);
            test_copy_file(source, target);
        }
    }
    (void)closedir(dir);
    return to;
}

void cluster_agent_kill(struct cluster_agent *agent)
{
    if (!agent->is_running) {
        return;
    }
    sim_note(agent->cluster->sim, "%s dies", agent->name);
    char *left = agent->cluster->is_ending ? NULL : copy_folder(agent->dir);
    agent->is_running = false;
    sim_net_kill(agent->cluster->net, agent->host);
    LIST_FOR_EACH(node, &agent->runs)
    {
        struct slow_run *slow = LIST_ENTRY(node, struct slow_run, link);
        sim_cancel(agent->cluster->sim, slow->end);
        list_remove(node);
        mem_free(slow);
    }
    settle_held(agent, holds_any(agent) ? CLUSTER_LOOSE : CLUSTER_ACCEPTED);
    memset(agent->acked, 0, sizeof(agent->acked)); /* a mark may have been in memory alone */
    loop_timer_destroy(STEAL(agent->tick));
    link_destroy(STEAL(agent->link));
    commands_destroy(STEAL(agent->commands));
    spool_close(STEAL(agent->spool));
    state_close(STEAL(agent->state));
    loop_destroy(STEAL(agent->loop));
    if (left == NULL) {
        return;
    }
    char *dir = mem_strdup(agent->dir);
    test_dir_remove(dir);
    assert_int_equal(rename(left, agent->dir), 0);
    mem_free(left);
}

bool cluster_agent_turn(struct cluster_agent *agent)
{
    if (!agent->is_running || agent->is_paused || !loop_turn(agent->loop)) {
        return false;
    }
    if (!holds_any(agent)) {
        settle_held(agent, CLUSTER_ACCEPTED);
    }
    return true;
}

/* Every other record is of a format that is kept as it came, so that one stored twice would show.
 */
static void fill(
    struct cluster_agent *agent,
    enum spool_stream stream,
    unsigned number,
    struct spool_input *input,
    struct buf *payload)
{
    struct err_info err = ERR_INFO_INIT;
    char text[CLUSTER_NAME_BYTES + 16];
    MEMORY_PAUSE();
    (void)snprintf(text, sizeof(text), "%s-%d-%u", agent->name, (int)stream, number);
    *input =
        (struct spool_input){ .stream = stream, .captured_at = clock_wall(&agent->clock.clock) };
    if (number % 2 == 1) {
        buf_append_str(payload, str_of(text));
        input->format = AGENTGATEWAY__V1__PAYLOAD_FORMAT__PAYLOAD_FORMAT_OPAQUE;
    } else if (stream == SPOOL_EVENTS) {
        const struct batch_attribute attribute = { "number", text };
        const struct batch_event event = { .time = input->captured_at,
                                           .severity = 1,
                                           .kind = "cluster",
                                           .text = text,
                                           .attributes = &attribute,
                                           .attribute_count = 1 };
        assert_ok_err(err, batch_pack_event(&event, payload, &err));
        input->format = AGENTGATEWAY__V1__PAYLOAD_FORMAT__PAYLOAD_FORMAT_EVENT_BATCH;
    } else {
        /* a time of its own each: a series holds one sample of a time */
        struct host_sample sample = { .metric = "cluster", .unit = "", .value = number };
        const struct host_samples samples = { .time = { CLUSTER_SAMPLES_FROM + number },
                                              .rows = &sample,
                                              .count = 1 };
        assert_ok_err(err, batch_pack_samples(&samples, payload, &err));
        input->format = AGENTGATEWAY__V1__PAYLOAD_FORMAT__PAYLOAD_FORMAT_TELEMETRY_BATCH;
    }
    input->payload = buf_view(payload);
}

static uint64_t dropped_records(const struct cluster_agent *agent, enum spool_stream stream)
{
    struct spool_stats stats;
    spool_get_stats(agent->spool, &stats);
    return stats.streams[stream].dropped_records;
}

void cluster_agent_produce(struct cluster_agent *agent, enum spool_stream stream)
{
    unsigned number = agent->offered[stream];
    struct err_info err = ERR_INFO_INIT;
    struct spool_input input;
    AUTO_BUF struct buf payload = BUF_INIT(4096);
    if (!agent->is_running || agent->is_paused || number == CLUSTER_RECORDS_MAX) {
        return;
    }
    fill(agent, stream, number, &input, &payload);
    agent->offered[stream]++;
    uint64_t dropped = dropped_records(agent, stream);
    enum err_code code = spool_append(agent->spool, &input, 1, &err);
    bool waits = stream == SPOOL_TELEMETRY && agent->delay_us > 0;
    if (dropped_records(agent, stream) != dropped) { /* for want of memory: counted, and told */
        agent->fates[stream][number] = CLUSTER_REFUSED;
    } else if (code == ERR_UNAVAILABLE || (code == ERR_OK && waits)) {
        agent->fates[stream][number] = CLUSTER_HELD;
    } else if (code == ERR_OK) {
        agent->fates[stream][number] = CLUSTER_ACCEPTED;
    }
    link_poke(agent->link);
}

bool cluster_agent_is_settled(struct cluster_agent *agent)
{
    struct link_view view;
    struct spool_stats stats;
    if (agent->is_revoked) {
        return true;
    }
    if (!agent->is_running) {
        return false;
    }
    link_get_view(agent->link, &view);
    spool_get_stats(agent->spool, &stats);
    return view.is_online && stats.streams[SPOOL_TELEMETRY].records == 0
        && stats.streams[SPOOL_EVENTS].records == 0 && stats.ring_records == 0
        && list_is_empty(&agent->runs);
}
