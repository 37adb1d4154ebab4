/*
 * sandbox: a program in a sandbox of this machine, without a server; and what this machine can
 * protect. Everything is made in a folder of its own and gone at the end.
 */
#include "cmd/agent/agent.h"
#include "cmd/agent/image/images.h"
#include "cmd/agent/outcome.h"
#include "cmd/agent/proxy/proxy.h"
#include "cmd/agent/sandbox/sandbox.h"
#include "cmd/agent/verbs.h"
#include "common/base/cleanup.h"
#include "common/sys/eraser.h"
#include "common/sys/fd.h"
#include "common/sys/input.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    ARGUMENTS_MAX = 1024,
    DIR_BYTES = 4096,
    SIGNAL_STATUS = 128, /* + number, as shells tell it */
    TIMEOUT_STATUS = 124
};

#define ID "local"

struct run {
    struct loop *loop;
    struct sandboxes *all;
    struct proxy *proxy; /* NULL: it has no network */
    char dir[DIR_BYTES];
    struct input *input; /* NULL: not yet, or ended */
    uint64_t input_sent;
    uint64_t input_taken;
    struct sandbox_exit exit;
    enum sandbox_status status;
    int number; /* errno of the program's start */
    int image;  /* held while we use it, or -1 */
};

static void on_output(
    void *context, const char *id, uint64_t exec, const struct message_output *output)
{
    struct run *run = context;
    enum err_code code =
        fd_write_all(output->stream == 1 ? 1 : 2, output->data.ptr, output->data.len, NULL);
    (void)code; /* a reader that is gone: the program is not ours to stop for that */
    sandbox_taken(run->all, id, exec, (unsigned)output->stream, output->offset + output->data.len);
}

static void stop_input(struct run *run)
{
    input_destroy(STEAL(run->input));
    sandbox_input_end(run->all, ID, 0);
}

/* Reads no more than the window has room for; the input rests meanwhile. */
static void on_input(void *context)
{
    struct run *run = context;
    AUTO_FREE char *data = mem_alloc(MESSAGE_DATA_BYTES_MAX);
    uint64_t open = SANDBOX_INPUT_WINDOW_BYTES - (run->input_sent - run->input_taken);
    if (open < MESSAGE_DATA_BYTES_MAX) {
        if (input_pause(run->input, true, NULL) != ERR_OK) {
            stop_input(run);
        }
        return;
    }
    ssize_t got = read(0, data, MESSAGE_DATA_BYTES_MAX);
    if (got <= 0 || sandbox_input(run->all, ID, 0, str_from(data, (size_t)got), NULL) != ERR_OK) {
        stop_input(run);
        return;
    }
    run->input_sent += (uint64_t)got;
}

static void on_input_taken(void *context, const char *id, uint64_t exec, uint64_t offset)
{
    struct run *run = context;
    (void)id;
    (void)exec;
    run->input_taken = offset;
    if (run->input != NULL && input_pause(run->input, false, NULL) != ERR_OK) {
        stop_input(run);
    }
}

static void on_ready(void *context, const char *id)
{
    struct run *run = context;
    (void)id;
    run->input = input_create(run->loop, 0, on_input, run);
    if (input_pause(run->input, false, NULL) != ERR_OK) {
        stop_input(run);
    }
}

static void on_started(void *context, const char *id, uint64_t exec, int number)
{
    struct run *run = context;
    (void)id;
    (void)exec;
    run->number = number;
}

static void on_ended(void *context, const struct sandbox_info *info)
{
    struct run *run = context;
    run->exit = *info->exit;
    run->status = info->status;
    input_destroy(STEAL(run->input));
    if (sandbox_remove(run->all, ID, NULL) != ERR_OK) {
        loop_stop(run->loop);
    }
}

static void on_removed(void *context, const char *id)
{
    struct run *run = context;
    (void)id;
    loop_stop(run->loop);
}

static void on_listening(void *context, const char *id, int take_fd)
{
    struct run *run = context;
    struct err_info err = ERR_INFO_INIT;
    if (proxy_open(run->proxy, id, take_fd, &err) != ERR_OK) {
        (void)fprintf(stderr, "belay-agent: no network: %s\n", err.text);
    }
}

static void on_denied(void *context, const char *id, const struct proxy_denial *denial)
{
    (void)context;
    (void)id;
    (void)fprintf(
        stderr, "belay-agent: denied: %s:%u: %s\n", denial->host, denial->port, denial->reason);
}

