/*
 * The way to the server: the gateway chosen by gateway_choose, its channel opened at the first
 * call, the key sent only where TLS or the loopback protects it.
 */
#ifndef CMD_CLI_CONNECTION_H
#define CMD_CLI_CONNECTION_H

#include "cmd/cli/gateway_store.h"
#include "common/rpc/client.h"

/* Who gets the events of a stream, and where they run. */
struct connection_listener {
    const struct rpc_executor *executor;
    const struct rpc_client_stream_ops *ops;
    void *context;
};

struct connection_answer {
    const struct rpc_executor *executor;
    rpc_reply_fn done;
    void *context;
};

/* Opens the channel if it is not open yet; does not wait for the server. */
enum err_code connection_open(struct cli *cli) MUST_CHECK;
/* To this gateway instead of the chosen one; before any call. */
enum err_code connection_open_to(struct cli *cli, const Belay__Cli__V1__Gateway *gateway)
    MUST_CHECK;
void connection_close(struct cli *cli);

/* NULL before connection_open. */
const struct gateway_choice *connection_choice(const struct cli *cli);

/* --workspace, else the gateway's; "" lets the server take the caller's own. */
char *connection_workspace(struct cli *cli);

/* The service of sandboxes, to be put in front of a method: CONNECTION_OPENSHELL "GetSandbox". */
#define CONNECTION_OPENSHELL "openshell.v1.OpenShell/"

/* A header of every call from now on; name and value live as long as the run. */
enum err_code connection_add_header(struct cli *cli, const char *name, const char *value)
    MUST_CHECK;

/*
 * A call of agentgateway.v1.AgentAdminService, or of the service in front of the method; the reply
 * lives as long as the run.
 */
enum err_code connection_call(
    struct cli *cli,
    const char *method,
    const ProtobufCMessage *request,
    const ProtobufCMessageDescriptor *reply_type,
    void *ret_reply) MUST_CHECK;
/* The same; the reply lives as long as the arena. After connection_open. */
enum err_code connection_call_in(
    struct cli *cli,
    struct arena *arena,
    const char *method,
    const ProtobufCMessage *request,
    const ProtobufCMessageDescriptor *reply_type,
    void *ret_reply) MUST_CHECK;

/*
 * A list in pages, as one reply: field 1 of the reply is the repeated one, next_page_token says
 * whether more is there. limit: items at most (0: all); *ret_more (may be NULL): some were left.
 */
enum err_code connection_list(
    struct cli *cli,
    const char *method,
    ProtobufCMessage *request,
    const ProtobufCMessageDescriptor *reply_type,
    size_t limit,
    void *ret_reply) MUST_CHECK;

/* A server's stream, read message by message. */
enum err_code connection_stream(
    struct cli *cli,
    const char *method,
    const ProtobufCMessage *request,
    const ProtobufCMessageDescriptor *reply_type,
    struct rpc_client_stream **ret_stream) MUST_CHECK;

/* A stream of any kind whose events run on an executor; nothing is sent yet. */
enum err_code connection_events(
    struct cli *cli,
    const char *method,
    const ProtobufCMessageDescriptor *reply_type,
    const struct connection_listener *listener,
    struct rpc_client_stream **ret_stream) MUST_CHECK;

/* A unary call whose answer runs on an executor; after connection_open. */
void connection_call_async(
    struct cli *cli,
    const char *method,
    const ProtobufCMessage *request,
    const ProtobufCMessageDescriptor *reply_type,
    const struct connection_answer *answer);

/* True when a read's code says that the server ended the stream with OK (and not that a thing is
 * missing). */
bool connection_is_stream_end(struct rpc_client_stream *stream, enum err_code code);

/* handle sets *ret_done to end the watch. The message is valid until the return. */
typedef enum err_code (*connection_message_fn)(
    struct cli *cli, void *context, const ProtobufCMessage *message, bool *ret_done);

/*
 * Reads a stream until handle is done, the time given by --timeout is over (both ERR_OK), or the
 * server ends it: ERR_UNAVAILABLE, or ERR_OK when may_end is set.
 */
enum err_code connection_watch(
    struct cli *cli,
    struct rpc_client_stream *stream,
    bool may_end,
    connection_message_fn handle,
    void *context) MUST_CHECK;

#endif
