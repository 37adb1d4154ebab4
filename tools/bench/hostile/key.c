#include "tools/bench/hostile/key.h"

#include "belay_descriptors.h"
#include "common/base/cleanup.h"
#include "common/rpc/client.h"
#include "common/wire/wire.h"

#include "proto/agentgateway/v1/admin.pb-c.h"

enum {
    REPLY_BYTES = 64 * 1024
};

static enum err_code create_key(
    struct rpc_channel *channel, char ret_key[KEY_BYTES], struct err_info *err)
{
    char everything[] = "*";
    char name[] = "honest";
    char *scopes[] = { everything };
    Agentgateway__V1__CreateApiKeyRequest request = AGENTGATEWAY__V1__CREATE_API_KEY_REQUEST__INIT;
    const struct rpc_call_options options = { .wait_for_ready = true };
    AUTO_ARENA struct arena *arena = arena_create(REPLY_BYTES);
    ProtobufCMessage *reply = NULL;
    request.name = name;
    request.scopes = scopes;
    request.n_scopes = ARRAY_LENGTH(scopes);
    TRY(rpc_channel_call(
        channel,
        "/agentgateway.v1.AgentAdminService/CreateApiKey",
        &request.base,
        &agentgateway__v1__create_api_key_response__descriptor,
        &options,
        arena,
        &reply,
        err));
    const char *secret = ((const Agentgateway__V1__CreateApiKeyResponse *)reply)->secret;
    return str_copy(str_of(secret), ret_key, KEY_BYTES);
}

enum err_code key_make(const char *target, char ret_key[KEY_BYTES], struct err_info *err)
{
    const struct rpc_channel_options options = { .target = target };
    struct wire_schema *schema = NULL;
    struct rpc_client *client = NULL;
    struct rpc_channel *channel = NULL;
    TRY(wire_schema_load(belay_descriptors, belay_descriptors_size, &schema, err));
    enum err_code code = rpc_client_create(schema, &client, err);
    if (code == ERR_OK) {
        code = rpc_channel_create(client, &options, &channel, err);
    }
    if (code == ERR_OK) {
        code = create_key(channel, ret_key, err);
    }
    rpc_channel_destroy(channel);
    rpc_client_destroy(client);
    wire_schema_destroy(schema);
    return code;
}
