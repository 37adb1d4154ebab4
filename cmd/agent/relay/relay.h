/* One relay: its stream, and the frames to and from its target (exec_target.c, tcp_target.c). */
#ifndef CMD_AGENT_RELAY_RELAY_H
#define CMD_AGENT_RELAY_RELAY_H

#include "cmd/agent/relay/bridges.h"
#include "common/base/buf.h"
#include "common/base/list.h"

#define RELAY_ACK(name) AGENTGATEWAY__V1__ACK_CODE__ACK_CODE_##name

enum {
    RELAY_ID_BYTES = 65,
    RELAY_DATA_BYTES = 32 * 1024 /* of one frame that we send */
};

struct relay;

/* What a relay leads to. All are called with the state that relay_set_target was given. */
struct relay_target_ops {
    /* Something waits in relay->input, or its end was reached: relay_consume what can be passed on.
     */
    void (*input)(void *state);
    void (*resize)(void *state, uint64_t rows, uint64_t columns); /* NULL: not for this target */
    void (*signal)(void *state, int number);                      /* as resize */
    void (*writable)(void *state); /* what was sent is on its way: more may follow */
    void (*destroy)(void *state);  /* the relay ends: whatever runs is ended */
};

struct relay {
    struct list link;
    struct bridges *all;
    char id[RELAY_ID_BYTES];
    char sandbox_id[SANDBOX_ID_BYTES_MAX + 1];
    struct rpc_client_stream *stream;
    bool is_introduced;                    /* the first frame has gone, and the stream with it */
    const struct relay_target_ops *target; /* NULL: refused, or over */
    void *state;
    struct buf input;    /* came and was not passed on */
    uint64_t received;   /* bytes of input, in all */
    uint64_t told_taken; /* to the server */
    bool input_ended;    /* nothing comes after what is in input */
    bool is_finished;    /* the last frame has gone; the server ends the stream */
    struct loop_timer *timer;
};

/* Makes it and its stream, of which nothing is sent before relay_introduce or the first frame.
 * ERR_UNAVAILABLE. */
enum err_code relay_create(
    struct bridges *all,
    const Agentgateway__V1__ControlRelayOpen *order,
    struct relay **ret_relay,
    struct err_info *err) MUST_CHECK;
void relay_introduce(struct relay *relay);
void relay_destroy(struct relay *relay);

void relay_set_target(struct relay *relay, const struct relay_target_ops *ops, void *take_state);

/* A frame of the server. One that is against the contract destroys the relay. */
void relay_hear(struct relay *relay, const Agentgateway__V1__RelayFrame *frame);

/* The front of the input was passed on. */
void relay_consume(struct relay *relay, size_t bytes);

/* stream: 1 or 2. What is sent waits in memory until `writable`; how much that may be is for the
 * target to bound. */
void relay_send_output(struct relay *relay, unsigned stream, struct str_view data);
void relay_send_end(struct relay *relay); /* of a connection: nothing more comes from it */

/* The last frame. The target is destroyed: nothing of it may be used afterwards. */
void relay_finish(struct relay *relay); /* without a frame: relay_send_end went before */
void relay_finish_exit(struct relay *relay, int exit_code);
void relay_finish_failure(struct relay *relay, int ack_code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Starts the order's command, or its connection. What keeps it from that ends the relay in words.
 */
void exec_target_start(struct relay *relay, const Agentgateway__V1__RelayExec *exec);
void tcp_target_start(struct relay *relay, const Agentgateway__V1__RelayTcp *tcp);

const struct bridges_options *bridges_options_of(const struct bridges *bridges);
void bridges_add(struct bridges *bridges, struct relay *relay);
void bridges_remove(struct bridges *bridges, struct relay *relay);

#endif
