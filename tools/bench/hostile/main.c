/*
 * Hostile peers: what one connection costs before any credential, what becomes of an honest client
 * meanwhile, and whether the listener lives afterwards. Belay's server beside the library alone
 * (bare.h): each figure stands twice, "belay" and "bare". No ratio: the bare library may not
 * survive.
 */
#include "common/base/arena.h"
#include "common/base/cleanup.h"
#include "common/base/time.h"
#include "common/sys/thread.h"
#include "tools/bench/common/bench.h"
#include "tools/bench/common/process.h"
#include "tools/bench/hostile/attack.h"
#include "tools/bench/hostile/bare.h"
#include "tools/bench/hostile/calls.h"
#include "tools/bench/hostile/key.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define CALL       "/grpc.health.v1.Health/Check"
#define KNOWN_CALL "/agentgateway.v1.AgentAdminService/GetServerInfo"

enum {
    FLOODS_OF_EACH = 3,
    FLOOD_BYTES_MAX = 8 << 20,
    SERVER_FILES = 3000, /* descriptors of the servers; SIEGE_SCALE is more */
    SIEGE_SCALE = 4000,
    SMOKE_SCALE = 40,
    SMOKE_STEP = 4, /* through the floods */
    CALL_EVERY_MS = 20,
    MIB = 1 << 20,
    NAMES_BYTES = 64 * 1024
};

static const int64_t start_us = 30 * US_PER_SECOND;

struct target {
    const char *name;
    struct process process;
    uint16_t port;
};

struct run {
    struct bench *bench;
    SSL_CTX *context;
    struct arena *names; /* of figures: the bench keeps the pointers */
    char *folder;
    unsigned starts;     /* each has a log of its own, in which its port stands */
    char key[KEY_BYTES]; /* the honest client's; "": it needs none */
    struct target *target;
    uint8_t chunk[FLOOD_CHUNK_BYTES];
};

/* Of a flood. */
static int64_t duration_us(const struct run *run)
{
    return bench_is_smoke(run->bench) ? US_PER_SECOND / 50 : US_PER_SECOND;
}

static int64_t now_us(void)
{
    return clock_mono(clock_system()).value;
}

static bool is_smoke(const struct run *run)
{
    return bench_is_smoke(run->bench);
}

static void show(
    const struct run *run, const char *attack, const char *what, const char *unit, double value)
{
    AUTO_FREE char *text = mem_printf("%s: %s, %s", attack, what, run->target->name);
    const char *metric = arena_strdup(run->names, text);
    bench_value(run->bench, metric, unit, value, 0);
}

/* ---- What the server takes ---- */

static int64_t status_bytes(pid_t pid, const char *field)
{
    char path[64];
    char line[256];
    long long kilobytes = 0;
    (void)snprintf(path, sizeof(path), "/proc/%d/status", pid);
    FILE *file = fopen(path, "re");
    while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
        if (strncmp(line, field, strlen(field)) == 0) {
            kilobytes = strtoll(line + strlen(field), NULL, 10);
        }
    }
    if (file != NULL) {
        (void)fclose(file);
    }
    return kilobytes * 1024;
}

/* VmHWM begins anew at what is resident now. */
static void forget_peak(pid_t pid)
{
    char path[64];
    (void)snprintf(path, sizeof(path), "/proc/%d/clear_refs", pid);
    FILE *file = fopen(path, "we");
    if (file != NULL) {
        (void)fputs("5", file);
        (void)fclose(file);
    }
}

struct cost {
    int64_t cpu_us;
    int64_t memory_bytes; /* peak above what was there */
    int64_t before_bytes;
    int64_t cpu_before_us;
};

static void cost_begin(struct cost *cost, pid_t pid)
{
    forget_peak(pid);
    cost->before_bytes = status_bytes(pid, "VmRSS:");
    cost->cpu_before_us = process_cpu_us(pid);
}

static void cost_end(struct cost *cost, pid_t pid)
{
    cost->cpu_us += process_cpu_us(pid) - cost->cpu_before_us;
    int64_t grown = status_bytes(pid, "VmHWM:") - cost->before_bytes;
    cost->memory_bytes = grown > cost->memory_bytes ? grown : cost->memory_bytes;
}

/* ---- The honest client ---- */

struct honest {
    struct wire wire;
    struct thread thread;
    volatile bool stop;
    unsigned answered;
    unsigned missed;
    int64_t worst_us;
};

