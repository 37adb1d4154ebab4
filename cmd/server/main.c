/*
 * belay-server: reads the options, decides the mode before anything is opened, and runs it.
 */
#include "cmd/agent/agent.h"
#include "cmd/server/app.h"
#include "cmd/server/config.h"
#include "cmd/server/manual.h"
#include "common/base/cleanup.h"
#include "common/base/log.h"

#include <stdio.h>
#include <unistd.h>

enum {
    TEXT_BYTES = 1024 * 1024
};

static const char usage[] = "Usage: belay-server [OPTIONS]                      run\n"
                            "       belay-server [OPTIONS] migrate plan|up|status\n"
                            "       belay-server [OPTIONS] config check|show|reference|man\n"
                            "       belay-server --mode agent -- AGENT-ARGUMENTS\n";

static int print(
    void (*write)(const struct config_option *, size_t, struct buf *), const char *head)
{
    AUTO_BUF struct buf text = BUF_INIT(TEXT_BYTES);
    write(server_options, server_option_count, &text);
    (void)printf("%s%s", head, buf_text(&text));
    return EXIT_OK;
}

/* ret_from_file: what is wrong stands in the configuration file, not on the command line. */
static enum err_code load(
    struct config *config, int argc, char **argv, bool *ret_from_file, struct err_info *err)
{
    log_set_component("belay-server");
    TRY(config_load_args(config, argc, argv, err));
    TRY(config_load_env(config, environ, err));
    const char *file = config_text(config, "config");
    if (file != NULL) {
        *ret_from_file = true;
        TRY(config_load_file(config, file, err));
        *ret_from_file = false;
    }
    enum log_level level = LOG_INFO;
    if (log_parse_level(str_of(config_text(config, "log-level")), &level) == ERR_OK) {
        log_set_level(level);
    }
    return config_check_mode(config, err);
}

/* The agent's own arguments stand after "--". */
static int run_agent(const struct config *config)
{
    size_t count = config_word_count(config);
    AUTO_FREE char **args = mem_alloc_array(count + 5, sizeof(*args));
    int argc = 0;
    args[argc++] = CONST_CAST(char *, "belay-server");
    for (size_t i = 0; i < count; i++) {
        args[argc++] = CONST_CAST(char *, config_word(config, i));
    }
    if (count == 0) {
        args[argc++] = CONST_CAST(char *, "run");
    }
    if (config_is_set(config, "agent-config")) {
        args[argc++] = CONST_CAST(char *, "--config");
        args[argc++] = CONST_CAST(char *, config_text(config, "agent-config"));
    }
    return agent_main(argc, args);
}

static int run_config(const struct config *config, const char *verb)
{
    if (strcmp(verb, "check") == 0) {
        (void)printf("the configuration is sound\n");
        return EXIT_OK;
    }
    if (strcmp(verb, "reference") == 0) {
        return print(config_reference, "");
    }
    AUTO_BUF struct buf text = BUF_INIT(TEXT_BYTES);
    if (strcmp(verb, "show") == 0) {
        config_show(config, config_bool(config, "json"), &text);
    } else if (strcmp(verb, "man") == 0) {
        server_manual(&text);
    } else {
        (void)fprintf(stderr, "belay-server: config: one of check, show, reference, man\n");
        return EXIT_USAGE;
    }
    (void)printf("%s", buf_text(&text));
    return EXIT_OK;
}

static int run(const struct config *config)
{
    if (config_bool(config, "help")) {
        return print(config_help, usage);
    }
    if (config_bool(config, "version")) {
        (void)printf("belay-server %s\n", BELAY_VERSION_TEXT);
        return EXIT_OK;
    }
    enum server_mode mode = config_mode(config);
    if (mode == MODE_AGENT) {
        return run_agent(config);
    }
    size_t words = config_word_count(config);
    const char *first = words > 0 ? config_word(config, 0) : "";
    if (words == 2 && strcmp(first, "migrate") == 0) {
        return server_migrate(config, config_word(config, 1));
    }
    if (words == 2 && strcmp(first, "config") == 0) {
        return run_config(config, config_word(config, 1));
    }
    /* In combined mode options of the agent may stand after "--". */
    if (words > 0 && (mode == MODE_SERVER || first[0] != '-')) {
        (void)fprintf(
            stderr, "belay-server: \"%s\" is no command; try belay-server --help\n", first);
        return EXIT_USAGE;
    }
    return server_run(config);
}

int main(int argc, char **argv)
{
    struct err_info err = ERR_INFO_INIT;
    struct config *config = config_create(server_options, server_option_count);
    bool from_file = false;
    enum err_code code = load(config, argc, argv, &from_file, &err);
    int status = EXIT_USAGE;
    if (code == ERR_OK) {
        status = run(config);
    } else {
        (void)fprintf(stderr, "belay-server: %s\n", err.text);
        bool is_usage = !from_file && (code == ERR_INVALID || code == ERR_LIMIT);
        status = is_usage ? EXIT_USAGE : EXIT_CONFIG;
    }
    config_destroy(config);
    return status;
}
