#include "cmd/agent/image/images.h"
#include "cmd/agent/sandbox/sandbox.h"
#include "cmd/agent/sandbox/sandbox_private.h"
#include "common/base/cleanup.h"
#include "common/base/id.h"
#include "common/base/log.h"
#include "common/sandbox/template.h"
#include "common/sys/eraser.h"
#include "common/sys/fd.h"
#include "common/sys/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

enum {
    DEFAULT_SLOTS = 1024,
    INSTANCE_RANDOM_BYTES = 8,
    ERASE_ENTRIES = 256, /* deleted in one turn of the loop */
    QUEUED_BYTES_MAX = 8 * 1024 * 1024
};

#define DEFAULT_SAMPLE_US (10 * US_PER_SECOND)
#define ERASE_AGAIN_US    US_PER_SECOND

/* ---- The registry ---- */

static struct sandbox *find(const struct sandboxes *all, const char *id)
{
    struct sandbox *sandbox = map_find(all->by_id, str_of(id));
    return sandbox == NULL || sandbox->removing ? NULL : sandbox;
}

static enum err_code get(
    const struct sandboxes *all, const char *id, struct sandbox **ret_sandbox, struct err_info *err)
{
    *ret_sandbox = find(all, id);
    return *ret_sandbox == NULL ? ERR_SET(err, ERR_NOT_FOUND, "no sandbox %s", id) : ERR_OK;
}

struct sandbox *sandboxes_add(struct sandboxes *all, const char *id)
{
    struct sandbox *sandbox = mem_alloc(sizeof(*sandbox));
    sandbox->all = all;
    (void)snprintf(sandbox->id, sizeof(sandbox->id), "%s", id);
    sandbox->dir = mem_printf("%s/" SANDBOXES_RUNS "/%s", all->dir, id);
    sandbox->fd = -1;
    sandbox->execs = map_create();
    list_init(&sandbox->queue);
    (void)map_put(all->by_id, str_of(sandbox->id), sandbox);
    return sandbox;
}

static void destroy(struct sandbox *sandbox)
{
    shim_link_close(sandbox);
    eraser_close(sandbox->eraser);
    map_destroy(sandbox->execs, NULL);
    buf_deinit(&sandbox->spec_bytes);
    mem_free(sandbox->dir);
    mem_free(sandbox);
}

static void destroy_value(void *value)
{
    destroy(value);
}

void sandbox_info_of(const struct sandbox *sandbox, struct sandbox_info *ret_info)
{
    *ret_info = (struct sandbox_info){ .id = sandbox->id,
                                       .dir = sandbox->dir,
                                       .status = sandbox->status,
                                       .driver = (enum sandbox_driver)sandbox->spec.driver,
                                       .generation = sandbox->spec.generation,
                                       .uid_base = sandbox->spec.uid_base,
                                       .cpu_milli = sandbox->spec.cpu_milli,
                                       .memory_bytes = sandbox->spec.memory_bytes,
                                       .disk_bytes = sandbox->spec.disk_bytes,
                                       .init_pid = (pid_t)sandbox->init_pid,
                                       .started = { (int64_t)sandbox->started_us },
                                       .rebooted = sandbox->rebooted,
                                       .waits = sandbox->waits,
                                       .exit = &sandbox->exit };
}

static void free_slot(struct sandboxes *all, uint64_t uid_base)
{
    uint64_t slot = (uid_base - all->ids.base) / SANDBOX_UID_COUNT;
    if (uid_base >= all->ids.base && slot < all->slots) {
        all->slot_used[slot] = false;
    }
}

/* What was over when the agent came: its last words, then its end. */
static void tell_ended(struct sandbox *sandbox)
{
    const struct sandboxes *all = sandbox->all;
    struct sandbox_info info;
    sandbox->untold = false;
    if (sandbox->status == SANDBOX_STATUS_ENDED) {
        adopt_output(sandbox);
    }
    sandbox_info_of(sandbox, &info);
    if (all->ops->ended != NULL) {
        all->ops->ended(all->context, &info);
    }
}

