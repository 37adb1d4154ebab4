/* Tokens for forwards: each is good for a few connections, so they are shared and kept. */
#include "cmd/cli/session/forward_private.h"
#include "common/base/cleanup.h"

enum {
    LEFT_MS = 60 * 1000 /* a token that is over sooner is not used any more */
};

struct request {
    struct forward *forward;
    forward_token_fn fn;
    void *context;
};

static struct forward_token *find_usable(struct forward *forward)
{
    int64_t now_ms = cli_now(forward->cli).value / US_PER_MS;
    for (size_t i = 0; i < FORWARD_TOKENS_MAX; i++) {
        struct forward_token *token = &forward->tokens[i];
        bool is_over = token->text != NULL && token->expires_at_ms < now_ms + LEFT_MS;
        if (is_over && token->in_use == 0) {
            mem_free(STEAL(token->text));
        }
        if (token->text != NULL && !is_over && token->in_use < FORWARD_PER_TOKEN) {
            return token;
        }
    }
    return NULL;
}

static struct forward_token *find_free(struct forward *forward)
{
    for (size_t i = 0; i < FORWARD_TOKENS_MAX; i++) {
        if (forward->tokens[i].text == NULL) {
            return &forward->tokens[i];
        }
    }
    return NULL;
}

static void on_answer(
    void *context, enum err_code code, const ProtobufCMessage *message, const struct err_info *err)
{
    struct request *request = context;
    struct forward *forward = request->forward;
    const Openshell__V1__CreateSshSessionResponse *reply =
        (const Openshell__V1__CreateSshSessionResponse *)(const void *)message;
    struct forward_token *token = code == ERR_OK ? find_free(forward) : NULL;
    struct err_info full = ERR_INFO_INIT;
    if (code == ERR_OK && token == NULL) {
        (void)ERR_SET(&full, ERR_LIMIT, "too many connections at once");
        err = &full;
    }
    if (token != NULL && strlen(reply->token) > FORWARD_TOKEN_BYTES_MAX) {
        (void)ERR_SET(&full, ERR_CORRUPT, "the server's token is too long");
        err = &full;
        token = NULL;
    }
    if (token != NULL) {
        token->text = mem_strdup(reply->token);
        token->expires_at_ms = reply->expires_at_ms;
        token->in_use = 1;
    }
    request->fn(request->context, token, err);
    mem_free(request);
    if (forward->is_ending) {
        forward_tokens_revoke(forward);
    }
    forward_answered(forward);
}

void forward_token_take(struct forward *forward, forward_token_fn fn, void *context)
{
    struct forward_token *token = find_usable(forward);
    Openshell__V1__CreateSshSessionRequest message =
        OPENSHELL__V1__CREATE_SSH_SESSION_REQUEST__INIT;
    if (token != NULL) {
        token->in_use++;
        fn(context, token, NULL);
        return;
    }
    struct request *request = mem_alloc(sizeof(*request));
    *request = (struct request){ forward, fn, context };
    const struct connection_answer answer = { &forward->executor, on_answer, request };
    message.sandbox_id = forward->wish->sandbox_id;
    forward->pending++;
    connection_call_async(
        forward->cli,
        CONNECTION_OPENSHELL "CreateSshSession",
        &message.base,
        &openshell__v1__create_ssh_session_response__descriptor,
        &answer);
}

void forward_token_give(struct forward_token *token)
{
    if (token != NULL) {
        token->in_use--;
    }
}

/* Whether the server heard it or not: the token is over in a day. */
static void on_revoked(
    void *context, enum err_code code, const ProtobufCMessage *message, const struct err_info *err)
{
    (void)code;
    (void)message;
    (void)err;
    forward_answered(context);
}

void forward_tokens_revoke(struct forward *forward)
{
    const struct connection_answer answer = { &forward->executor, on_revoked, forward };
    for (size_t i = 0; i < FORWARD_TOKENS_MAX; i++) {
        Openshell__V1__RevokeSshSessionRequest message =
            OPENSHELL__V1__REVOKE_SSH_SESSION_REQUEST__INIT;
        if (forward->tokens[i].text != NULL) {
            AUTO_FREE char *text = STEAL(forward->tokens[i].text);
            message.token = text; /* taken into the request before the call returns */
            forward->pending++;
            connection_call_async(
                forward->cli,
                CONNECTION_OPENSHELL "RevokeSshSession",
                &message.base,
                &openshell__v1__revoke_ssh_session_response__descriptor,
                &answer);
        }
    }
}