static void be_honest(void *context)
{
    struct honest *honest = context;
    while (!honest->stop) {
        int64_t took_us = wire_call(&honest->wire, CALL, NULL);
        if (took_us < 0) {
            honest->missed++;
            return;
        }
        honest->answered++;
        honest->worst_us = took_us > honest->worst_us ? took_us : honest->worst_us;
        (void)poll(NULL, 0, CALL_EVERY_MS);
    }
}

/* false: the server takes nobody any more, after what came before; it is ended. */
static bool honest_start(struct run *run, struct honest *honest, const char *attack)
{
    if (wire_open(&honest->wire, run->context, run->target->port, true)
        && (run->key[0] == '\0' || wire_call(&honest->wire, KNOWN_CALL, run->key) >= 0)
        && thread_start(&honest->thread, "honest", be_honest, honest, NULL) == ERR_OK) {
        return true;
    }
    show(run, attack, "new clients served", "1", 0);
    process_stop(&run->target->process);
    return false;
}

static void honest_stop(struct run *run, struct honest *honest, const char *attack)
{
    honest->stop = true;
    thread_join(&honest->thread);
    wire_close(&honest->wire);
    show(run, attack, "an honest client's calls meanwhile", "calls", honest->answered);
    show(run, attack, "the longest of them", "ms", (double)honest->worst_us / 1000);
}

static bool is_served(struct run *run)
{
    struct wire wire = WIRE_INIT;
    bool is_open = wire_open(&wire, run->context, run->target->port, true);
    bool is_answered = is_open && wire_call(&wire, CALL, NULL) >= 0;
    if (is_open) {
        wire_close(&wire);
    }
    return is_answered;
}

/* ---- Floods ---- */

static size_t flood_once(struct run *run, const struct flood *flood, struct wire *wire)
{
    int64_t end_us = now_us() + duration_us(run);
    size_t sent = 0;
    size_t bytes = flood->fill(wire, run->chunk);
    while (sent < FLOOD_BYTES_MAX && now_us() < end_us && wire_send(wire, run->chunk, bytes)) {
        sent += bytes;
        bytes = flood->fill(wire, run->chunk);
    }
    return sent;
}

/* The costs of one connection after its handshake, and the worst of several; fewer, or none, when
 * the server takes no more. */
static void measure_flood(struct run *run, const struct flood *flood)
{
    struct cost cost = { 0 };
    size_t sent = 0;
    pid_t pid = run->target->process.pid;
    unsigned wanted = is_smoke(run) ? 1 : FLOODS_OF_EACH;
    unsigned count = 0;
    struct wire wire = WIRE_INIT;
    while (count < wanted && wire_open(&wire, run->context, run->target->port, flood->has_ack)) {
        cost_begin(&cost, pid);
        sent += flood_once(run, flood, &wire);
        (void)poll(NULL, 0, 100); /* what is on its way is worked off */
        cost_end(&cost, pid);
        wire_close(&wire);
        count++;
    }
    if (count > 0) {
        show(run, flood->name, "memory", "MiB", (double)cost.memory_bytes / MIB);
        show(run, flood->name, "sent", "MiB", (double)sent / count / MIB);
        show(run, flood->name, "CPU", "ms", (double)cost.cpu_us / count / 1000);
    }
}

/* As fast as it can be done again, beside an honest client. */
static void besiege_with_flood(struct run *run, const struct flood *flood)
{
    struct honest honest = { .wire = WIRE_INIT };
    if (!honest_start(run, &honest, flood->name)) {
        return;
    }
    int64_t end_us = now_us() + duration_us(run);
    while (now_us() < end_us) {
        struct wire wire = WIRE_INIT;
        if (wire_open(&wire, run->context, run->target->port, flood->has_ack)) {
            (void)flood_once(run, flood, &wire);
            wire_close(&wire);
        }
    }
    honest_stop(run, &honest, flood->name);
    show(run, flood->name, "new clients served", "1", is_served(run) ? 1 : 0);
}

/* ---- Floods of calls ---- */

static int64_t calls_us(const struct run *run)
{
    return is_smoke(run) ? US_PER_SECOND / 20 : 3 * US_PER_SECOND;
}

