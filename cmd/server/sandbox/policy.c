#include "cmd/server/sandbox/policy.h"

#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "common/base/str.h"
#include "common/crypto/hash.h"
#include "common/sys/host.h"
#include "common/sys/ip.h"
#include "common/wire/wire.h"

#include <stdlib.h>
#include <string.h>

enum {
    POLICY_BYTES = 256 * 1024,
    PORT_MAX = 65535,
    PATH_BYTES = 4096,
    PATTERN_BYTES = 256,
    METHOD_BYTES = 32
};

typedef Openshell__Sandbox__V1__NetworkEndpoint endpoint_type;
typedef Openshell__Sandbox__V1__NetworkPolicyRule rule_type;

static bool is_one_of(const char *text, const char *const *words, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(text, words[i]) == 0) {
            return true;
        }
    }
    return false;
}

#define IS_ONE_OF(text, ...)                  \
    is_one_of(                                \
        (text),                               \
        (const char *const[]){ __VA_ARGS__ }, \
        sizeof((const char *const[]){ __VA_ARGS__ }) / sizeof(char *))

static enum err_code check_path(const char *field, const char *path, struct err_info *err)
{
    struct str_view rest = str_of(path);
    bool good = rest.len > 0 && rest.len < PATH_BYTES && path[0] == '/';
    while (good && rest.len > 0) {
        struct str_view part = rest;
        if (!str_cut(rest, '/', &part, &rest)) {
            rest = STR_NONE;
        }
        good = !str_equal(part, STR("..")) && !str_equal(part, STR("."));
    }
    return good ? ERR_OK
                : ERR_SET(
                    err,
                    ERR_INVALID,
                    "%s: \"%.128s\": a path is absolute, without \".\" and \"..\", of at most %d "
                    "bytes",
                    field,
                    path,
                    PATH_BYTES - 1);
}

static enum err_code check_fixed_parts(const policy_type *policy, struct err_info *err)
{
    const Openshell__Sandbox__V1__FilesystemPolicy *files = policy->filesystem;
    for (size_t i = 0; files != NULL && i < files->n_read_only; i++) {
        TRY(check_path("policy.filesystem.read_only", files->read_only[i], err));
    }
    for (size_t i = 0; files != NULL && i < files->n_read_write; i++) {
        TRY(check_path("policy.filesystem.read_write", files->read_write[i], err));
    }
    if (policy->landlock != NULL
        && !IS_ONE_OF(policy->landlock->compatibility, "", "best_effort", "hard_requirement")) {
        return ERR_SET(
            err,
            ERR_INVALID,
            "policy.landlock.compatibility: best_effort or hard_requirement, not \"%.64s\"",
            policy->landlock->compatibility);
    }
    if (policy->process != NULL
        && (!IS_ONE_OF(policy->process->run_as_user, "", "sandbox", "1000")
            || !IS_ONE_OF(policy->process->run_as_group, "", "sandbox", "1000"))) {
        return ERR_SET(
            err,
            ERR_INVALID,
            "policy.process: programs run as the user and group sandbox (1000) and as no other");
    }
    return ERR_OK;
}

struct place { /* of an endpoint, for errors */
    const char *rule;
    size_t index;
};

static enum err_code refuse(
    const struct place *place, const char *field, const char *why, struct err_info *err)
{
    return ERR_SET(
        err,
        ERR_INVALID,
        "policy.network_policies[%.64s].endpoints[%zu].%s: %s",
        place->rule,
        place->index,
        field,
        why);
}

static enum err_code check_address(
    const endpoint_type *endpoint, const struct place *place, struct err_info *err)
{
    struct host_pattern pattern;
    const char *wrong = host_pattern_parse(str_of(endpoint->host), &pattern);
    if (wrong != NULL) {
        return refuse(place, "host", wrong, err);
    }
    if (endpoint->port == 0 && endpoint->n_ports == 0) {
        return refuse(place, "port", "at least one port is needed", err);
    }
    if (endpoint->port > PORT_MAX) {
        return refuse(place, "port", "at most 65535", err);
    }
    for (size_t i = 0; i < endpoint->n_ports; i++) {
        if (endpoint->ports[i] == 0 || endpoint->ports[i] > PORT_MAX) {
            return refuse(place, "ports", "each from 1 to 65535", err);
        }
    }
    return ERR_OK;
}

static enum err_code check_ranges(
    const endpoint_type *endpoint, const struct place *place, struct err_info *err)
{
    for (size_t i = 0; i < endpoint->n_allowed_ips; i++) {
        struct ip_range range;
        if (ip_range_parse(str_of(endpoint->allowed_ips[i]), &range) != ERR_OK) {
            return refuse(
                place, "allowed_ips", "each is an address or a range such as 10.1.0.0/16", err);
        }
    }
    return ERR_OK;
}

