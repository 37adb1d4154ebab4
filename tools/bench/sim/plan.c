#include "tools/bench/sim/plan.h"

#include "common/base/cleanup.h"

#include <stdio.h>

static const char *const levels[] = { "debug", "info", "warn", "error", NULL };
static const char *const acks[] = { [PLAN_ACK_OK] = "ok",
                                    [PLAN_ACK_FAIL] = "fail",
                                    [PLAN_ACK_BUSY] = "busy",
                                    [PLAN_ACK_NONE] = "none",
                                    NULL };

const struct config_option plan_options[] = {
    { .name = "operator-socket",
      .type = CONFIG_PATH,
      .max = 107,
      .argument = "PATH",
      .section = "Server",
      .help = "The server's operator.sock, through which tokens are made" },
    { .name = "operator",
      .type = CONFIG_TEXT,
      .max = 255,
      .argument = "ADDRESS",
      .section = "Server",
      .help = "The server's address for operators, instead of the socket; needs --ca-sha256 and "
              "--api-key-file" },
    { .name = "ca-sha256",
      .type = CONFIG_TEXT,
      .min = 64,
      .max = 64,
      .argument = "HEX",
      .section = "Server",
      .help = "Pin of the server's CA, as 'belay status' prints it" },
    { .name = "api-key-file",
      .type = CONFIG_PATH,
      .argument = "FILE",
      .section = "Server",
      .help = "API key with the scopes agent:write, command:write and telemetry:read" },
    { .name = "target",
      .type = CONFIG_LIST,
      .argument = "ADDRESS",
      .section = "Server",
      .help = "Where agents connect, dealt out in turn; what the join strings name unless set" },
    { .name = "plaintext",
      .type = CONFIG_BOOL,
      .fallback = "false",
      .section = "Server",
      .help = "Agents connect to --target without TLS" },

    { .name = "agents",
      .letter = 'n',
      .type = CONFIG_INT,
      .fallback = "100",
      .min = 1,
      .max = 1000000,
      .argument = "N",
      .section = "Fleet",
      .help = "How many agents" },
    { .name = "name",
      .type = CONFIG_TEXT,
      .fallback = "sim",
      .min = 1,
      .max = 40,
      .argument = "NAME",
      .section = "Fleet",
      .help =
          "Agents are called NAME-RUN-1, NAME-RUN-2 and so on, with a RUN that is new each time" },
    { .name = "processes",
      .type = CONFIG_INT,
      .fallback = "1",
      .min = 1,
      .max = PLAN_PROCESSES_MAX,
      .argument = "N",
      .section = "Fleet",
      .help = "Processes that share the agents; an agent needs one descriptor of its process" },
    { .name = "ramp",
      .type = CONFIG_DURATION,
      .fallback = "0s",
      .min = 0,
      .max = US_PER_DAY,
      .argument = "TIME",
      .section = "Fleet",
      .help = "Over how long the agents start" },
    { .name = "patience",
      .type = CONFIG_DURATION,
      .fallback = "5m",
      .min = US_PER_SECOND,
      .max = US_PER_DAY,
      .argument = "TIME",
      .section = "Fleet",
      .help = "How long after the ramp all of them may take to be online" },

    { .name = "duration",
      .letter = 'd',
      .type = CONFIG_DURATION,
      .fallback = "1m",
      .min = 0,
      .max = 30 * US_PER_DAY,
      .argument = "TIME",
      .section = "Load",
      .help = "How long the load lasts once all are online; 0s: until SIGINT or SIGTERM" },
    { .name = "settle",
      .type = CONFIG_DURATION,
      .fallback = "30s",
      .min = 0,
      .max = US_PER_DAY,
      .argument = "TIME",
      .section = "Load",
      .help = "How long what is under way at the end may take to be acknowledged" },
    { .name = "heartbeat",
      .type = CONFIG_DURATION,
      .fallback = "0s",
      .min = 0,
      .max = US_PER_HOUR,
      .argument = "TIME",
      .section = "Load",
      .help = "Time between two heartbeats of an agent; 0s: what the server says" },
    { .name = "telemetry-interval",
      .type = CONFIG_DURATION,
      .fallback = "5s",
      .min = 0,
      .max = US_PER_DAY,
      .argument = "TIME",
      .section = "Load",
      .help = "Time between two uploads of an agent; 0s: none" },
    { .name = "batch",
      .type = CONFIG_INT,
      .fallback = "1",
      .min = 1,
      .max = 256,
      .argument = "N",
      .section = "Load",
      .help = "Records of an upload" },
    { .name = "samples",
      .type = CONFIG_INT,
      .fallback = "10",
      .min = 1,
      .max = 1000,
      .argument = "N",
      .section = "Load",
      .help = "Samples of a record, each of another series" },
    { .name = "ack",
      .type = CONFIG_CHOICE,
      .fallback = "ok",
      .choices = acks,
      .argument = "HOW",
      .section = "Load",
      .help = "How agents answer commands" },
    { .name = "at",
      .type = CONFIG_LIST,
      .argument = "STEP",
      .section = "Load",
      .help = "TIME=ACTION:VALUE, such as 30s=drop:50%; the time counts from all being online" },
    { .name = "jitter",
      .type = CONFIG_TEXT,
      .fallback = "0%",
      .max = 8,
      .argument = "SHARE",
      .section = "Load",
      .help =
          "How much earlier or later than their interval heartbeats and records come, by chance" },

    { .name = "duplicate",
      .type = CONFIG_TEXT,
      .fallback = "0%",
      .max = 8,
      .argument = "SHARE",
      .section = "Faults",
      .help = "Share of acknowledged uploads that are sent once more" },
    { .name = "lose-acks",
      .type = CONFIG_TEXT,
      .fallback = "0%",
      .max = 8,
      .argument = "SHARE",
      .section = "Faults",
      .help = "Share of uploads and commands whose acknowledgement is thrown away" },

    { .name = "verify",
      .type = CONFIG_BOOL,
      .fallback = "false",
      .section = "Report",
      .help =
          "At the end, look in the store that every acknowledged record is there exactly once" },
    { .name = "json",
      .type = CONFIG_BOOL,
      .fallback = "false",
      .section = "Report",
      .help = "Print the report as one JSON object" },
    { .name = "config",
      .letter = 'c',
      .type = CONFIG_PATH,
      .flags = CONFIG_FLAG_ONLY,
      .argument = "FILE",
      .section = "General",
      .help = "YAML file with these options, underscores for dashes: a scenario to keep" },
    { .name = "log-level",
      .type = CONFIG_CHOICE,
      .fallback = "warn",
      .choices = levels,
      .argument = "LEVEL",
      .section = "General",
      .help = "Least severe event that is logged" },
    { .name = "board",
      .type = CONFIG_TEXT,
      .flags = CONFIG_FLAG_ONLY,
      .max = 64,
      .argument = "FD:SLOT",
      .section = "General",
      .help = "Set by belay-sim for the processes it starts" },
    { .name = "help",
      .letter = 'h',
      .type = CONFIG_BOOL,
      .flags = CONFIG_FLAG_ONLY,
      .fallback = "false",
      .section = "General",
      .help = "Print this" },
    { .name = "version",
      .type = CONFIG_BOOL,
      .flags = CONFIG_FLAG_ONLY,
      .fallback = "false",
      .section = "General",
      .help = "Print the version" },
};

