/* The options of belay-server: one table for flags, BELAY_* variables, the YAML file, --help and
 * the reference. */
#ifndef SERVER_CONFIG_H
#define SERVER_CONFIG_H

#include "common/config/config.h"

extern const struct config_option server_options[];
extern const size_t server_option_count;

enum server_mode {
    MODE_SERVER,
    MODE_COMBINED,
    MODE_AGENT
};

/* The --mode option. */
enum server_mode config_mode(const struct config *config);

/* Impossible combinations. ERR_INVALID with one line. */
enum err_code config_check_mode(const struct config *config, struct err_info *err) MUST_CHECK;

#endif