static enum err_code check_pattern(
    const struct place *place, const char *field, const char *pattern, struct err_info *err)
{
    size_t bytes = strlen(pattern);
    bool good = bytes == 0 || (bytes <= PATTERN_BYTES && (pattern[0] == '/' || pattern[0] == '*'));
    for (size_t i = 0; i < bytes && good; i++) {
        good = (unsigned char)pattern[i] >= 0x20 && pattern[i] != 0x7f;
    }
    return good ? ERR_OK
                : refuse(
                    place,
                    field,
                    "a path pattern begins with '/' or a star and has at most 256 characters",
                    err);
}

/* What would need a look into traffic that the proxy does not open. */
static enum err_code check_inspection(
    const endpoint_type *endpoint, const struct place *place, struct err_info *err)
{
    if (!IS_ONE_OF(endpoint->protocol, "", "tcp", "rest")) {
        return refuse(place, "protocol", "only tcp and rest (plain http) can be enforced", err);
    }
    if (!IS_ONE_OF(endpoint->tls, "", "passthrough", "skip")) {
        return refuse(place, "tls", "TLS is passed through and never opened: use passthrough", err);
    }
    if (!IS_ONE_OF(endpoint->enforcement, "", "enforce", "audit")) {
        return refuse(place, "enforcement", "enforce or audit", err);
    }
    if (!IS_ONE_OF(endpoint->access, "", "read-only", "read-write", "full")) {
        return refuse(place, "access", "read-only, read-write or full", err);
    }
    bool looks_inside = endpoint->n_rules > 0 || endpoint->n_deny_rules > 0
        || endpoint->path[0] != '\0' || IS_ONE_OF(endpoint->access, "read-only", "read-write");
    if (looks_inside && strcmp(endpoint->protocol, "rest") != 0) {
        return refuse(place, "protocol", "rules by method or path need the protocol rest", err);
    }
    return ERR_OK;
}

static enum err_code check_absent_features(
    const endpoint_type *endpoint, const struct place *place, struct err_info *err)
{
    bool rewrites = endpoint->websocket_credential_rewrite
        || endpoint->request_body_credential_rewrite || endpoint->credential_signing[0] != '\0'
        || endpoint->credential_binding != NULL || endpoint->provider_credentialed;
    if (rewrites) {
        return refuse(place, "credential_binding", "credentials are not injected", err);
    }
    if (endpoint->n_graphql_persisted_queries > 0 || endpoint->persisted_queries[0] != '\0'
        || endpoint->mcp != NULL) {
        return refuse(place, "protocol", "GraphQL and MCP are not inspected", err);
    }
    return ERR_OK;
}

static enum err_code check_match(
    const struct place *place,
    const char *field,
    const char *command,
    size_t inner,
    struct err_info *err)
{
    return command[0] == '\0' && inner == 0
        ? ERR_OK
        : refuse(place, field, "only method and path can be matched", err);
}

static enum err_code check_method(
    const struct place *place, const char *field, const char *method, struct err_info *err)
{
    bool good = method[0] == '\0' || strcmp(method, "*") == 0
        || (str_is_token(str_of(method)) && strlen(method) <= METHOD_BYTES);
    return good
        ? ERR_OK
        : refuse(
            place, field, "a method is a word such as GET of at most 32 characters, or \"*\"", err);
}

static enum err_code check_rules(
    const endpoint_type *endpoint, const struct place *place, struct err_info *err)
{
    for (size_t i = 0; i < endpoint->n_rules; i++) {
        const Openshell__Sandbox__V1__L7Allow *allow = endpoint->rules[i]->allow;
        if (allow == NULL) {
            return refuse(place, "rules", "each needs allow", err);
        }
        size_t inner = allow->n_query + allow->n_fields + allow->n_params
            + strlen(allow->operation_type) + strlen(allow->operation_name);
        TRY(check_match(place, "rules", allow->command, inner, err));
        TRY(check_method(place, "rules", allow->method, err));
        TRY(check_pattern(place, "rules", allow->path, err));
    }
    for (size_t i = 0; i < endpoint->n_deny_rules; i++) {
        const Openshell__Sandbox__V1__L7DenyRule *deny = endpoint->deny_rules[i];
        size_t inner = deny->n_query + deny->n_fields + deny->n_params
            + strlen(deny->operation_type) + strlen(deny->operation_name);
        TRY(check_match(place, "deny_rules", deny->command, inner, err));
        TRY(check_method(place, "deny_rules", deny->method, err));
        TRY(check_pattern(place, "deny_rules", deny->path, err));
    }
    return check_pattern(place, "path", endpoint->path, err);
}

