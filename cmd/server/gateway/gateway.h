/* Handlers of the agents' service, one file each; contracts in
 * proto/agentgateway/v1/agentgateway.proto and docs/agent-protocol.md. */
#ifndef SERVER_GATEWAY_GATEWAY_H
#define SERVER_GATEWAY_GATEWAY_H

#include "common/rpc/call.h"

enum err_code gateway_register(
    struct rpc_call *call,
    const ProtobufCMessage *request,
    ProtobufCMessage **ret_reply,
    struct err_info *err);
enum err_code gateway_begin_handshake(
    struct rpc_call *call,
    const ProtobufCMessage *request,
    ProtobufCMessage **ret_reply,
    struct err_info *err);
enum err_code gateway_complete_handshake(
    struct rpc_call *call,
    const ProtobufCMessage *request,
    ProtobufCMessage **ret_reply,
    struct err_info *err);
enum err_code gateway_heartbeat(
    struct rpc_call *call,
    const ProtobufCMessage *request,
    ProtobufCMessage **ret_reply,
    struct err_info *err);

extern const struct rpc_stream_ops gateway_upload_ops;  /* UploadTelemetry and UploadEvents */
extern const struct rpc_stream_ops gateway_control_ops; /* ControlStream */
extern const struct rpc_stream_ops gateway_relay_ops;   /* RelayStream */

#endif
