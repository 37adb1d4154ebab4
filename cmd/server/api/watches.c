/* The watches of AgentAdminService. */
#include "cmd/server/api/labels.h"
#include "cmd/server/api/watch.h"
#include "common/base/map.h"
#include "common/wire/wire.h"

enum {
    AGENTS_MAX = 20000,
    SERIES_PER_LOOK = 4000,
    SELECTOR_BYTES = 1025,
    TEXT_BYTES = 256
};

/* Agents: every look lists them and sends those whose revision or presence has changed. */

struct seen_agent {
    int64_t revision;
    bool online;
    bool mark; /* met in the current look */
};

struct agents_watch {
    struct map *seen; /* id -> struct seen_agent */
    char selector[SELECTOR_BYTES];
    int64_t agent_id;
    bool initial_sent;
};

static enum err_code agents_begin(
    struct watch *watch,
    struct api_call *api,
    const ProtobufCMessage *message,
    struct err_info *err)
{
    const Agentgateway__V1__WatchAgentsRequest *request =
        (const Agentgateway__V1__WatchAgentsRequest *)message;
    struct agents_watch *self = watch_state(watch);
    struct selector *selector = NULL;
    TRY(selector_parse(str_of(request->label_selector), api->arena, &selector, err));
    TRY(str_copy(str_of(request->label_selector), self->selector, sizeof(self->selector)));
    TRY(api_agent_id(api, request->agent, &self->agent_id, err));
    self->seen = self->seen == NULL ? map_create() : self->seen;
    return ERR_OK;
}

static void emit_change(
    struct watch *watch, struct api_call *api, Agentgateway__V1__Agent *agent, bool removed)
{
    Agentgateway__V1__AgentChange *change =
        wire_new(api->arena, &agentgateway__v1__agent_change__descriptor);
    if (change != NULL) {
        change->agent = agent;
        change->removed = removed;
        change->initial_done = agent == NULL;
        watch_emit(watch, &change->base);
    }
}

static void note_agent(
    struct watch *watch,
    struct api_call *api,
    const struct agent_record *record,
    Agentgateway__V1__Agent *agent)
{
    struct agents_watch *self = watch_state(watch);
    struct seen_agent *seen = map_find(self->seen, map_key_of(&record->id));
    bool changed =
        seen == NULL || seen->revision != record->revision || seen->online != (agent->online != 0);
    if (changed && watch_is_full(watch)) {
        if (seen != NULL) {
            seen->mark = true;
        }
        return; /* the next look sends it */
    }
    if (seen == NULL) {
        seen = mem_alloc(sizeof(*seen));
        (void)map_put(self->seen, map_key_of(&record->id), seen);
    }
    seen->mark = true;
    if (changed) {
        seen->revision = record->revision;
        seen->online = agent->online != 0;
        emit_change(watch, api, agent, false);
    }
}

/* What was not met again is no longer of this list. */
static void drop_unmet(struct watch *watch, struct api_call *api)
{
    struct agents_watch *self = watch_state(watch);
    size_t cursor = 0;
    struct str_view key;
    void *value = NULL;
    while (map_next(self->seen, &cursor, &key, &value)) {
        struct seen_agent *seen = value;
        if (seen->mark || watch_is_full(watch)) {
            seen->mark = false;
            continue;
        }
        Agentgateway__V1__Agent *agent = wire_new(api->arena, &agentgateway__v1__agent__descriptor);
        if (agent != NULL) {
            memcpy(&agent->id, key.ptr, sizeof(agent->id));
            emit_change(watch, api, agent, true);
        }
        mem_free(map_remove(self->seen, key));
    }
}

