/* Merge operations on a policy: each finds its rule or endpoint by name, host and port. */
#include "cmd/server/sandbox/policy.h"
#include "common/base/str.h"
#include "common/wire/wire.h"

#include <string.h>

typedef Openshell__Sandbox__V1__NetworkEndpoint endpoint_type;
typedef Openshell__Sandbox__V1__NetworkPolicyRule rule_type;
typedef Openshell__Sandbox__V1__SandboxPolicy__NetworkPoliciesEntry entry_type;
typedef Openshell__V1__PolicyMergeOperation operation_type;

static size_t find_rule(const policy_type *policy, const char *name)
{
    for (size_t i = 0; i < policy->n_network_policies; i++) {
        if (strcmp(policy->network_policies[i]->key, name) == 0) {
            return i;
        }
    }
    return SIZE_MAX;
}

/* Appends to an array of pointers in the arena; NULL: it is full. */
static void **appended(
    struct arena *arena, void **items, size_t count, void *const *added, size_t added_count)
{
    void **grown = arena_alloc(arena, (count + added_count) * sizeof(void *));
    if (grown != NULL) {
        if (count > 0) {
            memcpy(grown, items, count * sizeof(void *));
        }
        if (added_count > 0) {
            memcpy(grown + count, added, added_count * sizeof(void *));
        }
    }
    return grown;
}

#define APPEND(arena, object, member, added, added_count) \
    append_to(                                            \
        (arena),                                          \
        (void ***)(void *)&(object)->member,              \
        &(object)->n_##member,                            \
        (void *const *)(const void *)(added),             \
        (added_count))

static enum err_code append_to(
    struct arena *arena, void ***items, size_t *count, void *const *added, size_t added_count)
{
    void **grown = appended(arena, *items, *count, added, added_count);
    if (grown == NULL) {
        return ERR_LIMIT;
    }
    *items = grown;
    *count += added_count;
    return ERR_OK;
}

static void remove_at(void **items, size_t *count, size_t index)
{
    memmove(items + index, items + index + 1, (*count - index - 1) * sizeof(void *));
    (*count)--;
}

