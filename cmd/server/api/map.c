#include "cmd/server/api/map.h"

#include "common/wire/timestamp.h"
#include "common/wire/wire.h"

enum {
    JSON_BYTES = 1024 * 1024
};

Google__Protobuf__Timestamp *map_time(struct arena *arena, int64_t us)
{
    return us == 0 ? NULL : wire_timestamp_new(arena, (struct wall_us){ us });
}

int64_t map_online_since(const struct service *service, struct wall_us now)
{
    return now.value - 3 * service->settings.heartbeat_us;
}

/*
 * A message of type with its map fields read from stored JSON objects; members: {field, object}
 * pairs, ended by NULL.
 */
static void *from_json(
    const struct map_context *context,
    const ProtobufCMessageDescriptor *type,
    const char *const *members)
{
    AUTO_BUF struct buf json = BUF_INIT(JSON_BYTES);
    for (size_t i = 0; members[i] != NULL; i += 2) {
        buf_printf(&json, "%c\"%s\":", i == 0 ? '{' : ',', members[i]);
        buf_append_str(&json, str_of(members[i + 1]));
    }
    buf_append_char(&json, '}');
    ProtobufCMessage *message = NULL;
    if (!buf_ok(&json)
        || wire_from_json(
               context->service->schema, type, buf_view(&json), context->arena, &message, NULL)
            != ERR_OK) {
        return wire_new(context->arena, type);
    }
    return message;
}

/* A packed message that the server stored; NULL when there is none. */
static void *unpacked(
    const struct map_context *context,
    const ProtobufCMessageDescriptor *type,
    struct str_view packed)
{
    ProtobufCMessage *message = NULL;
    if (packed.len == 0
        || wire_unpack_lenient(
               context->service->schema,
               type,
               packed.ptr,
               packed.len,
               context->arena,
               &message,
               NULL)
            != ERR_OK) {
        return NULL;
    }
    return message;
}

/* Records live in the same arena as the messages: their texts are borrowed, not copied. */
static char *text(const char *stored)
{
    return CONST_CAST(char *, stored);
}

static ProtobufCBinaryData bytes(struct str_view view)
{
    return (ProtobufCBinaryData){ view.len, CONST_CAST(uint8_t *, view.ptr) };
}

static char *fingerprint(const struct map_context *context, struct str_view key)
{
    char out[KEY_FINGERPRINT_TEXT_BYTES];
    if (key.len != KEY_PUBLIC_BYTES) {
        return text("");
    }
    return arena_strdup(context->arena, key_fingerprint((const uint8_t *)key.ptr, out));
}

Agentgateway__V1__Agent *map_agent(
    const struct map_context *context, const struct agent_record *record)
{
    const char *const members[] = { "labels", record->labels, NULL };
    Agentgateway__V1__Agent *agent =
        from_json(context, &agentgateway__v1__agent__descriptor, members);
    if (agent == NULL) {
        return NULL;
    }
    agent->id = record->id;
    agent->name = text(record->name);
    agent->workspace = text(record->workspace);
    agent->state = (Agentgateway__V1__AgentState)record->state;
    agent->online = record->state == AGENT_CONFIRMED
        && record->last_seen_at >= map_online_since(context->service, context->now);
    agent->cordoned = record->cordoned;
    agent->fingerprint = fingerprint(context, record->identity_key);
    agent->version = text(record->version);
    agent->host = unpacked(context, &agentgateway__v1__host_facts__descriptor, record->host);
    agent->enrollment_id = text(record->enrollment_id);
    agent->created_at = map_time(context->arena, record->created_at);
    agent->last_seen_at = map_time(context->arena, record->last_seen_at);
    agent->status = unpacked(context, &agentgateway__v1__agent_status__descriptor, record->status);
    agent->telemetry_sequence = (uint64_t)record->telemetry_sequence;
    agent->events_sequence = (uint64_t)record->events_sequence;
    agent->session_epoch = (uint64_t)record->session_epoch;
    agent->created_by = text(record->created_by);
    const Agentgateway__V1__ControlHello *hello =
        unpacked(context, &agentgateway__v1__control_hello__descriptor, record->hello);
    if (hello != NULL) {
        agent->n_capabilities = hello->n_capabilities;
        agent->capabilities = hello->capabilities;
        agent->capacity = hello->capacity;
    }
    return agent;
}

