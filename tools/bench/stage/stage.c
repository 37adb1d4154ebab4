#include "tools/bench/stage/stage.h"

#include "common/base/cleanup.h"
#include "common/sys/file.h"
#include "common/wire/timestamp.h"
#include "common/wire/wire.h"

#include "proto/agentgateway/v1/agentgateway.pb-c.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    MESSAGE_BYTES = 512,
    LINE_BYTES = 4096,
    FILE_BYTES_MAX = 64 * 1024
};

#define START_WAIT_US (30 * US_PER_SECOND)

static void pack_messages(struct stage *stage)
{
    Agentgateway__V1__ControlStreamRequest request = AGENTGATEWAY__V1__CONTROL_STREAM_REQUEST__INIT;
    Agentgateway__V1__ControlHello hello = AGENTGATEWAY__V1__CONTROL_HELLO__INIT;
    Agentgateway__V1__UploadHeartbeatRequest beat =
        AGENTGATEWAY__V1__UPLOAD_HEARTBEAT_REQUEST__INIT;
    Agentgateway__V1__AgentStatus status = AGENTGATEWAY__V1__AGENT_STATUS__INIT;
    Google__Protobuf__Timestamp sent = wire_timestamp_of(clock_wall(clock_system()));
    char version[] = "0.1.0";
    char boot[] = "2f6c1a52-5d0e-4f0b-9d8e-0d4c5a8e7b11";
    char state[] = "ok";
    hello.agent_version = version;
    hello.boot_id = boot;
    request.message_case = AGENTGATEWAY__V1__CONTROL_STREAM_REQUEST__MESSAGE_HELLO;
    request.hello = &hello;
    status.spool_records = 12;
    status.spool_bytes = 34567;
    status.uptime_ms = 86400000;
    status.state = state;
    beat.sent_at = &sent;
    beat.status = &status;
    stage->hello = (struct buf)BUF_INIT(MESSAGE_BYTES);
    stage->beat = (struct buf)BUF_INIT(MESSAGE_BYTES);
    wire_pack(&request.base, &stage->hello);
    wire_pack(&beat.base, &stage->beat);
}

static enum err_code add_agents(struct stage *stage, unsigned count, struct err_info *err)
{
    stage->agents = mem_alloc_array(count, sizeof(*stage->agents));
    stage->tokens = mem_alloc_array(count, sizeof(*stage->tokens));
    for (unsigned i = 0; i < count; i++) {
        AUTO_FREE char *name = mem_printf("agent-%u", i);
        TRY(seed_agent_add(stage->seed, name, &stage->agents[i], err));
        stage->tokens[i] = secret_peek(stage->agents[i].token);
        stage->agent_count++;
    }
    return ERR_OK;
}

enum err_code stage_open(
    const char *bench,
    const char *postgres,
    unsigned agent_count,
    struct stage **ret_stage,
    struct err_info *err)
{
    struct stage *stage = mem_alloc(sizeof(*stage));
    pack_messages(stage);
    enum err_code code = seed_open(bench, postgres, &stage->seed, err);
    if (code == ERR_OK) {
        code = add_agents(stage, agent_count, err);
    }
    if (code != ERR_OK) {
        stage_close(stage);
        return code;
    }
    *ret_stage = stage;
    return ERR_OK;
}

void stage_stop(struct stage *stage)
{
    for (unsigned i = 0; i < stage->server_count; i++) {
        process_stop(&stage->servers[i].process);
    }
    stage->server_count = 0;
}

void stage_close(struct stage *stage)
{
    if (stage == NULL) {
        return;
    }
    stage_stop(stage);
    for (unsigned i = 0; i < stage->agent_count; i++) {
        secret_destroy(stage->agents[i].token);
    }
    seed_close(stage->seed);
    buf_deinit(&stage->hello);
    buf_deinit(&stage->beat);
    mem_free(stage->agents);
    mem_free(stage->tokens);
    mem_free(stage);
}

/* What a replica shares with the first server besides the database. */
static enum err_code copy_keys(const char *from, const char *to, struct err_info *err)
{
    static const char *const names[] = { "command.key", "tls/ca.key", "tls/ca.pem" };