static enum err_code agents_poll(
    struct watch *watch, struct api_call *api, bool *ret_more, struct err_info *err)
{
    struct agents_watch *self = watch_state(watch);
    struct selector *selector = NULL;
    struct store_list list;
    const struct agent_filter filter = { .limit = AGENTS_MAX };
    *ret_more = false;
    TRY(selector_parse(str_of(self->selector), api->arena, &selector, err));
    TRY(store_agent_list(api->work->conn, api->workspace_id, &filter, api->arena, &list, err));
    const struct agent_record *records = list.records;
    const struct map_context context = map_context_of(api);
    for (size_t i = 0; i < list.count; i++) {
        if (self->agent_id != 0 && records[i].id != self->agent_id) {
            continue;
        }
        Agentgateway__V1__Agent *agent = map_agent(&context, &records[i]);
        if (agent == NULL) {
            return API_OUT_OF_MEMORY(err);
        }
        if (selector_matches(selector, labels_of_agent, agent)) {
            note_agent(watch, api, &records[i], agent);
        }
    }
    drop_unmet(watch, api);
    *ret_more = watch_is_full(watch);
    if (!self->initial_sent && !*ret_more) {
        self->initial_sent = true;
        emit_change(watch, api, NULL, false);
    }
    return ERR_OK;
}

static void agents_free(void *state)
{
    map_destroy(((struct agents_watch *)state)->seen, mem_free);
}

const struct api_watch_type watch_agents_type = {
    .topics = HUB_BIT(HUB_AGENTS),
    .state_bytes = sizeof(struct agents_watch),
    .begin = agents_begin,
    .poll = agents_poll,
    .free_state = agents_free,
};

/* One command: each revision, until it has finished. */

struct command_watch {
    char id[129];
    int64_t revision;
    int64_t shown_state;
};

static enum err_code command_begin(
    struct watch *watch,
    struct api_call *api,
    const ProtobufCMessage *message,
    struct err_info *err)
{
    const Agentgateway__V1__WatchCommandRequest *request =
        (const Agentgateway__V1__WatchCommandRequest *)message;
    struct command_watch *self = watch_state(watch);
    struct command_record record;
    TRY(str_copy(str_of(request->id), self->id, sizeof(self->id)));
    return store_command_get(
        api->work->conn, api->workspace_id, str_of(request->id), api->arena, &record, err);
}

static enum err_code command_poll(
    struct watch *watch, struct api_call *api, bool *ret_more, struct err_info *err)
{
    struct command_watch *self = watch_state(watch);
    struct command_record record;
    *ret_more = false;
    TRY(store_command_get(
        api->work->conn, api->workspace_id, str_of(self->id), api->arena, &record, err));
    const struct map_context context = map_context_of(api);
    const Agentgateway__V1__Command *command = map_command(&context, &record);
    if (command == NULL) {
        return API_OUT_OF_MEMORY(err);
    }
    if (record.revision != self->revision || (int64_t)command->state != self->shown_state) {
        self->revision = record.revision;
        self->shown_state = (int64_t)command->state;
        watch_emit(watch, &command->base);
    }
    if (command->state != AGENTGATEWAY__V1__COMMAND_STATE__COMMAND_STATE_QUEUED
        && command->state != AGENTGATEWAY__V1__COMMAND_STATE__COMMAND_STATE_SENT) {
        watch_end(watch);
    }
    return ERR_OK;
}

const struct api_watch_type watch_command_type = {
    .topics = HUB_BIT(HUB_COMMANDS),
    .state_bytes = sizeof(struct command_watch),
    .begin = command_begin,
    .poll = command_poll,
};

/* Telemetry: the newest value of each series that has one since the last look. */

struct telemetry_watch {
    char metric[TEXT_BYTES];
    char device[TEXT_BYTES];
    char instance[TEXT_BYTES];
    int64_t agent_id;
    struct map *shown; /* series id -> int64_t time of the value sent last */
    int64_t after_id;  /* in the middle of a look: the next page begins there; else 0 */
};

