/*
 * Every unary call of both services with its first, second, ... allocation failing until it
 * succeeds: the answer is a clean one, nothing is half stored, nothing leaks, and the next call
 * works.
 */
#include "cmd/server/api/api.h"
#include "cmd/server/gateway/methods.h"
#include "common/base/log.h"
#include "tests/cluster/cluster.h"
#include "tests/support/payload.h"

#include <stdio.h>

enum {
    ROUNDS_MAX = 5000,
    ANSWER_BYTES = 4 * 1024 * 1024,
    ARENA_BYTES = 64 * 1024 * 1024,
    AGENT_HOST = 1
};

#define CALL_US US_PER_MINUTE

/* Zero bytes as JSON has them; fill puts the real ones in their place. */
#define ZERO_32 "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
#define ZERO_64 \
    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=="

/* One end of the network, and what the last call gave. */
struct caller {
    struct rpc_client *client;
    struct rpc_channel *channel;
    char *authorization; /* NULL: none */
    bool answered;
    enum err_code code;
    char text[ERR_TEXT_BYTES];
    struct buf reply; /* packed */
};

struct bench {
    struct cluster_place place;
    struct cluster *cluster;
    struct arena *arena;
    struct caller operator;
    struct caller agent;
    struct key_sign *identity;
    struct key_box *encryption;
    /* Names that the requests below may hold. */
    char token[128];
    char enrollment[64];
    char spare[64]; /* an enrollment that nobody uses */
    char fingerprint[KEY_FINGERPRINT_TEXT_BYTES];
    char command[64];
    char key[64];
    char loan[64];
    char device[32];
    char api_key[128];
    uint8_t challenge[64];
};

/* ---- callers ---- */

static bool post(void *context, void (*fn)(void *argument), void *argument)
{
    (void)sim_after(context, 0, fn, argument);
    return true;
}

static void take_message(void *context, const ProtobufCMessage *message)
{
    struct caller *caller = context;
    buf_clear(&caller->reply);
    wire_pack(message, &caller->reply);
}

static void take_end(void *context, enum err_code code, const struct err_info *err)
{
    struct caller *caller = context;
    caller->answered = true;
    caller->code = code;
    (void)snprintf(caller->text, sizeof(caller->text), "%s", err->text);
}

static void take_reply(
    void *context, enum err_code code, const ProtobufCMessage *reply, const struct err_info *err)
{
    if (code == ERR_OK) {
        take_message(context, reply);
    }
    take_end(context, code, err);
}

static void caller_init(struct caller *caller, struct cluster *cluster, unsigned host)
{
    struct err_info err = ERR_INFO_INIT;
    const struct rpc_channel_options options = { .target = "unix:/cluster" };
    *caller = (struct caller){ .reply = BUF_INIT(ANSWER_BYTES) };
    sim_net_set_host(cluster->net, host);
    assert_ok_err(err, rpc_client_create(cluster->place->schema, &caller->client, &err));
    assert_ok_err(err, rpc_channel_create(caller->client, &options, &caller->channel, &err));
}

static void caller_deinit(struct caller *caller)
{
    rpc_channel_destroy(caller->channel);
    rpc_client_destroy(caller->client);
    mem_free(caller->authorization);
    buf_deinit(&caller->reply);
}

static void wait_answer(struct bench *bench, const struct caller *caller)
{
    struct cluster *cluster = bench->cluster;
    int64_t end = sim_now(cluster->sim).value + CALL_US;
    while (!caller->answered && sim_now(cluster->sim).value < end) {
        sim_step(cluster->sim, (struct mono_us){ end });
        cluster_server_stir(&cluster->server);
    }
    assert_true(caller->answered);
}

static struct rpc_call_options options_of(const struct caller *caller, struct rpc_header *header)
{
    *header = (struct rpc_header){ "authorization", caller->authorization };
    return (struct rpc_call_options){ .deadline_us = CALL_US,
                                      .headers = header,
                                      .header_count = caller->authorization == NULL ? 0 : 1 };
}