    AUTO_FREE char *tls = mem_printf("%s/tls", to);
    TRY(file_make_dir(to, 0700, err));
    TRY(file_make_dir(tls, 0700, err));
    for (unsigned i = 0; i < ARRAY_LENGTH(names); i++) {
        AUTO_FREE char *source = mem_printf("%s/%s", from, names[i]);
        AUTO_FREE char *target = mem_printf("%s/%s", to, names[i]);
        AUTO_BUF struct buf text = BUF_INIT(FILE_BYTES_MAX);
        TRY(file_read(source, FILE_BYTES_MAX, &text, err));
        TRY(file_write_atomic(target, text.data, text.len, 0600, err));
    }
    return ERR_OK;
}

static char *state_of(const struct stage *stage, unsigned number)
{
    return number == 0 ? mem_strdup(stage->seed->folder)
                       : mem_printf("%s/server%u", stage->seed->folder, number);
}

/* The URL is a secret to the server: it takes it from a file, not from the command line. */
static enum err_code write_config(
    const struct stage *stage, const char *state, char **ret_option, struct err_info *err)
{
    AUTO_FREE char *path = mem_printf("%s/bench.yaml", state);
    AUTO_FREE char *text = mem_printf("database_url: \"%s\"\n", stage->seed->url);
    TRY(file_write_atomic(path, text, strlen(text), 0600, err));
    *ret_option = mem_printf("--config=%s", path);
    return ERR_OK;
}

static enum err_code start_one(struct stage *stage, unsigned number, struct err_info *err)
{
    struct stage_server *server = &stage->servers[number];
    AUTO_FREE char *folder = state_of(stage, number);
    AUTO_FREE char *first = state_of(stage, 0);
    AUTO_FREE char *config = NULL;
    if (number > 0 && !file_exists(folder)) {
        TRY(copy_keys(first, folder, err));
    }
    TRY(write_config(stage, folder, &config, err));
    AUTO_FREE char *program = process_program("belay-server");
    AUTO_FREE char *log = mem_printf("%s/server.log", folder);
    AUTO_FREE char *state = mem_printf("--state-dir=%s", folder);
    char mode[] = "--mode=server";
    char listen[] = "--listen=127.0.0.1:0";
    char plain[] = "--listen-plaintext=127.0.0.1:0";
    char *argv[] = { program, mode, state, listen, plain, config, NULL };
    char line[LINE_BYTES];
    (void)remove(log); /* what an earlier one wrote is not this one's */
    TRY(process_start(argv, log, &server->process, err));
    stage->server_count = number + 1;
    TRY(process_await(
        &server->process, "\"event\":\"ready\"", START_WAIT_US, line, sizeof(line), err));
    server->port_tls = (uint16_t)process_line_number(line, "tls_port");
    server->port_plain = (uint16_t)process_line_number(line, "plaintext_port");
    return ERR_OK;
}

enum err_code stage_start(struct stage *stage, unsigned servers, struct err_info *err)
{
    if (servers > STAGE_SERVERS_MAX) {
        return ERR_SET(err, ERR_INVALID, "at most %d servers", STAGE_SERVERS_MAX);
    }
    for (unsigned i = 0; i < servers; i++) {
        TRY(start_one(stage, i, err));
    }
    return ERR_OK;
}

void stage_plan(const struct stage *stage, bool is_tls, unsigned first, struct raw_plan *plan)
{
    plan->is_tls = is_tls;
    plan->port_count = stage->server_count;
    for (unsigned i = 0; i < stage->server_count; i++) {
        plan->ports[i] = is_tls ? stage->servers[i].port_tls : stage->servers[i].port_plain;
    }
    plan->path = STAGE_STREAM;
    plan->hello = buf_view(&stage->hello);
    plan->tokens = stage->tokens + first;
}

enum err_code stage_start_floor(
    const struct stage *stage,
    const char *word,
    bool is_tls,
    struct process *ret_process,
    uint16_t *ret_port,
    struct err_info *err)
{
    const char *folder = stage->seed->folder;
    char program[] = "/proc/self/exe";
    char line[LINE_BYTES];
    AUTO_FREE char *name = mem_strdup(word);
    AUTO_FREE char *log = mem_printf("%s/floor.log", folder);
    AUTO_FREE char *chain = is_tls ? mem_printf("%s/tls/server.pem", folder) : mem_strdup("");
    AUTO_FREE char *key = is_tls ? mem_printf("%s/tls/server.key", folder) : mem_strdup("");
    char *argv[] = { program, name, chain, key, NULL };
    (void)remove(log);
    TRY(process_start(argv, log, ret_process, err));
    TRY(process_await(ret_process, "\"port\":", START_WAIT_US, line, sizeof(line), err));
    *ret_port = (uint16_t)process_line_number(line, "port");
    return ERR_OK;
}