static void tell_all_ended(struct sandboxes *all)
{
    size_t cursor = 0;
    struct str_view key;
    void *value = NULL;
    while (map_next(all->by_id, &cursor, &key, &value)) {
        struct sandbox *sandbox = value;
        if (sandbox->untold && !sandbox->removing) {
            tell_ended(sandbox);
            cursor = 0; /* whoever heard it may have made another */
        }
    }
}

/*
 * Some of the folder of what is gone, which may hold anything that its programs put there. Its spec
 * goes first: an agent that comes along in the middle takes it for what it is.
 */
static enum err_code erase_some(
    struct sandbox *sandbox, size_t *budget, bool *ret_done, struct err_info *err)
{
    AUTO_FREE char *spec = mem_printf("%s/" SANDBOX_FILE_SPEC, sandbox->dir);
    if (sandbox->eraser == NULL) {
        keeper_forget(sandbox->all->keeper, sandbox->dir);
        (void)unlink(spec);
        TRY(eraser_open(sandbox->dir, &sandbox->eraser, err));
    }
    return eraser_step(sandbox->eraser, budget, ret_done, err);
}

/* false: not all of it yet. */
static bool erase(struct sandbox *sandbox, size_t *budget)
{
    bool done = false;
    struct err_info err = ERR_INFO_INIT;
    struct mono_us now = loop_now(sandbox->all->loop);
    if (*budget == 0 || now.value < sandbox->erase_again.value) {
        return false;
    }
    if (erase_some(sandbox, budget, &done, &err) != ERR_OK) {
        log_error("sandbox_not_deleted", LOG_STR("sandbox", sandbox->id), LOG_ERR(&err));
        eraser_close(sandbox->eraser);
        sandbox->eraser = NULL;
        sandbox->erase_again.value = now.value + ERASE_AGAIN_US;
    }
    return done;
}

static bool is_over(const struct sandbox *sandbox)
{
    bool over = sandbox->status == SANDBOX_STATUS_ENDED || sandbox->status == SANDBOX_STATUS_LOST;
    return over && sandbox->removing && sandbox->fd < 0;
}

/* Between two turns of the loop: what is to be told, folders of what is gone, then the memory. */
static void on_reap(void *context)
{
    struct sandboxes *all = context;
    size_t budget = ERASE_ENTRIES;
    bool some_left = false;
    size_t cursor = 0;
    struct str_view key;
    void *value = NULL;
    tell_all_ended(all);
    while (map_next(all->by_id, &cursor, &key, &value)) {
        struct sandbox *sandbox = value;
        if (!is_over(sandbox)) {
            continue;
        }
        if (!erase(sandbox, &budget)) {
            some_left = true;
            continue;
        }
        free_slot(all, sandbox->spec.uid_base);
        (void)map_remove(all->by_id, key);
        if (all->ops->removed != NULL) {
            all->ops->removed(all->context, sandbox->id);
        }
        destroy(sandbox);
        cursor = 0;
    }
    if (some_left) {
        loop_timer_arm_after(all->reap_timer, budget == 0 ? 0 : ERASE_AGAIN_US);
    }
}

static void on_again(void *context)
{
    const struct sandboxes *all = context;
    size_t cursor = 0;
    struct str_view key;
    void *value = NULL;
    while (map_next(all->by_id, &cursor, &key, &value)) {
        shim_link_resume(value);
    }
}

void sandbox_ended(struct sandbox *sandbox, enum sandbox_status status)
{
    struct sandboxes *all = sandbox->all;
    struct sandbox_info info;
    sandbox->status = status;
    sandbox->untold = all->opening;
    if (sandbox->removing || sandbox->untold) {
        loop_timer_arm_after(all->reap_timer, 0);
        return;
    }
    sandbox_info_of(sandbox, &info);
    if (all->ops->ended != NULL) {
        all->ops->ended(all->context, &info);
    }
}

/* ---- Opening and closing ---- */