static enum err_code call(
    struct bench *bench,
    struct caller *caller,
    const struct rpc_method *method,
    const ProtobufCMessage *request)
{
    struct rpc_header header;
    const struct rpc_call_options options = options_of(caller, &header);
    const struct rpc_executor executor = { post, bench->cluster->sim };
    caller->answered = false;
    rpc_channel_call_async(
        caller->channel,
        method->path,
        request,
        method->output,
        &options,
        &executor,
        take_reply,
        caller);
    wait_answer(bench, caller);
    return caller->code;
}

/* ---- what is stored ---- */

/* Whatever a call could leave behind, but for audit records of refusals and spent challenges. */
static const char *const stored[] = {
    "SELECT COUNT(*), SUM(revision), SUM(state), SUM(session_epoch), SUM(command_sequence) FROM agent",
    "SELECT COUNT(*), SUM(state), 0, 0, 0 FROM enrollment",
    "SELECT COUNT(*), SUM(revision), SUM(state), 0, 0 FROM command",
    "SELECT COUNT(*), SUM(epoch), 0, 0, 0 FROM session",
    "SELECT COUNT(*), SUM(LENGTH(api_key_hash)), SUM(LENGTH(next_api_key_hash)), 0, 0 FROM agent",
    "SELECT COUNT(*), SUM(CASE WHEN revoked_at > 0 THEN 1 ELSE 0 END), 0, 0, 0 FROM api_key",
    "SELECT COUNT(*), 0, 0, 0, 0 FROM device",
    "SELECT COUNT(*), SUM(sandboxes), SUM(changed_at), 0, 0 FROM quota",
    "SELECT COUNT(*), 0, 0, 0, 0 FROM audit WHERE decision = 'allowed'",
};

enum {
    COLUMNS = 5
};

struct digest {
    int64_t numbers[ARRAY_LENGTH(stored)][COLUMNS];
};

static void read_digest(struct bench *bench, struct digest *digest)
{
    struct err_info err = ERR_INFO_INIT;
    struct sql_conn *conn = bench->cluster->observer;
    assert_ok_err(err, sql_begin_read(conn, SQL_ALL_WORKSPACES, &err));
    for (unsigned i = 0; i < ARRAY_LENGTH(stored); i++) {
        AUTO_ROWS struct sql_rows *rows = NULL;
        const struct sql_statement statement = { stored[i], stored[i], stored[i] };
        assert_ok_err(err, sql_query(conn, &statement, SQL_NO_ARGS, &rows, &err));
        assert_ok_err(err, sql_rows_next(rows, &err));
        for (unsigned c = 0; c < COLUMNS; c++) {
            digest->numbers[i][c] = sql_int(rows, c);
        }
    }
    sql_rollback(conn);
}

/* ---- requests ---- */

/* Replaces each $name of a request's JSON. */
static void expand(struct bench *bench, const char *json, struct buf *out)
{
    const struct {
        const char *name;
        const char *value;
    } names[] = {
        { "$token", bench->token },     { "$enrollment", bench->enrollment },
        { "$spare", bench->spare },     { "$fingerprint", bench->fingerprint },
        { "$command", bench->command }, { "$key", bench->key },
        { "$loan", bench->loan },       { "$device", bench->device },
        { "$bearer", bench->api_key },
    };

    while (*json != '\0') {
        unsigned i = 0;
        while (i < ARRAY_LENGTH(names)
               && strncmp(json, names[i].name, strlen(names[i].name)) != 0) {
            i++;
        }
        if (i < ARRAY_LENGTH(names)) {
            buf_append_str(out, str_of(names[i].value));
            json += strlen(names[i].name);
        } else {
            buf_append_char(out, *json++);
        }
    }
}