const size_t plan_option_count = ARRAY_LENGTH(plan_options);

enum err_code plan_load(
    int argc, char *const *argv, struct config **ret_config, struct err_info *err)
{
    struct config *config = config_create(plan_options, plan_option_count);
    enum err_code code = config_load_args(config, argc, argv, err);
    const char *file = code == ERR_OK ? config_text(config, "config") : NULL;
    if (file != NULL) {
        code = config_load_file(config, file, err);
    }
    if (code != ERR_OK) {
        config_destroy(config);
        return code;
    }
    *ret_config = config;
    return ERR_OK;
}

static enum err_code take_operator(
    const struct config *config, struct plan *plan, struct err_info *err)
{
    const char *path = config_text(config, "operator-socket");
    plan->operator_target = config_text(config, "operator");
    plan->operator_key_file = config_text(config, "api-key-file");
    plan->ca_sha256 = config_text(config, "ca-sha256");
    if ((path == NULL) == (plan->operator_target == NULL)) {
        return ERR_SET(
            err, ERR_INVALID, "which server? Give --operator-socket PATH or --operator ADDRESS");
    }
    if (path != NULL) {
        (void)snprintf(plan->operator_unix, sizeof(plan->operator_unix), "unix:%s", path);
        plan->operator_target = plan->operator_unix;
        return ERR_OK;
    }
    if (plan->ca_sha256 == NULL || plan->operator_key_file == NULL) {
        return ERR_SET(err, ERR_INVALID, "--operator needs --ca-sha256 and --api-key-file");
    }
    return ERR_OK;
}

