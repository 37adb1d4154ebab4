/*
 * The gateways this user knows: gateways.json in $XDG_CONFIG_HOME/belay (or ~/.config/belay), the
 * folder 0700 and the file 0600, since API keys stand in it. Looser modes are refused; every change
 * replaces the file as a whole. The schema is belay.cli.v1.GatewayList.
 */
#ifndef CMD_CLI_GATEWAY_STORE_H
#define CMD_CLI_GATEWAY_STORE_H

#include "cmd/cli/cli.h"

#include "proto/belay/cli/v1/cli.pb-c.h"

enum {
    GATEWAYS_MAX = 256
};

struct gateway_store {
    char *dir;
    char *path;
    Belay__Cli__V1__GatewayList *list; /* empty when there is no file yet */
};

/* Loads the file once per run, into the run's arena. ERR_PRECONDITION: neither HOME nor
 * XDG_CONFIG_HOME is set. */
enum err_code gateway_store_get(struct cli *cli, struct gateway_store **ret_store) MUST_CHECK;
enum err_code gateway_store_save(struct cli *cli, struct gateway_store *store) MUST_CHECK;

/* NULL: none of that name. */
Belay__Cli__V1__Gateway *gateway_store_find(const struct gateway_store *store, const char *name);

/* Adds or replaces by name. ERR_LIMIT past GATEWAYS_MAX. */
enum err_code gateway_store_put(
    struct cli *cli, struct gateway_store *store, Belay__Cli__V1__Gateway *gateway) MUST_CHECK;
void gateway_store_remove(struct gateway_store *store, const char *name);

/* The gateway a call goes to, and why. */
struct gateway_choice {
    const Belay__Cli__V1__Gateway *gateway;
    const char *origin; /* "--gateway", "environment BELAY_SOCKET", "belay gateway use", "found" */
};

/*
 * In this order: --gateway (or $BELAY_GATEWAY), $BELAY_SOCKET, the gateway in use, the operator's
 * socket at ./var/operator.sock (ours or root's only) or /run/belay/operator.sock.
 * ERR_NOT_FOUND: no gateway of that name. ERR_UNAVAILABLE: nothing to talk to.
 */
enum err_code gateway_choose(struct cli *cli, struct gateway_choice *ret_choice) MUST_CHECK;

#define GATEWAY_LOCAL "local" /* the name that stands for the operator's socket */

#endif
