/* A command in a sandbox: its input, both its outputs, its terminal, and its exit. */
#include "cmd/agent/relay/relay.h"
#include "common/base/cleanup.h"

#include <errno.h>
#include <signal.h>
#include <sys/wait.h>

enum {
    STATUS_TIMEOUT = 124, /* as timeout(1) */
    STATUS_CANNOT = 126,  /* and as shells */
    STATUS_NOT_FOUND = 127,
    STATUS_SIGNAL = 128
};

struct exec_target {
    struct relay *relay;
    char *program; /* its name, for what is told */
    uint64_t exec;
    bool is_running; /* execs knows us */
    bool is_late;
    bool told_end;
    uint64_t input_sent;
    uint64_t input_taken;
    uint64_t output_sent[2]; /* offsets, by stream */
    uint64_t output_taken[2];
    struct loop_timer *deadline;
};

static struct sandboxes *sandboxes_of(const struct exec_target *target)
{
    return bridges_options_of(target->relay->all)->sandboxes;
}

/* ---- What the program says ---- */

/* The program itself could not be: told as a shell would. Everything else is no exit of it. */
static void tell_exec_failed(struct exec_target *target, int number)
{
    struct relay *relay = target->relay;
    bool is_missing = number == ENOENT || number == ENOTDIR;
    const char *reason =
        is_missing ? "no such program, or no such working directory" : strerrordesc_np(number);
    AUTO_FREE char *text = mem_printf("%.120s: %s\n", target->program, reason);
    relay_send_output(relay, 2, str_of(text));
    relay_finish_exit(relay, is_missing ? STATUS_NOT_FOUND : STATUS_CANNOT);
}

static void on_started(void *context, int number)
{
    struct exec_target *target = context;
    if (number == ESRCH) {
        relay_finish_failure(
            target->relay, RELAY_ACK(AGENT_INCAPABLE), "the sandbox is not running");
    } else if (number == EAGAIN) {
        relay_finish_failure(
            target->relay, RELAY_ACK(BUSY), "the sandbox has as many programs as it may");
    } else if (number != 0) {
        tell_exec_failed(target, number);
    }
}

static void on_output(void *context, const struct message_output *output)
{
    struct exec_target *target = context;
    uint64_t *sent = &target->output_sent[output->stream == 1 ? 0 : 1];
    relay_send_output(target->relay, (unsigned)output->stream, output->data);
    *sent = output->offset + output->data.len;
}

/* true: the relay has ended, and the target with it. Frames come as fast as an operator likes; what
 * the sandbox does not read stays with us. */
static bool end_if_behind(const struct exec_target *target)
{
    bool is_behind = sandbox_is_behind(sandboxes_of(target), target->relay->sandbox_id);
    if (is_behind) {
        relay_finish_failure(
            target->relay, RELAY_ACK(BUSY), "the sandbox does not take what is sent to it");
    }
    return is_behind;
}

static void pass_input(void *state)
{
    struct exec_target *target = state;
    struct relay *relay = target->relay;
    if (end_if_behind(target)) {
        return;
    }
    while (relay->input.len > 0 && target->is_running) {
        uint64_t room = SANDBOX_INPUT_WINDOW_BYTES - (target->input_sent - target->input_taken);
        size_t bytes = relay->input.len < room ? relay->input.len : (size_t)room;
        bytes = bytes > MESSAGE_DATA_BYTES_MAX ? MESSAGE_DATA_BYTES_MAX : bytes;
        if (bytes == 0) {
            return; /* goes on when the program has read */
        }
        struct str_view piece = str_from(relay->input.data, bytes);
        if (sandbox_input(sandboxes_of(target), relay->sandbox_id, target->exec, piece, NULL)
            != ERR_OK) {
            return; /* the sandbox is gone: its end follows */
        }
        target->input_sent += bytes;
        relay_consume(relay, bytes);
    }
    if (relay->input_ended && relay->input.len == 0 && !target->told_end) {
        target->told_end = true;
        sandbox_input_end(sandboxes_of(target), relay->sandbox_id, target->exec);
    }
}

static void on_input_taken(void *context, uint64_t offset)
{
    struct exec_target *target = context;
    target->input_taken = offset;
    pass_input(target);
}

