/* Register: buys a place with the token, asks again until an operator has confirmed. */
#include "cmd/agent/link/link_private.h"
#include "common/base/log.h"
#include "common/sys/fault.h"

enum {
    API_KEY_MIN = 20,
    API_KEY_MAX = 512
};

static char *text_of(const char *text)
{
    return CONST_CAST(char *, text);
}

/* Everything is on disk before the link counts as enrolled; the enrollment file last. */
static enum err_code store(
    struct link *link, const Agentgateway__V1__RegisterResponse *reply, struct err_info *err)
{
    struct state *state = link->options.state;
    struct state_enrollment *enrollment = &link->enrollment;
    struct str_view box =
        str_from((const char *)reply->sealed_api_key.data, reply->sealed_api_key.len);
    AUTO_SECRET struct secret *api_key = NULL;
    if (box.len == 0) {
        return ERR_SET(
            err,
            ERR_DENIED,
            "the server gave no key (this token was used before): use a new token");
    }
    if (reply->command_pubkey.len != KEY_PUBLIC_BYTES || reply->server_id[0] == '\0'
        || reply->agent_id <= 0) {
        return ERR_SET(err, ERR_INVALID, "the server's answer lacks its command key or id");
    }
    if (key_open(state_encryption(state), box, &api_key) != ERR_OK
        || secret_peek(api_key).len < API_KEY_MIN || secret_peek(api_key).len > API_KEY_MAX) {
        return ERR_SET(err, ERR_INVALID, "the server's key is not sealed for this agent");
    }
    TRY(str_copy(str_of(reply->server_id), enrollment->server_id, STATE_ID_BYTES));
    enrollment->agent_id = reply->agent_id;
    memcpy(enrollment->command_pubkey, reply->command_pubkey.data, KEY_PUBLIC_BYTES);
    FAULT_POINT("agent.enrollment.received");
    state_drop_next_api_key(state);
    TRY(state_save_api_key(state, false, api_key, err));
    FAULT_POINT("agent.enrollment.key_kept");
    TRY(state_save_enrollment(state, enrollment, err));
    FAULT_POINT("agent.enrollment.kept");
    state_drop_pending(state);
    return ERR_OK;
}

static void tell_pending(struct link *link)
{
    char fingerprint[KEY_FINGERPRINT_TEXT_BYTES];
    (void)key_fingerprint(key_sign_public(state_identity(link->options.state)), fingerprint);
    if (!link->told_pending) {
        log_info("enrollment_pending", LOG_STR("fingerprint", fingerprint));
    }
    if (!link->told_pending && link->ops->pending != NULL) {
        link->ops->pending(link->context, fingerprint);
    }
    link->told_pending = true;
}

static void on_confirmed(struct link *link, const Agentgateway__V1__RegisterResponse *reply)
{
    struct err_info err = ERR_INFO_INIT;
    enum err_code code = store(link, reply, &err);
    if (code != ERR_OK) {
        link_fail(link, code, "enrolling", &err);
        return;
    }
    log_info("enrolled", LOG_INT("agent_id", reply->agent_id), LOG_STR("server", reply->server_id));
    secret_destroy(STEAL(link->token));
    if (link->ops->enrolled != NULL) {
        link->ops->enrolled(link->context);
    }
    if (!link->core.is_stopping) {
        link_feed_type(link, LINK_EVENT_ENROLLED);
    }
}

static void on_registered(
    struct link *link,
    enum err_code code,
    const ProtobufCMessage *message,
    const struct err_info *err)
{
    const Agentgateway__V1__RegisterResponse *reply = (const void *)message;
    if (code != ERR_OK) {
        link_fail(link, code, "enrolling", err);
        return;
    }
    switch (reply->enrollment_status) {
    case AGENTGATEWAY__V1__ENROLLMENT_STATUS__ENROLLMENT_STATUS_PENDING: {
        struct link_event event = { .type = LINK_EVENT_PENDING,
                                    .delay_us = (int64_t)reply->poll_after_ms * US_PER_MS };
        tell_pending(link);
        link_feed(link, &event);
        break;
    }
    case AGENTGATEWAY__V1__ENROLLMENT_STATUS__ENROLLMENT_STATUS_CONFIRMED:
        on_confirmed(link, reply);
        break;
    case AGENTGATEWAY__V1__ENROLLMENT_STATUS__ENROLLMENT_STATUS_REVOKED:
        link_fail(link, ERR_DENIED, "enrolling: revoked by an operator", NULL);
        break;
    case AGENTGATEWAY__V1__ENROLLMENT_STATUS__ENROLLMENT_STATUS_UNSPECIFIED:
    case _AGENTGATEWAY__V1__ENROLLMENT_STATUS_IS_INT_SIZE:
    default: /* the wire may carry any number */
        link_fail(link, ERR_UNSUPPORTED, "enrolling: an unknown enrollment status", NULL);
        break;
    }
}

static void fill_host(const struct host_facts *facts, Agentgateway__V1__HostFacts *host)
{
    agentgateway__v1__host_facts__init(host);
    host->os = text_of(facts->os);
    host->arch = text_of(facts->arch);
    host->kernel = text_of(facts->kernel);
    host->hostname = text_of(facts->hostname);
    host->cpu_count = facts->cpu_count;
    host->memory_bytes = facts->memory_bytes;
    host->machine_id = text_of(facts->machine_id);
}

void link_register(struct link *link)
{
    Agentgateway__V1__RegisterRequest request;
    Agentgateway__V1__HostFacts host;
    struct state *state = link->options.state;
    AUTO_FREE Agentgateway__V1__RegisterRequest__LabelsEntry *entries =
        mem_alloc_array(LINK_LABELS_MAX, sizeof(*entries));
    AUTO_FREE Agentgateway__V1__RegisterRequest__LabelsEntry **pointers =
        mem_alloc_array(LINK_LABELS_MAX, sizeof(void *));
    agentgateway__v1__register_request__init(&request);
    if (!link_need_channel(link)) {
        return;
    }
    for (unsigned i = 0; i < link->label_count; i++) {
        agentgateway__v1__register_request__labels_entry__init(&entries[i]);
        entries[i].key = link->labels[i].key;
        entries[i].value = link->labels[i].value;
        pointers[i] = &entries[i];
    }
    fill_host(link->options.facts, &host);
    request.enrollment_token = text_of(secret_peek(link->token).ptr);
    request.name = link->enrollment.name;
    request.identity_pubkey.data = CONST_CAST(uint8_t *, key_sign_public(state_identity(state)));
    request.identity_pubkey.len = KEY_PUBLIC_BYTES;
    request.encryption_pubkey.data = CONST_CAST(uint8_t *, key_box_public(state_encryption(state)));
    request.encryption_pubkey.len = KEY_PUBLIC_BYTES;
    request.labels = pointers;
    request.n_labels = link->label_count;
    request.agent_version = text_of(link->options.agent_version);
    request.host = &host;
    link_call(
        link,
        LINK_PATH("Register"),
        &request.base,
        &agentgateway__v1__register_response__descriptor,
        on_registered);
}
