#include "cmd/server/local_agent.h"

#include "cmd/server/core/work.h"
#include "cmd/server/store/access.h"
#include "cmd/server/store/audit.h"
#include "cmd/server/store/enrollment/enrollment.h"
#include "common/base/id.h"
#include "common/base/join.h"
#include "common/base/log.h"
#include "common/crypto/hash.h"
#include "common/sys/fd.h"
#include "common/sys/file.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    TOKEN_US = 600000000,
    ARGS_MAX = 64,
    RETRY_US = 2000000,
    RETRY_TAKEN_US = 60000000, /* somebody has to act first */
    STOP_MS = 10000,
    ARENA_BYTES = 65536,
    EXIT_NAME_TAKEN = 73,   /* of the agent: one of its name is enrolled already */
    EXIT_TOKEN_REFUSED = 77 /* it wants a newer token */
};

struct local_agent {
    struct service *service;
    struct loop *loop;
    char *state_dir;
    char *join_file;
    char *socket;
    const char *config_file; /* NULL: none */
    const struct config *config;
    pid_t pid;
    int pid_fd; /* -1: not running */
    struct loop_watch *watch;
    struct loop_timer *retry;
};

struct token_work {
    uint8_t hash[HASH_SHA256_BYTES];
};

static enum err_code add_token(struct work *work, void *context, struct err_info *err)
{
    const struct token_work *token = context;
    char id[ID_TEXT_BYTES];
    const struct enrollment_record record = {
        .workspace_id = WORKSPACE_DEFAULT,
        .id = id_create("enr", work->now, id),
        .state = ENROLLMENT_PENDING,
        .labels = "{\"belay.dev/local\":\"true\"}",
        .auto_confirm = true,
        .created_by = "server:local",
        .created_at = work->now.value,
        .expires_at = work->now.value + TOKEN_US,
    };
    TRY(store_enrollment_add(work->conn, &record, token->hash, err));
    const struct audit_entry entry = {
        .workspace_id = WORKSPACE_DEFAULT,
        .actor = "server:local",
        .action = "enrollment.created_for_local_agent",
        .target = id,
        .decision = "allowed",
        .reason = "",
        .request_id = "",
        .source = "local",
    };
    return store_audit_add(work->conn, &entry, work->now, err);
}

static enum err_code write_join_file(
    struct local_agent *agent, struct str_view token, struct err_info *err)
{
    struct join_string join = { .has_pin = false };
    AUTO_FREE char *target = mem_printf("unix:%s", agent->socket);
    AUTO_BUF struct buf text = BUF_INIT(JOIN_TEXT_MAX);
    if (str_copy(str_of(target), join.target, sizeof(join.target)) != ERR_OK) {
        return ERR_SET(err, ERR_INVALID, "--state-dir: the path is too long for a socket");
    }
    TRY(str_copy(token, join.token, sizeof(join.token)));
    TRY(join_format(&join, &text, err));
    return file_write_atomic(agent->join_file, text.data, text.len, 0600, err);
}

static enum err_code make_token(struct local_agent *agent, struct err_info *err)
{
    AUTO_SECRET struct secret *token = token_create("blt_");
    AUTO_ARENA struct arena *arena = arena_create(ARENA_BYTES);
    struct token_work work = { { 0 } };
    void *worker = NULL;
    token_hash(secret_peek(token), work.hash);
    TRY(worker_open(agent->service, &worker, err));
    enum err_code code = work_run(worker, arena, SQL_ALL_WORKSPACES, add_token, &work, err);
    worker_close(agent->service, worker);
    TRY(code);
    return write_join_file(agent, secret_peek(token), err);
}

static void on_exit_ready(void *context, uint32_t events);

/* Here, where server and operator are one, sandboxes are offered where the host can; a user who is
 * not root has no control groups to enforce limits with. What the operator set stands before it. */
static const char *const sandbox_variables[] = { "BELAY_SANDBOXES=auto",
                                                 "BELAY_SANDBOX_LIMITS=best-effort" };

static void add_variable(char **list, size_t *count, const char *variable)
{
    struct str_view name = STR_NONE;
    struct str_view value = STR_NONE;
    (void)str_cut(str_of(variable), '=', &name, &value);
    for (size_t i = 0; i < *count; i++) {
        if (str_has_prefix(str_of(list[i]), name) && list[i][name.len] == '=') {
            return;
        }
    }
    list[(*count)++] = CONST_CAST(char *, variable);
}

/* The server's own but for what gives access to its database; the caller frees the list. */
static char **agent_environment(const struct local_agent *agent)
{
    size_t count = 0;
    while (environ[count] != NULL) {
        count++;
    }
    char **copy = mem_alloc_array(count + ARRAY_LENGTH(sandbox_variables) + 1, sizeof(*copy));
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        if (!str_has_prefix(str_of(environ[i]), STR("BELAY_DATABASE_"))) {
            copy[kept++] = environ[i];
        }
    }
    if (agent->config_file == NULL) {
        add_variable(copy, &kept, sandbox_variables[0]);
    }
    if (agent->config_file == NULL && geteuid() != 0) {
        add_variable(copy, &kept, sandbox_variables[1]);
    }
    return copy;
}

