#include "cmd/agent/link/link.h"

#include "cmd/agent/link/link_private.h"
#include "common/base/id.h"
#include "common/base/log.h"
#include "common/wire/timestamp.h"

#include <stdio.h>

enum {
    UPLOAD_BYTES = 256 * 1024
};

struct wall_us link_time_of(const Google__Protobuf__Timestamp *timestamp)
{
    if (timestamp == NULL || timestamp->seconds < 0 || timestamp->seconds > WALL_US_MAX / 1000000) {
        return (struct wall_us){ 0 };
    }
    return (struct wall_us){ wire_timestamp_us(timestamp, 0) };
}

/* gRPC's own words for a peer that is no HTTP/2 server help nobody in the field. */
static const char *explain(const char *text)
{
    if (strstr(text, "http1.x") != NULL || strstr(text, "parsing HTTP/2") != NULL
        || strstr(text, "missing selected ALPN") != NULL) {
        return " (something between this agent and the server does not pass HTTP/2: a proxy or load "
               "balancer; let it pass TCP through to the agents' port)";
    }
    return "";
}

/* A wrong clock and a wrong server look alike to the one that checks the certificate. */
static void append_clock(const struct link *link, char *text, size_t bytes)
{
    char now[TIME_TEXT_BYTES];
    size_t used = strlen(text);
    if (strstr(text, "certificate verify failed") == NULL) {
        return;
    }
    int added = snprintf(
        text + used,
        bytes - used,
        " (or a clock is wrong, the server's or this one: here it is %s)",
        time_format(clock_wall(link->options.clock), now));
    (void)added; /* cut is fine */
}

void link_report(
    struct link *link, enum err_code code, const char *what, const struct err_info *err)
{
    const char *text = err == NULL ? err_name(code) : err->text;
    int used = snprintf(
        link->last_error, sizeof(link->last_error), "%s: %.300s%s", what, text, explain(text));
    (void)used; /* cut is fine */
    append_clock(link, link->last_error, sizeof(link->last_error));
    link->last_error_at = clock_wall(link->options.clock);
    log_warn(
        "link_problem",
        LOG_STR("what", what),
        LOG_STR("code", err_name(code)),
        LOG_STR("error", link->last_error));
    if (link->ops->problem != NULL) {
        link->ops->problem(link->context, code, link->last_error);
    }
}

void link_fail(struct link *link, enum err_code code, const char *what, const struct err_info *err)
{
    bool refused = code == ERR_UNAUTHENTICATED || code == ERR_DENIED || code == ERR_INVALID
        || code == ERR_EXISTS;
    link_report(link, code, what, err);
    link_feed_type(link, refused ? LINK_EVENT_REFUSED : LINK_EVENT_FAILED);
}

bool link_need_channel(struct link *link)
{
    struct err_info err = ERR_INFO_INIT;
    AUTO_FREE char *ca = NULL;
    if (link->channel != NULL) {
        return true;
    }
    enum err_code code = ERR_OK;
    if (link->enrollment.has_ca) {
        code = state_load_ca(link->options.state, &ca, &err);
    }
    /* a fresh channel per attempt: the delays between attempts are ours, not the library's */
    struct rpc_channel_options options = { .target = link->enrollment.target,
                                           .ca_pem = ca,
                                           .server_name =
                                               ca == NULL ? NULL : RPC_PINNED_SERVER_NAME,
                                           .user_agent = "belay-agent" };
    if (code == ERR_OK) {
        code = rpc_channel_create(link->client, &options, &link->channel, &err);
    }
    if (code != ERR_OK) {
        link_report(link, code, "connecting", &err);
        link_feed_type(link, LINK_EVENT_FAILED);
    }
    return code == ERR_OK;
}

static void on_reply(
    void *context, enum err_code code, const ProtobufCMessage *reply, const struct err_info *err)
{
    struct link_call *call = context;
    struct link *link = call->link;
    list_remove(&call->node);
    if (call->attempt == link->attempt) {
        call->done(link, code, reply, err);
    }
    mem_free(call);
}

