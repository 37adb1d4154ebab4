/* Rows to messages. Everything is made in the call's arena; NULL: it is full. */
#ifndef SERVER_API_MAP_H
#define SERVER_API_MAP_H

#include "cmd/server/api/api.h"
#include "cmd/server/store/access.h"
#include "cmd/server/store/agent.h"
#include "cmd/server/store/audit.h"
#include "cmd/server/store/command.h"
#include "cmd/server/store/device.h"
#include "cmd/server/store/enrollment/enrollment.h"
#include "cmd/server/store/event.h"
#include "cmd/server/store/telemetry.h"

/* What maps need beside the row: valid for one answer. */
struct map_context {
    struct arena *arena;
    const struct service *service;
    struct wall_us now;
};

static inline struct map_context map_context_of(const struct api_call *api)
{
    return (struct map_context){ api->arena, api->service, api->work->now };
}

Agentgateway__V1__Agent *map_agent(
    const struct map_context *context, const struct agent_record *record);
Agentgateway__V1__Device *map_device(
    const struct map_context *context, const struct device_record *record);
Agentgateway__V1__EnrollmentToken *map_enrollment(
    const struct map_context *context, const struct enrollment_record *record);
Agentgateway__V1__Command *map_command(
    const struct map_context *context, const struct command_record *record);
Agentgateway__V1__Event *map_event(
    const struct map_context *context, const struct event_record *record);
Agentgateway__V1__Metric *map_metric(
    const struct map_context *context, const struct series_record *record);
Agentgateway__V1__TelemetryPoint *map_point(
    const struct map_context *context, const struct series_record *record);
Agentgateway__V1__ApiKey *map_api_key(
    const struct map_context *context, const struct api_key_record *record);
Agentgateway__V1__AuditRecord *map_audit(
    const struct map_context *context, const struct audit_record *record);

/* NULL for 0, "never". */
Google__Protobuf__Timestamp *map_time(struct arena *arena, int64_t us);

/* Seen since this time counts as online: three heartbeat intervals. */
int64_t map_online_since(const struct service *service, struct wall_us now);

#endif