static ProtobufCMessage *make_request(
    struct bench *bench, const ProtobufCMessageDescriptor *type, const char *json)
{
    struct err_info err = ERR_INFO_INIT;
    ProtobufCMessage *message = NULL;
    AUTO_BUF struct buf text = BUF_INIT(65536);
    expand(bench, json, &text);
    arena_reset(bench->arena);
    assert_ok_err(
        err,
        wire_from_json(bench->place.schema, type, buf_view(&text), bench->arena, &message, &err));
    return message;
}

/* The last reply of a caller, in the bench's arena until the next request is made. */
static const void *reply_of(
    struct bench *bench, const struct caller *caller, const ProtobufCMessageDescriptor *type)
{
    struct err_info err = ERR_INFO_INIT;
    ProtobufCMessage *message = NULL;
    assert_ok_err(
        err,
        wire_unpack_lenient(
            bench->place.schema,
            type,
            buf_text(&caller->reply),
            caller->reply.len,
            bench->arena,
            &message,
            &err));
    return message;
}

static void keep(char *out, size_t bytes, const char *text)
{
    assert_ok(str_copy(str_of(text), out, bytes));
}

/* ---- what a call needs before it, and gives to those after it ---- */

static void after_token(struct bench *bench)
{
    const Agentgateway__V1__CreateEnrollmentTokenResponse *reply = reply_of(
        bench, &bench->operator, & agentgateway__v1__create_enrollment_token_response__descriptor);
    keep(bench->spare, sizeof(bench->spare), bench->enrollment);
    keep(bench->enrollment, sizeof(bench->enrollment), reply->token->id);
    keep(bench->token, sizeof(bench->token), reply->secret);
}

static void fill_register(struct bench *bench, ProtobufCMessage *message)
{
    Agentgateway__V1__RegisterRequest *request = (void *)message;
    request->identity_pubkey.data = CONST_CAST(uint8_t *, key_sign_public(bench->identity));
    request->identity_pubkey.len = KEY_PUBLIC_BYTES;
    request->encryption_pubkey.data = CONST_CAST(uint8_t *, key_box_public(bench->encryption));
    request->encryption_pubkey.len = KEY_PUBLIC_BYTES;
}

/* Once it is confirmed, the answer holds the agent's key. */
static void after_register(struct bench *bench)
{
    const Agentgateway__V1__RegisterResponse *reply =
        reply_of(bench, &bench->agent, &agentgateway__v1__register_response__descriptor);
    AUTO_SECRET struct secret *key = NULL;
    if (reply->sealed_api_key.len > 0) {
        assert_ok(key_open(
            bench->encryption,
            str_from((const char *)reply->sealed_api_key.data, reply->sealed_api_key.len),
            &key));
        keep(bench->api_key, sizeof(bench->api_key), secret_peek(key).ptr);
    }
}

static void fill_begin(struct bench *bench, ProtobufCMessage *message)
{
    Agentgateway__V1__BeginAuthHandshakeRequest *request = (void *)message;
    request->api_key = bench->api_key;
    request->identity_pubkey.data = CONST_CAST(uint8_t *, key_sign_public(bench->identity));
    request->identity_pubkey.len = KEY_PUBLIC_BYTES;
}

static void after_begin(struct bench *bench)
{
    const Agentgateway__V1__BeginAuthHandshakeResponse *reply = reply_of(
        bench, &bench->agent, &agentgateway__v1__begin_auth_handshake_response__descriptor);
    assert_int_equal(reply->challenge.len, sizeof(bench->challenge));
    memcpy(bench->challenge, reply->challenge.data, sizeof(bench->challenge));
}

static const struct rpc_method *find_method(const char *name);

/* A challenge is good for one try: each round takes a fresh one. */
static void take_challenge(struct bench *bench)
{
    const struct rpc_method *method = find_method("BeginAuthHandshake");
    ProtobufCMessage *request = make_request(
        bench, method->input, "{\"apiKey\":\"$bearer\",\"identityPubkey\":\"" ZERO_32 "\"}");
    fill_begin(bench, request);
    assert_ok(call(bench, &bench->agent, method, request));
    after_begin(bench);
}

