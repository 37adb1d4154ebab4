/*
 * reset: forgets who the agent is, and ends and deletes what it would leave behind: its sandboxes,
 * which run on without an agent, and whatever it has lent, with the sandboxes of that.
 */
#include "cmd/agent/agent.h"
#include "cmd/agent/guest/loan.h"
#include "cmd/agent/outcome.h"
#include "cmd/agent/sandbox/sandbox.h"
#include "cmd/agent/verbs.h"
#include "common/base/cleanup.h"
#include "common/sys/eraser.h"
#include "common/sys/file.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>

enum {
    STEP_MS = 1000
};

/* For shims that do not answer, and for whole workspaces to be deleted. */
#define PATIENCE_US (10 * US_PER_MINUTE)

/* true also where it cannot be read: whoever opens it says why. */
static bool has_sandboxes(const char *dir)
{
    AUTO_FREE char *path = mem_printf("%s/" SANDBOXES_RUNS, dir);
    DIR *entries = opendir(path);
    bool found = entries == NULL && errno != ENOENT;
    for (struct dirent *entry = entries == NULL ? NULL : readdir(entries); entry != NULL && !found;
         entry = readdir(entries)) {
        found = entry->d_name[0] != '.';
    }
    if (entries != NULL) {
        (void)closedir(entries);
    }
    return found;
}

static enum err_code remove_all(
    struct loop *loop, struct sandboxes *all, const char *dir, struct err_info *err)
{
    size_t cursor = 0;
    struct sandbox_info info;
    struct mono_us end = { clock_mono(clock_system()).value + PATIENCE_US };
    while (sandbox_next(all, &cursor, &info)) {
        TRY(sandbox_remove(all, info.id, err));
    }
    while (sandboxes_count(all) > 0) {
        loop_step(loop, STEP_MS);
        if (clock_mono(clock_system()).value > end.value) {
            return ERR_SET(
                err, ERR_TIMEOUT, "%zu sandboxes in %s do not end", sandboxes_count(all), dir);
        }
    }
    return ERR_OK;
}

static enum err_code end_sandboxes(
    const struct config *config, const char *dir, const char *images, struct err_info *err)
{
    struct loop *loop = NULL;
    struct sandboxes *all = NULL;
    if (!has_sandboxes(dir)) {
        return ERR_OK;
    }
    TRY(loop_create(clock_system(), &loop, err));
    const struct sandboxes_options options = { .loop = loop,
                                               .clock = clock_system(),
                                               .dir = dir,
                                               .image_dir = images,
                                               .cgroup = config_text(config, "sandbox-cgroup") };
    enum err_code code = sandboxes_open(&options, &all, err);
    if (code == ERR_OK) {
        code = remove_all(loop, all, dir, err);
    }
    sandboxes_close(all);
    loop_destroy(loop);
    return code;
}

static enum err_code end_guest(
    const struct config *config,
    const char *folder,
    unsigned number,
    const char *images,
    struct err_info *err)
{
    struct state *state = NULL;
    AUTO_FREE char *dir = loan_path(folder, number, "");
    AUTO_FREE char *sandboxes = loan_path(folder, number, "/" SANDBOXES_DIR);
    if (!file_exists(dir)) {
        return ERR_OK;
    }
    TRY(state_open(dir, &state, err)); /* refuses while the guest runs */
    enum err_code code = end_sandboxes(config, sandboxes, images, err);
    state_close(state);
    return code;
}

/* They would begin again with the next agent of this folder, whatever server that is of. */
static enum err_code end_guests(
    const struct config *config, const char *dir, const char *images, struct err_info *err)
{
    AUTO_FREE char *folder = mem_printf("%s/" STATE_GUESTS, dir);
    for (unsigned i = 1; i <= LOAN_COUNT_MAX; i++) {
        TRY(end_guest(config, folder, i, images, err));
    }
    return eraser_run(folder, err);
}

static enum err_code reset(const struct config *config, const char *dir, struct err_info *err)
{
    struct state *state = NULL;
    AUTO_FREE char *sandboxes = outcome_sandbox_dir(config);
    AUTO_FREE char *images = outcome_image_dir(config);
    TRY(state_open_shared(dir, &state, err)); /* makes no folder that is not there */
    state_close(state);
    TRY(state_open(dir, &state, err)); /* refuses while an agent runs */
    enum err_code code = end_guests(config, dir, images, err);
    if (code == ERR_OK) {
        code = end_sandboxes(config, sandboxes, images, err);
    }
    if (code == ERR_OK) {
        code = state_erase(state, err);
    }
    state_close(state);
    return code;
}

int verb_reset(const struct config *config)
{
    struct err_info err = ERR_INFO_INIT;
    const char *dir = config_text(config, "state-dir");
    if (!config_bool(config, "yes")) {
        (void)ERR_SET(
            &err,
            ERR_INVALID,
            "reset ends and deletes the sandboxes here, and removes the keys, the enrollment and all "
            "records not yet uploaded in %s; if that is meant, add --yes",
            dir);
        return outcome_fail(ERR_INVALID, &err);
    }
    enum err_code code = reset(config, dir, &err);
    if (code != ERR_OK) {
        return outcome_fail(code, &err);
    }
    (void)printf(
        "%s is empty. The server still lists the agent: 'belay agent revoke' removes it.\n", dir);
    return AGENT_EXIT_OK;
}
