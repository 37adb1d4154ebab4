/*
 * G11, durable enrolments: agents made through the real thing, over TLS, each on a connection of
 * its own, beside how often the same database commits a single row, one after the other, on one
 * connection. Four ways to count, one figure each:
 *
 *   enrolled      from the first token asked for (of the operators' service) until the last agent
 *                 has the answer that it is registered and confirmed: two commits for each
 *   registered    the same, with the tokens made before the clock runs: one commit
 *   online        until the last control stream is accepted: registration, challenge, session and
 *                 hello as well; five commits
 *   whole agents  as online, by belay-sim: its agents are the real ones' state machine and library,
 *                 and cost more processor time than server and database together
 */
#include "common/base/cleanup.h"
#include "common/sql/sql.h"
#include "tools/bench/common/bench.h"
#include "tools/bench/enroll/crew.h"

enum {
    SMOKE_AGENTS = 10,
    ORDERS_AT_ONCE = 16, /* connections of operators */
    LINE_BYTES = 8 * 1024
};

#define COMMIT_US       (3 * US_PER_SECOND)
#define SMOKE_COMMIT_US (US_PER_SECOND / 5)
#define WAIT_US         (4 * US_PER_MINUTE)

/* Processor time that was used for so many enrolments. */
struct cost {
    int64_t server_us;
    int64_t client_us;
    unsigned agents;
};

struct setting {
    struct bench *bench;
    struct stage *stage;
    struct secret *operator_key;
    unsigned agents;
    unsigned at_once;
    unsigned run;
    struct cost enrolled;
    struct cost online;
};

/* What a pair counts; its context. */
struct count {
    struct setting *setting;
    bool counts_tokens;
    bool comes_online;
};

static enum err_code connect_all(const struct raw_plan *plan, int64_t *ret_us, struct err_info *err)
{
    struct raw_fleet *fleet = NULL;
    TRY(raw_open(plan, &fleet, err));
    enum err_code code = raw_connect(fleet, WAIT_US, ret_us, err);
    raw_close(fleet);
    return code;
}

/* Tokens, then agents; each of the two times. */
static enum err_code run_crew(
    const struct count *count, struct crew *crew, int64_t ret_us[2], struct err_info *err)
{
    const struct setting *setting = count->setting;
    struct raw_plan orders = { .count = ORDERS_AT_ONCE < setting->agents ? ORDERS_AT_ONCE
                                                                         : setting->agents,
                               .at_once = ORDERS_AT_ONCE };
    struct raw_plan agents = { .count = setting->agents, .at_once = setting->at_once };
    stage_plan(setting->stage, false, 0, &orders);
    stage_plan(setting->stage, true, 0, &agents);
    orders.dialogue = (struct raw_dialogue){ crew_order, crew };
    agents.dialogue =
        (struct raw_dialogue){ count->comes_online ? crew_come_online : crew_register, crew };
    TRY(connect_all(&orders, &ret_us[0], err));
    return connect_all(&agents, &ret_us[1], err);
}

/* Agents a second. */
static enum err_code enroll_ours(void *context, double *ret_rate, struct err_info *err)
{
    const struct count *count = context;
    struct setting *setting = count->setting;
    pid_t server = setting->stage->servers[0].process.pid;
    int64_t us[2] = { 0 };
    struct crew *crew = crew_create(
        setting->stage->seed->service.schema,
        setting->agents,
        setting->run++,
        secret_peek(setting->operator_key));
    int64_t server_us = process_cpu_us(server);
    int64_t client_us = process_cpu_us(0);
    enum err_code code = run_crew(count, crew, us, err);
    if (count->counts_tokens) {
        struct cost *cost = count->comes_online ? &setting->online : &setting->enrolled;
        cost->server_us += process_cpu_us(server) - server_us;
        cost->client_us += process_cpu_us(0) - client_us;
        cost->agents += setting->agents;
    }
    crew_destroy(crew);
    TRY(code);
    int64_t passed_us = us[1] + (count->counts_tokens ? us[0] : 0);
    *ret_rate = (double)setting->agents * (double)US_PER_SECOND / (double)passed_us;
    return ERR_OK;
}