static void fill_complete(struct bench *bench, ProtobufCMessage *message)
{
    Agentgateway__V1__CompleteAuthHandshakeRequest *request = (void *)message;
    struct str_view challenge = str_from((const char *)bench->challenge, sizeof(bench->challenge));
    request->challenge.data = bench->challenge;
    key_sign_message(bench->identity, challenge, request->signature.data);
}

static void after_complete(struct bench *bench)
{
    const Agentgateway__V1__CompleteAuthHandshakeResponse *reply = reply_of(
        bench, &bench->agent, &agentgateway__v1__complete_auth_handshake_response__descriptor);
    bench->agent.authorization = mem_printf("Bearer %s", reply->session_token);
}

static void after_devices(struct bench *bench)
{
    const Agentgateway__V1__ListDevicesResponse *reply =
        reply_of(bench, &bench->operator, & agentgateway__v1__list_devices_response__descriptor);
    assert_int_equal(reply->n_devices, 1);
    (void)snprintf(bench->device, sizeof(bench->device), "%lld", (long long)reply->devices[0]->id);
}

static void after_command(struct bench *bench)
{
    const Agentgateway__V1__Command *reply =
        reply_of(bench, &bench->operator, & agentgateway__v1__command__descriptor);
    keep(bench->command, sizeof(bench->command), reply->id);
}

static void after_key(struct bench *bench)
{
    const Agentgateway__V1__CreateApiKeyResponse *reply =
        reply_of(bench, &bench->operator, & agentgateway__v1__create_api_key_response__descriptor);
    keep(bench->key, sizeof(bench->key), reply->key->id);
}

static void after_loan(struct bench *bench)
{
    const Agentgateway__V1__LoanChange *reply =
        reply_of(bench, &bench->operator, & agentgateway__v1__loan_change__descriptor);
    keep(bench->loan, sizeof(bench->loan), reply->loan->id);
}

struct step {
    const char *method;
    const char *json;
    void (*before)(struct bench *bench); /* each round */
    void (*fill)(struct bench *bench, ProtobufCMessage *message);
    void (*after)(struct bench *bench);
    /* Agents' calls make their answer after the commit: one that fails then is as one whose answer
     * was lost, and is answered when it is asked again. */
    bool is_repeatable;
};

