#include "cmd/agent/workload/execs.h"

#include "common/base/cleanup.h"
#include "common/base/map.h"
#include "common/sys/fd.h"

#include <signal.h>
#include <stdio.h>

struct entry {
    struct exec_owner owner;
    uint64_t exec;
    char sandbox_id[SANDBOX_ID_BYTES_MAX + 1];
    char *program; /* as the log calls it; NULL: not logged */
};

struct execs {
    struct sandboxes *sandboxes; /* NULL while they are being opened */
    struct map *by_number;
};

struct execs *execs_create(void)
{
    struct execs *execs = mem_alloc(sizeof(*execs));
    execs->by_number = map_create();
    return execs;
}

static void entry_destroy(struct entry *entry)
{
    if (entry != NULL) {
        mem_free(entry->program);
        mem_free(entry);
    }
}

AUTO_DEFINE(entry, destroy)
#define AUTO_ENTRY AUTO(cleanup_entry_destroy)

static void destroy_value(void *value)
{
    entry_destroy(value);
}

void execs_destroy(struct execs *execs)
{
    if (execs != NULL) {
        map_destroy(execs->by_number, destroy_value);
        mem_free(execs);
    }
}

void execs_set_sandboxes(struct execs *execs, struct sandboxes *sandboxes)
{
    execs->sandboxes = sandboxes;
}

static struct entry *find(const struct execs *execs, uint64_t exec)
{
    int64_t key = (int64_t)exec;
    return map_find(execs->by_number, map_key_of(&key));
}

static struct entry *take_out(struct execs *execs, uint64_t exec)
{
    int64_t key = (int64_t)exec;
    return map_remove(execs->by_number, map_key_of(&key));
}

static struct entry *enter(
    struct execs *execs, const char *sandbox_id, uint64_t number, const struct exec_owner *owner)
{
    struct entry *entry = mem_alloc(sizeof(*entry));
    int64_t key = (int64_t)number;
    entry->owner = *owner;
    entry->exec = number;
    (void)snprintf(entry->sandbox_id, sizeof(entry->sandbox_id), "%s", sandbox_id);
    (void)map_put(execs->by_number, map_key_of(&key), entry);
    return entry;
}

/* What a terminal shows is not for a log: pictures, and what its user types. */
static char *log_name_of(const struct sandbox_exec *exec)
{
    const char *slash = strrchr(exec->argv[0], '/');
    return exec->tty ? NULL : mem_strdup(slash == NULL ? exec->argv[0] : slash + 1);
}

enum err_code execs_start(
    struct execs *execs,
    const char *sandbox_id,
    const struct sandbox_exec *exec,
    const struct exec_owner *owner,
    uint64_t *ret_exec,
    struct err_info *err)
{
    uint64_t number = 0;
    TRY(sandbox_exec(execs->sandboxes, sandbox_id, exec, &number, err));
    enter(execs, sandbox_id, number, owner)->program = log_name_of(exec);
    *ret_exec = number;
    return ERR_OK;
}

enum err_code execs_connect(
    struct execs *execs,
    const char *sandbox_id,
    const struct sandbox_port *to,
    const struct exec_owner *owner,
    uint64_t *ret_connection,
    struct err_info *err)
{
    uint64_t number = 0;
    TRY(sandbox_connect(execs->sandboxes, sandbox_id, to, &number, err));
    (void)enter(execs, sandbox_id, number, owner);
    *ret_connection = number;
    return ERR_OK;
}

void execs_leave(struct execs *execs, uint64_t exec)
{
    AUTO_ENTRY struct entry *entry = take_out(execs, exec);
    if (entry != NULL && execs->sandboxes != NULL) {
        sandbox_input_end(execs->sandboxes, entry->sandbox_id, exec);
        sandbox_signal(execs->sandboxes, entry->sandbox_id, exec, SIGKILL);
        /* What was sent and not taken is let go, or the shim would wait for that and keep it all.
         */
        sandbox_taken(execs->sandboxes, entry->sandbox_id, exec, 1, UINT64_MAX);
        sandbox_taken(execs->sandboxes, entry->sandbox_id, exec, 2, UINT64_MAX);
    }
}

const char *execs_log_name(const struct execs *execs, uint64_t exec)
{
    const struct entry *entry = find(execs, exec);
    return entry == NULL ? NULL : entry->program;
}

size_t execs_count(const struct execs *execs, const char *sandbox_id)
{
    size_t count = 0;
    size_t cursor = 0;
    struct str_view key;
    void *value = NULL;
    while (map_next(execs->by_number, &cursor, &key, &value)) {
        const struct entry *entry = value;
        count += strcmp(entry->sandbox_id, sandbox_id) == 0 ? 1 : 0;
    }
    return count;
}

static void finish(struct execs *execs, uint64_t exec, const struct message_exited *exited)
{
    AUTO_ENTRY struct entry *entry = take_out(execs, exec);
    if (entry != NULL && entry->owner.ops->exited != NULL) {
        entry->owner.ops->exited(entry->owner.context, exited);
    }
}

void execs_started(struct execs *execs, const char *sandbox_id, uint64_t exec, int number)
{
    const struct entry *entry = find(execs, exec);
    if (entry == NULL && number == 0) {
        sandbox_signal(execs->sandboxes, sandbox_id, exec, SIGKILL);
        return;
    }
    if (entry != NULL && entry->owner.ops->started != NULL) {
        entry->owner.ops->started(entry->owner.context, number);
    }
    if (number != 0) {
        finish(execs, exec, NULL); /* there is nothing to release */
    }
}

void execs_output(
    struct execs *execs, const char *sandbox_id, uint64_t exec, const struct message_output *output)
{
    const struct entry *entry = find(execs, exec);
    if (entry != NULL && entry->owner.ops->output != NULL) {
        entry->owner.ops->output(entry->owner.context, output);
        return;
    }
    sandbox_taken(
        execs->sandboxes,
        sandbox_id,
        exec,
        (unsigned)output->stream,
        output->offset + output->data.len);
}

void execs_input_taken(struct execs *execs, uint64_t exec, uint64_t offset)
{
    const struct entry *entry = find(execs, exec);
    if (entry != NULL && entry->owner.ops->input_taken != NULL) {
        entry->owner.ops->input_taken(entry->owner.context, offset);
    }
}

void execs_exited(
    struct execs *execs, const char *sandbox_id, uint64_t exec, const struct message_exited *exited)
{
    sandbox_release(execs->sandboxes, sandbox_id, exec);
    finish(execs, exec, exited);
}

void execs_connected(struct execs *execs, uint64_t connection, int take_fd, int number)
{
    AUTO_ENTRY struct entry *entry = take_out(execs, connection);
    if (entry != NULL && entry->owner.ops->connected != NULL) {
        entry->owner.ops->connected(entry->owner.context, take_fd, number);
    } else {
        fd_close(&take_fd);
    }
}

static const struct entry *find_of(const struct execs *execs, const char *sandbox_id)
{
    size_t cursor = 0;
    struct str_view key;
    void *value = NULL;
    while (map_next(execs->by_number, &cursor, &key, &value)) {
        const struct entry *entry = value;
        if (strcmp(entry->sandbox_id, sandbox_id) == 0) {
            return entry;
        }
    }
    return NULL;
}

void execs_ended(struct execs *execs, const char *sandbox_id)
{
    const struct entry *entry = NULL;
    while ((entry = find_of(execs, sandbox_id)) != NULL) {
        finish(execs, entry->exec, NULL);
    }
}