void link_call(
    struct link *link,
    const char *path,
    const ProtobufCMessage *request,
    const ProtobufCMessageDescriptor *reply_type,
    void (*done)(
        struct link *link,
        enum err_code code,
        const ProtobufCMessage *reply,
        const struct err_info *err))
{
    struct link_call *call = mem_alloc(sizeof(*call));
    struct rpc_header header = { "authorization", NULL };
    struct rpc_call_options options = { .deadline_us = LINK_CALL_US };
    if (link->authorization != NULL) {
        header.value = secret_peek(link->authorization).ptr;
        options.headers = &header;
        options.header_count = 1;
    }
    call->link = link;
    call->attempt = link->attempt;
    call->done = done;
    list_append(&link->calls, &call->node);
    rpc_channel_call_async(
        link->channel, path, request, reply_type, &options, &link->executor, on_reply, call);
}

static void release(struct link *link)
{
    link->attempt++;
    for (unsigned i = 0; i < SPOOL_STREAM_COUNT; i++) {
        uploader_stop(link->uploaders[i]);
    }
    live_stop(link->live);
    if (link->control != NULL) {
        rpc_client_stream_release(STEAL(link->control));
    }
    link->is_half_closed = false;
}

static void discard(struct link *link)
{
    release(link);
    rpc_channel_destroy(STEAL(link->channel));
}

void link_check_closed(struct link *link)
{
    bool has_relays = link->ops->has_relays != NULL && link->ops->has_relays(link->context);
    bool is_busy = link->control != NULL || (has_relays && !link->core.keeps_relays);
    for (unsigned i = 0; i < SPOOL_STREAM_COUNT; i++) {
        is_busy = is_busy || uploader_is_busy(link->uploaders[i]);
    }
    if (link->is_half_closed && !is_busy) {
        link_feed_type(link, LINK_EVENT_CLOSED);
    }
}

void link_settle(struct link *link)
{
    link_check_closed(link);
}

static void half_close(struct link *link)
{
    for (unsigned i = 0; i < SPOOL_STREAM_COUNT; i++) {
        uploader_finish(link->uploaders[i]);
    }
    live_stop(link->live);
    link->is_half_closed = true;
    if (link->control != NULL) {
        rpc_client_stream_half_close(link->control);
    }
    link_check_closed(link);
}

static void go_online(struct link *link)
{
    log_info(
        "link_online",
        LOG_STR("server", link->enrollment.server_id),
        LOG_INT("agent_id", link->enrollment.agent_id));
    if (link->ops->online != NULL) {
        link->ops->online(link->context);
    }
    for (unsigned i = 0; i < SPOOL_STREAM_COUNT; i++) {
        uploader_start(link->uploaders[i]);
    }
    if (link->takes_copies) {
        live_start(link->live);
    }
}

static void perform(struct link *link, unsigned actions)
{
    static const struct {
        unsigned action;
        void (*run)(struct link *link);
    } rows[] = {
        { LINK_DO_DISCARD, discard },        { LINK_DO_RELEASE, release },
        { LINK_DO_REGISTER, link_register }, { LINK_DO_BEGIN, link_begin },
        { LINK_DO_COMPLETE, link_complete }, { LINK_DO_OPEN, link_open_control },
        { LINK_DO_UPLOAD, go_online },       { LINK_DO_HEARTBEAT, link_heartbeat },
        { LINK_DO_HALF_CLOSE, half_close },
    };

    for (unsigned i = 0; i < ARRAY_LENGTH(rows); i++) {
        if ((actions & rows[i].action) != 0) {
            rows[i].run(link);
        }
    }
    if ((actions & LINK_DO_STOPPED) != 0 && link->ops->stopped != NULL) {
        link->ops->stopped(link->context);
    }
}