static enum err_code check_rule(const char *name, const rule_type *rule, struct err_info *err)
{
    for (size_t i = 0; i < rule->n_endpoints; i++) {
        const struct place place = { name, i };
        TRY(check_address(rule->endpoints[i], &place, err));
        TRY(check_ranges(rule->endpoints[i], &place, err));
        TRY(check_inspection(rule->endpoints[i], &place, err));
        TRY(check_absent_features(rule->endpoints[i], &place, err));
        TRY(check_rules(rule->endpoints[i], &place, err));
    }
    for (size_t i = 0; i < rule->n_binaries; i++) {
        if (!IS_ONE_OF(rule->binaries[i]->path, "*", "**", "/**")) {
            return ERR_SET(
                err,
                ERR_INVALID,
                "policy.network_policies[%.64s].binaries: \"%.128s\": programs in a sandbox are not "
                "told apart; use \"/**\" for all of them",
                name,
                rule->binaries[i]->path);
        }
    }
    return ERR_OK;
}

static enum err_code check_count(const policy_type *policy, struct err_info *err)
{
    size_t count = 0;
    for (size_t i = 0; i < policy->n_network_policies; i++) {
        const rule_type *rule = policy->network_policies[i]->value;
        count += rule == NULL ? 0 : rule->n_endpoints;
    }
    return count <= POLICY_ENDPOINTS_MAX ? ERR_OK
                                         : ERR_SET(
                                             err,
                                             ERR_INVALID,
                                             "policy.network_policies: %zu endpoints, at most %d",
                                             count,
                                             POLICY_ENDPOINTS_MAX);
}

enum err_code policy_check(const policy_type *policy, struct err_info *err)
{
    size_t bytes = protobuf_c_message_get_packed_size(&policy->base);
    if (bytes > POLICY_BYTES) {
        return ERR_SET(err, ERR_INVALID, "policy: %zu bytes, at most %d", bytes, POLICY_BYTES);
    }
    if (policy->version > 1) {
        return ERR_SET(err, ERR_INVALID, "policy.version: %u, at most 1", policy->version);
    }
    if (policy->n_network_middlewares > 0) {
        return ERR_SET(
            err, ERR_INVALID, "policy.network_middlewares: no middleware is available here");
    }
    TRY(check_fixed_parts(policy, err));
    TRY(check_count(policy, err));
    for (size_t i = 0; i < policy->n_network_policies; i++) {
        const char *name = policy->network_policies[i]->key;
        if (policy->network_policies[i]->value == NULL || name[0] == '\0') {
            return ERR_SET(
                err, ERR_INVALID, "policy.network_policies: a rule has a name and a value");
        }
        TRY(check_rule(name, policy->network_policies[i]->value, err));
    }
    return ERR_OK;
}

static int compare_rules(const void *left, const void *right)
{
    const Openshell__Sandbox__V1__SandboxPolicy__NetworkPoliciesEntry *const *a = left;
    const Openshell__Sandbox__V1__SandboxPolicy__NetworkPoliciesEntry *const *b = right;
    return strcmp((*a)->key, (*b)->key);
}

enum err_code policy_hash(
    policy_type *policy, char out[POLICY_HASH_TEXT_BYTES], struct err_info *err)
{
    uint8_t hash[HASH_SHA256_BYTES];
    AUTO_BUF struct buf packed = BUF_INIT(POLICY_BYTES);
    if (policy->n_network_policies > 1) {
        qsort(policy->network_policies, policy->n_network_policies, sizeof(void *), compare_rules);
    }
    TRY(wire_pack_within(&policy->base, "policy", &packed, err));
    hash_sha256(buf_view(&packed), hash);
    str_hex_encode(hash, sizeof(hash), out);
    return ERR_OK;
}

/* Packed forms are compared: a part that is absent equals one with nothing in it. */
static enum err_code compare(
    const ProtobufCMessage *a, const ProtobufCMessage *b, bool *ret_is_same, struct err_info *err)
{
    AUTO_BUF struct buf left = BUF_INIT(POLICY_BYTES);
    AUTO_BUF struct buf right = BUF_INIT(POLICY_BYTES);
    if (a != NULL) {
        TRY(wire_pack_within(a, "policy", &left, err));
    }
    if (b != NULL) {
        TRY(wire_pack_within(b, "policy", &right, err));
    }
    *ret_is_same = str_equal(buf_view(&left), buf_view(&right));
    return ERR_OK;
}

#define PART(policy, part) ((policy)->part == NULL ? NULL : &(policy)->part->base)

enum err_code policy_check_fixed(
    const policy_type *before, const policy_type *after, struct err_info *err)
{
    const struct {
        const char *name;
        const ProtobufCMessage *before;
        const ProtobufCMessage *after;
    } parts[] = {
        { "filesystem", PART(before, filesystem), PART(after, filesystem) },
        { "landlock", PART(before, landlock), PART(after, landlock) },
        { "process", PART(before, process), PART(after, process) },
    };

    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        bool is_same = false;
        TRY(compare(parts[i].before, parts[i].after, &is_same, err));
        if (!is_same) {
            return ERR_SET(
                err,
                ERR_INVALID,
                "policy.%s: is fixed when a sandbox is made; only network_policies can change",
                parts[i].name);
        }
    }
    return ERR_OK;
}