static void measure_calls(struct run *run, const struct call_flood *flood)
{
    struct cost cost = { 0 };
    struct call_tally tally = { 0 };
    struct wire wire = WIRE_INIT;
    pid_t pid = run->target->process.pid;
    if (!wire_open(&wire, run->context, run->target->port, true)) {
        return;
    }
    int64_t begin_us = now_us();
    cost_begin(&cost, pid);
    calls_flood(&wire, flood, calls_us(run), &tally);
    cost_end(&cost, pid);
    double seconds = (double)(now_us() - begin_us) / US_PER_SECOND;
    double cpu_ms = (double)cost.cpu_us / 1000;
    wire_close(&wire);
    show(run, flood->name, "answered", "calls/s", tally.answered / seconds);
    show(run, flood->name, "CPU of one connection", "ms/s", cpu_ms / seconds);
    show(
        run,
        flood->name,
        "CPU of a call",
        "us",
        tally.answered > 0 ? cpu_ms * 1000 / tally.answered : 0);
    if (tally.sent_bytes > 0) {
        show(run, flood->name, "CPU", "ms/MB", cpu_ms * 1e6 / (double)tally.sent_bytes);
    }
}

/* From one address, as many connections as it can make, one after the other. */
static void besiege_with_calls(struct run *run, const struct call_flood *flood)
{
    struct honest honest = { .wire = WIRE_INIT };
    struct cost cost = { 0 };
    if (!honest_start(run, &honest, flood->name)) {
        return;
    }
    struct call_tally tally = { 0 };
    int64_t begin_us = now_us();
    int64_t end_us = begin_us + calls_us(run);
    cost_begin(&cost, run->target->process.pid);
    while (now_us() < end_us) {
        struct wire wire = WIRE_INIT;
        tally.is_cut = false;
        if (wire_open(&wire, run->context, run->target->port, true)) {
            calls_flood(&wire, flood, US_PER_SECOND / 50, &tally);
            wire_close(&wire);
        }
    }
    cost_end(&cost, run->target->process.pid);
    double seconds = (double)(now_us() - begin_us) / US_PER_SECOND;
    honest_stop(run, &honest, flood->name);
    show(run, flood->name, "answered to ever new connections", "calls/s", tally.answered / seconds);
    show(
        run,
        flood->name,
        "CPU of ever new connections",
        "ms/s",
        (double)cost.cpu_us / 1000 / seconds);
    show(run, flood->name, "new clients served", "1", is_served(run) ? 1 : 0);
}

/* ---- Sieges ---- */

struct besieger {
    const struct siege *siege;
    struct thread thread;
    uint16_t port;
    unsigned scale;
    unsigned made;
    volatile bool stop;
};

static void besiege(void *context)
{
    struct besieger *besieger = context;
    besieger->made = besieger->siege->run(besieger->port, besieger->scale, &besieger->stop);
}

static enum err_code measure_siege(struct run *run, const struct siege *siege, struct err_info *err)
{
    struct honest honest = { .wire = WIRE_INIT };
    struct cost cost = { 0 };
    struct besieger besieger = { .siege = siege,
                                 .port = run->target->port,
                                 .scale = is_smoke(run) ? SMOKE_SCALE : SIEGE_SCALE };
    pid_t pid = run->target->process.pid;
    if (!honest_start(run, &honest, siege->name)) {
        return ERR_OK;
    }
    cost_begin(&cost, pid);
    enum err_code code = thread_start(&besieger.thread, "siege", besiege, &besieger, err);
    (void)poll(NULL, 0, is_smoke(run) ? 200 : 3000);
    besieger.stop = true;
    thread_join(&besieger.thread);
    cost_end(&cost, pid);
    honest_stop(run, &honest, siege->name);
    show(run, siege->name, "connections made", "1", besieger.made);
    show(run, siege->name, "memory", "MiB", (double)cost.memory_bytes / MIB);
    show(run, siege->name, "CPU", "ms", (double)cost.cpu_us / 1000);
    show(run, siege->name, "new clients served", "1", is_served(run) ? 1 : 0);
    return code;
}

/* ---- The two servers ---- */

static enum err_code await_port(struct target *target, const char *name, struct err_info *err)
{
    char line[1024];
    TRY(process_await(&target->process, "\"event\":\"ready\"", start_us, line, sizeof(line), err));
    target->port = (uint16_t)process_line_number(line, name);
    return target->port != 0 ? ERR_OK : ERR_SET(err, ERR_INTERNAL, "no port: %s", line);
}

