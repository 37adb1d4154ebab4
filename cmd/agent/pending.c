#include "cmd/agent/pending.h"

#include "common/base/cleanup.h"
#include "common/rpc/client.h"

enum {
    PENDING_BYTES = 48 * 1024
};

#define FETCH_US (15 * US_PER_SECOND)

void pending_deinit(struct pending *pending)
{
    for (unsigned i = 0; i < pending->label_count; i++) {
        mem_free(pending->labels[i]);
    }
    secret_wipe(pending, sizeof(*pending));
}

static enum err_code fetch_ca(
    struct state *state, const struct join_string *join, struct err_info *err)
{
    AUTO_FREE char *pem = NULL;
    TRY(rpc_fetch_pinned_ca(join->target, join->ca_pin, FETCH_US, &pem, err));
    return state_save_ca(state, pem, err);
}

static enum err_code save(struct state *state, const struct pending *pending, struct err_info *err)
{
    AUTO_BUF struct buf text = BUF_INIT(PENDING_BYTES);
    buf_append_str(&text, STR("join "));
    TRY(join_format(&pending->join, &text, err));
    buf_printf(&text, "\nname %s\n", pending->name);
    for (unsigned i = 0; i < pending->label_count; i++) {
        buf_printf(&text, "label %s\n", pending->labels[i]);
    }
    enum err_code code = buf_ok(&text) ? state_save_pending(state, buf_view(&text), err)
                                       : ERR_SET(err, ERR_LIMIT, "too many labels");
    secret_wipe(text.data, text.len);
    return code;
}

static bool has_newline(const struct pending *pending)
{
    bool found = strchr(pending->name, '\n') != NULL;
    for (unsigned i = 0; i < pending->label_count; i++) {
        found = found || strchr(pending->labels[i], '\n') != NULL;
    }
    return found;
}

enum err_code pending_begin(
    struct state *state,
    struct str_view join_text,
    const struct pending *with,
    struct err_info *err)
{
    struct pending pending = *with; /* the labels stay the caller's */
    TRY(join_parse(join_text, &pending.join, err));
    enum err_code code = has_newline(&pending)
        ? ERR_SET(err, ERR_INVALID, "a newline in the name or a label")
        : ERR_OK;
    if (code == ERR_OK && pending.join.has_pin) {
        code = fetch_ca(state, &pending.join, err);
    }
    if (code == ERR_OK) {
        code = save(state, &pending, err);
    }
    secret_wipe(&pending.join, sizeof(pending.join));
    return code;
}

static enum err_code take_line(struct pending *pending, struct str_view name, struct str_view value)
{
    if (str_equal(name, STR("join"))) {
        return join_parse(value, &pending->join, NULL);
    }
    if (str_equal(name, STR("name"))) {
        return str_copy(value, pending->name, sizeof(pending->name));
    }
    if (str_equal(name, STR("label")) && pending->label_count < LINK_LABELS_MAX) {
        pending->labels[pending->label_count++] = mem_printf("%.*s", STR_ARG(value));
        return ERR_OK;
    }
    return ERR_INVALID;
}

enum err_code pending_load(struct state *state, struct pending *ret_pending, struct err_info *err)
{
    AUTO_SECRET struct secret *secret = NULL;
    struct pending pending = { .label_count = 0 };
    TRY(state_load_pending(state, &secret, err));
    struct str_view text = secret_peek(secret);
    enum err_code code = ERR_OK;
    while (text.len > 0 && code == ERR_OK) {
        struct str_view line = text;
        struct str_view name = STR_NONE;
        struct str_view value = STR_NONE;
        if (!str_cut(text, '\n', &line, &text)) {
            text = STR("");
        }
        code = str_cut(line, ' ', &name, &value) ? take_line(&pending, name, value) : ERR_INVALID;
    }
    if (code != ERR_OK || pending.join.token[0] == '\0' || pending.name[0] == '\0') {
        pending_deinit(&pending);
        return ERR_SET(
            err,
            ERR_CORRUPT,
            "%s/pending is damaged: enroll again with a new join string",
            state_dir(state));
    }
    *ret_pending = pending;
    return ERR_OK;
}

void pending_fill(const struct pending *pending, struct link_join *ret_join)
{
    memset(ret_join, 0, sizeof(*ret_join));
    ret_join->token = str_of(pending->join.token);
    ret_join->target = pending->join.target;
    ret_join->name = pending->name;
    ret_join->labels = (const char *const *)pending->labels;
    ret_join->label_count = pending->label_count;
    ret_join->has_ca = pending->join.has_pin;
}
