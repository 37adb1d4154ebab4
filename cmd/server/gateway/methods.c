#include "cmd/server/gateway/methods.h"

#include "cmd/server/auth/rule.h"
#include "cmd/server/gateway/gateway.h"

#include "proto/agentgateway/v1/agentgateway.pb-c.h"

#define PATH(method) "/agentgateway.v1.AgentGatewayService/" method
#define TYPES(in, out) \
    .input = &agentgateway__v1__##in##__descriptor, .output = &agentgateway__v1__##out##__descriptor

enum {
    REGISTRATION = 32 * 1024, /* 64 labels of the longest kind */
    HANDSHAKE = 1024,
    SMALL = 64 * 1024,
    RECORD = 1024 * 1024 + 4096,
    FRAME = 256 * 1024 + 4096
};

static const struct auth_rule bootstrap = { .class = AUTH_PUBLIC, .is_audited = true };
static const struct auth_rule session = { .class = AUTH_AGENT };
static const struct auth_rule relayed = { .class = AUTH_AGENT, .takes_replicas = true };

static const struct rpc_method rows[] = {
    {
        .path = PATH("Register"),
        TYPES(register_request, register_response),
        .kind = RPC_UNARY,
        .max_request_bytes = REGISTRATION,
        .deadline_cap_us = 30 * US_PER_SECOND,
        .unary = gateway_register,
        .policy = &bootstrap,
    },
    {
        .path = PATH("BeginAuthHandshake"),
        TYPES(begin_auth_handshake_request, begin_auth_handshake_response),
        .kind = RPC_UNARY,
        .max_request_bytes = HANDSHAKE,
        .deadline_cap_us = 30 * US_PER_SECOND,
        .unary = gateway_begin_handshake,
        .policy = &bootstrap,
    },
    {
        .path = PATH("CompleteAuthHandshake"),
        TYPES(complete_auth_handshake_request, complete_auth_handshake_response),
        .kind = RPC_UNARY,
        .max_request_bytes = HANDSHAKE,
        .deadline_cap_us = 30 * US_PER_SECOND,
        .unary = gateway_complete_handshake,
        .policy = &bootstrap,
    },
    {
        .path = PATH("UploadHeartbeat"),
        TYPES(upload_heartbeat_request, upload_heartbeat_response),
        .kind = RPC_UNARY,
        .max_request_bytes = SMALL,
        .deadline_cap_us = 30 * US_PER_SECOND,
        .is_inline = true,
        .unary = gateway_heartbeat,
        .policy = &session,
    },
    {
        .path = PATH("UploadTelemetry"),
        TYPES(upload_telemetry_request, upload_telemetry_response),
        .kind = RPC_CLIENT_STREAM,
        .max_request_bytes = RECORD,
        .is_blocking = true,
        .stream = &gateway_upload_ops,
        .policy = &session,
    },
    {
        .path = PATH("UploadEvents"),
        TYPES(upload_events_request, upload_events_response),
        .kind = RPC_CLIENT_STREAM,
        .max_request_bytes = RECORD,
        .is_blocking = true,
        .stream = &gateway_upload_ops,
        .policy = &session,
    },
    {
        .path = PATH("ControlStream"),
        TYPES(control_stream_request, control_stream_response),
        .kind = RPC_BIDI,
        .max_request_bytes = RECORD + SMALL,
        .is_blocking = true,
        .stream = &gateway_control_ops,
        .policy = &session,
    },
    {
        .path = PATH("RelayStream"),
        TYPES(relay_frame, relay_frame),
        .kind = RPC_BIDI,
        .max_request_bytes = FRAME,
        .is_blocking = true, /* until the relay is found */
        .stream = &gateway_relay_ops,
        .policy = &relayed,
    },
};

struct rpc_table gateway_methods(void)
{
    return (struct rpc_table){ .rows = rows, .count = ARRAY_LENGTH(rows) };
}
