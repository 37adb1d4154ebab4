/* UploadHeartbeat: kept in memory and flushed in batches, so that it costs no transaction of its
 * own. */
#include "cmd/server/auth/principal.h"
#include "cmd/server/gateway/gateway.h"
#include "cmd/server/gateway/presence.h"
#include "common/wire/timestamp.h"
#include "common/wire/wire.h"

#include "proto/agentgateway/v1/agentgateway.pb-c.h"

enum {
    STATUS_BYTES = 1024
};

enum err_code gateway_heartbeat(
    struct rpc_call *call,
    const ProtobufCMessage *request,
    ProtobufCMessage **ret_reply,
    struct err_info *err)
{
    struct service *service = rpc_call_service(call);
    const struct principal *principal = principal_of(call);
    const Agentgateway__V1__UploadHeartbeatRequest *beat =
        (const Agentgateway__V1__UploadHeartbeatRequest *)request;
    struct arena *arena = rpc_call_arena(call);
    AUTO_BUF struct buf status = BUF_INIT(STATUS_BYTES);
    if (beat->status != NULL) {
        wire_pack(&beat->status->base, &status);
    }
    Agentgateway__V1__UploadHeartbeatResponse *reply =
        wire_new(arena, &agentgateway__v1__upload_heartbeat_response__descriptor);
    struct wall_us now = clock_wall(service->clock);
    Google__Protobuf__Timestamp *received = wire_timestamp_new(arena, now);
    if (reply == NULL || received == NULL) {
        return ERR_SET(err, ERR_NOMEM, "out of memory");
    }
    const struct agent_beat seen = {
        .workspace_id = principal->workspace_id,
        .id = principal->agent_id,
        .epoch = principal->epoch,
        .at = now,
        .status = buf_view(&status),
    };
    presence_beat(service->presence, &seen);
    reply->received_at = received;
    reply->heartbeat_interval_ms = (uint32_t)(service->settings.heartbeat_us / US_PER_MS);
    *ret_reply = &reply->base;
    return ERR_OK;
}