static enum err_code take_targets(
    const struct config *config, struct plan *plan, struct err_info *err)
{
    size_t count = config_list_count(config, "target");
    if (count > PLAN_TARGETS_MAX) {
        return ERR_SET(err, ERR_INVALID, "--target: at most %d", PLAN_TARGETS_MAX);
    }
    for (size_t i = 0; i < count; i++) {
        plan->targets[i] = config_list_item(config, "target", i);
    }
    plan->target_count = (unsigned)count;
    plan->plaintext = config_bool(config, "plaintext");
    return plan->plaintext && count == 0
        ? ERR_SET(err, ERR_INVALID, "--plaintext: --target must say where")
        : ERR_OK;
}

static int64_t end_of_steps(const struct plan *plan)
{
    int64_t last = 0;
    for (unsigned i = 0; i < plan->step_count; i++) {
        last = plan->steps[i].at_us > last ? plan->steps[i].at_us : last;
    }
    return last;
}

static enum err_code take_steps(
    const struct config *config, struct plan *plan, struct err_info *err)
{
    size_t count = config_list_count(config, "at");
    if (count > SCENARIO_STEPS_MAX) {
        return ERR_SET(err, ERR_INVALID, "--at: at most %d", SCENARIO_STEPS_MAX);
    }
    for (size_t i = 0; i < count; i++) {
        TRY(scenario_parse(str_of(config_list_item(config, "at", i)), &plan->steps[i], err));
    }
    plan->step_count = (unsigned)count;
    if (plan->duration_us > 0 && end_of_steps(plan) > plan->duration_us) {
        return ERR_SET(err, ERR_INVALID, "--at: a step lies after the end of --duration");
    }
    return ERR_OK;
}

static enum err_code take_share(
    const struct config *config, const char *name, int64_t *ret_share, struct err_info *err)
{
    return scenario_parse_share(str_of(config_text(config, name)), ret_share) == ERR_OK
        ? ERR_OK
        : ERR_SET(err, ERR_INVALID, "--%s: a share such as 5%% expected", name);
}

enum err_code plan_of(const struct config *config, struct plan *ret_plan, struct err_info *err)
{
    struct plan plan = {
        .agents = (unsigned)config_int(config, "agents"),
        .processes = (unsigned)config_int(config, "processes"),
        .name = config_text(config, "name"),
        .ramp_us = config_int(config, "ramp"),
        .duration_us = config_int(config, "duration"),
        .settle_us = config_int(config, "settle"),
        .patience_us = config_int(config, "patience"),
        .heartbeat_us = config_int(config, "heartbeat"),
        .telemetry_us = config_int(config, "telemetry-interval"),
        .batch = (unsigned)config_int(config, "batch"),
        .samples = (unsigned)config_int(config, "samples"),
        .json = config_bool(config, "json"),
        .verify = config_bool(config, "verify"),
    };
    const char *ack = config_text(config, "ack");
    while (strcmp(acks[plan.ack], ack) != 0) {
        plan.ack++;
    }
    *ret_plan = plan;
    TRY(take_operator(config, ret_plan, err));
    TRY(take_targets(config, ret_plan, err));
    TRY(take_share(config, "jitter", &ret_plan->jitter, err));
    TRY(take_share(config, "duplicate", &ret_plan->duplicate, err));
    TRY(take_share(config, "lose-acks", &ret_plan->lose_acks, err));
    TRY(take_steps(config, ret_plan, err));
    if (ret_plan->processes > ret_plan->agents) {
        return ERR_SET(err, ERR_INVALID, "--processes: more than there are agents");
    }
    return ERR_OK;
}
