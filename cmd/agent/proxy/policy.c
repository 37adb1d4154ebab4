#include "cmd/agent/proxy/policy.h"

#include "common/base/cleanup.h"

typedef Openshell__Sandbox__V1__NetworkEndpoint endpoint_type;
typedef Openshell__Sandbox__V1__NetworkPolicyRule rule_type;
typedef Openshell__Sandbox__V1__SandboxPolicy policy_type;

struct word {
    const char *text;
    int value;
};

static bool find_word(const struct word *words, size_t count, const char *text, int *ret_value)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(words[i].text, text) == 0) {
            *ret_value = words[i].value;
            return true;
        }
    }
    return false;
}

/* What must be one of these words; ret_value is what the word stands for. */
static enum err_code take_word(
    const struct word *words,
    size_t count,
    const char *field,
    const char *text,
    int *ret_value,
    struct err_info *err)
{
    return find_word(words, count, text, ret_value)
        ? ERR_OK
        : ERR_SET(err, ERR_UNSUPPORTED, "%s: \"%.64s\" cannot be enforced", field, text);
}

static enum err_code take_words(
    const endpoint_type *endpoint, struct rules_endpoint *ret_to, struct err_info *err)
{
    static const struct word protocols[] = { { "", 0 }, { "tcp", 0 }, { "rest", 1 } };
    static const struct word tls[] = { { "", 0 }, { "passthrough", 0 }, { "skip", 1 } };
    static const struct word enforcement[] = { { "", 0 }, { "enforce", 0 }, { "audit", 1 } };
    static const struct word access[] = { { "", RULES_ACCESS_NONE },
                                          { "read-only", RULES_ACCESS_READ },
                                          { "read-write", RULES_ACCESS_WRITE },
                                          { "full", RULES_ACCESS_FULL } };
    int inspected = 0;
    int unseen = 0;
    int audit = 0;
    int level = 0;
    TRY(take_word(protocols, 3, "protocol", endpoint->protocol, &inspected, err));
    TRY(take_word(tls, 3, "tls", endpoint->tls, &unseen, err));
    TRY(take_word(enforcement, 3, "enforcement", endpoint->enforcement, &audit, err));
    TRY(take_word(access, 4, "access", endpoint->access, &level, err));
    ret_to->inspected = inspected != 0;
    ret_to->unseen_tls = unseen != 0;
    ret_to->audit = audit != 0;
    ret_to->access = (enum rules_access)level;
    return ERR_OK;
}

static enum err_code refuse_rest(const endpoint_type *endpoint, struct err_info *err)
{
    bool credentials = endpoint->websocket_credential_rewrite
        || endpoint->request_body_credential_rewrite || endpoint->credential_signing[0] != '\0'
        || endpoint->credential_binding != NULL || endpoint->provider_credentialed;
    bool contents = endpoint->n_graphql_persisted_queries > 0
        || endpoint->persisted_queries[0] != '\0' || endpoint->mcp != NULL;
    if (credentials || contents) {
        return ERR_SET(
            err,
            ERR_UNSUPPORTED,
            "%s cannot be enforced",
            credentials ? "putting credentials into requests" : "looking into GraphQL or MCP");
    }
    return ERR_OK;
}

static enum err_code refuse_inner(size_t inner, const char *command, struct err_info *err)
{
    return inner == 0 && command[0] == '\0'
        ? ERR_OK
        : ERR_SET(err, ERR_UNSUPPORTED, "rules: only method and path can be matched");
}

static enum err_code take_allows(
    const endpoint_type *endpoint, struct rules_match *matches, struct err_info *err)
{
    for (size_t i = 0; i < endpoint->n_rules; i++) {
        const Openshell__Sandbox__V1__L7Allow *allow = endpoint->rules[i]->allow;
        if (allow == NULL) {
            return ERR_SET(err, ERR_INVALID, "rules: each needs allow");
        }
        size_t inner = allow->n_query + allow->n_fields + allow->n_params
            + strlen(allow->operation_type) + strlen(allow->operation_name);
        TRY(refuse_inner(inner, allow->command, err));
        matches[i] = (struct rules_match){ str_of(allow->method), str_of(allow->path) };
    }
    return ERR_OK;
}