static int exit_code_of(const struct exec_target *target, int status)
{
    if (target->is_late) {
        return STATUS_TIMEOUT;
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : STATUS_SIGNAL + WTERMSIG(status);
}

static void on_exited(void *context, const struct message_exited *exited)
{
    struct exec_target *target = context;
    target->is_running = false;
    if (exited == NULL) {
        relay_finish_failure(
            target->relay, RELAY_ACK(INTERNAL), "the sandbox ended before the command did");
        return;
    }
    relay_finish_exit(target->relay, exit_code_of(target, (int)exited->status));
}

static const struct exec_ops exec_ops = {
    .started = on_started, .output = on_output, .input_taken = on_input_taken, .exited = on_exited
};

/* ---- What the operator wants ---- */

static void on_writable(void *state)
{
    struct exec_target *target = state;
    for (unsigned i = 0; i < 2; i++) {
        if (target->output_taken[i] < target->output_sent[i]) {
            target->output_taken[i] = target->output_sent[i];
            sandbox_taken(
                sandboxes_of(target),
                target->relay->sandbox_id,
                target->exec,
                i + 1,
                target->output_sent[i]);
        }
    }
}

static void on_resize(void *state, uint64_t rows, uint64_t columns)
{
    struct exec_target *target = state;
    if (!end_if_behind(target)) {
        sandbox_resize(
            sandboxes_of(target), target->relay->sandbox_id, target->exec, rows, columns);
    }
}

static void on_signal(void *state, int number)
{
    struct exec_target *target = state;
    if (!end_if_behind(target)) {
        sandbox_signal(sandboxes_of(target), target->relay->sandbox_id, target->exec, number);
    }
}

static void on_deadline(void *context)
{
    struct exec_target *target = context;
    target->is_late = true;
    on_signal(target, SIGKILL);
}

static void destroy(void *state)
{
    struct exec_target *target = state;
    if (target->is_running) {
        execs_leave(bridges_options_of(target->relay->all)->execs, target->exec);
    }
    loop_timer_destroy(target->deadline);
    mem_free(target->program);
    mem_free(target);
}

static const struct relay_target_ops target_ops = { .input = pass_input,
                                                    .resize = on_resize,
                                                    .signal = on_signal,
                                                    .writable = on_writable,
                                                    .destroy = destroy };

/* ---- The start ---- */

static char **copy_environment(const Agentgateway__V1__RelayExec *exec)
{
    char **environment = mem_alloc_array(exec->n_environment + 1, sizeof(*environment));
    for (size_t i = 0; i < exec->n_environment; i++) {
        environment[i] =
            mem_printf("%s=%s", exec->environment[i]->key, exec->environment[i]->value);
    }
    return environment;
}

static void free_texts(char **texts)
{
    for (size_t i = 0; texts[i] != NULL; i++) {
        mem_free(texts[i]);
    }
    mem_free(texts);
}

static const char **copy_command(const Agentgateway__V1__RelayExec *exec)
{
    const char **command = mem_alloc_array(exec->n_command + 1, sizeof(*command));
    for (size_t i = 0; i < exec->n_command; i++) {
        command[i] = exec->command[i];
    }
    return command;
}

static enum err_code start(
    struct exec_target *target, const Agentgateway__V1__RelayExec *exec, struct err_info *err)
{
    const struct bridges_options *options = bridges_options_of(target->relay->all);
    const struct exec_owner owner = { &exec_ops, target };
    AUTO_FREE const char **command = copy_command(exec);
    char **environment = copy_environment(exec);
    const struct sandbox_exec wanted = {
        .argv = command,
        .env = (const char *const *)environment,
        .cwd = exec->workdir[0] == '\0' ? NULL : exec->workdir,
        .tty = exec->tty,
        .rows = exec->rows,
        .columns = exec->columns,
    };
    enum err_code code =
        execs_start(options->execs, target->relay->sandbox_id, &wanted, &owner, &target->exec, err);
    free_texts(environment);
    return code;
}

static const char *find_fault(const Agentgateway__V1__RelayExec *exec)
{
    if (exec->n_command == 0 || exec->command[0][0] == '\0') {
        return "command: the program's name is missing";
    }
    for (size_t i = 0; i < exec->n_environment; i++) {
        const char *name = exec->environment[i]->key;
        if (name[0] == '\0' || strchr(name, '=') != NULL) {
            return "environment: a name is empty or has a '='";
        }
    }
    return exec->workdir[0] != '\0' && exec->workdir[0] != '/'
        ? "workdir: an absolute path is needed"
        : NULL;
}

void exec_target_start(struct relay *relay, const Agentgateway__V1__RelayExec *exec)
{
    struct err_info err = ERR_INFO_INIT;
    const char *fault = find_fault(exec);
    if (fault != NULL) {
        relay_finish_failure(relay, RELAY_ACK(BAD_REQUEST), "%s", fault);
        return;
    }
    struct exec_target *target = mem_alloc(sizeof(*target));
    target->relay = relay;
    target->program = mem_strdup(exec->command[0]);
    target->deadline = loop_timer_create(bridges_options_of(relay->all)->loop, on_deadline, target);
    relay_set_target(relay, &target_ops, target);
    if (start(target, exec, &err) != ERR_OK) {
        int ack_code = err.code == ERR_LIMIT ? RELAY_ACK(BAD_REQUEST) : RELAY_ACK(AGENT_INCAPABLE);
        relay_finish_failure(relay, ack_code, "%s", err.text);
        return;
    }
    target->is_running = true;
    if (exec->timeout_seconds > 0) {
        loop_timer_arm_after(target->deadline, (int64_t)exec->timeout_seconds * US_PER_SECOND);
    }
}
