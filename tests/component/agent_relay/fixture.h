/*
 * Relays over a real stream to a small gateway in this process, into real sandboxes by the shim of
 * this build. A test plays both the server, which signs orders and sends frames, and the operator,
 * who looks at what comes. The driver is the one of $BELAY_TEST_DRIVER, as for agent_sandbox.
 */
#ifndef TESTS_COMPONENT_AGENT_RELAY_FIXTURE_H
#define TESTS_COMPONENT_AGENT_RELAY_FIXTURE_H

#include "cmd/agent/relay/bridges.h"
#include "common/base/buf.h"
#include "common/sys/lock.h"

#include <stdatomic.h>

enum {
    SIDES_MAX = 128,
    SIDE_BYTES_MAX = 64 * 1024 * 1024
};

typedef Agentgateway__V1__ControlRelayOpen order_type;

/* What the gateway saw of one relay; under the fixture's lock. */
struct side {
    char id[65];
    struct fixture *fixture;
    struct rpc_stream *stream; /* NULL: the agent has not come */
    unsigned joins;
    struct buf out;
    struct buf err;
    uint64_t received; /* bytes of out, also while they are not kept */
    bool keeps_nothing;
    bool holds; /* reads nothing */
    uint64_t sent;
    uint64_t taken;
    bool has_end;
    bool has_exit;
    int exit_code;
    int failure; /* AckCode, 0: none */
    char text[512];
    bool is_closed;
};

struct fixture {
    char *dir;
    struct loop *loop;
    struct wire_schema *schema;
    struct rpc_server *server;
    struct rpc_client *client;
    struct rpc_channel *channel;
    struct rpc_executor executor;
    struct key_sign *key;
    struct sandboxes *sandboxes;
    struct execs *execs;
    struct bridges *bridges;
    enum sandbox_driver driver;
    unsigned ready_count;
    unsigned removed_count;
    bool is_cut; /* no stream can be opened */
    unsigned idle_count;
    struct lock lock;
    struct side sides[SIDES_MAX];
    size_t side_count;
};

struct fixture *fixture_create(void);
void fixture_destroy(struct fixture *fixture);

void fixture_start(struct fixture *fixture, const char *id); /* a sandbox, ready */

/* A relay to a program, or to a port: signed and handed to the agent. Waits for nothing. */
struct side *fixture_exec(
    struct fixture *fixture,
    const char *sandbox_id,
    const char *const *argv,
    const Agentgateway__V1__RelayExec *like);
struct side *fixture_shell(struct fixture *fixture, const char *sandbox_id, const char *script);
struct side *fixture_connect(
    struct fixture *fixture, const char *sandbox_id, const char *host, unsigned port);

/* The pieces of it, for a test that breaks one. */
struct side *fixture_order(struct fixture *fixture, const char *sandbox_id, order_type *order);
void fixture_sign(struct fixture *fixture, order_type *order, int64_t expires_in_us);
void fixture_hand_over(struct fixture *fixture, const order_type *order);

/* Frames of the server. Data is cut into pieces that the window lets through, as the server does.
 */
void fixture_say(struct side *side, struct str_view data);
void fixture_end(struct side *side);
void fixture_frame(struct side *side, const Agentgateway__V1__RelayFrame *frame);
void fixture_cancel(struct side *side); /* the operator goes */
void fixture_hold(struct side *side, bool holds);

/* Turns the loop until it is so; fails the test after 60 s. */
void fixture_wait(struct side *side, bool (*is_so)(const struct side *side));
bool side_has_exit(const struct side *side);
bool side_has_failed(const struct side *side);
bool side_has_end(const struct side *side);
bool side_is_closed(const struct side *side);
bool side_has_output(const struct side *side);
void fixture_wait_text(struct side *side, const char *text); /* somewhere in out */
void fixture_wait_idle(struct fixture *fixture);             /* no relay is left */
void fixture_turn(struct fixture *fixture, int64_t us);

/* Runs a shell to its end; its exit code. */
int fixture_run(
    struct fixture *fixture,
    const char *sandbox_id,
    const char *script,
    char *ret_out,
    size_t bytes);

#endif