static enum err_code take_denies(
    const endpoint_type *endpoint, struct rules_match *matches, struct err_info *err)
{
    for (size_t i = 0; i < endpoint->n_deny_rules; i++) {
        const Openshell__Sandbox__V1__L7DenyRule *deny = endpoint->deny_rules[i];
        size_t inner = deny->n_query + deny->n_fields + deny->n_params
            + strlen(deny->operation_type) + strlen(deny->operation_name);
        TRY(refuse_inner(inner, deny->command, err));
        matches[i] = (struct rules_match){ str_of(deny->method), str_of(deny->path) };
    }
    return ERR_OK;
}

static enum err_code add_endpoint(
    struct rules *rules,
    const char *rule,
    const endpoint_type *endpoint,
    bool no_programs,
    struct err_info *err)
{
    AUTO_FREE uint32_t *ports = mem_alloc_array(endpoint->n_ports + 1, sizeof(*ports));
    AUTO_FREE struct rules_match *allows = mem_alloc_array(endpoint->n_rules + 1, sizeof(*allows));
    AUTO_FREE struct rules_match *denies =
        mem_alloc_array(endpoint->n_deny_rules + 1, sizeof(*denies));
    AUTO_FREE struct str_view *addresses =
        mem_alloc_array(endpoint->n_allowed_ips + 1, sizeof(*addresses));
    struct rules_endpoint to = { .rule = str_of(rule),
                                 .host = str_of(endpoint->host),
                                 .ports = ports,
                                 .no_programs = no_programs,
                                 .path = str_of(endpoint->path),
                                 .allows = allows,
                                 .allow_count = endpoint->n_rules,
                                 .denies = denies,
                                 .deny_count = endpoint->n_deny_rules,
                                 .addresses = addresses,
                                 .address_count = endpoint->n_allowed_ips,
                                 .encoded_slash = endpoint->allow_encoded_slash };
    if (endpoint->port != 0) {
        ports[to.port_count++] = endpoint->port;
    }
    for (size_t i = 0; i < endpoint->n_ports; i++) {
        ports[to.port_count++] = endpoint->ports[i];
    }
    for (size_t i = 0; i < endpoint->n_allowed_ips; i++) {
        addresses[i] = str_of(endpoint->allowed_ips[i]);
    }
    TRY(take_words(endpoint, &to, err));
    TRY(refuse_rest(endpoint, err));
    TRY(take_allows(endpoint, allows, err));
    TRY(take_denies(endpoint, denies, err));
    bool looks_inside = endpoint->n_rules > 0 || endpoint->n_deny_rules > 0 || to.path.len > 0
        || to.access == RULES_ACCESS_READ || to.access == RULES_ACCESS_WRITE;
    if (looks_inside && !to.inspected) {
        return ERR_SET(
            err, ERR_INVALID, "protocol: rules by method or path need the protocol rest");
    }
    return rules_add(rules, &to, err);
}

static enum err_code add_rule(
    struct rules *rules, const char *name, const rule_type *rule, struct err_info *err)
{
    static const struct word all[] = { { "*", 0 }, { "**", 0 }, { "/**", 0 } };
    int ignored = 0;
    for (size_t i = 0; i < rule->n_binaries; i++) {
        TRY(take_word(all, 3, "binaries", rule->binaries[i]->path, &ignored, err));
    }
    for (size_t i = 0; i < rule->n_endpoints; i++) {
        enum err_code code =
            add_endpoint(rules, name, rule->endpoints[i], rule->n_binaries == 0, err);
        if (code != ERR_OK) {
            err_prefix(err, "endpoints[%zu]", i);
            return code;
        }
    }
    return ERR_OK;
}

static enum err_code add_all(struct rules *rules, const policy_type *policy, struct err_info *err)
{
    if (policy->n_network_middlewares > 0) {
        return ERR_SET(err, ERR_UNSUPPORTED, "network_middlewares: there is none here");
    }
    for (size_t i = 0; i < policy->n_network_policies; i++) {
        const char *name = policy->network_policies[i]->key;
        const rule_type *rule = policy->network_policies[i]->value;
        enum err_code code = rule == NULL ? ERR_SET(err, ERR_INVALID, "it has no value")
                                          : add_rule(rules, name, rule, err);
        if (code != ERR_OK) {
            err_prefix(err, "network_policies[%.64s]", name);
            return code;
        }
    }
    return ERR_OK;
}

enum err_code policy_compile(
    const policy_type *policy, struct rules **ret_rules, struct err_info *err)
{
    struct rules *rules = rules_create();
    enum err_code code = policy == NULL ? ERR_OK : add_all(rules, policy, err);
    if (code != ERR_OK) {
        rules_destroy(rules);
        return code;
    }
    *ret_rules = rules;
    return ERR_OK;
}