static void on_signal(void *context, int number)
{
    struct run *run = context;
    sandbox_signal(run->all, ID, 0, number);
    if (number == SIGTERM && sandbox_stop(run->all, ID, US_PER_SECOND, NULL) != ERR_OK) {
        loop_stop(run->loop);
    }
}

static const struct sandbox_ops ops = { .ready = on_ready,
                                        .ended = on_ended,
                                        .removed = on_removed,
                                        .started = on_started,
                                        .output = on_output,
                                        .input_taken = on_input_taken,
                                        .listening = on_listening };

static const struct proxy_ops proxy_ops = { .denied = on_denied };

static enum err_code open_run(struct run *run, const struct config *config, struct err_info *err)
{
    AUTO_FREE char *images = outcome_image_dir(config);
    const char *image = config_text(config, "image");
    const char *base = getenv("TMPDIR");
    struct sandboxes_options options = { .loop = NULL };
    agent_hold_signals();
    int length = snprintf(
        run->dir, sizeof(run->dir), "%s/belay-sandbox-XXXXXX", base == NULL ? "/tmp" : base);
    if (length < 0 || (size_t)length >= sizeof(run->dir)) {
        run->dir[0] = '\0';
        return ERR_SET(
            err,
            ERR_INVALID,
            "TMPDIR: it and a name below it have more than %d bytes",
            DIR_BYTES - 1);
    }
    if (mkdtemp(run->dir) == NULL) {
        int number = errno;
        run->dir[0] = '\0';
        return ERR_SET_ERRNO(err, ERR_DENIED, number, "a folder for the sandbox");
    }
    TRY(loop_create(clock_system(), &run->loop, err));
    TRY(loop_signals(run->loop, on_signal, run, err));
    if (image != NULL) {
        char path[4096];
        TRY(images_find(images, image, path, sizeof(path), err));
        TRY(images_use(path, &run->image, err));
    }
    options = (struct sandboxes_options){ .loop = run->loop,
                                          .clock = clock_system(),
                                          .dir = run->dir,
                                          .cgroup = config_text(config, "sandbox-cgroup"),
                                          .image_dir = image == NULL ? NULL : images,
                                          .slots = 1,
                                          .ops = &ops,
                                          .context = run };
    return sandboxes_open(&options, &run->all, err);
}

/* HOST:PORT, where an IPv6 address may stand without brackets: the port is behind the last colon.
 */
static enum err_code add_place(struct rules *rules, const char *text, struct err_info *err)
{
    const char *colon = strrchr(text, ':');
    unsigned port = 0;
    if (colon == NULL || !host_parse_port(str_of(colon + 1), &port)) {
        return ERR_SET(err, ERR_INVALID, "--allow %.128s: HOST:PORT is needed", text);
    }
    const uint32_t ports[] = { port };
    const struct rules_endpoint place = { .rule = STR("--allow"),
                                          .host = str_from(text, (size_t)(colon - text)),
                                          .ports = ports,
                                          .port_count = 1 };
    enum err_code code = rules_add(rules, &place, err);
    if (code != ERR_OK) {
        err_prefix(err, "--allow %.128s", text);
    }
    return code;
}

static enum err_code open_network(
    struct run *run, const struct config *config, struct err_info *err)
{
    const struct proxy_options options = { .loop = run->loop,
                                           .resolvers = config_text(config, "sandbox-resolvers"),
                                           .ops = &proxy_ops,
                                           .context = run };
    size_t count = config_list_count(config, "allow");
    if (strcmp(config_text(config, "network"), "proxy") != 0) {
        return count == 0 ? ERR_OK : ERR_SET(err, ERR_INVALID, "--allow: needs --network proxy");
    }
    struct rules *rules = rules_create();
    enum err_code code = proxy_create(&options, &run->proxy, err);
    for (size_t i = 0; i < count && code == ERR_OK; i++) {
        code = add_place(rules, config_list_item(config, "allow", i), err);
    }
    if (code != ERR_OK) {
        rules_destroy(rules);
        return code;
    }
    proxy_set_rules(run->proxy, ID, rules);
    return ERR_OK;
}

static void close_run(struct run *run)
{
    struct err_info err = ERR_INFO_INIT;
    input_destroy(run->input);
    sandboxes_close(run->all);
    fd_close(&run->image);
    proxy_destroy(run->proxy);
    loop_destroy(run->loop);
    if (run->dir[0] != '\0' && eraser_run(run->dir, &err) != ERR_OK) {
        (void)fprintf(stderr, "belay-agent: %s\n", err.text);
    }
}

