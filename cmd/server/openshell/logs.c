/* GetSandboxLogs and WatchSandbox. */
#include "cmd/server/openshell/handlers.h"
#include "cmd/server/openshell/log_filter.h"
#include "cmd/server/openshell/map.h"
#include "common/wire/wire.h"

enum {
    LINES_DEFAULT = 2000,
    LINES_MAX = 10000,
    TAIL_DEFAULT = 200,
    TAIL_MAX = 2000,
    ID_BYTES = 65
};

/* 0: from the first; a time beyond all clocks is later than every line. */
static int64_t since_us(int64_t since_ms)
{
    if (since_ms <= 0) {
        return INT64_MIN;
    }
    return since_ms > INT64_MAX / MAP_US_PER_MS ? INT64_MAX : since_ms * MAP_US_PER_MS;
}

/* The newest of the list that fit into an answer, oldest of them first; logs has room for all. */
static enum err_code fill_lines(
    const struct map_context *context,
    const struct store_list *list,
    Openshell__V1__GetSandboxLogsResponse *reply,
    struct err_info *err)
{
    const struct event_record *records = list->records; /* newest first */
    size_t left = MAP_ANSWER_BYTES;
    size_t count = 0;
    for (; count < list->count; count++) {
        Openshell__V1__SandboxLogLine *line = map_log_line(context, &records[count]);
        if (line == NULL) {
            return API_OUT_OF_MEMORY(err);
        }
        size_t bytes = protobuf_c_message_get_packed_size(&line->base) + MAP_FIELD_BYTES;
        if (bytes > left) {
            break;
        }
        left -= bytes;
        reply->logs[list->count - 1 - count] = line;
    }
    reply->logs += list->count - count;
    reply->n_logs = count;
    return ERR_OK;
}

OPENSHELL_HANDLER(get_sandbox_logs)
{
    const Openshell__V1__GetSandboxLogsRequest *request =
        (const Openshell__V1__GetSandboxLogsRequest *)message;
    const struct map_context context = map_context_of(api);
    struct sandbox_record record;
    struct log_filter filter;
    struct store_list list = { .count = 0 };
    int64_t lines = request->lines == 0 ? LINES_DEFAULT : request->lines;
    TRY(log_filter_parse(request->min_level, request->sources, request->n_sources, &filter, err));
    TRY(store_sandbox_get(
        api->work->conn, api->workspace_id, str_of(request->sandbox_id), api->arena, &record, err));
    const struct event_device_filter ask = {
        .device = str_of(request->sandbox_id),
        .kinds = filter.kinds,
        .min_severity = filter.min_severity,
        .since = since_us(request->since_ms),
        .limit = lines > LINES_MAX ? LINES_MAX : lines,
    };
    TRY(store_event_of_device(api->work->conn, api->workspace_id, &ask, api->arena, &list, err));
    int64_t total = 0;
    TRY(store_event_count_of_device(api->work->conn, api->workspace_id, ask.device, &total, err));
    Openshell__V1__GetSandboxLogsResponse *reply =
        wire_new(api->arena, &openshell__v1__get_sandbox_logs_response__descriptor);
    if (reply == NULL
        || (reply->logs = arena_alloc(api->arena, (list.count + 1) * sizeof(void *))) == NULL) {
        return API_OUT_OF_MEMORY(err);
    }
    TRY(fill_lines(&context, &list, reply, err));
    reply->buffer_total = total > UINT32_MAX ? UINT32_MAX : (uint32_t)total;
    *ret_reply = &reply->base;
    return ERR_OK;
}

/* WatchSandbox: the sandbox as it stands, the tails of log and events, then the sandbox at each
 * revision and what is newer than the last event sent. */

struct sandbox_watch {
    char id[ID_BYTES];
    bool follow_status;
    bool follow_logs;
    bool follow_events;
    bool stop_on_terminal;
    struct log_filter filter;
    int64_t revision;
    int64_t after_id;
};

