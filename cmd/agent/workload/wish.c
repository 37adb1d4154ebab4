#include "cmd/agent/workload/wish.h"

#include <stdio.h>

typedef Agentgateway__V1__SandboxCreate order_type;
typedef Openshell__Sandbox__V1__SandboxPolicy policy_type;

struct filling {
    const order_type *order;
    const struct wish_host *host;
    struct arena *arena;
    struct sandbox_spec *spec;
    char *missing;
    struct err_info *err;
};

static const struct {
    const char *name;
    enum sandbox_driver driver;
} drivers[] = { { "native", SANDBOX_DRIVER_NATIVE }, { "bwrap", SANDBOX_DRIVER_BWRAP } };

const char *wish_driver_name(enum sandbox_driver driver)
{
    return driver == SANDBOX_DRIVER_NATIVE ? drivers[0].name : drivers[1].name;
}

static bool works(const struct sandbox_report *report, enum sandbox_driver driver)
{
    return driver == SANDBOX_DRIVER_NATIVE ? report->native : report->bwrap;
}

bool wish_driver_fits(const struct wish_host *host, enum sandbox_driver driver)
{
    const struct sandbox_report *report = host->report;
    bool limits = driver == SANDBOX_DRIVER_NATIVE && report->memory != 0 && report->cpu != 0
        && report->disk_cap && (report->io != 0 || host->io_rate == 0);
    return works(report, driver) && (limits || host->is_lenient);
}

static enum err_code no_room(struct err_info *err)
{
    return ERR_SET(err, ERR_LIMIT, "the order is too large");
}

static enum err_code fill_driver(const struct filling *filling)
{
    const struct wish_host *host = filling->host;
    const char *name = filling->order->driver;
    enum sandbox_driver driver = host->fallback;
    bool is_known = name[0] == '\0';
    for (size_t i = 0; !is_known && i < ARRAY_LENGTH(drivers); i++) {
        is_known = strcmp(drivers[i].name, name) == 0;
        driver = drivers[i].driver;
    }
    if (!is_known) {
        return ERR_SET(
            filling->err, ERR_UNSUPPORTED, "driver: no \"%s\" here, only native and bwrap", name);
    }
    if (!works(host->report, driver)) {
        return ERR_SET(
            filling->err,
            ERR_UNSUPPORTED,
            "driver: %s does not work on this host: %s",
            wish_driver_name(driver),
            driver == SANDBOX_DRIVER_NATIVE ? host->report->native_reason
                                            : host->report->bwrap_reason);
    }
    filling->spec->driver = driver;
    return ERR_OK;
}

/* Strings of the order, or what stands in for none of them, as a list that ends in NULL. */
static const char **list_of(struct arena *arena, char **items, size_t count, size_t extra)
{
    const char **list = arena_alloc(arena, (count + extra + 1) * sizeof(*list));
    for (size_t i = 0; list != NULL && i < count; i++) {
        list[i] = items[i];
    }
    return list;
}

static enum err_code fill_command(const struct filling *filling)
{
    static const char *const shell[] = { "/bin/sh", "-l", NULL };
    const order_type *order = filling->order;
    filling->spec->flags = order->tty ? SANDBOX_FLAG_TTY : 0;
    filling->spec->argv = order->n_command == 0
        ? shell
        : list_of(filling->arena, order->command, order->n_command, 0);
    if (filling->spec->argv != NULL && filling->spec->argv[0][0] == '\0') {
        return ERR_SET(filling->err, ERR_INVALID, "command: the program's name is empty");
    }
    return filling->spec->argv == NULL ? no_room(filling->err) : ERR_OK;
}

static enum err_code fill_environment(const struct filling *filling)
{
    const order_type *order = filling->order;
    size_t count = 0;
    const char **list = arena_alloc(filling->arena, (order->n_environment + 3) * sizeof(*list));
    bool good = list != NULL;
    for (size_t i = 0; good && i < order->n_environment; i++) {
        const char *name = order->environment[i]->key;
        if (name[0] == '\0' || strchr(name, '=') != NULL) {
            return ERR_SET(
                filling->err,
                ERR_INVALID,
                "environment: \"%.64s\": a name is not empty and has no '='",
                name);
        }
        list[count] = arena_printf(filling->arena, "%s=%s", name, order->environment[i]->value);
        good = list[count++] != NULL;
    }
    if (good) {
        list[count++] = arena_printf(filling->arena, "BELAY_SANDBOX_ID=%s", order->sandbox_id);
        list[count++] = arena_printf(filling->arena, "BELAY_SANDBOX_NAME=%s", order->name);
        good = list[count - 2] != NULL && list[count - 1] != NULL;
        list[count] = NULL;
    }
    filling->spec->env = list;
    return good ? ERR_OK : no_room(filling->err);
}

