/*
 * The operator: calls the server's own API over the local socket, and repeats what was not
 * answered. A wish whose answer was lost is made again as a person would make it, with the
 * idempotency key where there is one.
 */
#include "common/sys/file.h"
#include "tests/cluster/cluster.h"

#include "proto/agentgateway/v1/admin.pb-c.h"

#include <stdio.h>

#define PATH(method) "/agentgateway.v1.AgentAdminService/" method

struct task;

struct wish {
    const char *path;
    const ProtobufCMessageDescriptor *reply;
    void (*send)(struct task *task);
    void (*answered)(struct task *task, enum err_code code, const ProtobufCMessage *reply);
};

struct task {
    struct cluster *cluster;
    const struct wish *wish;
    struct cluster_agent *agent;
    unsigned order;
    bool flag;
};

static void send_again(void *context)
{
    struct task *task = context;
    if (task->cluster->is_ending) {
        mem_free(task);
    } else {
        task->wish->send(task);
    }
}

/* Nothing is known of what became of it. */
static bool is_unsettled(const struct cluster *cluster, enum err_code code)
{
    return code == ERR_UNAVAILABLE || code == ERR_TIMEOUT || code == ERR_UNCERTAIN
        || code == ERR_CANCELED || code == ERR_LIMIT
        || (code == ERR_INTERNAL && cluster->is_disturbed);
}

static void on_reply(
    void *context, enum err_code code, const ProtobufCMessage *reply, const struct err_info *err)
{
    struct task *task = context;
    struct sim *sim = task->cluster->sim;
    sim_note(sim, "operator %s: %s %s", task->wish->path, err_name(code), err->text);
    if (is_unsettled(task->cluster, code)) {
        (void)sim_after(sim, sim_between(sim, US_PER_SECOND, 5 * US_PER_SECOND), send_again, task);
        return;
    }
    if (!task->cluster->is_ending) {
        task->wish->answered(task, code, reply);
    }
    mem_free(task);
}

/* The operator's own loop is the world. */
static bool post(void *context, void (*fn)(void *argument), void *argument)
{
    struct cluster *cluster = context;
    (void)sim_after(cluster->sim, 0, fn, argument);
    return true;
}

static void call(struct task *task, const ProtobufCMessage *request)
{
    const struct rpc_executor executor = { post, task->cluster };
    const struct rpc_call_options options = { .deadline_us = 10 * US_PER_SECOND };
    rpc_channel_call_async(
        task->cluster->operator_channel,
        task->wish->path,
        request,
        task->wish->reply,
        &options,
        &executor,
        on_reply,
        task);
}

static void begin(const struct wish *wish, struct cluster_agent *agent, unsigned order, bool flag)
{
    struct task *task = mem_alloc(sizeof(*task));
    task->cluster = agent->cluster;
    task->wish = wish;
    task->agent = agent;
    task->order = order;
    task->flag = flag;
    wish->send(task);
}

/* ---- tokens ---- */

static void send_token(struct task *task)
{
    Agentgateway__V1__CreateEnrollmentTokenRequest request =
        AGENTGATEWAY__V1__CREATE_ENROLLMENT_TOKEN_REQUEST__INIT;
    request.auto_confirm = task->flag;
    request.ttl_seconds = 86400;
    call(task, &request.base);
}

static void take_token(struct task *task, enum err_code code, const ProtobufCMessage *message)
{
    const Agentgateway__V1__CreateEnrollmentTokenResponse *reply = (const void *)message;
    struct cluster_agent *agent = task->agent;
    assert_ok(code);
    assert_ok(str_copy(str_of(reply->secret), agent->token, sizeof(agent->token)));
    assert_ok(
        str_copy(str_of(reply->token->id), agent->enrollment_id, sizeof(agent->enrollment_id)));
    cluster_agent_start(agent);
}

void cluster_order_token(struct cluster_agent *agent, bool auto_confirm)
{
    static const struct wish wish = {
        PATH("CreateEnrollmentToken"),
        &agentgateway__v1__create_enrollment_token_response__descriptor,
        send_token,
        take_token,
    };
    begin(&wish, agent, 0, auto_confirm);
}

/* ---- confirmation ---- */

static void send_confirm(struct task *task)
{
    Agentgateway__V1__ConfirmAgentRequest request = AGENTGATEWAY__V1__CONFIRM_AGENT_REQUEST__INIT;
    char fingerprint[KEY_FINGERPRINT_TEXT_BYTES];
    struct err_info err = ERR_INFO_INIT;
    AUTO_FREE char *path = mem_printf("%s/identity.key", task->agent->dir);
    AUTO_BUF struct buf seed = BUF_INIT(KEY_SEED_BYTES);
    struct key_sign *key = NULL;
    assert_ok_err(err, file_read(path, KEY_SEED_BYTES, &seed, &err));
    assert_ok(key_sign_from_seed(buf_view(&seed), &key));
    request.enrollment_id = task->agent->enrollment_id;
    request.fingerprint = key_fingerprint(key_sign_public(key), fingerprint);
    key_sign_destroy(key);
    call(task, &request.base);
}

/* A second time it is confirmed already. */
static void take_confirm(struct task *task, enum err_code code, const ProtobufCMessage *message)
{
    (void)task;
    (void)message;
    assert_true(code == ERR_OK || code == ERR_PRECONDITION);
}

void cluster_order_confirm(struct cluster_agent *agent)
{
    static const struct wish wish = { PATH("ConfirmAgent"),
                                      &agentgateway__v1__confirm_agent_response__descriptor,
                                      send_confirm,
                                      take_confirm };
    begin(&wish, agent, 0, false);
}