/* In an order in which each finds what it needs; the last ones take it away. */
static const struct step steps[] = {
    { .method = "CreateEnrollmentToken", .json = "{}", .after = after_token },
    { .method = "CreateEnrollmentToken",
      .json = "{\"labels\":{\"a\":\"b\"}}",
      .after = after_token },
    { .method = "ListEnrollmentTokens", .json = "{\"pageSize\":1}" },
    { .method = "RevokeEnrollmentToken", .json = "{\"id\":\"$spare\"}" },
    { .method = "Register",
      .json = "{\"enrollmentToken\":\"$token\",\"name\":\"edge\",\"identityPubkey\":\"" ZERO_32
              "\",\"encryptionPubkey\":\"" ZERO_32 "\",\"labels\":{\"c\":\"d\"}}",
      .fill = fill_register,
      .is_repeatable = true },
    { .method = "ConfirmAgent",
      .json = "{\"enrollmentId\":\"$enrollment\",\"fingerprint\":\"$fingerprint\"}" },
    { .method = "Register",
      .json = "{\"enrollmentToken\":\"$token\",\"name\":\"edge\",\"identityPubkey\":\"" ZERO_32
              "\",\"encryptionPubkey\":\"" ZERO_32 "\"}",
      .fill = fill_register,
      .after = after_register,
      .is_repeatable = true },
    { .method = "BeginAuthHandshake",
      .json = "{\"apiKey\":\"$bearer\",\"identityPubkey\":\"" ZERO_32 "\"}",
      .fill = fill_begin },
    { .method = "CompleteAuthHandshake",
      .json = "{\"challenge\":\"" ZERO_64 "\",\"signature\":\"" ZERO_64 "\"}",
      .before = take_challenge,
      .fill = fill_complete,
      .after = after_complete,
      .is_repeatable = true },
    { .method = "UploadHeartbeat",
      .json = "{\"sentAt\":\"2026-01-01T00:00:00Z\",\"status\":{\"state\":\"ok\"}}" },
    { .method = "ListAgents", .json = "{\"labelSelector\":\"c=d\"}" },
    { .method = "GetAgent", .json = "{\"agent\":\"edge\"}" },
    { .method = "UpdateAgent", .json = "{\"agent\":\"edge\",\"setLabels\":{\"x\":\"y\"}}" },
    { .method = "ListDevices", .json = "{\"agent\":\"edge\"}", .after = after_devices },
    { .method = "GetDevice", .json = "{\"id\":\"$device\"}" },
    { .method = "SendCommand",
      .json = "{\"agent\":\"edge\",\"command\":{\"telemetryNow\":{}},\"idempotencyKey\":\"k\"}",
      .after = after_command },
    { .method = "GetCommand", .json = "{\"id\":\"$command\"}" },
    { .method = "ListCommands", .json = "{\"agent\":\"edge\"}" },
    { .method = "CancelCommand", .json = "{\"id\":\"$command\"}" },
    { .method = "RotateAgentKey", .json = "{\"agent\":\"edge\"}" },
    { .method = "LendAgent",
      .json = "{\"agent\":\"edge\",\"toWorkspace\":\"belay-system\",\"room\":{\"sandboxes\":1,"
              "\"cpuMillis\":10,\"memoryBytes\":\"4194304\",\"diskBytes\":\"1048576\"}}",
      .after = after_loan },
    { .method = "ListLoans", .json = "{\"agent\":\"edge\"}" },
    { .method = "ReclaimAgent", .json = "{\"loanId\":\"$loan\"}" },
    { .method = "ListMetrics", .json = "{\"agent\":\"edge\"}" },
    { .method = "QueryTelemetry", .json = "{\"metric\":\"cluster\",\"agent\":\"edge\"}" },
    { .method = "ListEvents", .json = "{\"agent\":\"edge\"}" },
    { .method = "CreateApiKey", .json = "{\"name\":\"k\",\"scopes\":[\"*\"]}", .after = after_key },
    { .method = "ListApiKeys", .json = "{}" },
    { .method = "RevokeApiKey", .json = "{\"id\":\"$key\"}" },
    { .method = "ListAuditRecords", .json = "{\"pageSize\":5}" },
    { .method = "SetQuota",
      .json = "{\"owner\":\"user:x\",\"limits\":{\"sandboxes\":\"1\"},\"expectedVersion\":\"0\"}" },
    { .method = "GetQuota", .json = "{\"owner\":\"user:x\"}" },
    { .method = "ListQuotas", .json = "{\"pageSize\":1}" },
    { .method = "DeleteQuota", .json = "{\"owner\":\"user:x\"}" },
    { .method = "ListSandboxFigures", .json = "{\"sandboxes\":[\"none\"]}" },
    { .method = "ListSandboxFigures", .json = "{\"pageSize\":1}" },
    { .method = "GetUsage", .json = "{\"groupBy\":\"USAGE_GROUP_OWNER\",\"hourly\":true}" },
    { .method = "GetServerInfo", .json = "{}" },
    { .method = "EvictAgent", .json = "{\"agent\":\"edge\"}" },
    { .method = "RevokeAgent", .json = "{\"agent\":\"edge\"}" },
};

/* ---- the sweep ---- */

static const struct rpc_method *find_in(const struct rpc_table *table, const char *name)
{
    for (size_t i = 0; i < table->count; i++) {
        const char *last = strrchr(table->rows[i].path, '/');
        if (strcmp(last + 1, name) == 0) {
            return &table->rows[i];
        }
    }
    return NULL;
}

static const struct rpc_method *find_method(const char *name)
{
    const struct rpc_table agents = gateway_methods();
    const struct rpc_table operators = api_methods();
    const struct rpc_method *method = find_in(&agents, name);
    method = method == NULL ? find_in(&operators, name) : method;
    assert_non_null(method);
    return method;
}

