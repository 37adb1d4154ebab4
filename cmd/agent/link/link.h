/*
 * The agent's side of the agents' protocol: enrolls, proves who it is, keeps the control stream and
 * the heartbeats, uploads the spool. What to do next is decided by link_core.h; this performs it
 * over the rpc client, whose events arrive on the loop.
 *
 * Everything runs on the loop's thread. Telemetry goes up in the order of its sequence numbers (the
 * server's high-water mark allows no other), in rounds of bounded size; events have a stream of
 * their own and never wait for telemetry. While there is a backlog, the newest samples also go up
 * as copies (live.h).
 */
#ifndef CMD_AGENT_LINK_LINK_H
#define CMD_AGENT_LINK_LINK_H

#include "cmd/agent/host/facts.h"
#include "cmd/agent/link/link_core.h"
#include "cmd/agent/spool/command_log.h"
#include "cmd/agent/spool/spool.h"
#include "cmd/agent/state/state.h"
#include "common/base/arena.h"
#include "common/rpc/client.h"
#include "common/sys/loop.h"
#include "common/wire/wire.h"

#include "proto/agentgateway/v1/agentgateway.pb-c.h"

struct link;

enum {
    LINK_ERROR_BYTES = 512,
    LINK_LABELS_MAX = 64
};

struct link_status {
    uint32_t commands_running;
    uint64_t last_command_sequence;
};

/* What the link asks and tells its owner. All may be NULL but command. */
struct link_ops {
    /* The server knows us and waits for an operator: compare the fingerprint. Once per process. */
    void (*pending)(void *context, const char *fingerprint);
    void (*enrolled)(void *context);
    /* The session is live: hand over answers that wait. */
    void (*online)(void *context);
    void (*command)(void *context, const Agentgateway__V1__ControlCommand *command);
    /* The server asks for a stream of our own: link_open_relay. */
    void (*relay_open)(void *context, const Agentgateway__V1__ControlRelayOpen *order);
    /* Somebody looks at this agent's sandboxes: link_send_readings. */
    void (*sandbox_watch)(void *context, const Agentgateway__V1__ControlSandboxWatch *order);
    /* true: relays are under way that a drain should wait for, in its bounds; link_settle follows.
     */
    bool (*has_relays)(void *context);
    void (*get_status)(void *context, struct link_status *ret_status);
    /* Adds what there is room for; what it adds lies in the arena. Asked for each hello and
     * each heartbeat: the server is told when it is another. */
    enum err_code (*fill_capacity)(
        void *context,
        struct arena *arena,
        Agentgateway__V1__Capacity *capacity,
        struct err_info *err);
    /* Adds the sandboxes; what it adds lies in the arena. */
    enum err_code (*fill_hello)(
        void *context,
        struct arena *arena,
        Agentgateway__V1__ControlHello *hello,
        struct err_info *err);
    /* Something failed; the link goes on by itself. */
    void (*problem)(void *context, enum err_code code, const char *text);
    void (*stopped)(void *context);
};

/* What to register with. Copied. */
struct link_join {
    struct str_view token;
    const char *target;
    const char *name;
    const char *const *labels; /* "key=value" */
    unsigned label_count;
    bool has_ca; /* the state folder's ca.pem is the server's */
};

struct link_options {
    struct loop *loop;
    const struct clock *clock;
    const struct wire_schema *schema;
    struct state *state; /* keys loaded */
    struct spool *spool; /* NULL: only enroll */
    const struct host_facts *facts;
    const char *agent_version;
    const struct link_ops *ops;
    void *context;
    const struct link_join *join; /* NULL: enrolled already */
    size_t upload_bytes;          /* of payload per round; 0: 256 KiB */
};

/* ERR_NOT_FOUND: neither enrolled nor a join given. */
enum err_code link_create(
    const struct link_options *options, struct link **ret_link, struct err_info *err) MUST_CHECK;
void link_destroy(struct link *link); /* after loop_run has returned; NULL is allowed */

void link_start(struct link *link);
void link_stop(struct link *link); /* ends gently; then ops.stopped */

/* New records are in the spool. */
void link_poke(struct link *link);

/* As link_poke, with the newest round of samples: it goes up as a copy too if the spool is behind.
 */
void link_offer(struct link *link, const struct spool_input *input);

/* ERR_UNAVAILABLE: no stream takes it now (it is asked for again by ops.online). */
enum err_code link_send_ack(
    struct link *link,
    struct str_view command_id,
    const struct command_outcome *outcome,
    struct err_info *err) MUST_CHECK;

/* ERR_UNAVAILABLE: no stream takes it now. */
enum err_code link_send_report(
    struct link *link,
    const Agentgateway__V1__SandboxReport *report,
    struct err_info *err) MUST_CHECK;

/* ERR_UNAVAILABLE: no stream takes it now. */
enum err_code link_send_readings(
    struct link *link,
    const Agentgateway__V1__ControlSandboxReadings *readings,
    struct err_info *err) MUST_CHECK;

/* A RelayStream of the session under way, whose end it does not outlive. ERR_UNAVAILABLE: none. */
enum err_code link_open_relay(
    struct link *link,
    const struct rpc_client_stream_ops *ops,
    void *context,
    struct rpc_client_stream **ret_stream,
    struct err_info *err) MUST_CHECK;
void link_settle(struct link *link); /* the last relay has ended */

/* Ends the streams and comes back after the delay; with a new handshake only when it is due. */
void link_drain(struct link *link, int64_t delay_us);
/* Ends the session and comes back at once with a new handshake, by the key that is kept now. */
void link_renew(struct link *link);
/* What there is room for is another now: said at once if a stream takes it. */
void link_tell_capacity(struct link *link);
void link_set_upload_bytes(struct link *link, size_t bytes);

struct link_view {
    const char *state; /* "streaming" */
    bool is_online;
    int64_t since_us; /* how long in this state */
    char target[STATE_TARGET_BYTES];
    char server_id[STATE_ID_BYTES];
    char name[STATE_NAME_BYTES];
    int64_t agent_id; /* 0: not enrolled */
    char last_error[LINK_ERROR_BYTES];
    struct wall_us last_error_at;
    struct wall_us last_upload_at;
    uint64_t uploaded_records; /* by this process */
    uint64_t uploaded_copies;  /* of samples whose record had to wait */
};

bool link_is_online(const struct link *link); /* a control stream is accepted */
void link_get_view(const struct link *link, struct link_view *ret_view);

/* By the server's clock if it told us, else by ours: what deadlines of commands are compared with.
 */
struct wall_us link_server_time(const struct link *link);

/* The key that signs commands and the names its signature covers; valid while the link lives. */
const struct state_enrollment *link_enrollment(const struct link *link);

#endif