static enum err_code make_folders(struct sandboxes *all, struct err_info *err)
{
    AUTO_FREE char *run = mem_printf("%s/" SANDBOXES_RUNS, all->dir);
    AUTO_FREE char *templates = mem_printf("%s/" SANDBOX_TEMPLATES, all->dir);
    TRY(file_make_dir(all->dir, 0700, err));
    TRY(file_lock_dir(all->dir, &all->lock_fd, err));
    TRY(file_make_dir(run, 0700, err));
    TRY(file_make_dir(templates, 0700, err));
    template_sweep(templates);
    TRY(file_make_dir(all->image_dir, 0700, err));
    images_sweep(all->image_dir);
    return ERR_OK;
}

/* Made once, and kept: what our control groups are called for ever. */
static enum err_code load_instance(struct sandboxes *all, struct err_info *err)
{
    AUTO_FREE char *path = mem_printf("%s/instance", all->dir);
    AUTO_BUF struct buf text = BUF_INIT(INSTANCE_BYTES);
    uint8_t random[INSTANCE_RANDOM_BYTES];
    enum err_code code = file_read(path, INSTANCE_BYTES - 1, &text, err);
    if (code == ERR_OK && text.len == INSTANCE_BYTES - 1) {
        return str_copy(buf_view(&text), all->instance, sizeof(all->instance));
    }
    if (code != ERR_NOT_FOUND) {
        return code == ERR_OK ? ERR_SET(err, ERR_CORRUPT, "%s: 16 digits expected", path) : code;
    }
    id_random(random, sizeof(random));
    str_hex_encode(random, sizeof(random), all->instance);
    return file_write_atomic(path, all->instance, INSTANCE_BYTES - 1, 0600, err);
}

static char *find_shim(const char *given)
{
    char path[4096];
    if (given != NULL) {
        return mem_strdup(given);
    }
    ssize_t bytes = readlink("/proc/self/exe", path, sizeof(path) - 1);
    path[bytes < 0 ? 0 : bytes] = '\0';
    char *slash = strrchr(path, '/');
    if (slash != NULL) {
        *slash = '\0';
    }
    return mem_printf("%s/belay-shim", path);
}

static char *absolute(const char *path)
{
    char here[4096];
    if (path[0] == '/' || getcwd(here, sizeof(here)) == NULL) {
        return mem_strdup(path);
    }
    return mem_printf("%s/%s", here, path);
}

static void fill(struct sandboxes *all, const struct sandboxes_options *options)
{
    static const struct sandbox_ops silent = { .ready = NULL };
    all->loop = options->loop;
    all->clock = options->clock;
    all->ops = options->ops == NULL ? &silent : options->ops;
    all->context = options->context;
    all->dir = absolute(options->dir);
    all->image_dir = options->image_dir == NULL ? mem_printf("%s/" SANDBOXES_IMAGES, all->dir)
                                                : absolute(options->image_dir);
    all->shim_path = find_shim(options->shim_path);
    all->slots = options->slots == 0 ? DEFAULT_SLOTS : options->slots;
    all->slots = all->slots > SANDBOX_SLOTS_MAX ? SANDBOX_SLOTS_MAX : all->slots;
    all->sample_us = options->sample_us == 0 ? DEFAULT_SAMPLE_US : options->sample_us;
    all->slot_used = mem_alloc_array(all->slots, sizeof(*all->slot_used));
    all->lock_fd = -1;
    all->ids.fd = -1;
    all->by_id = map_create();
    all->reap_timer = loop_timer_create(all->loop, on_reap, all);
    all->again_timer = loop_timer_create(all->loop, on_again, all);
    id_random(&all->next_exec, sizeof(all->next_exec));
    all->next_exec >>= 1; /* room to count up; no number of an earlier life comes again */
}

static enum err_code make_ground(struct sandboxes *all, struct err_info *err)
{
    AUTO_FREE char *dir = mem_printf("%s/ground", all->dir);
    return all->report.native ? ground_create(all->loop, all->shim_path, dir, &all->ground, err)
                              : ERR_OK;
}

