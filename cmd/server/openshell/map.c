#include "cmd/server/openshell/map.h"

#include "common/wire/wire.h"

/* Reads JSON objects of a row into the map fields of a message; json: its members. */
static void *from_json(
    const struct map_context *context, const ProtobufCMessageDescriptor *type, const char *json)
{
    ProtobufCMessage *message = NULL;
    if (json == NULL
        || wire_from_json(
               context->service->schema, type, str_of(json), context->arena, &message, NULL)
            != ERR_OK) {
        return wire_new(context->arena, type);
    }
    return message;
}

static void *unpacked(
    const struct map_context *context,
    const ProtobufCMessageDescriptor *type,
    struct str_view packed)
{
    ProtobufCMessage *message = NULL;
    if (wire_unpack_lenient(
            context->service->schema, type, packed.ptr, packed.len, context->arena, &message, NULL)
        != ERR_OK) {
        return wire_new(context->arena, type);
    }
    return message;
}

static char *text(const char *stored)
{
    return CONST_CAST(char *, stored);
}

static Openshell__Datamodel__V1__ObjectMeta *map_metadata(
    const struct map_context *context, const struct sandbox_record *record)
{
    Openshell__Datamodel__V1__ObjectMeta *meta = from_json(
        context,
        &openshell__datamodel__v1__object_meta__descriptor,
        arena_printf(
            context->arena,
            "{\"labels\":%s,\"annotations\":%s}",
            record->labels,
            record->annotations));
    if (meta == NULL) {
        return NULL;
    }
    meta->id = text(record->id);
    meta->name = text(record->name);
    meta->created_at_ms = record->created_at / MAP_US_PER_MS;
    meta->resource_version = (uint64_t)record->revision;
    meta->workspace = text(record->workspace);
    meta->deletion_timestamp_ms = record->deleting_at / MAP_US_PER_MS;
    return meta;
}

/* The one condition clients look at: whether the sandbox is ready, and why not. */
static bool map_condition(
    const struct map_context *context,
    const struct sandbox_record *record,
    Openshell__V1__SandboxStatus *status)
{
    bool is_ready = record->phase == PHASE_READY;
    char at[40];
    Openshell__V1__SandboxCondition *condition =
        wire_new(context->arena, &openshell__v1__sandbox_condition__descriptor);
    status->conditions = arena_alloc(context->arena, sizeof(void *));
    if (condition == NULL || status->conditions == NULL) {
        return false;
    }
    condition->type = text("Ready");
    condition->status = text(is_ready ? "True" : "False");
    condition->reason = text(is_ready ? "Ready" : record->reason);
    condition->message = text(record->message);
    condition->last_transition_time =
        arena_strdup(context->arena, time_format((struct wall_us){ record->changed_at }, at));
    status->conditions[0] = condition;
    status->n_conditions = 1;
    return condition->last_transition_time != NULL;
}

Openshell__V1__Sandbox *map_sandbox(
    const struct map_context *context, const struct sandbox_record *record)
{
    Openshell__V1__Sandbox *sandbox = wire_new(context->arena, &openshell__v1__sandbox__descriptor);
    Openshell__V1__SandboxStatus *status =
        wire_new(context->arena, &openshell__v1__sandbox_status__descriptor);
    if (sandbox == NULL || status == NULL) {
        return NULL;
    }
    sandbox->metadata = map_metadata(context, record);
    sandbox->spec = unpacked(context, &openshell__v1__sandbox_spec__descriptor, record->spec);
    sandbox->status = status;
    status->sandbox_name = text(record->name);
    status->agent_pod = text(record->agent_name);
    status->phase = (Openshell__V1__SandboxPhase)record->phase;
    status->current_policy_version = (uint32_t)record->policy_loaded;
    status->main_process_instance_id = text(record->instance_id);
    if (record->exit_code >= 0) {
        status->has_exit_code_case = OPENSHELL__V1__SANDBOX_STATUS__HAS_EXIT_CODE_EXIT_CODE;
        status->exit_code = (int32_t)record->exit_code;
    }
    bool whole = sandbox->metadata != NULL && sandbox->spec != NULL
        && map_condition(context, record, status);
    return whole ? sandbox : NULL;
}

Openshell__Sandbox__V1__SandboxPolicy *map_policy(
    const struct map_context *context, struct str_view packed)
{
    return unpacked(context, &openshell__sandbox__v1__sandbox_policy__descriptor, packed);
}

Openshell__V1__SandboxPolicyRevision *map_policy_revision(
    const struct map_context *context, const struct sandbox_policy_record *record)
{
    Openshell__V1__SandboxPolicyRevision *revision = from_json(
        context,
        &openshell__v1__sandbox_policy_revision__descriptor,
        arena_printf(context->arena, "{\"provenance\":%s}", record->annotations));
    if (revision == NULL) {
        return NULL;
    }
    revision->version = (uint32_t)record->version;
    revision->policy_hash = text(record->hash);
    revision->status = (Openshell__V1__PolicyStatus)record->status;
    revision->load_error = text(record->load_error);
    revision->created_at_ms = record->created_at / MAP_US_PER_MS;
    revision->loaded_at_ms = record->loaded_at / MAP_US_PER_MS;
    revision->policy = map_policy(context, record->policy);
    return revision->policy == NULL ? NULL : revision;
}

static const char *const levels[] = { "INFO", "DEBUG", "INFO", "WARN", "ERROR" };

static const char *level_of(int64_t severity)
{
    return severity < 0 || severity >= (int64_t)ARRAY_LENGTH(levels) ? "INFO" : levels[severity];
}

bool map_is_line(const struct event_record *record)
{
    return str_equal(str_of(record->kind), STR("sandbox.log"));
}

Openshell__V1__SandboxLogLine *map_log_line(
    const struct map_context *context, const struct event_record *record)
{
    Openshell__V1__SandboxLogLine *line = from_json(
        context,
        &openshell__v1__sandbox_log_line__descriptor,
        arena_printf(context->arena, "{\"fields\":%s}", record->attributes));
    if (line == NULL) {
        return NULL;
    }
    line->sandbox_id = text(record->device);
    line->timestamp_ms = record->time_us / MAP_US_PER_MS;
    line->level = text(level_of(record->severity));
    line->message = text(record->text);
    if (!map_is_line(record)) {
        line->source = text("gateway");
        line->target = text(record->kind);
        return line;
    }
    line->source = text("sandbox");
    for (size_t i = 0; i < line->n_fields; i++) {
        if (str_equal(str_of(line->fields[i]->key), STR("target"))) {
            line->target = line->fields[i]->value;
        }
    }
    return line;
}

Openshell__V1__PlatformEvent *map_platform_event(
    const struct map_context *context, const struct event_record *record)
{
    Openshell__V1__PlatformEvent *event = from_json(
        context,
        &openshell__v1__platform_event__descriptor,
        arena_printf(context->arena, "{\"metadata\":%s}", record->attributes));
    if (event == NULL) {
        return NULL;
    }
    event->timestamp_ms = record->time_us / MAP_US_PER_MS;
    event->source = text(record->agent_name);
    event->type = text(record->severity >= 3 ? "Warning" : "Normal");
    event->reason = text(record->kind);
    event->message = text(record->text);
    return event;
}
