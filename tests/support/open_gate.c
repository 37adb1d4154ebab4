#include "tests/support/open_gate.h"

static enum err_code admit(
    void *context, struct rpc_call *call, bool may_block, struct err_info *err)
{
    (void)context;
    (void)call;
    (void)may_block;
    (void)err;
    return ERR_OK;
}

static void finished(
    void *context,
    const struct rpc_call *call,
    enum rpc_status status,
    const char *text,
    int64_t elapsed_us)
{
    (void)context;
    (void)call;
    (void)status;
    (void)text;
    (void)elapsed_us;
}

const struct rpc_gate OPEN_GATE = { admit, finished, NULL };