enum err_code sandboxes_open(
    const struct sandboxes_options *options, struct sandboxes **ret_sandboxes, struct err_info *err)
{
    struct sandboxes *all = mem_alloc(sizeof(*all));
    fill(all, options);
    enum err_code code = make_folders(all, err);
    if (code == ERR_OK) {
        code = load_instance(all, err);
    }
    if (code == ERR_OK) {
        uint64_t count = (all->slots + 1) * SANDBOX_UID_COUNT;
        code = id_range_claim(all->dir, options->uid_base, count, &all->ids, err);
    }
    if (code == ERR_OK) {
        code = process_boot_id(all->boot, err);
    }
    if (code == ERR_OK) {
        code = keeper_create(&all->keeper, err);
    }
    if (code == ERR_OK) {
        cgroup_host_detect(options->cgroup, &all->cgroups);
        probe_host(all);
        AUTO_FREE char *runs = mem_printf("%s/" SANDBOXES_RUNS, all->dir);
        all->spare = spare_create(all->shim_path, runs, all->instance);
        code = make_ground(all, err);
    }
    if (code == ERR_OK) {
        all->opening = true;
        code = adopt_all(all, err);
        all->opening = false;
    }
    if (code != ERR_OK) {
        sandboxes_close(all);
        return code;
    }
    *ret_sandboxes = all;
    return ERR_OK;
}

void sandboxes_close(struct sandboxes *sandboxes)
{
    struct sandboxes *all = sandboxes;
    if (all == NULL) {
        return;
    }
    map_destroy(all->by_id, destroy_value);
    keeper_destroy(all->keeper);
    spare_destroy(all->spare);
    ground_destroy(all->ground);
    loop_timer_destroy(all->again_timer);
    loop_timer_destroy(all->reap_timer);
    cgroup_set_deinit(&all->cgroups);
    id_range_release(&all->ids);
    fd_close(&all->lock_fd);
    mem_free(all->slot_used);
    mem_free(all->shim_path);
    mem_free(all->image_dir);
    mem_free(all->dir);
    mem_free(all);
}

void sandboxes_sync(struct sandboxes *sandboxes)
{
    keeper_wait(sandboxes->keeper);
}

const struct sandbox_report *sandboxes_report(const struct sandboxes *sandboxes)
{
    return &sandboxes->report;
}

/* ---- Life ---- */

static enum err_code take_slot(
    const struct sandboxes *all, uint64_t *ret_base, struct err_info *err)
{
    /* Those of a time with more slots, or with another range of ids, count as well. */
    bool has_room = map_count(all->by_id) < all->slots;
    for (uint64_t slot = 0; has_room && slot < all->slots; slot++) {
        if (!all->slot_used[slot]) {
            *ret_base = all->ids.base + slot * SANDBOX_UID_COUNT;
            all->slot_used[slot] = true;
            return ERR_OK;
        }
    }
    return ERR_SET(
        err,
        ERR_LIMIT,
        "all %llu slots of this agent are taken; remove a sandbox",
        (unsigned long long)all->slots);
}

static enum err_code run(struct sandbox *sandbox, struct err_info *err)
{
    int fd = -1;
    TRY(launch_shim(sandbox->all, sandbox->dir, &fd, err));
    sandbox->status = SANDBOX_STATUS_STARTING;
    sandbox->rebooted = false;
    sandbox->stopping = false;
    memset(&sandbox->exit, 0, sizeof(sandbox->exit));
    memset(sandbox->taken, 0, sizeof(sandbox->taken));
    return shim_link_open(sandbox, fd, err);
}

static enum err_code create(
    struct sandbox *sandbox, const struct sandbox_spec *wanted, struct err_info *err)
{
    struct launch_lists lists;
    struct message_spec spec;
    AUTO_FD int image = -1; /* held until the spec says that it is in use */
    launch_lists_init(&lists);
    enum err_code code = launch_spec(sandbox->all, wanted, &lists, &spec, err);
    if (code == ERR_OK && wanted->image != NULL) {
        code = images_use(lists.image, &image, err);
    }
    if (code == ERR_OK) {
        spec.uid_base = sandbox->spec.uid_base;
        code = file_make_dir(sandbox->dir, 0700, err);
    }
    if (code == ERR_OK) {
        code = launch_prepare(sandbox, &spec, err);
    }
    if (code == ERR_OK) {
        code = run(sandbox, err);
    }
    if (code != ERR_OK) {
        struct cgroup_set set;
        struct message_list groups = message_list_of(&lists.cgroups);
        if (cgroup_set_parse(&groups, &set, NULL) == ERR_OK) {
            (void)cgroup_set_remove(&set);
            cgroup_set_deinit(&set);
        }
    }
    launch_lists_deinit(&lists);
    return code;
}

