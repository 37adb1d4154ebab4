/*
 * G11, durable enrolments: agents made through the real thing (a token of its own for each, from
 * the operators' service; Register, confirmed at once) by belay-sim, beside how often the same
 * database commits a single row, one after the other, on one connection.
 *
 * An enrolment counts when the agent is online: its token, its registration and its handshake are
 * committed then, five transactions in all, so the rate is a lower bound.
 */
#include "common/base/cleanup.h"
#include "common/sql/sql.h"
#include "tools/bench/common/bench.h"
#include "tools/bench/stage/stage.h"

enum {
    SMOKE_AGENTS = 10,
    LINE_BYTES = 8 * 1024
};

#define COMMIT_US       (3 * US_PER_SECOND)
#define SMOKE_COMMIT_US (US_PER_SECOND / 5)
#define SIM_US          (4 * US_PER_MINUTE)

struct setting {
    struct bench *bench;
    struct stage *stage;
    unsigned agents;
    unsigned run;
};

/* Agents a second, from the first token asked for to the last agent online. */
static enum err_code enroll_ours(void *context, double *ret_rate, struct err_info *err)
{
    struct setting *setting = context;
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
    TRY(process_await(&sim, "\"online_us\"", SIM_US, line, sizeof(line), err));
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
    const struct setting *setting = context;
    bool is_tiny = bench_is_smoke(setting->bench);
    struct sql_conn *conn = setting->stage->seed->conn;
    TRY(sql_exec_script(conn, "CREATE TABLE IF NOT EXISTS bench_commit (n bigint)", err));
    return commit_for(conn, is_tiny ? SMOKE_COMMIT_US : COMMIT_US, ret_rate, err);
}

static enum err_code measure(struct setting *setting, struct err_info *err)
{
    bool is_tiny = bench_is_smoke(setting->bench);
    setting->agents = is_tiny ? SMOKE_AGENTS : (unsigned)bench_int(setting->bench, "agents");
    TRY(stage_open("enroll", bench_text(setting->bench, "postgres"), 0, &setting->stage, err));
    TRY(stage_start(setting->stage, 1, err));
    const struct bench_pair pair = {
        .id = "G11",
        .metric = "durable enrolments; floor: commits of one row",
        .unit = "1/s",
        .sense = BENCH_AT_LEAST,
        .goal = 0.1,
        .ours = enroll_ours,
        .floor = enroll_floor,
        .context = setting,
    };
    return bench_compare(setting->bench, &pair, err);
}

int main(int argc, char **argv)
{
    static const struct bench_option options[] = {
        { "agents", "500", "enrolments of a round" },
        { "postgres", "", "URL of a PostgreSQL, as a superuser; else SQLite" },
        { NULL, NULL, NULL },
    };

    struct err_info err = ERR_INFO_INIT;
    struct setting setting = { .bench = bench_create("enroll", options, argc, argv) };
    enum err_code code = measure(&setting, &err);
    stage_close(setting.stage);
    return bench_finish(setting.bench, code, &err);
}
