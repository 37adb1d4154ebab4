/*
 * G1: what an authorised unary call costs a real belay-server beside a bare C-core echo of as many
 * bytes, by the same client in the same shape.
 *
 * The call without a database is UploadHeartbeat: a session token checked from memory, the whole
 * pipeline, an answer from memory. GetServerInfo with an API key shows what a read of the database
 * adds. Credentials are looked up again every five seconds, as in production, and so are counted.
 */
#include "common/base/cleanup.h"
#include "common/rpc/runtime.h"
#include "common/sys/file.h"
#include "common/wire/wire.h"
#include "tools/bench/bare/echo.h"
#include "tools/bench/common/bench.h"
#include "tools/bench/common/process.h"
#include "tools/bench/rpc/load.h"
#include "tools/bench/seed/seed.h"

#include "proto/agentgateway/v1/agentgateway.pb-c.h"

#include <stdio.h>

enum {
    CONNECTIONS = 8,
    BUSY = 64, /* calls in flight */
    REQUEST_BYTES = 256,
    ADDRESS_BYTES = 32,
    LINE_BYTES = 4096,
    PEM_BYTES_MAX = 64 * 1024
};

#define START_WAIT_US (30 * US_PER_SECOND)

struct setting {
    struct bench *bench;
    struct seed *seed;
    struct seed_agent agents[CONNECTIONS];
    struct secret *key;
    struct process server;
    struct process echo;
    struct process echo_tls;
    struct buf ca_pem;
    struct buf heartbeat; /* packed UploadHeartbeatRequest */
    char server_plain[ADDRESS_BYTES];
    char server_tls[ADDRESS_BYTES];
    char echo_plain[ADDRESS_BYTES];
    char echo_secure[ADDRESS_BYTES];
    bool is_tls; /* of the pair that is measured now */
    bool is_read;
    unsigned in_flight;
};

#define HEARTBEAT   "/agentgateway.v1.AgentGatewayService/UploadHeartbeat"
#define SERVER_INFO "/agentgateway.v1.AgentAdminService/GetServerInfo"

static void fill_request(const struct setting *setting, bool is_read, struct load_target *target)
{
    target->path = is_read ? SERVER_INFO : HEARTBEAT;
    target->request = is_read ? STR("") : buf_view(&setting->heartbeat);
    for (unsigned i = 0; i < CONNECTIONS; i++) {
        target->tokens[i] = secret_peek(is_read ? setting->key : setting->agents[i].token);
    }
}

static enum err_code run(
    const struct setting *setting, bool is_echo, struct load_result *ret, struct err_info *err)
{
    bool tiny = bench_is_smoke(setting->bench);
    const struct load_shape shape = {
        .connections = setting->in_flight < CONNECTIONS ? setting->in_flight : CONNECTIONS,
        .in_flight = setting->in_flight,
        .warm_us = (tiny ? 50 : 300) * US_PER_MS,
        .measure_us = (tiny ? 100 : 1500) * US_PER_MS,
    };
    struct load_target target = {
        .ca_pem = setting->is_tls ? buf_text(&setting->ca_pem) : NULL,
    };
    fill_request(setting, setting->is_read, &target);
    if (is_echo) {
        target.address = setting->is_tls ? setting->echo_secure : setting->echo_plain;
        target.server = setting->is_tls ? setting->echo_tls.pid : setting->echo.pid;
    } else {
        target.address = setting->is_tls ? setting->server_tls : setting->server_plain;
        target.server = setting->server.pid;
    }
    return load_run(&target, &shape, ret, err);
}

static enum err_code cost_ours(void *context, double *ret_us, struct err_info *err)
{
    struct load_result result;
    TRY(run(context, false, &result, err));
    *ret_us = result.server_cpu_us;
    return ERR_OK;
}

static enum err_code cost_echo(void *context, double *ret_us, struct err_info *err)
{
    struct load_result result;
    TRY(run(context, true, &result, err));
    *ret_us = result.server_cpu_us;
    return ERR_OK;
}