Agentgateway__V1__Device *map_device(
    const struct map_context *context, const struct device_record *record)
{
    const char *const members[] = { "labels", record->labels, "facts", record->facts, NULL };
    Agentgateway__V1__Device *device =
        from_json(context, &agentgateway__v1__device__descriptor, members);
    if (device == NULL) {
        return NULL;
    }
    device->id = record->id;
    device->name = text(record->name);
    device->kind = text(record->kind);
    device->agent_id = record->agent_id;
    device->agent_name = text(record->agent_name);
    device->workspace = text(record->workspace);
    device->created_at = map_time(context->arena, record->created_at);
    device->last_seen_at = map_time(context->arena, record->last_seen_at);
    return device;
}

Agentgateway__V1__EnrollmentToken *map_enrollment(
    const struct map_context *context, const struct enrollment_record *record)
{
    const char *const members[] = { "labels", record->labels, NULL };
    Agentgateway__V1__EnrollmentToken *token =
        from_json(context, &agentgateway__v1__enrollment_token__descriptor, members);
    if (token == NULL) {
        return NULL;
    }
    bool expired = record->state == ENROLLMENT_PENDING && record->expires_at <= context->now.value;
    token->id = text(record->id);
    token->state =
        (Agentgateway__V1__EnrollmentState)(expired ? ENROLLMENT_EXPIRED : record->state);
    token->auto_confirm = record->auto_confirm;
    token->created_by = text(record->created_by);
    token->created_at = map_time(context->arena, record->created_at);
    token->expires_at = map_time(context->arena, record->expires_at);
    token->agent_id = record->agent_id;
    token->agent_name = text(record->agent_name);
    token->fingerprint = fingerprint(context, record->identity_key);
    token->workspace = text(record->workspace);
    return token;
}

Agentgateway__V1__Command *map_command(
    const struct map_context *context, const struct command_record *record)
{
    Agentgateway__V1__Command *command =
        wire_new(context->arena, &agentgateway__v1__command__descriptor);
    if (command == NULL) {
        return NULL;
    }
    bool open = record->state == COMMAND_QUEUED || record->state == COMMAND_SENT;
    bool expired = open && record->expires_at <= context->now.value;
    command->id = text(record->id);
    command->workspace = text(record->workspace);
    command->agent_id = record->agent_id;
    command->agent_name = text(record->agent_name);
    command->sequence = (uint64_t)record->sequence;
    command->state = (Agentgateway__V1__CommandState)(expired ? COMMAND_EXPIRED : record->state);
    command->kind = text(record->kind);
    command->command =
        unpacked(context, &agentgateway__v1__agent_command__descriptor, record->payload);
    command->actor = text(record->actor);
    command->created_at = map_time(context->arena, record->created_at);
    command->expires_at = map_time(context->arena, record->expires_at);
    command->sent_at = map_time(context->arena, record->sent_at);
    command->finished_at = map_time(context->arena, record->finished_at);
    command->code = (Agentgateway__V1__AckCode)record->code;
    command->error_message = text(record->error_message);
    command->result = bytes(record->result);
    command->idempotency_key = text(record->idempotency_key);
    return command;
}

Agentgateway__V1__Event *map_event(
    const struct map_context *context, const struct event_record *record)
{
    const char *const members[] = { "attributes", record->attributes, NULL };
    Agentgateway__V1__Event *event =
        from_json(context, &agentgateway__v1__event__descriptor, members);
    if (event == NULL) {
        return NULL;
    }
    event->id = record->id;
    event->workspace = text(record->workspace);
    event->agent_id = record->agent_id;
    event->agent_name = text(record->agent_name);
    event->time = map_time(context->arena, record->time_us);
    event->received_at = map_time(context->arena, record->received_at);
    event->severity = (Agentgateway__V1__Severity)record->severity;
    event->kind = text(record->kind);
    event->device = text(record->device);
    event->text = text(record->text);
    return event;
}