static enum err_code telemetry_begin(
    struct watch *watch,
    struct api_call *api,
    const ProtobufCMessage *message,
    struct err_info *err)
{
    const Agentgateway__V1__WatchTelemetryRequest *request =
        (const Agentgateway__V1__WatchTelemetryRequest *)message;
    struct telemetry_watch *self = watch_state(watch);
    TRY(str_copy(str_of(request->metric), self->metric, sizeof(self->metric)));
    TRY(str_copy(str_of(request->device), self->device, sizeof(self->device)));
    TRY(str_copy(str_of(request->instance), self->instance, sizeof(self->instance)));
    TRY(api_agent_id(api, request->agent, &self->agent_id, err));
    self->shown = self->shown == NULL ? map_create() : self->shown;
    return ERR_OK;
}

static bool is_new_value(struct telemetry_watch *self, const struct series_record *record)
{
    int64_t *shown = map_find(self->shown, map_key_of(&record->id));
    if (shown != NULL && *shown >= record->last_time) {
        return false;
    }
    if (shown == NULL) {
        shown = mem_alloc(sizeof(*shown));
        (void)map_put(self->shown, map_key_of(&record->id), shown);
    }
    *shown = record->last_time;
    return true;
}

static enum err_code telemetry_poll(
    struct watch *watch, struct api_call *api, bool *ret_more, struct err_info *err)
{
    struct telemetry_watch *self = watch_state(watch);
    struct store_list list;
    const struct series_filter filter = {
        .agent_id = self->agent_id,
        .metric = str_of(self->metric),
        .metric_is_prefix = str_has_suffix(str_of(self->metric), STR(".")),
        .device = self->device[0] == '\0' ? STR_NONE : str_of(self->device),
        .instance = self->instance[0] == '\0' ? STR_NONE : str_of(self->instance),
        /* Ours may not be the clock that received it, and what was written before may be committed
         * after: the window is wide, and what was sent is known by series. */
        .received_after = api->work->now.value - US_PER_MINUTE,
        .after_id = self->after_id,
        .limit = SERIES_PER_LOOK,
    };
    TRY(store_series_newer(api->work->conn, api->workspace_id, &filter, api->arena, &list, err));
    const struct series_record *records = list.records;
    const struct map_context context = map_context_of(api);
    for (size_t i = 0; i < list.count; i++) {
        if (is_new_value(self, &records[i])) {
            const Agentgateway__V1__TelemetryPoint *point = map_point(&context, &records[i]);
            watch_emit(watch, point == NULL ? NULL : &point->base);
        }
    }
    *ret_more = list.count == SERIES_PER_LOOK;
    self->after_id = *ret_more ? records[list.count - 1].id : 0;
    return ERR_OK;
}

static void telemetry_free(void *state)
{
    map_destroy(((struct telemetry_watch *)state)->shown, mem_free);
}

const struct api_watch_type watch_telemetry_type = {
    .topics = HUB_BIT(HUB_TELEMETRY),
    .state_bytes = sizeof(struct telemetry_watch),
    .begin = telemetry_begin,
    .poll = telemetry_poll,
    .free_state = telemetry_free,
};

/* Events: those after the last one sent. */

struct events_watch {
    struct event_filter filter;
    char kind_prefix[TEXT_BYTES * 2];
};

static enum err_code events_begin(
    struct watch *watch,
    struct api_call *api,
    const ProtobufCMessage *message,
    struct err_info *err)
{
    const Agentgateway__V1__WatchEventsRequest *request =
        (const Agentgateway__V1__WatchEventsRequest *)message;
    struct events_watch *self = watch_state(watch);
    struct store_list list = { .count = 0 };
    TRY(str_copy(str_of(request->kind_prefix), self->kind_prefix, sizeof(self->kind_prefix)));
    self->filter.kind_prefix = str_of(self->kind_prefix);
    self->filter.min_severity = (int64_t)request->min_severity;
    self->filter.end = INT64_MAX;
    TRY(api_agent_id(api, request->agent, &self->filter.agent_id, err));
    TRY(store_event_last_id(api->work->conn, api->workspace_id, &self->filter.after_id, err));
    if (request->tail > 0) {
        self->filter.limit = request->tail;
        TRY(store_event_list(
            api->work->conn, api->workspace_id, &self->filter, api->arena, &list, err));
    }
    const struct event_record *records = list.records;
    const struct map_context context = map_context_of(api);
    for (size_t i = list.count; i > 0; i--) {
        const Agentgateway__V1__Event *event = map_event(&context, &records[i - 1]);
        watch_emit(watch, event == NULL ? NULL : &event->base);
    }
    self->filter.limit = WATCH_BATCH;
    return ERR_OK;
}