/* ---- commands ---- */

static void send_command(struct task *task)
{
    Agentgateway__V1__SendCommandRequest request = AGENTGATEWAY__V1__SEND_COMMAND_REQUEST__INIT;
    Agentgateway__V1__AgentCommand command = AGENTGATEWAY__V1__AGENT_COMMAND__INIT;
    Agentgateway__V1__DeviceCommand what = AGENTGATEWAY__V1__DEVICE_COMMAND__INIT;
    char action[] = "identify";
    char number[16];
    char key[CLUSTER_NAME_BYTES + 24];
    char agent[24];
    (void)snprintf(number, sizeof(number), "%u", task->order);
    (void)snprintf(key, sizeof(key), "%s-order-%u", task->agent->name, task->order);
    (void)snprintf(agent, sizeof(agent), "%d", (int)task->agent->id);
    what.device = number;
    what.action = action;
    command.command_case = AGENTGATEWAY__V1__AGENT_COMMAND__COMMAND_DEVICE_COMMAND;
    command.device_command = &what;
    request.agent = agent;
    request.command = &command;
    request.idempotency_key = key;
    request.ttl_seconds = (uint32_t)task->cluster->orders[task->order].ttl_s;
    call(task, &request.base);
}

static void take_command(struct task *task, enum err_code code, const ProtobufCMessage *message)
{
    const Agentgateway__V1__Command *reply = (const void *)message;
    struct cluster_order *order = &task->cluster->orders[task->order];
    if (code != ERR_OK) {
        if (!task->agent->is_revoked) {
            fail_msg("SendCommand: %s", err_name(code));
        }
        return;
    }
    assert_ok(str_copy(str_of(reply->id), order->id, sizeof(order->id)));
}

void cluster_order_command(struct cluster_agent *agent, int64_t ttl_s)
{
    static const struct wish wish = {
        PATH("SendCommand"), &agentgateway__v1__command__descriptor, send_command, take_command
    };
    struct cluster *cluster = agent->cluster;
    if (agent->id == 0 || cluster->order_count == CLUSTER_ORDERS_MAX) {
        return;
    }
    cluster->orders[cluster->order_count] =
        (struct cluster_order){ .agent = agent, .ttl_s = ttl_s };
    begin(&wish, agent, cluster->order_count++, false);
}

static void send_cancel(struct task *task)
{
    Agentgateway__V1__CancelCommandRequest request = AGENTGATEWAY__V1__CANCEL_COMMAND_REQUEST__INIT;
    request.id = task->cluster->orders[task->order].id;
    call(task, &request.base);
}

static void take_cancel(struct task *task, enum err_code code, const ProtobufCMessage *message)
{
    (void)message;
    struct cluster_order *order = &task->cluster->orders[task->order];
    assert_true(code == ERR_OK || code == ERR_PRECONDITION); /* sent, or over, already */
    order->is_cancelled = order->is_cancelled || code == ERR_OK;
}

void cluster_order_cancel(struct cluster *cluster, unsigned order)
{
    static const struct wish wish = {
        PATH("CancelCommand"), &agentgateway__v1__command__descriptor, send_cancel, take_cancel
    };
    if (cluster->orders[order].id[0] != '\0') {
        begin(&wish, cluster->orders[order].agent, order, false);
    }
}

/* ---- agents ---- */

static void take_any(struct task *task, enum err_code code, const ProtobufCMessage *message)
{
    (void)task;
    (void)message;
    assert_true(code == ERR_OK || code == ERR_PRECONDITION || code == ERR_NOT_FOUND);
}

static void send_evict(struct task *task)
{
    Agentgateway__V1__EvictAgentRequest request = AGENTGATEWAY__V1__EVICT_AGENT_REQUEST__INIT;
    char agent[24];
    (void)snprintf(agent, sizeof(agent), "%d", (int)task->agent->id);
    request.agent = agent;
    call(task, &request.base);
}

void cluster_order_evict(struct cluster_agent *agent)
{
    static const struct wish wish = {
        PATH("EvictAgent"), &agentgateway__v1__agent__descriptor, send_evict, take_any
    };
    if (agent->id != 0) {
        begin(&wish, agent, 0, false);
    }
}

static void send_revoke(struct task *task)
{
    Agentgateway__V1__RevokeAgentRequest request = AGENTGATEWAY__V1__REVOKE_AGENT_REQUEST__INIT;
    char agent[24];
    (void)snprintf(agent, sizeof(agent), "%d", (int)task->agent->id);
    request.agent = agent;
    call(task, &request.base);
}

void cluster_order_revoke(struct cluster_agent *agent)
{
    static const struct wish wish = {
        PATH("RevokeAgent"), &agentgateway__v1__agent__descriptor, send_revoke, take_any
    };
    if (agent->id != 0) {
        agent->is_revoked = true;
        begin(&wish, agent, 0, false);
    }
}

static void send_rotate(struct task *task)
{
    Agentgateway__V1__RotateAgentKeyRequest request =
        AGENTGATEWAY__V1__ROTATE_AGENT_KEY_REQUEST__INIT;
    char agent[24];
    (void)snprintf(agent, sizeof(agent), "%d", (int)task->agent->id);
    request.agent = agent;
    call(task, &request.base);
}

void cluster_order_rotate(struct cluster_agent *agent)
{
    static const struct wish wish = {
        PATH("RotateAgentKey"), &agentgateway__v1__command__descriptor, send_rotate, take_any
    };
    if (agent->id != 0) {
        begin(&wish, agent, 0, false);
    }
}
