/* The agent's options: one table for flags, environment, file and help. */
#ifndef CMD_AGENT_CONFIG_H
#define CMD_AGENT_CONFIG_H

#include "common/config/config.h"

extern const struct config_option agent_options[];
extern const size_t agent_option_count;

/*
 * Flags, environment and the file of --config (or /etc/belay/agent.yaml when it is there). Prints
 * nothing. The caller destroys *ret_config.
 */
enum err_code agent_config_load(
    int argc, char *const *argv, struct config **ret_config, struct err_info *err) MUST_CHECK;

#endif
