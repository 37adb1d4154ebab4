#include "cmd/agent/config.h"

#include "common/base/cleanup.h"
#include "common/base/time.h"
#include "common/sys/file.h"

#include <unistd.h>

#define DEFAULT_FILE "/etc/belay/agent.yaml"

static const char *const levels[] = { "debug", "info", "warn", "error", NULL };
static const char *const drivers[] = { "auto", "native", "bwrap", NULL };
static const char *const formats[] = { "text", "json", NULL };

const struct config_option agent_options[] = {
    { .name = "state-dir",
      .type = CONFIG_PATH,
      .fallback = "/var/lib/belay-agent",
      .max = 90, /* the status socket below it must fit a socket address */
      .argument = "DIR",
      .section = "State",
      .help = "Folder of keys, enrollment and spool; mode 0700, one agent at a time" },
    { .name = "status-socket",
      .type = CONFIG_PATH,
      .max = 107,
      .argument = "PATH",
      .section = "State",
      .help = "Local socket that 'status' asks; agent.sock in the state folder unless set" },
    { .name = "spool-max-bytes",
      .type = CONFIG_SIZE,
      .fallback = "256MiB",
      .min = INT64_C(2) * 1024 * 1024,
      .max = INT64_C(1) << 40,
      .argument = "SIZE",
      .section = "Spool",
      .help = "Bytes of records kept while the server is away; the oldest telemetry goes first" },
    { .name = "spool-max-age",
      .type = CONFIG_DURATION,
      .fallback = "30d",
      .min = US_PER_MINUTE,
      .max = 3650 * US_PER_DAY,
      .argument = "TIME",
      .section = "Spool",
      .help = "Running time after which a record is dropped" },
    { .name = "spool-delay",
      .type = CONFIG_DURATION,
      .fallback = "10s",
      .max = US_PER_HOUR,
      .argument = "TIME",
      .section = "Spool",
      .help = "How long samples may wait in memory for the server's answer before they go to disk; "
              "0s: at once" },
    { .name = "upload-bytes",
      .type = CONFIG_SIZE,
      .fallback = "256KiB",
      .min = 4096,
      .max = INT64_C(1024) * 1024,
      .argument = "SIZE",
      .section = "Spool",
      .help = "Bytes of records sent before the server's acknowledgement is awaited" },
    { .name = "sample-interval",
      .type = CONFIG_DURATION,
      .fallback = "5s",
      .min = 250 * US_PER_MS,
      .max = US_PER_DAY,
      .argument = "TIME",
      .section = "Sampling",
      .help = "Time between two rounds of the host's figures" },
    { .name = "per-core",
      .type = CONFIG_BOOL,
      .fallback = "false",
      .section = "Sampling",
      .help = "Sample every processor core too" },
    { .name = "allow-actions",
      .type = CONFIG_LIST,
      .argument = "ACTION",
      .section = "Policy",
      .help = "Actions on this machine that the server may command beyond 'identify': reboot" },
    { .name = "log-level",
      .type = CONFIG_CHOICE,
      .fallback = "info",
      .choices = levels,
      .argument = "LEVEL",
      .section = "Log",
      .help = "Least severe event that is logged" },
    { .name = "name",
      .type = CONFIG_TEXT,
      .max = 255,
      .argument = "NAME",
      .section = "Enrollment",
      .help = "Name to enroll with; the host name unless set" },
    { .name = "label",
      .type = CONFIG_LIST,
      .argument = "KEY=VALUE",
      .section = "Enrollment",
      .help = "Label to enroll with" },
    { .name = "join",
      .type = CONFIG_TEXT,
      .max = 4096,
      .argument = "FILE",
      .section = "Enrollment",
      .help =
          "For 'run': enroll first with the join string in this file (mode 0600) if not enrolled" },
    { .name = "wait",
      .type = CONFIG_BOOL,
      .flags = CONFIG_FLAG_ONLY,
      .fallback = "true",
      .section = "Enrollment",
      .help = "For 'enroll': wait until an operator has confirmed; 'run' goes on otherwise" },
    { .name = "driver",
      .type = CONFIG_CHOICE,
      .flags = CONFIG_FLAG_ONLY,
      .fallback = "auto",
      .choices = drivers,
      .argument = "DRIVER",
      .section = "Sandbox",
      .help = "For 'sandbox run': who builds it; auto: native as root, else bwrap" },
    { .name = "memory",
      .type = CONFIG_SIZE,
      .flags = CONFIG_FLAG_ONLY,
      .min = INT64_C(4) * 1024 * 1024,
      .max = INT64_C(1) << 50,
      .argument = "SIZE",
      .section = "Sandbox",
      .help = "For 'sandbox run': most memory of it" },
    { .name = "cpu",
      .type = CONFIG_INT,
      .flags = CONFIG_FLAG_ONLY,
      .min = 10,
      .max = 1000000,
      .argument = "MILLI",
      .section = "Sandbox",
      .help = "For 'sandbox run': thousandths of one processor" },
    { .name = "pids",
      .type = CONFIG_INT,
      .flags = CONFIG_FLAG_ONLY,
      .min = 2,
      .max = 1000000,
      .argument = "COUNT",
      .section = "Sandbox",
      .help = "For 'sandbox run': most processes and threads" },
    { .name = "disk",
      .type = CONFIG_SIZE,
      .flags = CONFIG_FLAG_ONLY,
      .min = INT64_C(1024) * 1024,
      .max = INT64_C(1) << 50,
      .argument = "SIZE",
      .section = "Sandbox",
      .help = "For 'sandbox run': most bytes of its workspace, /sandbox" },
    { .name = "time",
      .type = CONFIG_DURATION,
      .flags = CONFIG_FLAG_ONLY,
      .min = US_PER_MS,
      .max = 365 * US_PER_DAY,
      .argument = "TIME",
      .section = "Sandbox",
      .help = "For 'sandbox run': ended after this long" },
    { .name = "config",
      .type = CONFIG_PATH,
      .flags =
          CONFIG_FLAG_ONLY, /* BELAY_CONFIG is the server's, whose environment an agent may share */
      .argument = "FILE",
      .section = "General",
      .help = "Configuration file; " DEFAULT_FILE " if it is there" },
    { .name = "output",
      .letter = 'o',
      .type = CONFIG_CHOICE,
      .flags = CONFIG_FLAG_ONLY,
      .fallback = "text",
      .choices = formats,
      .argument = "FORMAT",
      .section = "General",
      .help = "How 'status', 'spool' and 'config show' print" },
    { .name = "yes",
      .type = CONFIG_BOOL,
      .flags = CONFIG_FLAG_ONLY,
      .fallback = "false",
      .section = "General",
      .help = "For 'reset': really" },
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

const size_t agent_option_count = ARRAY_LENGTH(agent_options);

static enum err_code load(struct config *config, int argc, char *const *argv, struct err_info *err)
{
    TRY(config_load_args(config, argc, argv, err));
    TRY(config_load_env(config, environ, err));
    const char *file = config_text(config, "config");
    if (file == NULL && file_exists(DEFAULT_FILE)) {
        file = DEFAULT_FILE;
    }
    return file == NULL ? ERR_OK : config_load_file(config, file, err);
}

enum err_code agent_config_load(
    int argc, char *const *argv, struct config **ret_config, struct err_info *err)
{
    struct config *config = config_create(agent_options, agent_option_count);
    enum err_code code = load(config, argc, argv, err);
    if (code != ERR_OK) {
        config_destroy(config);
        return code;
    }
    *ret_config = config;
    return ERR_OK;
}