static void step(struct link *link, struct link_event event)
{
    enum link_state before = link_core_state(&link->core);
    struct mono_us now = loop_now(link->options.loop);
    unsigned actions = 0;
    id_random(&event.random, sizeof(event.random));
    if (link_step(&link->core, &event, now, &actions) != ERR_OK) {
        log_warn(
            "link_out_of_order",
            LOG_STR("event", link_event_name(event.type)),
            LOG_STR("state", sm_name(&link->core.sm)));
        bool is_live = before != LINK_DISCONNECTED && before != LINK_DRAINING;
        struct link_event failed = { .type = LINK_EVENT_FAILED, .random = event.random };
        if (!is_live || link_step(&link->core, &failed, now, &actions) != ERR_OK) {
            return;
        }
    }
    if (before != link_core_state(&link->core)) {
        log_info("link_state", LOG_STR("state", sm_name(&link->core.sm)));
    }
    perform(link, actions);
}

void link_feed(struct link *link, const struct link_event *event)
{
    if (link->queued == LINK_QUEUE_MAX) {
        log_error("link_queue_full", LOG_STR("event", link_event_name(event->type)));
        return;
    }
    link->queue[link->queued++] = *event;
    if (link->is_stepping) {
        return; /* whoever is above us takes it next */
    }
    link->is_stepping = true;
    while (link->queued > 0) {
        struct link_event next = link->queue[0];
        link->queued--;
        memmove(link->queue, link->queue + 1, link->queued * sizeof(link->queue[0]));
        step(link, next);
    }
    link->is_stepping = false;
    struct mono_us deadline = link_core_deadline(&link->core);
    if (deadline.value == INT64_MAX) {
        loop_timer_disarm(link->timer);
    } else {
        loop_timer_arm(link->timer, deadline);
    }
}

void link_feed_type(struct link *link, enum link_event_type type)
{
    struct link_event event = { .type = type };
    link_feed(link, &event);
}

static void on_timer(void *context)
{
    link_feed_type(context, LINK_EVENT_TIMER);
}

static bool post(void *context, void (*fn)(void *argument), void *argument)
{
    return loop_post(context, fn, argument);
}

static enum err_code take_label(struct link *link, const char *text, struct err_info *err)
{
    struct str_view key = STR_NONE;
    struct str_view value = STR_NONE;
    struct link_label *label = &link->labels[link->label_count];
    if (!str_cut(str_of(text), '=', &key, &value) || key.len == 0
        || str_copy(key, label->key, sizeof(label->key)) != ERR_OK
        || str_copy(value, label->value, sizeof(label->value)) != ERR_OK) {
        return ERR_SET(err, ERR_INVALID, "label %s: expected KEY=VALUE", text);
    }
    link->label_count++;
    return ERR_OK;
}

static enum err_code take_join(struct link *link, struct err_info *err)
{
    const struct link_join *join = link->options.join;
    if (join == NULL) {
        return state_load_enrollment(link->options.state, &link->enrollment, err);
    }
    if (join->label_count > LINK_LABELS_MAX) {
        return ERR_SET(err, ERR_INVALID, "more than %d labels", LINK_LABELS_MAX);
    }
    if (str_copy(str_of(join->target), link->enrollment.target, STATE_TARGET_BYTES) != ERR_OK
        || str_copy(str_of(join->name), link->enrollment.name, STATE_NAME_BYTES) != ERR_OK) {
        return ERR_SET(err, ERR_INVALID, "the target or the name is too long");
    }
    link->enrollment.has_ca = join->has_ca;
    link->token = secret_create(join->token.ptr, join->token.len);
    link->labels = mem_alloc_array(LINK_LABELS_MAX, sizeof(*link->labels));
    for (unsigned i = 0; i < join->label_count; i++) {
        TRY(take_label(link, join->labels[i], err));
    }
    return ERR_OK;
}

