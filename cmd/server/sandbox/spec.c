#include "cmd/server/sandbox/spec.h"

#include "cmd/server/domain/quantity.h"
#include "cmd/server/sandbox/policy.h"
#include "common/base/buf.h"
#include "common/wire/wire.h"

#include <inttypes.h>
#include <stdio.h>

enum {
    ENVIRONMENT_MAX = 128,
    ENVIRONMENT_KEY_MAX = 256,
    ENVIRONMENT_VALUE_MAX = 8192,
    ENVIRONMENT_BYTES = 256 * 1024,
    COMMAND_BYTES = 256 * 1024,
    ARGUMENT_BYTES = 128 * 1024 - 1, /* what Linux takes of one */
    STRUCT_BYTES = 64 * 1024,
    PROVIDERS_MAX = 32,
    CPU_MILLIS = 1000, /* where nothing is asked for */
    CPU_MILLIS_LEAST = 10
};

#define MEMORY_BYTES       (INT64_C(512) << 20)
#define MEMORY_BYTES_LEAST (INT64_C(4) << 20)
#define DISK_BYTES         (INT64_C(1) << 30)
#define DISK_BYTES_LEAST   (INT64_C(16) << 20)

static bool is_label_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
}

enum err_code spec_check_name(struct str_view name, struct err_info *err)
{
    bool good = name.len > 0 && name.len <= SPEC_NAME_CHARS && name.ptr[0] != '-'
        && name.ptr[name.len - 1] != '-';
    for (size_t i = 0; good && i < name.len; i++) {
        bool doubled = i > 0 && name.ptr[i] == '-' && name.ptr[i - 1] == '-';
        good = is_label_char(name.ptr[i]) && !doubled;
    }
    return good
        ? ERR_OK
        : ERR_SET(
            err,
            ERR_INVALID,
            "name: a sandbox name is 1 to %d lower-case letters, digits and single hyphens, "
            "with a letter or digit at both ends",
            SPEC_NAME_CHARS);
}

static enum err_code check_variable(
    const char *field, struct str_view key, struct str_view value, struct err_info *err)
{
    if (key.len == 0 || key.len > ENVIRONMENT_KEY_MAX || memchr(key.ptr, '=', key.len) != NULL
        || memchr(key.ptr, '\n', key.len) != NULL) {
        return ERR_SET(
            err,
            ERR_INVALID,
            "%s: a name has 1 to %d bytes, no '=' and no newline",
            field,
            ENVIRONMENT_KEY_MAX);
    }
    if (str_has_prefix(key, STR("OPENSHELL_")) || str_has_prefix(key, STR("BELAY_"))) {
        return ERR_SET(
            err,
            ERR_INVALID,
            "%s: %.64s: names that start with OPENSHELL_ or BELAY_ are reserved",
            field,
            key.ptr);
    }
    return value.len <= ENVIRONMENT_VALUE_MAX ? ERR_OK
                                              : ERR_SET(
                                                  err,
                                                  ERR_INVALID,
                                                  "%s: %.64s: %zu bytes, at most %d",
                                                  field,
                                                  key.ptr,
                                                  value.len,
                                                  ENVIRONMENT_VALUE_MAX);
}

enum err_code spec_check_environment(
    const char *field, const char *const *keys_and_values, size_t count, struct err_info *err)
{
    size_t bytes = 0;
    if (count > ENVIRONMENT_MAX) {
        return ERR_SET(
            err, ERR_INVALID, "%s: %zu entries, at most %d", field, count, ENVIRONMENT_MAX);
    }
    for (size_t i = 0; i < count; i++) {
        struct str_view key = str_of(keys_and_values[2 * i]);
        struct str_view value = str_of(keys_and_values[2 * i + 1]);
        TRY(check_variable(field, key, value, err));
        bytes += key.len + value.len;
    }
    return bytes <= ENVIRONMENT_BYTES
        ? ERR_OK
        : ERR_SET(err, ERR_INVALID, "%s: %zu bytes, at most %d", field, bytes, ENVIRONMENT_BYTES);
}

