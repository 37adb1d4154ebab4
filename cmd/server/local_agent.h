/*
 * The agent of the combined mode: a process of its own (this program again, in agent mode), joined
 * by a private Unix socket, enrolled by a token made for it, started again when it ends. Belongs to
 * the loop's thread.
 */
#ifndef SERVER_LOCAL_AGENT_H
#define SERVER_LOCAL_AGENT_H

#include "cmd/server/core/service.h"
#include "common/config/config.h"
#include "common/sys/loop.h"

struct local_agent;

/* socket: path of the agents' listener that only this agent uses. Makes the join file and starts
 * the process. */
enum err_code local_agent_start(
    struct service *service,
    struct loop *loop,
    const struct config *config,
    const char *socket,
    struct local_agent **ret_agent,
    struct err_info *err) MUST_CHECK;

/* SIGTERM, then waits up to ten seconds; NULL is allowed. */
void local_agent_stop(struct local_agent *agent);

#endif