enum err_code sandbox_create(
    struct sandboxes *sandboxes, const struct sandbox_spec *spec, struct err_info *err)
{
    uint64_t base = 0;
    struct err_info ignored = ERR_INFO_INIT;
    TRY(launch_check_id(spec->id, err)); /* before anything: it names the folder that is undone */
    if (map_find(sandboxes->by_id, str_of(spec->id)) != NULL) {
        return ERR_SET(err, ERR_EXISTS, "there is a sandbox %s", spec->id);
    }
    TRY(take_slot(sandboxes, &base, err));
    struct sandbox *sandbox = sandboxes_add(sandboxes, spec->id);
    sandbox->spec.uid_base = base;
    enum err_code code = create(sandbox, spec, err);
    if (code == ERR_OK) {
        return ERR_OK;
    }
    (void)map_remove(sandboxes->by_id, str_of(sandbox->id));
    if (file_exists(sandbox->dir) && eraser_run(sandbox->dir, &ignored) != ERR_OK) {
        log_warn("sandbox_not_deleted", LOG_STR("sandbox", sandbox->id), LOG_ERR(&ignored));
    }
    free_slot(sandboxes, base);
    destroy(sandbox);
    return code;
}

enum err_code sandbox_launch(struct sandbox *sandbox, uint64_t generation, struct err_info *err)
{
    struct message_spec next = sandbox->spec;
    next.generation = generation;
    AUTO_BUF struct buf groups = BUF_INIT(MESSAGE_WORDS_BYTES_MAX);
    TRY(launch_groups(sandbox->all, &next, &groups, err));
    next.cgroups = message_list_of(&groups);
    AUTO_FREE char *exit_path = mem_printf("%s/" SANDBOX_FILE_EXIT, sandbox->dir);
    AUTO_FREE char *state_path = mem_printf("%s/" SANDBOX_FILE_STATE, sandbox->dir);
    struct buf held = sandbox->spec_bytes; /* next borrows from it until it is written */
    sandbox->spec_bytes = (struct buf)BUF_INIT(0);
    enum err_code code = launch_prepare(sandbox, &next, err);
    if (code != ERR_OK) {
        sandbox->spec_bytes = held; /* as the spec in force does */
        return code;
    }
    buf_deinit(&held);
    (void)unlink(exit_path);
    (void)unlink(state_path);
    return run(sandbox, err);
}

enum err_code sandbox_start(struct sandboxes *sandboxes, const char *id, struct err_info *err)
{
    struct sandbox *sandbox = NULL;
    TRY(get(sandboxes, id, &sandbox, err));
    if (sandbox->fd >= 0) {
        return ERR_SET(err, ERR_PRECONDITION, "sandbox %s runs", id);
    }
    uint64_t next = sandbox->spec.generation + 1;
    enum err_code code = sandbox_launch(sandbox, next, err);
    if (code != ERR_OK && sandbox->spec.generation == next) {
        adopt_mark_lost(sandbox, false); /* the next life of the agent does not try again */
    }
    return code;
}

enum err_code sandbox_stop(
    struct sandboxes *sandboxes, const char *id, int64_t grace_us, struct err_info *err)
{
    struct sandbox *sandbox = NULL;
    struct message message = { .type = MESSAGE_STOP };
    TRY(get(sandboxes, id, &sandbox, err));
    message.stop.grace_us = (uint64_t)grace_us;
    sandbox->stopping = true;
    return shim_link_send(sandbox, &message, err);
}