#define CHECK_ENVIRONMENT(field, entries, count, err)                             \
    do {                                                                          \
        const char *pairs_[2 * (ENVIRONMENT_MAX + 1)];                            \
        size_t kept_ = (count) > ENVIRONMENT_MAX ? ENVIRONMENT_MAX + 1 : (count); \
        for (size_t i_ = 0; i_ < kept_; i_++) {                                   \
            pairs_[2 * i_] = (entries)[i_]->key;                                  \
            pairs_[2 * i_ + 1] = (entries)[i_]->value;                            \
        }                                                                         \
        TRY(spec_check_environment((field), pairs_, kept_, (err)));               \
    } while (0)

static enum err_code check_command(const Openshell__V1__SandboxSpec *spec, struct err_info *err)
{
    size_t bytes = 0;
    for (size_t i = 0; i < spec->n_command; i++) {
        size_t length = strlen(spec->command[i]);
        bytes += length + 1;
        if (length > ARGUMENT_BYTES) {
            return ERR_SET(
                err,
                ERR_INVALID,
                "spec.command: argument %zu: %zu bytes, at most %d",
                i,
                length,
                ARGUMENT_BYTES);
        }
    }
    if (spec->n_command > 0 && spec->command[0][0] == '\0') {
        return ERR_SET(err, ERR_INVALID, "spec.command: the program's name is empty");
    }
    return bytes <= COMMAND_BYTES
        ? ERR_OK
        : ERR_SET(err, ERR_INVALID, "spec.command: %zu bytes, at most %d", bytes, COMMAND_BYTES);
}

static enum err_code check_struct(
    const char *field, const Google__Protobuf__Struct *value, struct err_info *err)
{
    size_t bytes = value == NULL ? 0 : protobuf_c_message_get_packed_size(&value->base);
    return bytes <= STRUCT_BYTES
        ? ERR_OK
        : ERR_SET(err, ERR_INVALID, "%s: %zu bytes, at most %d", field, bytes, STRUCT_BYTES);
}

static const Google__Protobuf__Value *member(
    const Google__Protobuf__Struct *value, const char *name)
{
    for (size_t i = 0; value != NULL && i < value->n_fields; i++) {
        if (str_equal(str_of(value->fields[i]->key), str_of(name))) {
            return value->fields[i]->value;
        }
    }
    return NULL;
}

/* Of a struct whose members are objects. */
static const Google__Protobuf__Struct *object(
    const Google__Protobuf__Struct *value, const char *name)
{
    const Google__Protobuf__Value *found = member(value, name);
    return found == NULL ? NULL : found->struct_value;
}

static enum err_code check_objects(
    const char *field, const Google__Protobuf__Struct *value, struct err_info *err)
{
    for (size_t i = 0; value != NULL && i < value->n_fields; i++) {
        const Google__Protobuf__Value *found = value->fields[i]->value;
        if (found == NULL || found->kind_case != GOOGLE__PROTOBUF__VALUE__KIND_STRUCT_VALUE) {
            return ERR_SET(
                err, ERR_INVALID, "%s.%.64s: must be an object", field, value->fields[i]->key);
        }
    }
    return ERR_OK;
}

static const struct resource {
    const char *name;
    enum err_code (*parse)(struct str_view text, int64_t *ret);
    size_t offset;
    int64_t preset;
    int64_t least;
    const char *least_text;
} resources[] = {
    { "cpu",
      quantity_parse_millis,
      offsetof(struct placement_room, cpu_millis),
      CPU_MILLIS,
      CPU_MILLIS_LEAST,
      "10m" },
    { "memory",
      quantity_parse_units,
      offsetof(struct placement_room, memory_bytes),
      MEMORY_BYTES,
      MEMORY_BYTES_LEAST,
      "4Mi" },
    { "ephemeral-storage",
      quantity_parse_units,
      offsetof(struct placement_room, disk_bytes),
      DISK_BYTES,
      DISK_BYTES_LEAST,
      "16Mi" },
};

