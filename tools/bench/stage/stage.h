/*
 * A real server on a store that was filled with agents, and raw connections as those agents: what
 * bench_agents and bench_storm measure on. One thread.
 */
#ifndef TOOLS_BENCH_STAGE_STAGE_H
#define TOOLS_BENCH_STAGE_STAGE_H

#include "common/base/buf.h"
#include "tools/bench/common/process.h"
#include "tools/bench/raw/raw.h"
#include "tools/bench/seed/seed.h"

enum {
    STAGE_SERVERS_MAX = RAW_PORTS_MAX
};

struct stage_server {
    struct process process;
    uint16_t port_tls;
    uint16_t port_plain;
};

struct stage {
    struct seed *seed;
    struct seed_agent *agents;
    struct str_view *tokens; /* of their sessions */
    unsigned agent_count;
    struct stage_server servers[STAGE_SERVERS_MAX];
    unsigned server_count;
    struct buf hello; /* packed ControlStreamRequest */
    struct buf beat;  /* packed UploadHeartbeatRequest */
};

#define STAGE_STREAM    "/agentgateway.v1.AgentGatewayService/ControlStream"
#define STAGE_HEARTBEAT "/agentgateway.v1.AgentGatewayService/UploadHeartbeat"

/* postgres as in seed_open. */
enum err_code stage_open(
    const char *bench,
    const char *postgres,
    unsigned agent_count,
    struct stage **ret_stage,
    struct err_info *err) MUST_CHECK;
void stage_close(struct stage *stage); /* NULL is allowed */

/* Starts that many servers (more than one: on PostgreSQL), with the same keys. */
enum err_code stage_start(struct stage *stage, unsigned servers, struct err_info *err) MUST_CHECK;
void stage_stop(struct stage *stage);

/* Fills what belongs to the servers: ports, the control stream, hello; tokens from the first on. */
void stage_plan(const struct stage *stage, bool is_tls, unsigned first, struct raw_plan *plan);

/* This program again, as the server that `word` names (a floor), over the first server's
 * certificate where is_tls. */
enum err_code stage_start_floor(
    const struct stage *stage,
    const char *word,
    bool is_tls,
    struct process *ret_process,
    uint16_t *ret_port,
    struct err_info *err) MUST_CHECK;

#endif