static enum sandbox_driver driver_of(const struct config *config)
{
    const char *name = config_text(config, "driver");
    return strcmp(name, "native") == 0 ? SANDBOX_DRIVER_NATIVE
        : strcmp(name, "bwrap") == 0   ? SANDBOX_DRIVER_BWRAP
                                       : (enum sandbox_driver)0;
}

/* The program's status; what only the sandbox knows is told in words. */
static int status_of(const struct run *run)
{
    if (run->status == SANDBOX_STATUS_ENDED && run->exit.has_status) {
        return WIFSIGNALED(run->exit.status) ? SIGNAL_STATUS + WTERMSIG(run->exit.status)
                                             : WEXITSTATUS(run->exit.status);
    }
    if (run->exit.reason == SANDBOX_END_TIMEOUT) {
        (void)fprintf(stderr, "belay-agent: the sandbox's time is over\n");
        return TIMEOUT_STATUS;
    }
    (void)fprintf(
        stderr,
        "belay-agent: the sandbox ended without its program's status%s%s\n",
        run->exit.error[0] == '\0' ? "" : ": ",
        run->exit.error);
    return run->number == ENOENT ? 127 : run->number != 0 ? 126 : AGENT_EXIT_FAILURE;
}

static int run_program(const struct config *config)
{
    struct run run = { .status = SANDBOX_STATUS_STARTING, .image = -1 };
    struct err_info err = ERR_INFO_INIT;
    const char *argv[ARGUMENTS_MAX + 1] = { NULL };
    size_t count = config_word_count(config) - 2;
    if (count == 0 || count > ARGUMENTS_MAX) {
        (void)fprintf(stderr, "belay-agent: sandbox run [options] -- PROGRAM [ARGUMENT...]\n");
        return AGENT_EXIT_USAGE;
    }
    for (size_t i = 0; i < count; i++) {
        argv[i] = config_word(config, i + 2);
    }
    struct sandbox_spec spec = { .id = ID,
                                 .driver = driver_of(config),
                                 .image = config_text(config, "image"),
                                 .argv = argv,
                                 .memory_bytes = (uint64_t)config_int(config, "memory"),
                                 .cpu_milli = (uint64_t)config_int(config, "cpu"),
                                 .pids = (uint64_t)config_int(config, "pids"),
                                 .disk_bytes = (uint64_t)config_int(config, "disk"),
                                 .io_bytes_per_second =
                                     (uint64_t)config_int(config, "sandbox-io-rate"),
                                 .wall_us = (uint64_t)config_int(config, "time") };
    enum err_code code = open_run(&run, config, &err);
    if (code == ERR_OK) {
        code = open_network(&run, config, &err);
    }
    if (code == ERR_OK) {
        spec.network = run.proxy == NULL ? SANDBOX_NETWORK_NONE : SANDBOX_NETWORK_PROXY;
        code = sandbox_create(run.all, &spec, &err);
    }
    if (code == ERR_OK) {
        loop_run(run.loop);
    }
    close_run(&run);
    return code == ERR_OK ? status_of(&run) : outcome_fail(code, &err);
}

static void print_driver(const char *name, bool works, const char *reason)
{
    (void)printf("%-10s %s%s\n", name, works ? "yes" : "no: ", works ? "" : reason);
}

static void print_version(const char *name, unsigned version)
{
    (void)printf("%-10s ", name);
    (void)(version == 0 ? printf("no\n") : printf("yes (version %u)\n", version));
}

static int probe(const struct config *config)
{
    struct run run = { .status = SANDBOX_STATUS_STARTING, .image = -1 };
    struct err_info err = ERR_INFO_INIT;
    enum err_code code = open_run(&run, config, &err);
    if (code == ERR_OK) {
        const struct sandbox_report *report = sandboxes_report(run.all);
        print_driver("native", report->native, report->native_reason);
        print_driver("bwrap", report->bwrap, report->bwrap_reason);
        print_version("landlock", report->landlock_abi);
        print_version("memory", report->memory);
        print_version("pids", report->pids);
        print_version("cpu", report->cpu);
        print_version("io", report->io);
        print_driver("disk", report->disk_cap, "needs native, loop devices and mkfs.ext4");
    }
    close_run(&run);
    return code == ERR_OK ? AGENT_EXIT_OK : outcome_fail(code, &err);
}

int verb_sandbox(const struct config *config)
{
    const char *what = config_word_count(config) < 2 ? "" : config_word(config, 1);
    if (strcmp(what, "run") == 0) {
        return run_program(config);
    }
    if (strcmp(what, "probe") == 0) {
        return probe(config);
    }
    (void)fprintf(stderr, "belay-agent: sandbox: one of run, probe\n");
    return AGENT_EXIT_USAGE;
}