/* true: it stays as it is; false with ERR_OK in *ret: left out. */
static enum err_code fill_limit(
    const struct filling *filling, const char *name, bool can, uint64_t wanted, uint64_t *ret_value)
{
    *ret_value = wanted;
    if (wanted == 0 || can) {
        return ERR_OK;
    }
    if (!filling->host->is_lenient) {
        return ERR_SET(
            filling->err,
            ERR_UNSUPPORTED,
            "limits.%s: the %s driver on this host cannot enforce it (the agent's option "
            "sandbox-limits: best-effort would leave it out)",
            name,
            wish_driver_name(filling->spec->driver));
    }
    size_t used = strlen(filling->missing);
    (void)snprintf(
        filling->missing + used,
        WISH_MISSING_BYTES - used,
        "%s%s",
        used == 0 ? "not enforced on this host: " : ", ",
        name);
    *ret_value = 0;
    return ERR_OK;
}

static enum err_code fill_limits(const struct filling *filling)
{
    static const Agentgateway__V1__SandboxLimits none = AGENTGATEWAY__V1__SANDBOX_LIMITS__INIT;
    const Agentgateway__V1__SandboxLimits *limits =
        filling->order->limits == NULL ? &none : filling->order->limits;
    const struct sandbox_report *report = filling->host->report;
    struct sandbox_spec *spec = filling->spec;
    bool native = spec->driver == SANDBOX_DRIVER_NATIVE;
    bool pids = native && report->pids != 0;
    TRY(fill_limit(
        filling, "cpu_millis", native && report->cpu != 0, limits->cpu_millis, &spec->cpu_milli));
    TRY(fill_limit(
        filling,
        "memory_bytes",
        native && report->memory != 0,
        limits->memory_bytes,
        &spec->memory_bytes));
    TRY(fill_limit(
        filling, "disk_bytes", native && report->disk_cap, limits->disk_bytes, &spec->disk_bytes));
    TRY(fill_limit(filling, "processes", pids, limits->processes, &spec->pids));
    TRY(fill_limit(
        filling,
        "io (sandbox-io-rate)",
        native && report->io != 0,
        filling->host->io_rate,
        &spec->io_bytes_per_second));
    if (limits->processes == 0 && pids) {
        spec->pids = WISH_PROCESSES;
    }
    return ERR_OK;
}

static enum err_code fill_files(
    const struct filling *filling, const Openshell__Sandbox__V1__FilesystemPolicy *files)
{
    struct sandbox_spec *spec = filling->spec;
    bool is_empty = files == NULL
        || (files->n_read_only == 0 && files->n_read_write == 0 && !files->include_workdir);
    if (is_empty) {
        return ERR_OK; /* the agent's default: see sandbox.h */
    }
    const char **writable = list_of(filling->arena, files->read_write, files->n_read_write, 1);
    spec->read_only = list_of(filling->arena, files->read_only, files->n_read_only, 0);
    spec->read_write = writable;
    if (spec->read_only == NULL || writable == NULL) {
        return no_room(filling->err);
    }
    if (files->include_workdir) {
        writable[files->n_read_write] = "/sandbox";
    }
    return ERR_OK;
}

static bool is_ours(const char *name)
{
    return name[0] == '\0' || strcmp(name, "sandbox") == 0 || strcmp(name, "1000") == 0;
}

enum err_code wish_check_network(const policy_type *policy, bool has_egress, struct err_info *err)
{
    if (policy == NULL || has_egress || policy->n_network_policies == 0) {
        return ERR_OK;
    }
    return ERR_SET(
        err,
        ERR_UNSUPPORTED,
        "policy.network_policies: this agent has no egress proxy; its sandboxes have no network");
}

static enum err_code fill_policy(const struct filling *filling)
{
    const policy_type *policy = filling->order->policy;
    const struct wish_host *host = filling->host;
    filling->spec->network = host->has_egress ? SANDBOX_NETWORK_PROXY : SANDBOX_NETWORK_NONE;
    if (policy == NULL) {
        return ERR_OK;
    }
    if (policy->process != NULL
        && (!is_ours(policy->process->run_as_user) || !is_ours(policy->process->run_as_group))) {
        return ERR_SET(
            filling->err,
            ERR_UNSUPPORTED,
            "policy.process: programs run as the user and group sandbox (1000) and as no other");
    }
    const char *need = policy->landlock == NULL ? "" : policy->landlock->compatibility;
    filling->spec->want_landlock = strcmp(need, "hard_requirement") == 0;
    TRY(wish_check_network(policy, host->has_egress, filling->err));
    return fill_files(filling, policy->filesystem);
}

enum err_code wish_fill(
    const order_type *order,
    const struct wish_host *host,
    struct arena *arena,
    struct sandbox_spec *ret_spec,
    char ret_missing[WISH_MISSING_BYTES],
    struct err_info *err)
{
    struct sandbox_spec spec = { .id = order->sandbox_id,
                                 .hostname = order->name[0] == '\0' ? NULL : order->name,
                                 .image = order->image[0] == '\0' ? NULL : order->image };
    const struct filling filling = { order, host, arena, &spec, ret_missing, err };
    ret_missing[0] = '\0';
    TRY(fill_driver(&filling));
    TRY(fill_command(&filling));
    TRY(fill_environment(&filling));
    TRY(fill_limits(&filling));
    TRY(fill_policy(&filling));
    *ret_spec = spec;
    return ERR_OK;
}