static enum err_code events_poll(
    struct watch *watch, struct api_call *api, bool *ret_more, struct err_info *err)
{
    struct events_watch *self = watch_state(watch);
    struct store_list list;
    TRY(store_event_newer(
        api->work->conn, api->workspace_id, &self->filter, api->arena, &list, err));
    const struct event_record *records = list.records;
    const struct map_context context = map_context_of(api);
    for (size_t i = 0; i < list.count; i++) {
        const Agentgateway__V1__Event *event = map_event(&context, &records[i]);
        watch_emit(watch, event == NULL ? NULL : &event->base);
        self->filter.after_id = records[i].id;
    }
    *ret_more = list.count == WATCH_BATCH;
    return ERR_OK;
}

const struct api_watch_type watch_events_type = {
    .topics = HUB_BIT(HUB_EVENTS),
    .state_bytes = sizeof(struct events_watch),
    .begin = events_begin,
    .poll = events_poll,
};

/* Audit records: those after the last one sent. */

struct audit_watch {
    int64_t after;
};

static enum err_code audit_begin(
    struct watch *watch,
    struct api_call *api,
    const ProtobufCMessage *message,
    struct err_info *err)
{
    const Agentgateway__V1__WatchAuditRecordsRequest *request =
        (const Agentgateway__V1__WatchAuditRecordsRequest *)message;
    struct audit_watch *self = watch_state(watch);
    struct store_list list;
    const struct audit_filter filter = { .end = INT64_MAX,
                                         .limit = request->tail == 0 ? 1 : request->tail };
    TRY(store_audit_place(api->work->conn, api->workspace_id, err));
    TRY(store_audit_list(api->work->conn, api->workspace_id, &filter, api->arena, &list, err));
    const struct audit_record *records = list.records;
    self->after = list.count == 0 ? 0 : records[0].sequence;
    const struct map_context context = map_context_of(api);
    for (size_t i = request->tail == 0 ? 0 : list.count; i > 0; i--) {
        const Agentgateway__V1__AuditRecord *audit = map_audit(&context, &records[i - 1]);
        watch_emit(watch, audit == NULL ? NULL : &audit->base);
    }
    return ERR_OK;
}

static enum err_code audit_poll(
    struct watch *watch, struct api_call *api, bool *ret_more, struct err_info *err)
{
    struct audit_watch *self = watch_state(watch);
    struct store_list list;
    const struct audit_filter filter = { .after = self->after, .limit = WATCH_BATCH };
    TRY(store_audit_newer(api->work->conn, api->workspace_id, &filter, api->arena, &list, err));
    const struct audit_record *records = list.records;
    const struct map_context context = map_context_of(api);
    for (size_t i = 0; i < list.count; i++) {
        const Agentgateway__V1__AuditRecord *audit = map_audit(&context, &records[i]);
        watch_emit(watch, audit == NULL ? NULL : &audit->base);
        self->after = records[i].sequence;
    }
    *ret_more = list.count == WATCH_BATCH;
    return ERR_OK;
}

const struct api_watch_type watch_audit_type = {
    .topics = HUB_BIT(HUB_AUDIT),
    .state_bytes = sizeof(struct audit_watch),
    .begin = audit_begin,
    .poll = audit_poll,
};