static Openshell__V1__SandboxStreamEvent *new_event(struct api_call *api)
{
    return wire_new(api->arena, &openshell__v1__sandbox_stream_event__descriptor);
}

static enum err_code emit_line(
    struct watch *watch,
    struct api_call *api,
    const struct event_record *record,
    struct err_info *err)
{
    const struct map_context context = map_context_of(api);
    Openshell__V1__SandboxStreamEvent *event = new_event(api);
    if (event == NULL || (event->log = map_log_line(&context, record)) == NULL) {
        return API_OUT_OF_MEMORY(err);
    }
    event->payload_case = OPENSHELL__V1__SANDBOX_STREAM_EVENT__PAYLOAD_LOG;
    watch_emit(watch, &event->base);
    return ERR_OK;
}

static enum err_code emit_event(
    struct watch *watch,
    struct api_call *api,
    const struct event_record *record,
    struct err_info *err)
{
    const struct map_context context = map_context_of(api);
    Openshell__V1__SandboxStreamEvent *event = new_event(api);
    if (event == NULL || (event->event = map_platform_event(&context, record)) == NULL) {
        return API_OUT_OF_MEMORY(err);
    }
    event->payload_case = OPENSHELL__V1__SANDBOX_STREAM_EVENT__PAYLOAD_EVENT;
    watch_emit(watch, &event->base);
    return ERR_OK;
}

/* News go to who follows events and to who follows the log of the gateway: to who follows both,
 * twice. */
static enum err_code emit_record(
    struct watch *watch,
    struct api_call *api,
    const struct event_record *record,
    struct err_info *err)
{
    const struct sandbox_watch *self = watch_state(watch);
    bool is_line = map_is_line(record);
    unsigned kind = is_line ? EVENT_LINES : EVENT_NEWS;
    if (self->follow_logs && (self->filter.kinds & kind) != 0
        && record->severity >= self->filter.min_severity) {
        TRY(emit_line(watch, api, record, err));
    }
    return self->follow_events && !is_line ? emit_event(watch, api, record, err) : ERR_OK;
}

static enum err_code emit_sandbox(
    struct watch *watch,
    struct api_call *api,
    const struct sandbox_record *record,
    struct err_info *err)
{
    struct sandbox_watch *self = watch_state(watch);
    const struct map_context context = map_context_of(api);
    Openshell__V1__SandboxStreamEvent *event = new_event(api);
    if (event == NULL) {
        return API_OUT_OF_MEMORY(err);
    }
    event->payload_case = OPENSHELL__V1__SANDBOX_STREAM_EVENT__PAYLOAD_SANDBOX;
    event->sandbox = map_sandbox(&context, record);
    if (event->sandbox == NULL) {
        return API_OUT_OF_MEMORY(err);
    }
    self->revision = record->revision;
    watch_emit(watch, &event->base);
    return ERR_OK;
}

/* The newest lines or events there are, oldest of them first. */
static enum err_code emit_tail(
    struct watch *watch,
    struct api_call *api,
    const struct event_device_filter *ask,
    enum err_code (*emit)(
        struct watch *watch,
        struct api_call *api,
        const struct event_record *record,
        struct err_info *err),
    struct err_info *err)
{
    struct store_list list;
    TRY(store_event_of_device(api->work->conn, api->workspace_id, ask, api->arena, &list, err));
    const struct event_record *records = list.records;
    for (size_t i = list.count; i > 0; i--) {
        TRY(emit(watch, api, &records[i - 1], err));
    }
    return ERR_OK;
}