/* Agents a second, from the first token asked for to the last agent online. */
static enum err_code enroll_whole(void *context, double *ret_rate, struct err_info *err)
{
    struct setting *setting = ((const struct count *)context)->setting;
    const char *folder = setting->stage->seed->folder;
    AUTO_PROCESS struct process sim = PROCESS_INIT;
    AUTO_FREE char *program = process_program("belay-sim");
    AUTO_FREE char *log = mem_printf("%s/sim%u.log", folder, setting->run++);
    AUTO_FREE char *socket = mem_printf("--operator-socket=%s/operator.sock", folder);
    AUTO_FREE char *agents = mem_printf("--agents=%u", setting->agents);
    char json[] = "--json";
    char duration[] = "--duration=1s";
    char telemetry[] = "--telemetry-interval=0s";
    char *argv[] = { program, socket, agents, json, duration, telemetry, NULL };
    char line[LINE_BYTES];
    TRY(process_start(argv, log, &sim, err));
    TRY(process_await(&sim, "\"online_us\"", WAIT_US, line, sizeof(line), err));
    uint64_t us = process_line_number(line, "online_us");
    if (us == 0) {
        return ERR_SET(err, ERR_UNAVAILABLE, "not every agent came online");
    }
    *ret_rate = (double)setting->agents * (double)US_PER_SECOND / (double)us;
    return ERR_OK;
}

static enum err_code commit_for(
    struct sql_conn *conn, int64_t for_us, double *ret_rate, struct err_info *err)
{
    unsigned count = 0;
    int64_t passed_us = 0;
    int64_t began = clock_mono(clock_system()).value;
    for (; passed_us < for_us; passed_us = clock_mono(clock_system()).value - began) {
        TRY(sql_exec_script(conn, "INSERT INTO bench_commit VALUES (1)", err));
        count++;
    }
    *ret_rate = (double)count * (double)US_PER_SECOND / (double)passed_us;
    return ERR_OK;
}

/* Commits a second of a row of one number. */
static enum err_code enroll_floor(void *context, double *ret_rate, struct err_info *err)
{
    const struct setting *setting = ((const struct count *)context)->setting;
    bool is_tiny = bench_is_smoke(setting->bench);
    struct sql_conn *conn = setting->stage->seed->conn;
    TRY(sql_exec_script(conn, "CREATE TABLE IF NOT EXISTS bench_commit (n bigint)", err));
    return commit_for(conn, is_tiny ? SMOKE_COMMIT_US : COMMIT_US, ret_rate, err);
}

static enum err_code compare(
    const char *id, const char *metric, bench_run_fn ours, struct count count, struct err_info *err)
{
    const struct bench_pair pair = {
        .id = id,
        .metric = metric,
        .unit = "1/s",
        .sense = BENCH_AT_LEAST,
        .goal = id[0] == '\0' ? 0 : 0.1,
        .ours = ours,
        .floor = enroll_floor,
        .context = &count,
    };
    return bench_compare(count.setting->bench, &pair, err);
}

static void tell_cost(
    struct bench *bench, const char *server, const char *client, const struct cost *cost)
{
    bench_value(bench, server, "us", (double)cost->server_us / cost->agents, 0);
    bench_value(bench, client, "us", (double)cost->client_us / cost->agents, 0);
}

static enum err_code measure(struct setting *setting, struct err_info *err)
{
    bool is_tiny = bench_is_smoke(setting->bench);
    setting->agents = is_tiny ? SMOKE_AGENTS : (unsigned)bench_int(setting->bench, "agents");
    setting->at_once = (unsigned)bench_int(setting->bench, "at-once");
    TRY(stage_open("enroll", bench_text(setting->bench, "postgres"), 0, &setting->stage, err));
    TRY(seed_key_add(setting->stage->seed, "key-enroll", &setting->operator_key, err));
    TRY(stage_start(setting->stage, 1, err));
    TRY(compare(
        "G11",
        "durable enrolments, token to confirmed; floor: commits of one row",
        enroll_ours,
        (struct count){ .setting = setting, .counts_tokens = true },
        err));
    TRY(compare(
        "",
        "registrations alone, tokens made before",
        enroll_ours,
        (struct count){ .setting = setting, .counts_tokens = false },
        err));
    TRY(compare(
        "",
        "until online: enrolment, session and control stream",
        enroll_ours,
        (struct count){ .setting = setting, .counts_tokens = true, .comes_online = true },
        err));
    TRY(compare(
        "",
        "until online, whole agents (belay-sim)",
        enroll_whole,
        (struct count){ .setting = setting },
        err));
    tell_cost(
        setting->bench, "an enrolment: server", "an enrolment: this client", &setting->enrolled);
    tell_cost(
        setting->bench, "until online: server", "until online: this client", &setting->online);
    return ERR_OK;
}

int main(int argc, char **argv)
{
    static const struct bench_option options[] = {
        { "agents", "500", "enrolments of a round" },
        { "at-once", "64", "agents that are on their way at a time" },
        { "postgres", "", "URL of a PostgreSQL, as a superuser; else SQLite" },
        { NULL, NULL, NULL },
    };

    struct err_info err = ERR_INFO_INIT;
    struct setting setting = { .bench = bench_create("enroll", options, argc, argv) };
    enum err_code code = measure(&setting, &err);
    stage_close(setting.stage);
    secret_destroy(setting.operator_key);
    return bench_finish(setting.bench, code, &err);
}