enum err_code sandbox_remove(struct sandboxes *sandboxes, const char *id, struct err_info *err)
{
    struct sandbox *sandbox = NULL;
    struct message message = { .type = MESSAGE_STOP };
    TRY(get(sandboxes, id, &sandbox, err));
    sandbox->removing = true;
    if (sandbox->fd < 0 || shim_link_send(sandbox, &message, NULL) != ERR_OK) {
        loop_timer_arm_after(sandboxes->reap_timer, 0);
        return ERR_OK;
    }
    shim_link_settle(sandbox); /* nobody waits for its programs any more */
    return ERR_OK;
}

/* ---- Programs ---- */

enum err_code sandbox_exec(
    struct sandboxes *sandboxes,
    const char *id,
    const struct sandbox_exec *exec,
    uint64_t *ret_exec,
    struct err_info *err)
{
    struct sandbox *sandbox = NULL;
    struct message message = { .type = MESSAGE_EXEC, .id = ++sandboxes->next_exec };
    AUTO_BUF struct buf argv = BUF_INIT(MESSAGE_WORDS_BYTES_MAX);
    AUTO_BUF struct buf env = BUF_INIT(MESSAGE_WORDS_BYTES_MAX);
    TRY(get(sandboxes, id, &sandbox, err));
    if (sandbox->status != SANDBOX_STATUS_READY) {
        return ERR_SET(err, ERR_PRECONDITION, "sandbox %s is not ready", id);
    }
    for (size_t i = 0; exec->argv != NULL && exec->argv[i] != NULL; i++) {
        message_list_add(&argv, str_of(exec->argv[i]));
    }
    launch_environment(&sandbox->spec.env, exec->env, exec->tty, false, &env);
    if (!buf_ok(&argv) || !buf_ok(&env) || argv.len == 0) {
        return ERR_SET(
            err,
            ERR_LIMIT,
            "arguments (at least one) and environment: at most %d KiB each",
            MESSAGE_WORDS_BYTES_MAX / 1024);
    }
    message.exec =
        (struct message_exec){ .tty = exec->tty ? 1 : 0,
                               .rows = exec->rows == 0 ? 24 : exec->rows,
                               .columns = exec->columns == 0 ? 80 : exec->columns,
                               .uid = sandbox->spec.uid,
                               .cwd = exec->cwd == NULL ? sandbox->spec.cwd : str_of(exec->cwd),
                               .argv = message_list_of(&argv),
                               .env = message_list_of(&env) };
    TRY(shim_link_send(sandbox, &message, err));
    shim_link_know_exec(sandbox, message.id);
    *ret_exec = message.id;
    return ERR_OK;
}

enum err_code sandbox_input(
    struct sandboxes *sandboxes,
    const char *id,
    uint64_t exec,
    struct str_view data,
    struct err_info *err)
{
    struct sandbox *sandbox = NULL;
    TRY(get(sandboxes, id, &sandbox, err));
    while (data.len > 0) {
        size_t part = data.len > MESSAGE_DATA_BYTES_MAX ? MESSAGE_DATA_BYTES_MAX : data.len;
        struct message message = { .type = MESSAGE_INPUT, .id = exec };
        message.input.data = str_from(data.ptr, part);
        TRY(shim_link_send(sandbox, &message, err));
        data = str_from(data.ptr + part, data.len - part);
    }
    return ERR_OK;
}

/* To what is gone it is said in vain, and that is how it should be. */
static void say(struct sandboxes *all, const char *id, const struct message *message)
{
    struct sandbox *sandbox = find(all, id);
    struct err_info err = ERR_INFO_INIT;
    if (sandbox != NULL && sandbox->fd >= 0 && shim_link_send(sandbox, message, &err) != ERR_OK) {
        log_debug("sandbox_not_told", LOG_STR("sandbox", id), LOG_ERR(&err));
    }
}

bool sandbox_is_behind(const struct sandboxes *sandboxes, const char *id)
{
    const struct sandbox *sandbox = find(sandboxes, id);
    return sandbox != NULL && sandbox->queued_bytes > QUEUED_BYTES_MAX;
}