static enum err_code emit_tails(
    struct watch *watch,
    struct api_call *api,
    const Openshell__V1__WatchSandboxRequest *request,
    struct err_info *err)
{
    const struct sandbox_watch *self = watch_state(watch);
    const struct event_device_filter lines = {
        .device = str_of(self->id),
        .kinds = self->filter.kinds,
        .min_severity = self->filter.min_severity,
        .since = since_us(request->log_since_ms),
        .limit = request->log_tail_lines == 0    ? TAIL_DEFAULT
            : request->log_tail_lines > TAIL_MAX ? TAIL_MAX
                                                 : (int64_t)request->log_tail_lines,
    };
    const struct event_device_filter news = {
        .device = str_of(self->id),
        .kinds = EVENT_NEWS,
        .since = INT64_MIN,
        .limit = request->event_tail > WATCH_BATCH ? WATCH_BATCH : request->event_tail,
    };
    if (self->follow_logs) {
        TRY(emit_tail(watch, api, &lines, emit_line, err));
    }
    return self->follow_events && news.limit > 0 ? emit_tail(watch, api, &news, emit_event, err)
                                                 : ERR_OK;
}

static enum err_code watch_begin(
    struct watch *watch,
    struct api_call *api,
    const ProtobufCMessage *message,
    struct err_info *err)
{
    const Openshell__V1__WatchSandboxRequest *request =
        (const Openshell__V1__WatchSandboxRequest *)message;
    struct sandbox_watch *self = watch_state(watch);
    struct sandbox_record record;
    if (str_copy(str_of(request->id), self->id, sizeof(self->id)) != ERR_OK) {
        return ERR_SET(err, ERR_NOT_FOUND, "sandbox not found");
    }
    self->follow_status = request->follow_status;
    self->follow_logs = request->follow_logs;
    self->follow_events = request->follow_events;
    self->stop_on_terminal = request->stop_on_terminal;
    TRY(log_filter_parse(
        request->log_min_level, request->log_sources, request->n_log_sources, &self->filter, err));
    TRY(store_sandbox_get(
        api->work->conn, api->workspace_id, str_of(self->id), api->arena, &record, err));
    TRY(store_event_last_id(api->work->conn, api->workspace_id, &self->after_id, err));
    TRY(emit_sandbox(watch, api, &record, err));
    return emit_tails(watch, api, request, err);
}

static enum err_code poll_events(
    struct watch *watch, struct api_call *api, bool *ret_more, struct err_info *err)
{
    struct sandbox_watch *self = watch_state(watch);
    struct store_list list;
    const struct event_device_filter ask = { .device = str_of(self->id),
                                             .after_id = self->after_id,
                                             .limit = WATCH_BATCH };
    TRY(store_event_of_device_newer(
        api->work->conn, api->workspace_id, &ask, api->arena, &list, err));
    const struct event_record *records = list.records;
    for (size_t i = 0; i < list.count; i++) {
        TRY(emit_record(watch, api, &records[i], err));
        self->after_id = records[i].id;
    }
    *ret_more = list.count == WATCH_BATCH;
    return ERR_OK;
}

static enum err_code watch_poll(
    struct watch *watch, struct api_call *api, bool *ret_more, struct err_info *err)
{
    struct sandbox_watch *self = watch_state(watch);
    struct sandbox_record record;
    *ret_more = false;
    if (self->follow_logs || self->follow_events) {
        TRY(poll_events(watch, api, ret_more, err));
    }
    enum err_code code = store_sandbox_get(
        api->work->conn, api->workspace_id, str_of(self->id), api->arena, &record, err);
    if (code == ERR_NOT_FOUND) {
        watch_end(watch); /* it is gone: everything there was has been sent */
        return ERR_OK;
    }
    TRY(code);
    if (self->follow_status && record.revision != self->revision) {
        TRY(emit_sandbox(watch, api, &record, err));
    }
    if (self->stop_on_terminal && record.phase == PHASE_READY && !*ret_more) {
        watch_end(watch);
    }
    return ERR_OK;
}

const struct api_watch_type openshell_watch_type = {
    .topics = HUB_BIT(HUB_EVENTS) | HUB_BIT(HUB_SANDBOXES),
    .state_bytes = sizeof(struct sandbox_watch),
    .begin = watch_begin,
    .poll = watch_poll,
};