static enum err_code read_quantity(
    const struct resource *resource,
    const Google__Protobuf__Value *value,
    int64_t *ret,
    struct err_info *err)
{
    enum err_code code = ERR_INVALID;
    if (value->kind_case == GOOGLE__PROTOBUF__VALUE__KIND_STRING_VALUE) {
        code = resource->parse(str_of(value->string_value), ret);
    } else if (value->kind_case == GOOGLE__PROTOBUF__VALUE__KIND_NUMBER_VALUE) {
        char text[40];
        int length = snprintf(text, sizeof(text), "%.6f", value->number_value);
        code = resource->parse(str_from(text, (size_t)length), ret);
    }
    if (code != ERR_OK || *ret < resource->least) {
        return ERR_SET(
            err,
            ERR_INVALID,
            "spec.template.resources: %s: an amount of at least %s is needed, as \"500m\" or "
            "\"512Mi\"",
            resource->name,
            resource->least_text);
    }
    return ERR_OK;
}

static enum err_code check_resource_names(
    const char *where, const Google__Protobuf__Struct *asked, struct err_info *err)
{
    for (size_t i = 0; asked != NULL && i < asked->n_fields; i++) {
        bool known = false;
        for (size_t k = 0; k < ARRAY_LENGTH(resources); k++) {
            known = known || str_equal(str_of(asked->fields[i]->key), str_of(resources[k].name));
        }
        if (!known) {
            return ERR_SET(
                err,
                ERR_INVALID,
                "spec.template.resources.%s: \"%.64s\" is not known; cpu, memory and "
                "ephemeral-storage are",
                where,
                asked->fields[i]->key);
        }
    }
    return ERR_OK;
}

static enum err_code check_resources(const Google__Protobuf__Struct *asked, struct err_info *err)
{
    for (size_t i = 0; asked != NULL && i < asked->n_fields; i++) {
        struct str_view key = str_of(asked->fields[i]->key);
        if (!str_equal(key, STR("limits")) && !str_equal(key, STR("requests"))) {
            return ERR_SET(
                err,
                ERR_INVALID,
                "spec.template.resources: \"%.64s\" is not known; limits and requests are",
                key.ptr);
        }
    }
    TRY(check_objects("spec.template.resources", asked, err));
    TRY(check_resource_names("limits", object(asked, "limits"), err));
    return check_resource_names("requests", object(asked, "requests"), err);
}

/* The limit is what a sandbox gets and what placement counts; a request without a limit is one. */
static enum err_code read_resources(
    const Google__Protobuf__Struct *asked, struct placement_room *room, struct err_info *err)
{
    const Google__Protobuf__Struct *limits = object(asked, "limits");
    const Google__Protobuf__Struct *requests = object(asked, "requests");
    for (size_t i = 0; i < ARRAY_LENGTH(resources); i++) {
        int64_t *amount = (int64_t *)(void *)((char *)room + resources[i].offset);
        const Google__Protobuf__Value *value = member(limits, resources[i].name);
        value = value == NULL ? member(requests, resources[i].name) : value;
        *amount = resources[i].preset;
        if (value != NULL) {
            TRY(read_quantity(&resources[i], value, amount, err));
        }
    }
    room->sandboxes = 1;
    return ERR_OK;
}

static enum err_code check_template(
    const Openshell__V1__SandboxTemplate *template, struct spec_facts *facts, struct err_info *err)
{
    TRY(check_struct("spec.template.resources", template->resources, err));
    TRY(check_resources(template->resources, err));
    TRY(check_struct("spec.template.driver_config", template->driver_config, err));
    TRY(check_objects("spec.template.driver_config", template->driver_config, err));
    CHECK_ENVIRONMENT(
        "spec.template.environment", template->environment, template->n_environment, err);
    bool shares_users = template->has_user_namespaces_case
            == OPENSHELL__V1__SANDBOX_TEMPLATE__HAS_USER_NAMESPACES_USER_NAMESPACES
        && !template->user_namespaces;
    if (shares_users) {
        return ERR_SET(
            err,
            ERR_PRECONDITION,
            "spec.template.user_namespaces: every sandbox has a user namespace of its own; leave "
            "it unset");
    }
    if (template->agent_socket[0] != '\0') {
        return ERR_SET(
            err,
            ERR_PRECONDITION,
            "spec.template.agent_socket: a sandbox is never given a socket of its host");
    }
    facts->driver = template->runtime_class_name;
    facts->image = template->image;
    return ERR_OK;
}