void sandbox_input_end(struct sandboxes *sandboxes, const char *id, uint64_t exec)
{
    say(sandboxes, id, &(struct message){ .type = MESSAGE_INPUT_END, .id = exec });
}

void sandbox_taken(
    struct sandboxes *sandboxes, const char *id, uint64_t exec, unsigned stream, uint64_t offset)
{
    struct message message = { .type = MESSAGE_TAKEN, .id = exec, .taken = { stream, offset } };
    struct sandbox *sandbox = find(sandboxes, id);
    say(sandboxes, id, &message);
    if (sandbox == NULL || exec != 0 || stream < 1 || stream > 2) {
        return;
    }
    sandbox->taken[stream - 1] = offset;
    if (sandbox->fd < 0) {
        adopt_keep_taken(sandbox);
    }
}

void sandbox_resize(
    struct sandboxes *sandboxes, const char *id, uint64_t exec, uint64_t rows, uint64_t columns)
{
    struct message message = { .type = MESSAGE_RESIZE, .id = exec, .resize = { rows, columns } };
    say(sandboxes, id, &message);
}

void sandbox_signal(struct sandboxes *sandboxes, const char *id, uint64_t exec, int number)
{
    struct message message = { .type = MESSAGE_SIGNAL, .id = exec };
    message.signal.number = (uint64_t)number;
    say(sandboxes, id, &message);
}

void sandbox_release(struct sandboxes *sandboxes, const char *id, uint64_t exec)
{
    struct sandbox *sandbox = find(sandboxes, id);
    say(sandboxes, id, &(struct message){ .type = MESSAGE_RELEASE, .id = exec });
    if (sandbox != NULL) {
        shim_link_forget_exec(sandbox, exec);
    }
}

enum err_code sandbox_connect(
    struct sandboxes *sandboxes,
    const char *id,
    const struct sandbox_port *to,
    uint64_t *ret_connection,
    struct err_info *err)
{
    struct sandbox *sandbox = NULL;
    struct message message = { .type = MESSAGE_CONNECT,
                               .id = ++sandboxes->next_exec,
                               .connect = { to->address, to->port } };
    TRY(get(sandboxes, id, &sandbox, err));
    if (sandbox->status != SANDBOX_STATUS_READY) {
        return ERR_SET(err, ERR_PRECONDITION, "sandbox %s is not ready", id);
    }
    if (sandbox->spec.network == SANDBOX_NETWORK_HOST) {
        return ERR_SET(err, ERR_UNSUPPORTED, "sandbox %s has no loopback of its own", id);
    }
    if (!message_connect_is_local(&message.connect)) {
        return ERR_SET(err, ERR_INVALID, "only the sandbox's own loopback can be reached");
    }
    TRY(shim_link_send(sandbox, &message, err));
    *ret_connection = message.id;
    return ERR_OK;
}

void sandbox_measure(struct sandboxes *sandboxes, const char *id)
{
    say(sandboxes, id, &(struct message){ .type = MESSAGE_MEASURE });
}

size_t sandboxes_count(const struct sandboxes *sandboxes)
{
    return map_count(sandboxes->by_id);
}

bool sandbox_is_going(const struct sandboxes *sandboxes, const char *id)
{
    const struct sandbox *sandbox = map_find(sandboxes->by_id, str_of(id));
    return sandbox != NULL && sandbox->removing;
}

bool sandbox_find(const struct sandboxes *sandboxes, const char *id, struct sandbox_info *ret_info)
{
    const struct sandbox *sandbox = find(sandboxes, id);
    if (sandbox != NULL) {
        sandbox_info_of(sandbox, ret_info);
    }
    return sandbox != NULL;
}

bool sandbox_next(const struct sandboxes *sandboxes, size_t *cursor, struct sandbox_info *ret_info)
{
    struct str_view key;
    void *value = NULL;
    while (map_next(sandboxes->by_id, cursor, &key, &value)) {
        const struct sandbox *sandbox = value;
        if (!sandbox->removing) {
            sandbox_info_of(sandbox, ret_info);
            return true;
        }
    }
    return false;
}
