#include "tools/bench/sim/operator.h"

#include "common/base/cleanup.h"
#include "common/crypto/secret.h"
#include "common/sys/file.h"
#include "common/wire/timestamp.h"

#include "proto/agentgateway/v1/admin.pb-c.h"

#include <inttypes.h>
#include <stdio.h>

enum {
    TOKEN_TTL_S = 600,
    KEY_BYTES_MAX = 512,
    POINTS_MAX = 100000
};

#define ADMIN_PATH(method) "/agentgateway.v1.AgentAdminService/" method
#define FETCH_US           (10 * US_PER_SECOND)

struct operator_api {
    struct rpc_channel *channel;
    struct secret *authorization; /* NULL: the local socket needs none */
};

static enum err_code read_key(struct operator_api *api, const char *path, struct err_info *err)
{
    AUTO_BUF struct buf text = BUF_INIT(KEY_BYTES_MAX);
    buf_append_str(&text, STR("Bearer "));
    TRY(file_read_private(path, KEY_BYTES_MAX, &text, err));
    struct str_view trimmed = str_trim(buf_view(&text));
    api->authorization = secret_create(trimmed.ptr, trimmed.len);
    secret_wipe(text.data, text.len);
    return ERR_OK;
}

static enum err_code open_channel(
    struct operator_api *api,
    struct rpc_client *client,
    const struct plan *plan,
    struct err_info *err)
{
    AUTO_FREE char *ca = NULL;
    struct rpc_channel_options options = { .target = plan->operator_target,
                                           .user_agent = "belay-sim",
                                           .max_reply_bytes = (size_t)16 * 1024 * 1024 };
    if (plan->ca_sha256 != NULL) {
        uint8_t pin[32];
        if (str_hex_decode(str_of(plan->ca_sha256), pin, sizeof(pin)) != ERR_OK) {
            return ERR_SET(err, ERR_INVALID, "--ca-sha256: 64 hex digits expected");
        }
        TRY(rpc_fetch_pinned_ca(plan->operator_target, pin, FETCH_US, &ca, err));
        options.ca_pem = ca;
        options.server_name = RPC_PINNED_SERVER_NAME;
        TRY(read_key(api, plan->operator_key_file, err));
    }
    return rpc_channel_create(client, &options, &api->channel, err);
}

enum err_code operator_open(
    struct rpc_client *client,
    const struct plan *plan,
    struct operator_api **ret_api,
    struct err_info *err)
{
    struct operator_api *api = mem_alloc(sizeof(*api));
    enum err_code code = open_channel(api, client, plan, err);
    if (code != ERR_OK) {
        operator_close(api);
        return code;
    }
    *ret_api = api;
    return ERR_OK;
}

void operator_close(struct operator_api *api)
{
    if (api != NULL) {
        rpc_channel_destroy(api->channel);
        secret_destroy(api->authorization);
        mem_free(api);
    }
}

static struct rpc_call_options options_of(const struct operator_api *api, struct rpc_header *header)
{
    struct rpc_call_options options = { .deadline_us = US_PER_MINUTE };
    if (api->authorization != NULL) {
        *header = (struct rpc_header){ "authorization", secret_peek(api->authorization).ptr };
        options.headers = header;
        options.header_count = 1;
    }
    return options;
}

void operator_make_token(
    struct operator_api *api, const struct rpc_executor *executor, rpc_reply_fn done, void *context)
{
    struct rpc_header header;
    struct rpc_call_options options = options_of(api, &header);
    Agentgateway__V1__CreateEnrollmentTokenRequest request =
        AGENTGATEWAY__V1__CREATE_ENROLLMENT_TOKEN_REQUEST__INIT;
    request.auto_confirm = true;
    request.ttl_seconds = TOKEN_TTL_S;
    rpc_channel_call_async(
        api->channel,
        ADMIN_PATH("CreateEnrollmentToken"),
        &request.base,
        &agentgateway__v1__create_enrollment_token_response__descriptor,
        &options,
        executor,
        done,
        context);
}

void operator_give_command(
    struct operator_api *api,
    int64_t agent_id,
    const struct rpc_executor *executor,
    rpc_reply_fn done,
    void *context)
{
    struct rpc_header header;
    struct rpc_call_options options = options_of(api, &header);
    Agentgateway__V1__SendCommandRequest request = AGENTGATEWAY__V1__SEND_COMMAND_REQUEST__INIT;
    Agentgateway__V1__AgentCommand command = AGENTGATEWAY__V1__AGENT_COMMAND__INIT;
    Agentgateway__V1__TelemetryNow now = AGENTGATEWAY__V1__TELEMETRY_NOW__INIT;
    char id[24];
    (void)snprintf(id, sizeof(id), "%" PRId64, agent_id);
    command.command_case = AGENTGATEWAY__V1__AGENT_COMMAND__COMMAND_TELEMETRY_NOW;
    command.telemetry_now = &now;
    request.agent = id;
    request.command = &command;
    rpc_channel_call_async(
        api->channel,
        ADMIN_PATH("SendCommand"),
        &request.base,
        &agentgateway__v1__command__descriptor,
        &options,
        executor,
        done,
        context);
}

static enum err_code take_values(
    const Agentgateway__V1__QueryTelemetryResponse *reply,
    struct arena *arena,
    const double **ret_values,
    size_t *ret_count,
    struct err_info *err)
{
    size_t count = 0;
    for (size_t i = 0; i < reply->n_series; i++) {
        count += reply->series[i]->n_rows;
    }
    double *values = arena_alloc(arena, (count + 1) * sizeof(*values));
    if (values == NULL) {
        return ERR_SET(err, ERR_NOMEM, "the check: out of memory");
    }
    *ret_count = 0;
    for (size_t i = 0; i < reply->n_series; i++) {
        for (size_t row = 0; row < reply->series[i]->n_rows; row++) {
            values[(*ret_count)++] = reply->series[i]->rows[row]->value;
        }
    }
    *ret_values = values;
    return ERR_OK;
}

/* Two of the seven are results. NOLINTNEXTLINE(readability-function-size) */
enum err_code operator_query(
    struct operator_api *api,
    int64_t agent_id,
    const struct wall_us range[2],
    struct arena *arena,
    const double **ret_values,
    size_t *ret_count,
    struct err_info *err)
{
    struct rpc_header header;
    struct rpc_call_options options = options_of(api, &header);
    Agentgateway__V1__QueryTelemetryRequest request =
        AGENTGATEWAY__V1__QUERY_TELEMETRY_REQUEST__INIT;
    Google__Protobuf__Timestamp start = wire_timestamp_of(range[0]);
    Google__Protobuf__Timestamp end = wire_timestamp_of(range[1]);
    ProtobufCMessage *reply = NULL;
    char metric[] = SIM_SEQUENCE_METRIC;
    char id[24];
    (void)snprintf(id, sizeof(id), "%" PRId64, agent_id);
    request.metric = metric;
    request.agent = id;
    request.start = &start;
    request.end = &end;
    request.max_points = POINTS_MAX;
    TRY(rpc_channel_call(
        api->channel,
        ADMIN_PATH("QueryTelemetry"),
        &request.base,
        &agentgateway__v1__query_telemetry_response__descriptor,
        &options,
        arena,
        &reply,
        err));
    return take_values((const void *)reply, arena, ret_values, ret_count, err);
}
