/* status and config: what needs no server. */
#include "cmd/agent/agent.h"
#include "cmd/agent/config.h"
#include "cmd/agent/manual.h"
#include "cmd/agent/outcome.h"
#include "cmd/agent/status/status_socket.h"
#include "cmd/agent/verbs.h"
#include "common/base/cleanup.h"

#include <inttypes.h>
#include <stdio.h>

enum {
    CONFIG_TEXT_BYTES = 262144
};

static bool wants_json(const struct config *config)
{
    return strcmp(config_text(config, "output"), "json") == 0;
}

/* The agent does not run: what its folder tells. */
static int print_stopped(const struct config *config, const struct err_info *reason)
{
    struct err_info err = ERR_INFO_INIT;
    struct state *state = NULL;
    struct state_enrollment enrollment;
    enum err_code code = state_open_shared(config_text(config, "state-dir"), &state, &err);
    if (code != ERR_OK) {
        return outcome_fail(code == ERR_NOT_FOUND ? ERR_UNAVAILABLE : code, &err);
    }
    code = state_load_enrollment(state, &enrollment, &err);
    state_close(state);
    if (code == ERR_OK) {
        (void)fprintf(
            stderr,
            "belay-agent: not running (%s); enrolled at %s as agent %" PRId64
            "; start it with: belay-agent run\n",
            reason->text,
            enrollment.target,
            enrollment.agent_id);
    } else {
        (void)fprintf(
            stderr,
            "belay-agent: not running (%s); %s\n",
            reason->text,
            code == ERR_NOT_FOUND ? "not enrolled" : err.text);
    }
    return AGENT_EXIT_UNAVAILABLE;
}

int verb_status(const struct config *config)
{
    AUTO_BUF struct buf answer = BUF_INIT(STATUS_BYTES_MAX);
    AUTO_FREE char *path = outcome_status_path(config);
    struct err_info err = ERR_INFO_INIT;
    enum err_code code = status_socket_ask(path, wants_json(config), &answer, &err);
    if (code == ERR_UNAVAILABLE) {
        return print_stopped(config, &err);
    }
    if (code != ERR_OK) {
        return outcome_fail(code, &err);
    }
    (void)fputs(buf_text(&answer), stdout);
    return AGENT_EXIT_OK;
}

int verb_config(const struct config *config)
{
    AUTO_BUF struct buf text = BUF_INIT(CONFIG_TEXT_BYTES);
    const char *what = config_word_count(config) < 2 ? "check" : config_word(config, 1);
    if (strcmp(what, "check") == 0) {
        (void)printf("The configuration is good.\n"); /* it was read before we came here */
        return AGENT_EXIT_OK;
    }
    if (strcmp(what, "show") == 0) {
        config_show(config, wants_json(config), &text);
    } else if (strcmp(what, "reference") == 0) {
        config_reference(agent_options, agent_option_count, &text);
    } else if (strcmp(what, "man") == 0) {
        agent_manual(&text);
    } else {
        (void)fprintf(stderr, "belay-agent: config: one of check, show, reference, man\n");
        return AGENT_EXIT_USAGE;
    }
    (void)fputs(buf_text(&text), stdout);
    return AGENT_EXIT_OK;
}
