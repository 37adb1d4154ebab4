#include "cmd/agent/guest/arguments.h"

#include "common/base/cleanup.h"

#include <assert.h>
#include <inttypes.h>

/* take_argument: allocated. */
static void add(struct arguments *arguments, char *take_argument)
{
    assert(arguments->count < ARGUMENTS_MAX);
    arguments->list[arguments->count++] = take_argument;
    arguments->list[arguments->count] = NULL;
}

static void add_option(struct arguments *arguments, const char *name, const char *value)
{
    if (value != NULL) {
        add(arguments, mem_printf("--%s=%s", name, value));
    }
}

static void add_number(struct arguments *arguments, const char *name, uint64_t value)
{
    add(arguments, mem_printf("--%s=%" PRIu64, name, value));
}

/* The program may be belay-agent or belay-server, which is told so to be an agent; the former takes
 * the same words (cmd/agent/main.c), so nobody has to find out which it is. */
static void begin(
    struct arguments *arguments,
    const char *verb,
    const struct guest_setup *setup,
    const char *folder,
    unsigned number)
{
    const char *const words[] = { "belay-agent", "--mode", "agent", "--", verb };
    AUTO_FREE char *state = loan_path(folder, number, "");
    AUTO_FREE char *sandboxes = loan_path(folder, number, "/sandboxes");
    *arguments = (struct arguments){ .count = 0 };
    for (size_t i = 0; i < ARRAY_LENGTH(words); i++) {
        add(arguments, mem_strdup(words[i]));
    }
    add_option(arguments, "state-dir", state);
    add_option(arguments, "sandbox-dir", sandboxes);
    add_option(arguments, "sandbox-images", setup->images);
    add_option(arguments, "sandbox-cgroup", setup->cgroup);
    add_option(arguments, "log-level", setup->log_level);
    add_option(arguments, "config", setup->config_file);
}

void arguments_run(
    const struct guest_setup *setup,
    const char *folder,
    unsigned number,
    const struct loan *loan,
    bool has_join,
    struct arguments *ret_arguments)
{
    AUTO_FREE char *socket = loan_path(folder, number, "/agent.sock");
    AUTO_FREE char *join = loan_path(folder, number, ".join");
    begin(ret_arguments, "run", setup, folder, number);
    add(ret_arguments, mem_strdup("--lent"));
    add_option(ret_arguments, "name", loan->name);
    add_option(ret_arguments, "status-socket", socket);
    add_option(ret_arguments, "sandboxes", "on");
    add_number(ret_arguments, "sandbox-slots", loan->room.sandboxes);
    add_number(ret_arguments, "sandbox-cpu", loan->room.cpu_millis);
    add_number(ret_arguments, "sandbox-memory", loan->room.memory_bytes);
    add_number(ret_arguments, "sandbox-disk", loan->room.disk_bytes);
    add_option(ret_arguments, "sandbox-limits", setup->limits);
    if (setup->io_rate > 0) {
        add_number(ret_arguments, "sandbox-io-rate", setup->io_rate);
    }
    add_option(ret_arguments, "sandbox-resolvers", setup->resolvers);
    add_option(ret_arguments, "join", has_join ? join : NULL);
}

void arguments_reset(
    const struct guest_setup *setup,
    const char *folder,
    unsigned number,
    struct arguments *ret_arguments)
{
    begin(ret_arguments, "reset", setup, folder, number);
    add(ret_arguments, mem_strdup("--yes"));
}

void arguments_deinit(struct arguments *arguments)
{
    for (size_t i = 0; i < arguments->count; i++) {
        mem_free(arguments->list[i]);
    }
    *arguments = (struct arguments){ .count = 0 };
}
