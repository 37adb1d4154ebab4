/*
 * The gate of every call (rpc_gate): authenticates, checks class and scope by the method's rule,
 * and leaves a log line, metrics and, for refusals of audited methods, an audit record.
 */
#ifndef SERVER_AUTH_GATE_H
#define SERVER_AUTH_GATE_H

#include "cmd/server/auth/principal.h"
#include "cmd/server/core/service.h"
#include "common/rpc/server.h"

struct rpc_gate gate_create(struct service *service);

/* Names of listeners that matter here: the operators' local socket lets its uid in without a key.
 */
#define GATE_LISTENER_OPERATOR "operator"

struct gate_refusal {
    const struct principal *principal; /* NULL: unknown */
    const char *target;                /* "agent/7", or "" */
    enum err_code code;
    const char *reason; /* for the record; not for the peer */
};

enum {
    GATE_SOURCE_BYTES = 80
};

/* Where a call comes from: "192.0.2.7:4711" or "unix:uid=0"; returns out. */
char *gate_source(const struct rpc_call *call, char out[GATE_SOURCE_BYTES]);

/*
 * One audit record of its own transaction: for refusals, which have no effect to share one with.
 * Failing to write it fails the call.
 */
enum err_code gate_audit_refusal(
    const struct rpc_call *call,
    const struct gate_refusal *refusal,
    struct err_info *err) MUST_CHECK;

/* Whether an error says that the caller may not or should not have asked, so that an audited
 * method's record tells of it; what broke on this side is none. */
bool gate_is_refusal(enum err_code code);

#endif