static int spawn(struct local_agent *agent)
{
    AUTO_FREE char **variables = agent_environment(agent);
    char *args[ARGS_MAX] = { NULL };
    size_t count = 0;
    const char *const fixed[] = { "belay-server",  "--mode",      "agent",          "--",
                                  "run",           "--state-dir", agent->state_dir, "--join",
                                  agent->join_file };
    for (size_t i = 0; i < ARRAY_LENGTH(fixed); i++) {
        args[count++] = CONST_CAST(char *, fixed[i]);
    }
    if (agent->config_file != NULL) {
        args[count++] = CONST_CAST(char *, "--config");
        args[count++] = CONST_CAST(char *, agent->config_file);
    }
    for (size_t i = 0; i < config_word_count(agent->config) && count < ARGS_MAX - 1; i++) {
        args[count++] = CONST_CAST(char *, config_word(agent->config, i));
    }
    posix_spawnattr_t attributes;
    sigset_t none;
    (void)sigemptyset(&none);
    (void)posix_spawnattr_init(&attributes);
    (void)posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
    (void)posix_spawnattr_setsigmask(&attributes, &none);
    int failed = posix_spawn(&agent->pid, "/proc/self/exe", NULL, &attributes, args, variables);
    (void)posix_spawnattr_destroy(&attributes);
    return failed;
}

static void start_process(void *context)
{
    struct local_agent *agent = context;
    struct err_info err = ERR_INFO_INIT;
    int failed = spawn(agent);
    if (failed != 0) {
        log_error("local_agent_not_started", LOG_INT("errno", failed));
        loop_timer_arm_after(agent->retry, RETRY_US);
        return;
    }
    agent->pid_fd = (int)syscall(SYS_pidfd_open, agent->pid, 0);
    if (agent->pid_fd < 0
        || loop_watch_add(
               agent->loop, agent->pid_fd, EPOLLIN, on_exit_ready, agent, &agent->watch, &err)
            != ERR_OK) {
        log_error("local_agent_not_watched", LOG_INT("errno", errno));
        return;
    }
    log_info("local_agent_started", LOG_INT("pid", agent->pid));
}

static int reap(struct local_agent *agent)
{
    int status = 0;
    while (waitpid(agent->pid, &status, 0) < 0 && errno == EINTR) {
    }
    loop_watch_remove(agent->watch);
    agent->watch = NULL;
    fd_close(&agent->pid_fd);
    agent->pid = 0;
    return status;
}

static void on_exit_ready(void *context, uint32_t events)
{
    (void)events;
    struct local_agent *agent = context;
    int status = reap(agent);
    log_warn(
        "local_agent_ended",
        LOG_INT("exit", WIFEXITED(status) ? WEXITSTATUS(status) : -1),
        LOG_INT("signal", WIFSIGNALED(status) ? WTERMSIG(status) : 0));
    struct err_info err = ERR_INFO_INIT;
    bool is_taken = WIFEXITED(status) && WEXITSTATUS(status) == EXIT_NAME_TAKEN;
    if (is_taken) {
        log_error(
            "local_agent_refused",
            LOG_STR("error", "another agent is enrolled by the name of this machine"),
            LOG_STR(
                "do",
                "give this one a name of its own (belay-server ... -- --name NAME), or revoke the other "
                "(belay agent revoke NAME); it is tried again every minute"));
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) == EXIT_TOKEN_REFUSED
        && make_token(agent, &err) != ERR_OK) {
        log_warn("local_agent_token_not_made", LOG_ERR(&err));
    }
    loop_timer_arm_after(agent->retry, is_taken ? RETRY_TAKEN_US : RETRY_US);
}

enum err_code local_agent_start(
    struct service *service,
    struct loop *loop,
    const struct config *config,
    const char *socket,
    struct local_agent **ret_agent,
    struct err_info *err)
{
    struct local_agent *agent = mem_alloc(sizeof(*agent));
    agent->service = service;
    agent->loop = loop;
    agent->config = config;
    agent->state_dir = mem_printf("%s/agent", config_text(config, "state-dir"));
    agent->join_file = mem_printf("%s/agent.join", config_text(config, "state-dir"));
    agent->config_file = config_text(config, "agent-config");
    agent->socket = mem_strdup(socket);
    agent->pid_fd = -1;
    agent->retry = loop_timer_create(loop, start_process, agent);
    enum err_code code = make_token(agent, err);
    if (code != ERR_OK) {
        local_agent_stop(agent);
        return code;
    }
    start_process(agent);
    *ret_agent = agent;
    return ERR_OK;
}

void local_agent_stop(struct local_agent *agent)
{
    if (agent == NULL) {
        return;
    }
    loop_timer_destroy(agent->retry);
    if (agent->pid_fd >= 0) {
        struct pollfd ended = { .fd = agent->pid_fd, .events = POLLIN };
        (void)kill(agent->pid, SIGTERM);
        if (poll(&ended, 1, STOP_MS) <= 0) {
            log_warn("local_agent_killed", LOG_INT("pid", agent->pid));
            (void)kill(agent->pid, SIGKILL);
        }
        (void)reap(agent);
    }
    (void)unlink(agent->join_file);
    mem_free(agent->state_dir);
    mem_free(agent->join_file);
    mem_free(agent->socket);
    mem_free(agent);
}
