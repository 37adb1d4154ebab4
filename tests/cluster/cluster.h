/*
 * A server and its agents in one process, in simulated time: the store, the handlers, the gate, the
 * writer, the link, the spool, the state folder and the commands are the real ones; threads, the
 * network and the clocks are those of tests/support/sim. What every part does is written down in a
 * ledger, against which the store is held afterwards.
 */
#ifndef TESTS_CLUSTER_CLUSTER_H
#define TESTS_CLUSTER_CLUSTER_H

#include "cmd/agent/command/commands.h"
#include "cmd/agent/link/link.h"
#include "cmd/server/core/service.h"
#include "common/base/cleanup.h"
#include "common/base/join.h"
#include "common/base/list.h"
#include "tests/support/sim/sim_rpc.h"
#include "tests/support/test.h"

enum {
    CLUSTER_AGENTS = 3,
    CLUSTER_RECORDS_MAX = 512, /* per agent and stream */
    CLUSTER_ORDERS_MAX = 64,   /* commands of the operator */
    CLUSTER_NAME_BYTES = 40
};

/* 2026-01-01T00:00:00Z: where the world's wall clocks start, and the time of the first sample. */
#define CLUSTER_SAMPLES_FROM (INT64_C(1767225600) * US_PER_SECOND)

/* What an agent was promised of a record. */
enum cluster_fate {
    CLUSTER_REFUSED,  /* or never offered: must not be stored */
    CLUSTER_HELD,     /* in memory alone: within the spool's delay, or since the disk refuses */
    CLUSTER_ACCEPTED, /* on disk, or the server's: stored exactly once */
    CLUSTER_LOOSE     /* the process died while it was held: stored at most once */
};

/* One per engine and process: a migrated database, and what cannot be made anew for each run. */
struct cluster_place {
    char *dir;       /* of everything, in memory where the machine has such a file system */
    char *super_url; /* PostgreSQL; NULL: SQLite, whose file each run copies */
    struct wire_schema *schema;
    struct key_sign *command_key;
};

struct cluster_server {
    struct cluster *cluster;
    struct service service;
    struct sim_clock clock;
    struct worker *worker;
    struct rpc_table tables[2];
    uint64_t keeping; /* the next round of housekeeping */
    uint64_t writing; /* the next turn of the writer; 0: it rests */
    bool is_running;
    bool is_writing; /* a test may stop the writer */
};

struct cluster_agent {
    struct cluster *cluster;
    unsigned host; /* in the network */
    char name[CLUSTER_NAME_BYTES];
    char *dir; /* state folder */
    struct sim_clock clock;
    struct loop *loop;
    struct state *state;
    struct spool *spool;
    struct link *link;
    struct commands *commands;
    struct host_facts facts;
    struct list runs; /* of commands that act for a while */
    bool is_running;
    bool is_paused;               /* gets no time, like a stopped process */
    bool is_revoked;              /* or on the way to it */
    char token[JOIN_TOKEN_BYTES]; /* to enroll with; "": none yet */
    char enrollment_id[64];
    int64_t id; /* 0: not enrolled yet */
    unsigned offered[SPOOL_STREAM_COUNT];
    int64_t delay_us; /* of the spool */
    struct loop_timer *tick;
    enum cluster_fate fates[SPOOL_STREAM_COUNT][CLUSTER_RECORDS_MAX];
    uint64_t acked[SPOOL_STREAM_COUNT]; /* highest mark the spool has shown */
    int64_t marks[4]; /* the store's: telemetry, events, epoch, command sequence */
};

/* A command the operator wants done; its number is its idempotency key and goes to the agent. */
struct cluster_order {
    struct cluster_agent *agent;
    char id[64]; /* "": not answered yet */
    int64_t ttl_s;
    unsigned effects;
    bool is_cancelled; /* the server said so */
};

struct cluster {
    struct cluster_place *place;
    uint64_t seed;
    struct sim *sim;
    struct sim_net *net;
    char *dir; /* of this run */
    char *url;
    struct sql_conn *observer;
    int64_t audit_before; /* last record before this run */
    struct cluster_server server;
    struct cluster_agent agents[CLUSTER_AGENTS];
    struct cluster_order orders[CLUSTER_ORDERS_MAX];
    unsigned order_count;
    struct rpc_client *operator_client;
    struct rpc_channel *operator_channel;
    bool is_ending; /* no wish is repeated any more */
    /* While the test disturbs the machine: called around what is read to be checked. */
    void (*watch)(bool watches);
    bool is_disturbed; /* now or before: a call may have ended as INTERNAL */
};

void cluster_place_init(struct cluster_place *place, char *take_super_url);
void cluster_place_deinit(struct cluster_place *place);

void cluster_init(struct cluster *cluster, struct cluster_place *place, uint64_t seed);
void cluster_deinit(struct cluster *cluster);

/* Lets `us` pass, or less if `until` (may be NULL) becomes true; gives what it last was. */
bool cluster_run(struct cluster *cluster, int64_t us, bool (*until)(struct cluster *cluster));

/* ---- the server ---- */

void cluster_server_start(struct cluster_server *server);
void cluster_server_drain(struct cluster_server *server); /* tells its agents to come back later */
void cluster_server_kill(struct cluster_server *server);  /* keeps the store and nothing else */
void cluster_server_stir(struct cluster_server *server);  /* something may wait for the writer */

/* ---- agents ---- */

void cluster_agent_start(struct cluster_agent *agent);
void cluster_agent_kill(struct cluster_agent *agent); /* keeps the folder as it is at this moment */
bool cluster_agent_turn(struct cluster_agent *agent); /* false: nothing was due */
void cluster_agent_produce(struct cluster_agent *agent, enum spool_stream stream);
bool cluster_agent_is_settled(struct cluster_agent *agent); /* live, and nothing left to upload */

/* ---- the operator: every wish is repeated until it is answered ---- */

void cluster_order_token(struct cluster_agent *agent, bool auto_confirm);
void cluster_order_confirm(struct cluster_agent *agent);
void cluster_order_command(struct cluster_agent *agent, int64_t ttl_s);
void cluster_order_cancel(struct cluster *cluster, unsigned order);
void cluster_order_evict(struct cluster_agent *agent);
void cluster_order_revoke(struct cluster_agent *agent);
void cluster_order_rotate(struct cluster_agent *agent);

/* ---- what must hold ---- */

/* At any time: marks, epochs and sequences only grow. */
void cluster_check_marks(struct cluster *cluster);

/* When all is quiet: every accepted record is stored once, every command took effect at most once
 * and its end is recorded, and the audit trail is whole. */
void cluster_check_end(struct cluster *cluster);

/* No command waits for an answer. */
bool cluster_orders_are_over(struct cluster *cluster);

#endif