static enum err_code measure_cost(
    struct setting *setting, const char *id, const char *metric, struct err_info *err)
{
    const struct bench_pair pair = {
        .id = id,
        .metric = metric,
        .unit = "us",
        .sense = BENCH_AT_MOST,
        .goal = id[0] == '\0' ? 0 : 1.5,
        .stretch = id[0] == '\0' ? 0 : 1.25,
        .ours = cost_ours,
        .floor = cost_echo,
        .context = setting,
    };
    return bench_compare(setting->bench, &pair, err);
}

static enum err_code measure_latency(
    struct setting *setting, bool is_echo, const char *what, struct err_info *err)
{
    struct load_result result;
    TRY(run(setting, is_echo, &result, err));
    AUTO_FREE char *p50 = mem_printf("%s, %u in flight, p50", what, setting->in_flight);
    AUTO_FREE char *p99 = mem_printf("%s, %u in flight, p99", what, setting->in_flight);
    AUTO_FREE char *rate = mem_printf("%s, %u in flight, rate", what, setting->in_flight);
    bench_value(setting->bench, p50, "us", result.p50_us, 0);
    bench_value(setting->bench, p99, "us", result.p99_us, 0);
    bench_value(setting->bench, rate, "calls/s", (double)result.calls / result.seconds, 0);
    return ERR_OK;
}

static enum err_code measure_latencies(struct setting *setting, struct err_info *err)
{
    static const struct {
        const char *what;
        bool is_tls;
        bool is_read;
        bool is_echo;
    } rows[] = {
        { "echo, plaintext", false, false, true },
        { "heartbeat, plaintext", false, false, false },
        { "echo, TLS", true, false, true },
        { "heartbeat, TLS", true, false, false },
        { "GetServerInfo, plaintext", false, true, false },
    };

    static const unsigned in_flight[] = { 1, BUSY };

    for (size_t i = 0; i < ARRAY_LENGTH(rows); i++) {
        for (size_t k = 0; k < ARRAY_LENGTH(in_flight); k++) {
            setting->is_tls = rows[i].is_tls;
            setting->is_read = rows[i].is_read;
            setting->in_flight = in_flight[k];
            TRY(measure_latency(setting, rows[i].is_echo, rows[i].what, err));
        }
    }
    return ERR_OK;
}

static enum err_code start_server(struct setting *setting, struct err_info *err)
{
    char line[LINE_BYTES];
    AUTO_FREE char *program = process_program("belay-server");
    AUTO_FREE char *log = mem_printf("%s/server.log", setting->seed->folder);
    char mode[] = "--mode=server";
    char listen[] = "--listen=127.0.0.1:0";
    char plain[] = "--listen-plaintext=127.0.0.1:0";
    AUTO_FREE char *state = mem_printf("--state-dir=%s", setting->seed->folder);
    char *argv[] = { program, mode, state, listen, plain, NULL };
    TRY(process_start(argv, log, &setting->server, err));
    TRY(process_await(
        &setting->server, "\"event\":\"ready\"", START_WAIT_US, line, sizeof(line), err));
    (void)snprintf(
        setting->server_plain,
        ADDRESS_BYTES,
        "127.0.0.1:%u",
        (unsigned)process_line_number(line, "plaintext_port"));
    (void)snprintf(
        setting->server_tls,
        ADDRESS_BYTES,
        "127.0.0.1:%u",
        (unsigned)process_line_number(line, "tls_port"));
    AUTO_FREE char *ca = mem_printf("%s/tls/ca.pem", setting->seed->folder);
    return file_read(ca, PEM_BYTES_MAX, &setting->ca_pem, err);
}

static enum err_code start_echo(
    const struct setting *setting,
    bool is_tls,
    size_t reply_bytes,
    struct process *ret_process,
    char *ret_address,
    struct err_info *err)
{
    char line[LINE_BYTES];
    const char *folder = setting->seed->folder;
    char program[] = "/proc/self/exe";
    char word[] = ECHO_WORD;
    AUTO_FREE char *log = mem_printf("%s/echo%d.log", folder, is_tls);
    AUTO_FREE char *bytes = mem_printf("%zu", reply_bytes);
    AUTO_FREE char *chain = is_tls ? mem_printf("%s/tls/server.pem", folder) : mem_strdup("");
    AUTO_FREE char *key = is_tls ? mem_printf("%s/tls/server.key", folder) : mem_strdup("");
    char *argv[] = { program, word, bytes, chain, key, NULL };
    TRY(process_start(argv, log, ret_process, err));
    TRY(process_await(ret_process, "\"port\":", START_WAIT_US, line, sizeof(line), err));
    (void)snprintf(
        ret_address, ADDRESS_BYTES, "127.0.0.1:%u", (unsigned)process_line_number(line, "port"));
    return ERR_OK;
}