static enum err_code check_log_level(struct str_view level, struct err_info *err)
{
    static const char *const known[] = { "", "trace", "debug", "info", "warn", "error" };

    for (size_t i = 0; i < ARRAY_LENGTH(known); i++) {
        if (str_equal_fold(level, str_of(known[i]))) {
            return ERR_OK;
        }
    }
    return ERR_SET(
        err,
        ERR_INVALID,
        "spec.log_level: trace, debug, info, warn or error, not \"%.32s\"",
        level.ptr);
}

enum err_code spec_read_restart(
    const char *text, Agentgateway__V1__SandboxRestart *ret_restart, struct err_info *err)
{
    static const struct {
        const char *word;
        Agentgateway__V1__SandboxRestart restart;
    } words[] = {
        { "", AGENTGATEWAY__V1__SANDBOX_RESTART__SANDBOX_RESTART_NEVER },
        { "never", AGENTGATEWAY__V1__SANDBOX_RESTART__SANDBOX_RESTART_NEVER },
        { "on-failure", AGENTGATEWAY__V1__SANDBOX_RESTART__SANDBOX_RESTART_ON_FAILURE },
        { "always", AGENTGATEWAY__V1__SANDBOX_RESTART__SANDBOX_RESTART_ALWAYS },
    };

    for (size_t i = 0; i < ARRAY_LENGTH(words); i++) {
        if (str_equal(str_of(text), str_of(words[i].word))) {
            *ret_restart = words[i].restart;
            return ERR_OK;
        }
    }
    return ERR_SET(
        err,
        ERR_INVALID,
        "annotations[" SPEC_RESTART_ANNOTATION "]: never, on-failure or always, not \"%.32s\"",
        text);
}

/* The spec's own stand before the template's, so what both name counts once, as the spec has it. */
static enum err_code check_environments(
    const Openshell__V1__SandboxSpec *spec, struct err_info *err)
{
    const Openshell__V1__SandboxTemplate *template = spec->template_;
    size_t count = spec->n_environment;
    size_t bytes = 0;
    for (size_t i = 0; i < spec->n_environment; i++) {
        bytes += strlen(spec->environment[i]->key) + strlen(spec->environment[i]->value);
    }
    for (size_t i = 0; template != NULL && i < template->n_environment; i++) {
        const char *key = template->environment[i]->key;
        bool is_own = false;
        for (size_t k = 0; k < spec->n_environment && !is_own; k++) {
            is_own = str_equal(str_of(spec->environment[k]->key), str_of(key));
        }
        count += is_own ? 0 : 1;
        bytes += is_own ? 0 : strlen(key) + strlen(template->environment[i]->value);
    }
    return count <= ENVIRONMENT_MAX && bytes <= ENVIRONMENT_BYTES
        ? ERR_OK
        : ERR_SET(
            err,
            ERR_INVALID,
            "spec.environment: with the template's %zu entries of %zu bytes, at most %d of %d",
            count,
            bytes,
            ENVIRONMENT_MAX,
            ENVIRONMENT_BYTES);
}

/* What is asked for and nobody here has. */
static enum err_code check_absent(const Openshell__V1__SandboxSpec *spec, struct err_info *err)
{
    if (spec->n_providers > PROVIDERS_MAX) {
        return ERR_SET(
            err, ERR_INVALID, "spec.providers: %zu, at most %d", spec->n_providers, PROVIDERS_MAX);
    }
    if (spec->n_providers > 0) {
        return ERR_SET(err, ERR_PRECONDITION, "provider '%.128s' not found", spec->providers[0]);
    }
    if (spec->resource_requirements != NULL && spec->resource_requirements->gpu != NULL) {
        return ERR_SET(
            err, ERR_PRECONDITION, "spec.resource_requirements.gpu: no agent offers a GPU");
    }
    return ERR_OK;
}

/* What stands in the spec itself, beside its template. */
static enum err_code check_own(const Openshell__V1__SandboxSpec *spec, struct err_info *err)
{
    CHECK_ENVIRONMENT("spec.environment", spec->environment, spec->n_environment, err);
    TRY(check_command(spec, err));
    return check_absent(spec, err);
}

