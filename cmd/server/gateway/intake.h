/*
 * What an agent says on its control stream, stored. Each function is a work_fn
 * (cmd/server/core/work.h) with the struct of its name, and writes nothing for a session that
 * another has taken the place of (ERR_UNAUTHENTICATED).
 */
#ifndef SERVER_GATEWAY_INTAKE_H
#define SERVER_GATEWAY_INTAKE_H

#include "cmd/server/auth/principal.h"
#include "cmd/server/core/work.h"

#include "proto/agentgateway/v1/agentgateway.pb-c.h"

struct intake { /* who says it, on which stream; borrowed */
    const struct principal *principal;
    int64_t stream; /* number of the agent's newest one */
    const char *request_id;
};

struct intake_hello {
    struct intake from;
    const Agentgateway__V1__ControlHello *hello;
};

/*
 * The stream is the agent's newest from then on. ERR_INVALID: the hello is too large; ERR_CONFLICT:
 * it comes late, a newer stream of the session has said its own.
 */
enum err_code intake_keep_hello(struct work *work, void *hello, struct err_info *err) MUST_CHECK;

struct intake_capacity {
    struct intake from;
    const Agentgateway__V1__Capacity *capacity;
};

/*
 * Takes the place of what the hello said; that of a stream that is no longer the newest changes
 * nothing. ERR_INVALID: hello and capacity are too large.
 */
enum err_code intake_keep_capacity(struct work *work, void *capacity, struct err_info *err)
    MUST_CHECK;

struct intake_ack {
    struct intake from;
    const Agentgateway__V1__ControlAck *ack;
};

/* A repetition, and the acknowledgement of another agent's command, change nothing. */
enum err_code intake_keep_ack(struct work *work, void *ack, struct err_info *err) MUST_CHECK;

struct intake_report {
    struct intake from;
    const Agentgateway__V1__SandboxReport *report;
};

enum err_code intake_keep_report(struct work *work, void *report, struct err_info *err) MUST_CHECK;

#endif
