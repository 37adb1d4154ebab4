/* The server itself: health, who asks, what it is, and its settings. */
#include "cmd/server/openshell/handlers.h"
#include "cmd/server/store/agent.h"
#include "common/wire/wire.h"

enum err_code openshell_health(
    struct rpc_call *call,
    const ProtobufCMessage *request,
    ProtobufCMessage **ret_reply,
    struct err_info *err)
{
    (void)request;
    const struct service *service = rpc_call_service(call);
    bool is_away = atomic_load(&service->database_away);
    Openshell__V1__HealthResponse *reply =
        wire_new(rpc_call_arena(call), &openshell__v1__health_response__descriptor);
    if (reply == NULL) {
        return API_OUT_OF_MEMORY(err);
    }
    reply->status = is_away ? OPENSHELL__V1__SERVICE_STATUS__SERVICE_STATUS_UNHEALTHY
                            : OPENSHELL__V1__SERVICE_STATUS__SERVICE_STATUS_HEALTHY;
    reply->version = CONST_CAST(char *, service->version);
    *ret_reply = &reply->base;
    return ERR_OK;
}

static size_t list_scopes(const struct principal *principal, char **out)
{
    size_t count = 0;
    for (int i = 1; i < AUTH_SCOPE_COUNT; i++) {
        if ((principal->scopes & AUTH_SCOPE_BIT(i)) != 0) {
            out[count++] = CONST_CAST(char *, auth_scope_name((enum auth_scope)i));
        }
    }
    return count;
}

OPENSHELL_HANDLER(get_current_user)
{
    (void)message;
    const struct principal *principal = api->principal;
    Openshell__V1__GetCurrentUserResponse *reply =
        wire_new(api->arena, &openshell__v1__get_current_user_response__descriptor);
    char **scopes = arena_alloc(api->arena, AUTH_SCOPE_COUNT * sizeof(char *));
    char **roles = arena_alloc(api->arena, 2 * sizeof(char *));
    if (reply == NULL || scopes == NULL || roles == NULL) {
        return API_OUT_OF_MEMORY(err);
    }
    roles[0] = CONST_CAST(char *, "openshell-user");
    roles[1] = CONST_CAST(char *, "openshell-admin");
    reply->subject = CONST_CAST(char *, principal->subject);
    reply->display_name = CONST_CAST(char *, principal->subject);
    reply->n_roles = principal->is_platform_admin ? 2 : 1;
    reply->roles = roles;
    reply->n_scopes = list_scopes(principal, scopes);
    reply->scopes = scopes;
    reply->identity_provider =
        CONST_CAST(char *, principal->kind == PRINCIPAL_LOCAL ? "local" : "api_key");
    *ret_reply = &reply->base;
    return ERR_OK;
}

static Openshell__V1__ComputeDriverInfo *driver_info(struct api_call *api)
{
    Openshell__V1__ComputeDriverInfo *info =
        wire_new(api->arena, &openshell__v1__compute_driver_info__descriptor);
    Openshell__V1__ComputeDriverCapabilities *capabilities =
        wire_new(api->arena, &openshell__v1__compute_driver_capabilities__descriptor);
    if (info == NULL || capabilities == NULL) {
        return NULL;
    }
    info->name = CONST_CAST(char *, "belay-agent");
    info->capabilities = capabilities;
    capabilities->driver_name = CONST_CAST(char *, "belay-agent");
    capabilities->driver_version = CONST_CAST(char *, api->service->version);
    return info;
}

OPENSHELL_HANDLER(get_gateway_info)
{
    (void)message;
    Openshell__V1__GetGatewayInfoResponse *reply =
        wire_new(api->arena, &openshell__v1__get_gateway_info_response__descriptor);
    Openshell__V1__ComputeDriverInfo **drivers = arena_alloc(api->arena, sizeof(void *));
    Openshell__V1__ComputeDriverInfo *driver = driver_info(api);
    if (reply == NULL || drivers == NULL || driver == NULL) {
        return API_OUT_OF_MEMORY(err);
    }
    drivers[0] = driver;
    reply->status = OPENSHELL__V1__SERVICE_STATUS__SERVICE_STATUS_HEALTHY;
    reply->gateway_version = CONST_CAST(char *, api->service->version);
    reply->n_compute_drivers = 1;
    reply->compute_drivers = drivers;
    *ret_reply = &reply->base;
    return ERR_OK;
}

/* No setting of the registry can be changed here: the map is empty, its revision 0. */
OPENSHELL_HANDLER(get_gateway_config)
{
    (void)message;
    Openshell__Sandbox__V1__GetGatewayConfigResponse *reply =
        wire_new(api->arena, &openshell__sandbox__v1__get_gateway_config_response__descriptor);
    *ret_reply = reply == NULL ? NULL : &reply->base;
    return reply == NULL ? API_OUT_OF_MEMORY(err) : ERR_OK;
}

OPENSHELL_HANDLER(unimplemented)
{
    (void)message;
    (void)ret_reply;
    return ERR_SET(
        err,
        ERR_UNSUPPORTED,
        "%s is not served by this server",
        rpc_call_method(api->call)->path + 1);
}

static enum err_code open_unimplemented(
    struct rpc_stream *stream, void **ret_state, struct err_info *err)
{
    (void)ret_state;
    return ERR_SET(
        err,
        ERR_UNSUPPORTED,
        "%s is not served by this server",
        rpc_call_method(rpc_stream_call(stream))->path + 1);
}

/* Never reached: open refuses. */
static void ignore_message(struct rpc_stream *stream, void *state, const ProtobufCMessage *message)
{
    (void)stream;
    (void)state;
    (void)message;
}

static void ignore_closed(struct rpc_stream *stream, void *state)
{
    (void)stream;
    (void)state;
}

const struct rpc_stream_ops openshell_unimplemented_ops = {
    .open = open_unimplemented,
    .message = ignore_message,
    .closed = ignore_closed,
};