#define REMOVE(object, member, index) \
    remove_at((void **)(void *)(object)->member, &(object)->n_##member, (index))

static bool has_port(const endpoint_type *endpoint, uint32_t port)
{
    bool found = port == 0 || endpoint->port == port;
    for (size_t i = 0; !found && i < endpoint->n_ports; i++) {
        found = endpoint->ports[i] == port;
    }
    return found;
}

static bool is_endpoint(const endpoint_type *endpoint, const char *host, uint32_t port)
{
    return str_equal_fold(str_of(endpoint->host), str_of(host)) && has_port(endpoint, port);
}

static enum err_code add_rule(
    struct arena *arena,
    policy_type *policy,
    const Openshell__V1__AddNetworkRule *operation,
    struct err_info *err)
{
    const char *name = operation->rule_name;
    if (operation->rule == NULL || name[0] == '\0') {
        return ERR_SET(err, ERR_INVALID, "merge_operations: add_rule needs a name and a rule");
    }
    size_t at = find_rule(policy, name);
    if (at != SIZE_MAX) {
        rule_type *rule = policy->network_policies[at]->value;
        TRY(APPEND(
            arena, rule, endpoints, operation->rule->endpoints, operation->rule->n_endpoints));
        return APPEND(
            arena, rule, binaries, operation->rule->binaries, operation->rule->n_binaries);
    }
    entry_type *entry = wire_new(
        arena, &openshell__sandbox__v1__sandbox_policy__network_policies_entry__descriptor);
    if (entry == NULL) {
        return ERR_LIMIT;
    }
    entry->key = operation->rule_name;
    entry->value = operation->rule;
    return APPEND(arena, policy, network_policies, &entry, 1);
}

static enum err_code remove_rule(policy_type *policy, const char *name, struct err_info *err)
{
    size_t at = find_rule(policy, name);
    if (at == SIZE_MAX) {
        return ERR_SET(err, ERR_NOT_FOUND, "merge_operations: no rule \"%.64s\"", name);
    }
    REMOVE(policy, network_policies, at);
    return ERR_OK;
}

static enum err_code remove_endpoint(
    policy_type *policy,
    const Openshell__V1__RemoveNetworkEndpoint *operation,
    struct err_info *err)
{
    size_t removed = 0;
    for (size_t i = 0; i < policy->n_network_policies; i++) {
        rule_type *rule = policy->network_policies[i]->value;
        bool named = operation->rule_name[0] == '\0'
            || strcmp(policy->network_policies[i]->key, operation->rule_name) == 0;
        for (size_t k = rule->n_endpoints; named && k > 0; k--) {
            if (is_endpoint(rule->endpoints[k - 1], operation->host, operation->port)) {
                REMOVE(rule, endpoints, k - 1);
                removed++;
            }
        }
    }
    return removed > 0 ? ERR_OK
                       : ERR_SET(
                           err,
                           ERR_NOT_FOUND,
                           "merge_operations: no endpoint %.128s:%u",
                           operation->host,
                           operation->port);
}

static enum err_code remove_binary(
    policy_type *policy, const Openshell__V1__RemoveNetworkBinary *operation, struct err_info *err)
{
    size_t at = find_rule(policy, operation->rule_name);
    rule_type *rule = at == SIZE_MAX ? NULL : policy->network_policies[at]->value;
    for (size_t i = 0; rule != NULL && i < rule->n_binaries; i++) {
        if (strcmp(rule->binaries[i]->path, operation->binary_path) == 0) {
            REMOVE(rule, binaries, i);
            return ERR_OK;
        }
    }
    return ERR_SET(
        err,
        ERR_NOT_FOUND,
        "merge_operations: no binary \"%.128s\" in rule \"%.64s\"",
        operation->binary_path,
        operation->rule_name);
}

struct target { /* endpoints that more rules go to */
    const char *host;
    uint32_t port;
    Openshell__Sandbox__V1__L7Rule **allows;
    size_t allow_count;
    Openshell__Sandbox__V1__L7DenyRule **denies;
    size_t deny_count;
};

static enum err_code add_matches(
    struct arena *arena, policy_type *policy, const struct target *target, struct err_info *err)
{
    size_t met = 0;
    for (size_t i = 0; i < policy->n_network_policies; i++) {
        rule_type *rule = policy->network_policies[i]->value;
        for (size_t k = 0; k < rule->n_endpoints; k++) {
            endpoint_type *endpoint = rule->endpoints[k];
            if (is_endpoint(endpoint, target->host, target->port)) {
                TRY(APPEND(arena, endpoint, rules, target->allows, target->allow_count));
                TRY(APPEND(arena, endpoint, deny_rules, target->denies, target->deny_count));
                met++;
            }
        }
    }
    return met > 0 ? ERR_OK
                   : ERR_SET(
                       err,
                       ERR_NOT_FOUND,
                       "merge_operations: no endpoint %.128s:%u",
                       target->host,
                       target->port);
}

static enum err_code apply(
    struct arena *arena, policy_type *policy, const operation_type *operation, struct err_info *err)
{
    struct target target = { .host = "" };
    switch (operation->operation_case) {
    case OPENSHELL__V1__POLICY_MERGE_OPERATION__OPERATION_ADD_RULE:
        return add_rule(arena, policy, operation->add_rule, err);
    case OPENSHELL__V1__POLICY_MERGE_OPERATION__OPERATION_REMOVE_ENDPOINT:
        return remove_endpoint(policy, operation->remove_endpoint, err);
    case OPENSHELL__V1__POLICY_MERGE_OPERATION__OPERATION_REMOVE_RULE:
        return remove_rule(policy, operation->remove_rule->rule_name, err);
    case OPENSHELL__V1__POLICY_MERGE_OPERATION__OPERATION_ADD_DENY_RULES:
        target.host = operation->add_deny_rules->host;
        target.port = operation->add_deny_rules->port;
        target.denies = operation->add_deny_rules->deny_rules;
        target.deny_count = operation->add_deny_rules->n_deny_rules;
        return add_matches(arena, policy, &target, err);
    case OPENSHELL__V1__POLICY_MERGE_OPERATION__OPERATION_ADD_ALLOW_RULES:
        target.host = operation->add_allow_rules->host;
        target.port = operation->add_allow_rules->port;
        target.allows = operation->add_allow_rules->rules;
        target.allow_count = operation->add_allow_rules->n_rules;
        return add_matches(arena, policy, &target, err);
    case OPENSHELL__V1__POLICY_MERGE_OPERATION__OPERATION_REMOVE_BINARY:
        return remove_binary(policy, operation->remove_binary, err);
    case OPENSHELL__V1__POLICY_MERGE_OPERATION__OPERATION__NOT_SET:
    case _OPENSHELL__V1__POLICY_MERGE_OPERATION__OPERATION__CASE_IS_INT_SIZE:
        break;
    }
    return ERR_SET(err, ERR_INVALID, "merge_operations: one of the operations is required");
}

enum err_code policy_merge(
    struct arena *arena,
    policy_type *policy,
    operation_type *const *operations,
    size_t count,
    struct err_info *err)
{
    for (size_t i = 0; i < count; i++) {
        enum err_code code = apply(arena, policy, operations[i], err);
        if (code == ERR_LIMIT) {
            return ERR_SET(err, ERR_LIMIT, "the policy is too large");
        }
        TRY(code);
    }
    return ERR_OK;
}