enum err_code spec_check(
    const Openshell__V1__SandboxSpec *spec, struct spec_facts *ret_facts, struct err_info *err)
{
    struct spec_facts facts = { .driver = "", .image = "" };
    TRY(check_own(spec, err));
    if (spec->template_ != NULL) {
        TRY(check_template(spec->template_, &facts, err));
    }
    TRY(check_environments(spec, err));
    TRY(check_log_level(str_of(spec->log_level), err));
    TRY(read_resources(
        spec->template_ == NULL ? NULL : spec->template_->resources, &facts.room, err));
    if (spec->policy != NULL) {
        TRY(policy_check(spec->policy, err));
    }
    *ret_facts = facts;
    return ERR_OK;
}

typedef Agentgateway__V1__SandboxCreate__EnvironmentEntry entry_type;

static bool is_set(entry_type *const *entries, size_t count, const char *key)
{
    for (size_t i = 0; i < count; i++) {
        if (str_equal(str_of(entries[i]->key), str_of(key))) {
            return true;
        }
    }
    return false;
}

static bool add_variable(
    struct arena *arena, Agentgateway__V1__SandboxCreate *create, char *key, char *value)
{
    if (is_set(create->environment, create->n_environment, key)) {
        return true; /* the spec's own stands before the template's */
    }
    entry_type *entry =
        wire_new(arena, &agentgateway__v1__sandbox_create__environment_entry__descriptor);
    if (entry == NULL) {
        return false;
    }
    entry->key = key;
    entry->value = value;
    create->environment[create->n_environment++] = entry;
    return true;
}

static bool fill_environment(
    struct arena *arena,
    const Openshell__V1__SandboxSpec *spec,
    Agentgateway__V1__SandboxCreate *create)
{
    const Openshell__V1__SandboxTemplate *template = spec->template_;
    size_t most = spec->n_environment + (template == NULL ? 0 : template->n_environment);
    create->environment = arena_alloc(arena, (most + 1) * sizeof(void *));
    bool good = create->environment != NULL;
    for (size_t i = 0; good && i < spec->n_environment; i++) {
        good = add_variable(arena, create, spec->environment[i]->key, spec->environment[i]->value);
    }
    for (size_t i = 0; good && template != NULL && i < template->n_environment; i++) {
        good = add_variable(
            arena, create, template->environment[i]->key, template->environment[i]->value);
    }
    return good;
}

Agentgateway__V1__AgentCommand *spec_to_command(
    struct arena *arena,
    const Openshell__V1__SandboxSpec *spec,
    const struct spec_facts *facts,
    const char *id)
{
    Agentgateway__V1__AgentCommand *command =
        wire_new(arena, &agentgateway__v1__agent_command__descriptor);
    Agentgateway__V1__SandboxCreate *create =
        wire_new(arena, &agentgateway__v1__sandbox_create__descriptor);
    Agentgateway__V1__SandboxLimits *limits =
        wire_new(arena, &agentgateway__v1__sandbox_limits__descriptor);
    if (command == NULL || create == NULL || limits == NULL
        || !fill_environment(arena, spec, create)) {
        return NULL;
    }
    limits->cpu_millis = (uint32_t)facts->room.cpu_millis;
    limits->memory_bytes = (uint64_t)facts->room.memory_bytes;
    limits->disk_bytes = (uint64_t)facts->room.disk_bytes;
    create->sandbox_id = arena_strdup(arena, id);
    create->n_command = spec->n_command;
    create->command = spec->command;
    create->tty = spec->tty || spec->n_command == 0; /* a login shell wants a terminal */
    create->image = CONST_CAST(char *, facts->image);
    create->driver = CONST_CAST(char *, facts->driver);
    create->limits = limits;
    create->policy = spec->policy;
    create->policy_version = 1;
    create->log_level = spec->log_level;
    create->restart = facts->restart;
    command->command_case = AGENTGATEWAY__V1__AGENT_COMMAND__COMMAND_SANDBOX_CREATE;
    command->sandbox_create = create;
    return create->sandbox_id == NULL ? NULL : command;
}