static void pack_heartbeat(struct setting *setting)
{
    Google__Protobuf__Timestamp sent = GOOGLE__PROTOBUF__TIMESTAMP__INIT;
    Agentgateway__V1__AgentStatus status = AGENTGATEWAY__V1__AGENT_STATUS__INIT;
    Agentgateway__V1__UploadHeartbeatRequest request =
        AGENTGATEWAY__V1__UPLOAD_HEARTBEAT_REQUEST__INIT;
    char state[] = "streaming";
    sent.seconds = clock_wall(clock_system()).value / US_PER_SECOND;
    status.spool_records = 12;
    status.spool_bytes = 34567;
    status.uptime_ms = 86400000;
    status.state = state;
    request.sent_at = &sent;
    request.status = &status;
    setting->heartbeat = (struct buf)BUF_INIT(REQUEST_BYTES);
    wire_pack(&request.base, &setting->heartbeat);
}

static enum err_code prepare(struct setting *setting, struct err_info *err)
{
    TRY(seed_open("rpc", NULL, &setting->seed, err));
    for (unsigned i = 0; i < CONNECTIONS; i++) {
        AUTO_FREE char *name = mem_printf("agent-%u", i);
        TRY(seed_agent_add(setting->seed, name, &setting->agents[i], err));
    }
    TRY(seed_key_add(setting->seed, "key_bench", &setting->key, err));
    pack_heartbeat(setting);
    TRY(start_server(setting, err));
    struct load_result once;
    setting->in_flight = 1;
    TRY(run(setting, false, &once, err));
    TRY(start_echo(setting, false, once.reply_bytes, &setting->echo, setting->echo_plain, err));
    return start_echo(
        setting, true, once.reply_bytes, &setting->echo_tls, setting->echo_secure, err);
}

static enum err_code measure(struct setting *setting, struct err_info *err)
{
    TRY(prepare(setting, err));
    setting->in_flight = BUSY;
    TRY(measure_cost(setting, "G1", "CPU per authorised call, plaintext, 64 in flight", err));
    setting->is_tls = true;
    TRY(measure_cost(setting, "G1", "CPU per authorised call, TLS, 64 in flight", err));
    setting->in_flight = 1;
    TRY(measure_cost(setting, "", "CPU per authorised call, TLS, 1 in flight", err));
    setting->is_tls = false;
    TRY(measure_cost(setting, "", "CPU per authorised call, plaintext, 1 in flight", err));
    setting->in_flight = BUSY;
    setting->is_read = true;
    TRY(measure_cost(setting, "", "CPU per call that reads the database, 64 in flight", err));
    return measure_latencies(setting, err);
}

int main(int argc, char **argv)
{
    if (argc == 5 && strcmp(argv[1], ECHO_WORD) == 0) {
        return echo_main(argv + 2);
    }
    struct err_info err = ERR_INFO_INIT;
    struct setting setting = { .bench = bench_create("rpc", NULL, argc, argv),
                               .ca_pem = BUF_INIT(PEM_BYTES_MAX) };
    rpc_runtime_acquire();
    enum err_code code = measure(&setting, &err);
    process_stop(&setting.echo);
    process_stop(&setting.echo_tls);
    process_stop(&setting.server);
    for (unsigned i = 0; i < CONNECTIONS; i++) {
        secret_destroy(setting.agents[i].token);
    }
    secret_destroy(setting.key);
    buf_deinit(&setting.ca_pem);
    buf_deinit(&setting.heartbeat);
    seed_close(setting.seed);
    rpc_runtime_release();
    return bench_finish(setting.bench, code, &err);
}
