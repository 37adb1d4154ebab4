/*
 * The operators' service as belay-sim uses it: tokens that confirm by themselves, commands, and
 * what the store holds. The event-driven calls answer on the executor.
 */
#ifndef TOOLS_BENCH_SIM_OPERATOR_H
#define TOOLS_BENCH_SIM_OPERATOR_H

#include "common/rpc/client.h"
#include "tools/bench/sim/plan.h"

struct operator_api;

/* Fetches the pinned CA where TLS is used; the client must outlive it. */
enum err_code operator_open(
    struct rpc_client *client,
    const struct plan *plan,
    struct operator_api **ret_api,
    struct err_info *err) MUST_CHECK;
void operator_close(struct operator_api *api); /* NULL is allowed */

/* The reply is a CreateEnrollmentTokenResponse. */
void operator_make_token(
    struct operator_api *api,
    const struct rpc_executor *executor,
    rpc_reply_fn done,
    void *context);

/* A telemetry_now command for one agent; the reply is a Command. */
void operator_give_command(
    struct operator_api *api,
    int64_t agent_id,
    const struct rpc_executor *executor,
    rpc_reply_fn done,
    void *context);

/* Samples of one metric of an agent within [from, to), raw; blocks. At most 100000. */
enum err_code operator_query(
    struct operator_api *api,
    int64_t agent_id,
    const struct wall_us range[2],
    struct arena *arena,
    const double **ret_values,
    size_t *ret_count,
    struct err_info *err) MUST_CHECK;

/* The metric that every record carries; its value is the record's sequence number. */
#define SIM_SEQUENCE_METRIC "sim.sequence"

#endif
