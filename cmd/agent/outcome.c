#include "cmd/agent/outcome.h"

#include "cmd/agent/agent.h"
#include "cmd/agent/pending.h"
#include "cmd/agent/sandbox/sandbox.h"
#include "common/base/cleanup.h"
#include "common/sys/file.h"

#include <stdio.h>

enum {
    TEXT_BYTES = 16 * ERR_TEXT_BYTES
};

static int exit_status_of(enum err_code code)
{
    switch (code) {
    case ERR_OK:
        return AGENT_EXIT_OK;
    case ERR_INVALID:
        return AGENT_EXIT_USAGE;
    case ERR_UNAUTHENTICATED:
    case ERR_DENIED:
        return AGENT_EXIT_NO_PERMISSION;
    case ERR_UNAVAILABLE:
    case ERR_TIMEOUT:
    case ERR_UNSUPPORTED:
        return AGENT_EXIT_UNAVAILABLE;
    case ERR_EXISTS:
    case ERR_NOT_FOUND:
    case ERR_LIMIT:
        return AGENT_EXIT_CANNOT_CREATE;
    case ERR_BUSY:
    case ERR_CONFLICT:
        return AGENT_EXIT_TEMPORARY;
    case ERR_PRECONDITION:
    case ERR_CORRUPT:
        return AGENT_EXIT_CONFIG;
    case ERR_CANCELED:
    case ERR_UNCERTAIN:
    case ERR_NOMEM:
    case ERR_INTERNAL:
    case ERR_CODE_COUNT:
        break;
    }
    return AGENT_EXIT_FAILURE;
}

int outcome_fail(enum err_code code, const struct err_info *err)
{
    AUTO_BUF struct buf text = BUF_INIT(TEXT_BYTES);
    buf_append_escaped(&text, str_of(err->text[0] == '\0' ? err_name(code) : err->text), NULL);
    (void)fprintf(stderr, "belay-agent: %s\n", buf_text(&text));
    return exit_status_of(code);
}

char *outcome_status_path(const struct config *config)
{
    const char *path = config_text(config, "status-socket");
    return path != NULL ? mem_strdup(path)
                        : mem_printf("%s/agent.sock", config_text(config, "state-dir"));
}

char *outcome_sandbox_dir(const struct config *config)
{
    const char *dir = config_text(config, "sandbox-dir");
    return dir != NULL ? mem_strdup(dir)
                       : mem_printf("%s/" SANDBOXES_DIR, config_text(config, "state-dir"));
}

char *outcome_image_dir(const struct config *config)
{
    const char *dir = config_text(config, "sandbox-images");
    AUTO_FREE char *sandboxes = outcome_sandbox_dir(config);
    return dir != NULL ? mem_strdup(dir) : mem_printf("%s/" SANDBOXES_IMAGES, sandboxes);
}

static enum err_code fill_pending(
    const struct config *config,
    const struct host_facts *facts,
    struct pending *pending,
    struct err_info *err)
{
    const char *name = config_text(config, "name");
    name = name == NULL ? facts->hostname : name;
    if (name[0] == '\0' || str_copy(str_of(name), pending->name, sizeof(pending->name)) != ERR_OK) {
        return ERR_SET(err, ERR_INVALID, "--name: this machine has no usable host name; give one");
    }
    /* Those of the file and the environment are the lender's. */
    size_t count = config_bool(config, "lent") ? 0 : config_list_count(config, "label");
    if (count > LINK_LABELS_MAX) {
        return ERR_SET(err, ERR_INVALID, "--label: at most %d", LINK_LABELS_MAX);
    }
    for (size_t i = 0; i < count; i++) {
        const char *label = config_list_item(config, "label", i);
        if (strchr(label, '=') == NULL || label[0] == '=') {
            return ERR_SET(err, ERR_INVALID, "--label %s: expected KEY=VALUE", label);
        }
        pending->labels[pending->label_count++] = mem_strdup(label);
    }
    return ERR_OK;
}

/* Whatever looks like a join string, damaged or not, may hold a token: as a file name it would be
 * echoed. */
static bool is_file_name(const char *join)
{
    return join[0] != '\0' && strstr(join, "://") == NULL && strstr(join, "token") == NULL
        && strstr(join, "blt_") == NULL;
}

enum err_code outcome_begin_join(
    const struct config *config,
    struct state *state,
    const struct host_facts *facts,
    const char *join,
    struct err_info *err)
{
    struct pending pending = { .label_count = 0 };
    AUTO_BUF struct buf file = BUF_INIT(JOIN_TEXT_MAX + 1);
    struct str_view text = str_of(join);
    enum err_code code = ERR_OK;
    if (is_file_name(join)) {
        code = file_read_private(join, JOIN_TEXT_MAX, &file, err);
        text = buf_view(&file);
        if (code != ERR_OK) {
            err_prefix(err, "neither a join string nor a readable private file");
        }
    }
    if (code == ERR_OK) {
        code = fill_pending(config, facts, &pending, err);
    }
    if (code == ERR_OK) {
        code = pending_begin(state, text, &pending, err);
    }
    pending_deinit(&pending);
    if (file.data != NULL) {
        secret_wipe(file.data, file.len);
    }
    return code;
}
