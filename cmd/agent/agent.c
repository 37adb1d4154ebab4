#include "cmd/agent/agent.h"

#include "cmd/agent/app.h"
#include "cmd/agent/config.h"
#include "cmd/agent/verbs.h"
#include "common/base/cleanup.h"
#include "common/base/log.h"
#include "common/crypto/secret.h"
#include "common/sql/sqlite_mapping.h"
#include "common/sys/fd.h"

#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/stat.h>

enum {
    HELP_BYTES = 65536
};

static const struct {
    const char *name;
    int (*run)(const struct config *config);
    size_t words; /* most beside the name */
    const char *help;
} verbs[] = {
    { "enroll",
      verb_enroll,
      1,
      "enroll JOIN-STRING   join a server (a file or '-' keeps it out of sight)" },
    { "run", app_run, 0, "run                  sample, spool, upload and obey until stopped" },
    { "status", verb_status, 0, "status               what the running agent is doing" },
    { "spool", verb_spool, 1, "spool inspect|list|verify   look at what waits for the server" },
    { "reset",
      verb_reset,
      0,
      "reset --yes          forget the enrollment, the keys and the spool; end and delete sandboxes" },
    { "sandbox",
      verb_sandbox,
      SIZE_MAX - 1,
      "sandbox run -- PROGRAM   run a program in a sandbox here and now; 'sandbox probe' tells what\n"
      "                       this machine can protect" },
    { "image",
      verb_image,
      3,
      "image import NAME FILE|-   keep a root file system for sandboxes (tar, .gz, .zst, squashfs);\n"
      "                       'image list' tells which there are, 'image remove NAME' deletes one" },
    { "config",
      verb_config,
      1,
      "config check|show|reference|man   check or print the configuration, or all there is" },
};

static void print_help(void)
{
    AUTO_BUF struct buf text = BUF_INIT(HELP_BYTES);
    buf_append_str(&text, STR("usage: belay-agent COMMAND [options]\n\nCommands:\n"));
    for (size_t i = 0; i < ARRAY_LENGTH(verbs); i++) {
        buf_printf(&text, "  %s\n", verbs[i].help);
    }
    buf_append_char(&text, '\n');
    config_help(agent_options, agent_option_count, &text);
    buf_append_str(
        &text,
        STR("\nExit status: 0 done, 1 failed, 64 usage, 69 not reachable, 73 cannot create, 75 in use, "
            "77 no permission, 78 configuration\n"));
    (void)fputs(buf_text(&text), stdout);
}

static int usage(const char *text, const char *word)
{
    (void)fprintf(stderr, "belay-agent: %s%s (see belay-agent --help)\n", text, word);
    return AGENT_EXIT_USAGE;
}

static int dispatch(const struct config *config)
{
    const char *name = config_word_count(config) == 0 ? NULL : config_word(config, 0);
    if (config_bool(config, "help") || (name != NULL && strcmp(name, "help") == 0)) {
        print_help();
        return AGENT_EXIT_OK;
    }
    if (config_bool(config, "version")) {
        (void)printf("belay-agent %s\n", BELAY_VERSION);
        return AGENT_EXIT_OK;
    }
    if (name == NULL) {
        return usage("no command given", "");
    }
    for (size_t i = 0; i < ARRAY_LENGTH(verbs); i++) {
        if (strcmp(verbs[i].name, name) != 0) {
            continue;
        }
        return config_word_count(config) > verbs[i].words + 1
            ? usage("unexpected word: ", config_word(config, verbs[i].words + 1))
            : verbs[i].run(config);
    }
    return usage("unknown command: ", name);
}

void agent_hold_signals(void)
{
    sigset_t set;
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGINT);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGHUP);
    (void)pthread_sigmask(SIG_BLOCK, &set, NULL);
}

/* New files are ours alone. */
static enum err_code prepare(const struct config *config, struct err_info *err)
{
    enum log_level level = LOG_INFO;
    (void)signal(SIGPIPE, SIG_IGN);
    sqlite_mapping_end_in_words();
    (void)umask(077);
    log_set_component("belay-agent");
    (void)fd_raise_limit(); /* connections through the proxy and sandboxes' sockets add up */
    TRY(log_parse_level(str_of(config_text(config, "log-level")), &level));
    log_set_level(level);
    return crypto_start(err);
}

int agent_main(int argc, char **argv)
{
    struct config *config = NULL;
    struct err_info err = ERR_INFO_INIT;
    enum err_code code = agent_config_load(argc, argv, &config, &err);
    if (code != ERR_OK) {
        (void)fprintf(stderr, "belay-agent: %s\n", err.text);
        return code == ERR_INVALID ? AGENT_EXIT_USAGE : AGENT_EXIT_CONFIG;
    }
    code = prepare(config, &err);
    int status = AGENT_EXIT_FAILURE;
    if (code == ERR_OK) {
        status = dispatch(config);
    } else {
        (void)fprintf(stderr, "belay-agent: %s\n", err.text);
    }
    config_destroy(config);
    return status;
}
