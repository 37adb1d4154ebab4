/*
 * What the files of the fleet share: the fleet of one process, and one simulated agent, whose
 * decisions are the real agent's (cmd/agent/link/link_core.h) and whose spool is a pair of numbers.
 * One thread: the loop's.
 */
#ifndef TOOLS_BENCH_SIM_FLEET_PRIVATE_H
#define TOOLS_BENCH_SIM_FLEET_PRIVATE_H

#include "cmd/agent/link/link_core.h"
#include "common/base/join.h"
#include "common/base/list.h"
#include "common/crypto/hash.h"
#include "common/crypto/key.h"
#include "common/rpc/client.h"
#include "tools/bench/sim/fleet.h"
#include "tools/bench/sim/operator.h"

enum {
    AGENT_EVENTS_MAX = 4,
    AGENT_CHALLENGE_BYTES = 64,
    AGENT_ROUND_RECORDS = 256,
    SERVER_ID_BYTES = 64
};

#define AGENT_NEVER INT64_MAX
/* Records are a millisecond apart, whatever the pace: each has a place of its own in the store. */
#define AGENT_RECORD_US      US_PER_MS
#define GATEWAY_PATH(method) "/agentgateway.v1.AgentGatewayService/" method

struct agent {
    struct fleet *fleet;
    unsigned number; /* in this process */
    struct link_core core;
    struct link_event events[AGENT_EVENTS_MAX]; /* that came while one was handled */
    unsigned event_count;
    bool is_stepping;
    bool is_online;
    bool is_leaving; /* the session is meant to end */
    bool is_stopped;
    uint32_t attempt; /* late answers are told by it */
    struct mono_us attempt_at;
    struct rpc_channel *channel;
    struct rpc_client_stream *control;

    char *token; /* until registered */
    int64_t id;  /* 0: not registered */
    uint8_t identity_seed[KEY_SEED_BYTES];
    uint8_t identity_public[KEY_PUBLIC_BYTES];
    uint8_t encryption_seed[KEY_SEED_BYTES];
    uint8_t encryption_public[KEY_PUBLIC_BYTES];
    char api_key[TOKEN_TEXT_BYTES];
    char authorization[TOKEN_TEXT_BYTES + 8]; /* "": no session */
    int64_t session_expires_at;
    uint8_t challenge[AGENT_CHALLENGE_BYTES];

    struct rpc_client_stream *upload; /* NULL: no round under way */
    struct mono_us upload_at;         /* when the round began */
    int64_t telemetry_at;             /* the next records are due */
    int64_t retry_at;                 /* of a round that failed */
    uint64_t made;                    /* records 1..made exist */
    uint64_t sent;                    /* 1..sent were sent at least once */
    uint64_t acked;                   /* 1..acked are stored, says the server */
    uint64_t round_first;
    uint64_t round_last;
    uint64_t round_acked;  /* 0: no answer yet */
    uint64_t repeat_first; /* 0: nothing is to be sent once more */

    uint64_t last_command;
};

enum fleet_phase {
    FLEET_RAMP,
    FLEET_LOAD,
    FLEET_SETTLE,
    FLEET_LEAVE,
    FLEET_DONE
};

struct fleet {
    struct fleet_options options;
    const struct plan *plan;
    struct board *board;
    struct board_slot *slot;
    struct tally *tally;
    struct loop *loop;
    struct loop_timer *tick;
    struct wire_schema *schema;
    struct rpc_client *client;
    struct rpc_executor executor;
    struct operator_api *operators;
    struct list calls;
    struct agent *agents;
    int64_t *due; /* of each agent: when its timer has come */
    unsigned count;
    unsigned first;        /* number of the first one among those of all processes */
    unsigned asked;        /* agents for which a token was asked */
    unsigned tokens_ahead; /* of those, not answered yet */
    enum fleet_phase phase;
    int64_t began_us; /* of the ramp */
    int64_t phase_until_us;
    unsigned next_step;
    int64_t telemetry_us;
    int64_t heartbeat_us;
    int64_t jitter;
    int64_t duplicate;
    int64_t lose_acks;
    struct wall_us base; /* time of record 0 */
    struct join_string join;
    bool has_join;
    char *ca_pem;
    char server_id[SERVER_ID_BYTES];
    uint8_t command_pubkey[KEY_PUBLIC_BYTES];
};

/* A unary call of an agent. It outlives its attempt. */
struct agent_call {
    struct list node;
    struct agent *agent;
    uint32_t attempt;
    enum tally_kind kind;
    struct mono_us started;
    void (*done)(struct agent *agent, const ProtobufCMessage *reply);
};

/* fleet.c */
bool fleet_dice(int64_t permille);
void fleet_count(struct fleet *fleet, enum tally_count count, uint64_t more);
int64_t fleet_now_us(const struct fleet *fleet);
const char *fleet_target_of(const struct fleet *fleet, const struct agent *agent);

/* agent.c */
void agent_init(struct agent *agent, struct fleet *fleet, unsigned number);
void agent_deinit(struct agent *agent);
void agent_start(struct agent *agent, const char *token);
void agent_stop(struct agent *agent);
void agent_cut(struct agent *agent, bool at_once);
void agent_feed(struct agent *agent, const struct link_event *event);
void agent_feed_type(struct agent *agent, enum link_event_type type);
void agent_on_due(struct agent *agent);
void agent_set_due(struct agent *agent);
void agent_fail(struct agent *agent, enum tally_kind kind, enum err_code code);
void agent_call(
    struct agent *agent,
    enum tally_kind kind,
    const char *path,
    const ProtobufCMessage *request,
    const ProtobufCMessageDescriptor *reply_type,
    void (*done)(struct agent *agent, const ProtobufCMessage *reply));

/* agent_session.c */
void agent_register(struct agent *agent);
void agent_begin(struct agent *agent);
void agent_complete(struct agent *agent);
void agent_heartbeat(struct agent *agent);

/* agent_control.c */
void agent_open_control(struct agent *agent);
void agent_set_slow(struct agent *agent, bool is_slow);

/* agent_upload.c */
void agent_make_records(struct agent *agent);
void agent_upload(struct agent *agent);
void agent_note_acked(struct agent *agent, uint64_t acked);

#endif