Agentgateway__V1__Metric *map_metric(
    const struct map_context *context, const struct series_record *record)
{
    Agentgateway__V1__Metric *metric =
        wire_new(context->arena, &agentgateway__v1__metric__descriptor);
    if (metric == NULL) {
        return NULL;
    }
    metric->metric = text(record->metric);
    metric->device = text(record->device);
    metric->instance = text(record->instance);
    metric->unit = text(record->unit);
    metric->agent_id = record->agent_id;
    metric->agent_name = text(record->agent_name);
    metric->last_time = map_time(context->arena, record->last_time);
    metric->last_value = record->last_value;
    return metric;
}

Agentgateway__V1__TelemetryPoint *map_point(
    const struct map_context *context, const struct series_record *record)
{
    Agentgateway__V1__TelemetryPoint *point =
        wire_new(context->arena, &agentgateway__v1__telemetry_point__descriptor);
    if (point == NULL) {
        return NULL;
    }
    point->agent_id = record->agent_id;
    point->agent_name = text(record->agent_name);
    point->metric = text(record->metric);
    point->device = text(record->device);
    point->instance = text(record->instance);
    point->unit = text(record->unit);
    point->time = map_time(context->arena, record->last_time);
    point->value = record->last_value;
    return point;
}

/* Space-separated names to a repeated field. */
static char **split_words(struct arena *arena, const char *words, size_t *ret_count)
{
    enum {
        WORDS_MAX = 64
    };

    char **out = arena_alloc(arena, WORDS_MAX * sizeof(*out));
    size_t count = 0;
    struct str_view rest = str_of(words);
    while (out != NULL && rest.len > 0 && count < WORDS_MAX) {
        struct str_view head = rest;
        if (!str_cut(rest, ' ', &head, &rest)) {
            rest = STR_NONE;
        }
        out[count] = arena_str_dup(arena, head);
        count += out[count] == NULL ? 0 : 1;
    }
    *ret_count = count;
    return out;
}

Agentgateway__V1__ApiKey *map_api_key(
    const struct map_context *context, const struct api_key_record *record)
{
    Agentgateway__V1__ApiKey *key =
        wire_new(context->arena, &agentgateway__v1__api_key__descriptor);
    if (key == NULL) {
        return NULL;
    }
    key->id = text(record->id);
    key->name = text(record->name);
    key->workspace = text(record->workspace);
    key->scopes = split_words(context->arena, record->scopes, &key->n_scopes);
    key->created_by = text(record->created_by);
    key->created_at = map_time(context->arena, record->created_at);
    key->expires_at = map_time(context->arena, record->expires_at);
    key->revoked_at = map_time(context->arena, record->revoked_at);
    key->last_used_at = map_time(context->arena, record->last_used_at);
    return key;
}

Agentgateway__V1__AuditRecord *map_audit(
    const struct map_context *context, const struct audit_record *record)
{
    Agentgateway__V1__AuditRecord *audit =
        wire_new(context->arena, &agentgateway__v1__audit_record__descriptor);
    char *hash = arena_alloc(context->arena, 2 * record->hash.len + 1);
    if (audit == NULL || hash == NULL) {
        return NULL;
    }
    str_hex_encode((const uint8_t *)record->hash.ptr, record->hash.len, hash);
    audit->sequence = record->sequence;
    audit->workspace = text(record->workspace);
    audit->time = map_time(context->arena, record->time_us);
    audit->actor = text(record->actor);
    audit->action = text(record->action);
    audit->target = text(record->target);
    audit->decision = text(record->decision);
    audit->reason = text(record->reason);
    audit->request_id = text(record->request_id);
    audit->source = text(record->source);
    audit->record_json = text(record->record);
    audit->hash = hash;
    return audit;
}
