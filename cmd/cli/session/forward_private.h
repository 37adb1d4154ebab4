/* What listening (forward.c), tokens (forward_token.c) and connections (joint.c) share. */
#ifndef CMD_CLI_SESSION_FORWARD_PRIVATE_H
#define CMD_CLI_SESSION_FORWARD_PRIVATE_H

#include "cmd/cli/connection.h"
#include "cmd/cli/session/forward.h"
#include "common/base/list.h"
#include "common/sys/loop.h"

#include "proto/openshell/v1/openshell.pb-c.h"

enum {
    /* The contract allows 3 to a token and 20 to a sandbox; what was given up here may still count
     * there (what ended there does not). */
    FORWARD_PER_TOKEN = 2,
    FORWARD_CONNECTIONS_MAX = 16,
    FORWARD_TOKENS_MAX = FORWARD_CONNECTIONS_MAX,
    FORWARD_TOKEN_BYTES_MAX = 4096
};

struct forward_token {
    char *text; /* owned; NULL: free */
    unsigned in_use;
    int64_t expires_at_ms;
};

struct forward {
    struct cli *cli;
    const struct forward_wish *wish;
    struct loop *loop;
    struct rpc_executor executor;
    struct listener *listeners; /* as many as specs */
    struct forward_token tokens[FORWARD_TOKENS_MAX];
    struct list joints;
    size_t joint_count;
    unsigned pending; /* calls whose answer is to come: it must find this alive */
    bool is_ending;
    int last_signal; /* of the interrupt's thread, until its claim is released */
};

/* Given to whoever asked, on the loop; token NULL: err says why. */
typedef void (*forward_token_fn)(
    void *context, struct forward_token *token, const struct err_info *err);

/* One use of a token, now or once the server has given a new one. context outlives the answer. */
void forward_token_take(struct forward *forward, forward_token_fn fn, void *context);
void forward_token_give(struct forward_token *token); /* NULL is allowed */
void forward_tokens_revoke(
    struct forward *forward); /* asks the server to; the answers count as pending */

struct joint;

/* Takes the socket; local is where it was accepted. */
void joint_start(struct forward *forward, int take_fd, const char *local, uint16_t remote);
void joints_end(struct forward *forward);

/* A connection has ended: another may be accepted. */
void forward_joint_ended(struct forward *forward);
/* An answer has come: the run ends with the last one, when it is to end. */
void forward_answered(struct forward *forward);

#endif