static enum err_code start_belay(struct run *run, struct err_info *err)
{
    AUTO_FREE char *program = process_program("belay-server");
    AUTO_FREE char *state = mem_printf("%s/state", run->folder);
    AUTO_FREE char *log = mem_printf("%s/belay-%u.log", run->folder, run->starts++);
    static char words[][16] = { "--mode",        "server", "--state-dir", "--listen", "127.0.0.1:0",
                                "--listen-http", "" };
    char *argv[] = { program,  words[0], words[1], words[2], state,
                     words[3], words[4], words[5], words[6], NULL };
    AUTO_FREE char *socket = mem_printf("unix:%s/operator.sock", state);
    TRY(process_start(argv, log, &run->target->process, err));
    TRY(await_port(run->target, "tls_port", err));
    return key_make(socket, run->key, err);
}

static enum err_code start_bare(struct run *run, struct err_info *err)
{
    char self[1024] = { 0 };
    AUTO_FREE char *dir = mem_printf("%s/bare", run->folder);
    AUTO_FREE char *log = mem_printf("%s/bare-%u.log", run->folder, run->starts++);
    char serve[] = "--serve-bare";
    if (readlink("/proc/self/exe", self, sizeof(self) - 1) < 0) {
        return ERR_SET(err, ERR_INTERNAL, "the path of this program");
    }
    char *argv[] = { self, serve, dir, NULL };
    run->key[0] = '\0';
    TRY(process_start(argv, log, &run->target->process, err));
    return await_port(run->target, "port", err);
}

/* The servers may open few descriptors, so that attackers can have more. */
static void limit_files(rlim_t files)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = files < limit.rlim_max ? files : limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
}

typedef enum err_code (*start_fn)(struct run *run, struct err_info *err);

/* A server that an attack has left dead is started anew for the next one. */
static enum err_code revive(struct run *run, start_fn start, struct err_info *err)
{
    if (run->target->process.pid != 0 && is_served(run)) {
        return ERR_OK;
    }
    process_stop(&run->target->process);
    limit_files(SERVER_FILES);
    enum err_code code = start(run, err);
    limit_files(RLIM_INFINITY);
    return code;
}

static enum err_code attack_all(struct run *run, start_fn start, struct err_info *err)
{
    enum err_code code = ERR_OK;
    for (size_t i = 0; code == ERR_OK && i < flood_count; i += is_smoke(run) ? SMOKE_STEP : 1) {
        TRY(revive(run, start, err));
        measure_flood(run, &floods[i]);
        TRY(revive(run, start, err));
        besiege_with_flood(run, &floods[i]);
    }
    for (size_t i = 0; code == ERR_OK && i < call_flood_count;
         i += is_smoke(run) ? SMOKE_STEP : 1) {
        TRY(revive(run, start, err));
        measure_calls(run, &call_floods[i]);
        TRY(revive(run, start, err));
        besiege_with_calls(run, &call_floods[i]);
    }
    for (size_t i = 0; code == ERR_OK && i < siege_count; i++) {
        TRY(revive(run, start, err));
        code = measure_siege(run, &sieges[i], err);
    }
    return code;
}

static enum err_code attack_target(
    struct run *run, const char *name, start_fn start, struct err_info *err)
{
    struct target target = { .name = name, .process = PROCESS_INIT };
    run->target = &target;
    enum err_code code = attack_all(run, start, err);
    process_stop(&target.process);
    return code;
}

static enum err_code measure(struct bench *bench, struct arena *names, struct err_info *err)
{
    struct run *run = mem_alloc(sizeof(*run));
    run->bench = bench;
    run->names = names;
    run->context = wire_context();
    run->folder = process_folder_make("hostile");
    enum err_code code = attack_target(run, "belay", start_belay, err);
    if (code == ERR_OK) {
        code = attack_target(run, "bare", start_bare, err);
    }
    process_folder_remove(run->folder);
    mem_free(run->folder);
    SSL_CTX_free(run->context);
    mem_free(run);
    return code;
}

int main(int argc, char **argv)
{
    struct err_info err = ERR_INFO_INIT;
    if (argc == 3 && strcmp(argv[1], "--serve-bare") == 0) {
        return bare_main(argv[2]);
    }
    (void)signal(SIGPIPE, SIG_IGN);
    struct bench *bench = bench_create("hostile", NULL, argc, argv);
    AUTO_ARENA struct arena *names = arena_create(NAMES_BYTES);
    enum err_code code = measure(bench, names, &err);
    return bench_finish(bench, code, &err);
}
