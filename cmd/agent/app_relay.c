/* Operators in this agent's sandboxes: what the link brings, and the streams it lends. */
#include "cmd/agent/app.h"

static enum err_code open_stream(
    void *context,
    const struct rpc_client_stream_ops *ops,
    void *stream_context,
    struct rpc_client_stream **ret_stream,
    struct err_info *err)
{
    struct app *app = context;
    return link_open_relay(app->link, ops, stream_context, ret_stream, err);
}

static void on_idle(void *context)
{
    struct app *app = context;
    link_settle(app->link);
}

void app_open_relays(struct app *app)
{
    if (app->workload == NULL) {
        return;
    }
    const struct bridges_options options = { .loop = app->loop,
                                             .sandboxes = workload_sandboxes(app->workload),
                                             .execs = workload_execs(app->workload),
                                             .open_stream = open_stream,
                                             .idle = on_idle,
                                             .context = app };
    app->bridges = bridges_create(&options);
}

/* An agent without sandboxes names none in its hello: it is not asked. */
void app_relay_open(void *context, const Agentgateway__V1__ControlRelayOpen *order)
{
    struct app *app = context;
    if (app->bridges != NULL) {
        const struct verify_context who = app_server(app);
        bridges_open(app->bridges, &who, order);
    }
}

bool app_has_relays(void *context)
{
    const struct app *app = context;
    return app->bridges != NULL && bridges_count(app->bridges) > 0;
}