/* With `count` allocations; -1: all it wants. */
static enum err_code attempt(struct bench *bench, const struct step *step, long count)
{
    const struct rpc_method *method = find_method(step->method);
    bool is_agents = strstr(method->path, "AgentGatewayService") != NULL;
    if (step->before != NULL) {
        step->before(bench);
    }
    ProtobufCMessage *request = make_request(bench, method->input, step->json);
    if (step->fill != NULL) {
        step->fill(bench, request);
    }
    struct digest before;
    struct digest after;
    struct caller *caller = is_agents ? &bench->agent : &bench->operator;
    read_digest(bench, &before);
    sim_net_fail_allocations(bench->cluster->net, count);
    enum err_code code = call(bench, caller, method, request);
    sim_net_fail_allocations(bench->cluster->net, -1);
    read_digest(bench, &after);
    bool is_clean = code == ERR_LIMIT || code == ERR_UNAVAILABLE || code == ERR_INTERNAL;
    bool is_whole = step->is_repeatable || memcmp(&before, &after, sizeof(before)) == 0;
    if (code != ERR_OK && !(is_clean && is_whole)) {
        fail_msg(
            "%s with %ld allocations: %s: %s%s",
            step->method,
            count,
            err_name(code),
            caller->text,
            is_clean ? ", and something is stored" : "");
    }
    return code;
}

static void sweep(struct bench *bench, const struct step *step)
{
    long count = 0;
    while (attempt(bench, step, count) != ERR_OK) {
        count++;
        assert_true(count < ROUNDS_MAX);
    }
    if (step->after != NULL) {
        step->after(bench);
    }
}

static void check_all_are_swept(const struct rpc_table *table)
{
    for (size_t i = 0; i < table->count; i++) {
        const char *name = strrchr(table->rows[i].path, '/') + 1;
        bool found = table->rows[i].kind != RPC_UNARY;
        for (unsigned s = 0; s < ARRAY_LENGTH(steps) && !found; s++) {
            found = strcmp(steps[s].method, name) == 0;
        }
        if (!found) {
            fail_msg("%s: give it a step", table->rows[i].path);
        }
    }
}

static void bench_init(struct bench *bench)
{
    cluster_place_init(&bench->place, NULL);
    bench->cluster = mem_alloc(sizeof(*bench->cluster));
    cluster_init(bench->cluster, &bench->place, 1);
    cluster_server_start(&bench->cluster->server);
    bench->arena = arena_create(ARENA_BYTES);
    bench->identity = key_sign_create();
    bench->encryption = key_box_create();
    (void)key_fingerprint(key_sign_public(bench->identity), bench->fingerprint);
    caller_init(&bench->operator, bench->cluster, SIM_OPERATOR);
    caller_init(&bench->agent, bench->cluster, AGENT_HOST);
}

static void bench_deinit(struct bench *bench)
{
    caller_deinit(&bench->operator);
    caller_deinit(&bench->agent);
    key_sign_destroy(bench->identity);
    key_box_destroy(bench->encryption);
    arena_destroy(bench->arena);
    cluster_deinit(bench->cluster);
    mem_free(bench->cluster);
    cluster_place_deinit(&bench->place);
}

static void test_every_unary_call_survives_every_failed_allocation(void **state)
{
    (void)state;
    struct bench bench = { .token = "" };
    const struct rpc_table agents = gateway_methods();
    const struct rpc_table operators = api_methods();
    check_all_are_swept(&agents);
    check_all_are_swept(&operators);
    bench_init(&bench);
    for (unsigned i = 0; i < ARRAY_LENGTH(steps); i++) {
        sweep(&bench, &steps[i]);
    }
    bench_deinit(&bench);
}

int main(void)
{
    struct err_info err = ERR_INFO_INIT;
    if (crypto_start(&err) != ERR_OK) {
        return 1;
    }
    log_set_level(LOG_OFF);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_unary_call_survives_every_failed_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
