#include "cmd/server/api/labels.h"

enum {
    LABELS_MAX = 64
};

struct str_view labels_of_agent(const void *message, struct str_view key)
{
    const Agentgateway__V1__Agent *agent = message;
    for (size_t i = 0; i < agent->n_labels; i++) {
        if (str_equal(str_of(agent->labels[i]->key), key)) {
            return str_of(agent->labels[i]->value);
        }
    }
    return STR_NONE;
}

static bool is_replaced(const Agentgateway__V1__UpdateAgentRequest *request, const char *key)
{
    for (size_t i = 0; i < request->n_set_labels; i++) {
        if (strcmp(request->set_labels[i]->key, key) == 0) {
            return true;
        }
    }
    for (size_t i = 0; i < request->n_remove_labels; i++) {
        if (strcmp(request->remove_labels[i], key) == 0) {
            return true;
        }
    }
    return false;
}

static void append(struct buf *out, const char *key, const char *value, size_t *count)
{
    if ((*count)++ > 0) {
        buf_append_char(out, ',');
    }
    buf_append_json(out, str_of(key));
    buf_append_char(out, ':');
    buf_append_json(out, str_of(value));
}

enum err_code labels_update(
    const Agentgateway__V1__Agent *agent,
    const Agentgateway__V1__UpdateAgentRequest *request,
    struct buf *out,
    struct err_info *err)
{
    size_t count = 0;
    buf_append_char(out, '{');
    for (size_t i = 0; i < agent->n_labels; i++) {
        if (!is_replaced(request, agent->labels[i]->key)) {
            append(out, agent->labels[i]->key, agent->labels[i]->value, &count);
        }
    }
    for (size_t i = 0; i < request->n_set_labels; i++) {
        append(out, request->set_labels[i]->key, request->set_labels[i]->value, &count);
    }
    buf_append_char(out, '}');
    if (count > LABELS_MAX || !buf_ok(out)) {
        return ERR_SET(err, ERR_LIMIT, "set_labels: an agent has at most %d labels", LABELS_MAX);
    }
    return ERR_OK;
}