enum err_code link_create(
    const struct link_options *options, struct link **ret_link, struct err_info *err)
{
    struct link *link = mem_alloc(sizeof(*link));
    link->options = *options;
    link->ops = options->ops;
    link->context = options->context;
    link->upload_bytes = options->upload_bytes == 0 ? UPLOAD_BYTES : options->upload_bytes;
    link->executor = (struct rpc_executor){ post, options->loop };
    link->created_at = loop_now(options->loop);
    link->capacity = (struct buf)BUF_INIT(LINK_HELLO_BYTES);
    list_init(&link->calls);
    link->timer = loop_timer_create(options->loop, on_timer, link);
    for (unsigned i = 0; i < SPOOL_STREAM_COUNT && options->spool != NULL; i++) {
        link->uploaders[i] = uploader_create(link, (enum spool_stream)i);
    }
    link->live = options->spool == NULL ? NULL : live_create(link);
    enum err_code code = take_join(link, err);
    if (code == ERR_OK) {
        code = rpc_client_create(options->schema, &link->client, err);
    }
    if (code != ERR_OK) {
        link_destroy(link);
        return code;
    }
    link->options.join = NULL; /* borrowed for the call */
    link_core_init(&link->core, options->join == NULL, loop_now(options->loop));
    *ret_link = link;
    return ERR_OK;
}

void link_destroy(struct link *link)
{
    if (link == NULL) {
        return;
    }
    discard(link);
    rpc_client_destroy(link->client);
    LIST_FOR_EACH(node, &link->calls) /* their answers were for a loop that has ended */
    {
        list_remove(node);
        mem_free(LIST_ENTRY(node, struct link_call, node));
    }
    for (unsigned i = 0; i < SPOOL_STREAM_COUNT; i++) {
        uploader_destroy(link->uploaders[i]);
    }
    live_destroy(link->live);
    loop_timer_destroy(link->timer);
    secret_destroy(link->authorization);
    secret_destroy(link->token);
    buf_deinit(&link->capacity);
    mem_free(link->labels);
    mem_free(link);
}

void link_start(struct link *link)
{
    link_feed_type(link, LINK_EVENT_START);
}

void link_stop(struct link *link)
{
    link_feed_type(link, LINK_EVENT_STOP);
}

void link_poke(struct link *link)
{
    for (unsigned i = 0; i < SPOOL_STREAM_COUNT; i++) {
        uploader_poke(link->uploaders[i]);
    }
}

void link_offer(struct link *link, const struct spool_input *input)
{
    link_poke(link);
    if (uploader_is_behind(link->uploaders[input->stream])) {
        live_offer(link->live, input);
    }
}

void link_drain(struct link *link, int64_t delay_us)
{
    struct link_event event = { .type = LINK_EVENT_DRAIN, .delay_us = delay_us };
    link_feed(link, &event);
}

void link_renew(struct link *link)
{
    struct link_event event = { .type = LINK_EVENT_DRAIN, .renews = true };
    link_feed(link, &event);
}

void link_set_upload_bytes(struct link *link, size_t bytes)
{
    link->upload_bytes = bytes;
}

bool link_is_online(const struct link *link)
{
    return link_core_state(&link->core) == LINK_STREAMING && link->core.is_accepted;
}

void link_get_view(const struct link *link, struct link_view *ret_view)
{
    memset(ret_view, 0, sizeof(*ret_view));
    ret_view->state = sm_name(&link->core.sm);
    ret_view->is_online = link_is_online(link);
    ret_view->since_us = loop_now(link->options.loop).value - link->core.sm.since.value;
    memcpy(ret_view->target, link->enrollment.target, sizeof(ret_view->target));
    memcpy(ret_view->server_id, link->enrollment.server_id, sizeof(ret_view->server_id));
    memcpy(ret_view->name, link->enrollment.name, sizeof(ret_view->name));
    ret_view->agent_id = link->enrollment.agent_id;
    memcpy(ret_view->last_error, link->last_error, sizeof(ret_view->last_error));
    ret_view->last_error_at = link->last_error_at;
    ret_view->last_upload_at = link->last_upload_at;
    ret_view->uploaded_records = link->uploaded_records;
    ret_view->uploaded_copies = link->uploaded_copies;
}

const struct state_enrollment *link_enrollment(const struct link *link)
{
    return &link->enrollment;
}

struct wall_us link_server_time(const struct link *link)
{
    if (link->server_time.value == 0) {
        return clock_wall(link->options.clock);
    }
    int64_t passed_us = loop_now(link->options.loop).value - link->server_time_at.value;
    return (struct wall_us){ link->server_time.value + passed_us };
}
