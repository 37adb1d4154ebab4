/* The authorisation rule of a method: class and scope. Every method's policy row starts with one.
 */
#ifndef SERVER_AUTH_RULE_H
#define SERVER_AUTH_RULE_H

#include "common/base/str.h"

enum auth_class {
    AUTH_CLASS_NONE = 0, /* not a valid rule: a row without one keeps the server from starting */
    AUTH_PUBLIC,         /* no credential: bootstrap of agents, rate-limited */
    AUTH_OPERATOR,       /* local socket or API key */
    AUTH_AGENT,          /* session token */
    AUTH_SANDBOX         /* a sandbox's own credential */
};

enum auth_scope {
    AUTH_SCOPE_NONE = 0, /* any operator */
    AUTH_AGENT_READ,
    AUTH_AGENT_WRITE,
    AUTH_DEVICE_READ,
    AUTH_DEVICE_WRITE,
    AUTH_COMMAND_READ,
    AUTH_COMMAND_WRITE,
    AUTH_TELEMETRY_READ,
    AUTH_ACCESS_READ,
    AUTH_ACCESS_WRITE,
    AUTH_AUDIT_READ,
    AUTH_USAGE_READ,
    AUTH_USAGE_WRITE,
    AUTH_SANDBOX_READ,
    AUTH_SANDBOX_WRITE,
    AUTH_CONFIG_READ,
    AUTH_CONFIG_WRITE,
    AUTH_PROVIDER_READ,
    AUTH_PROVIDER_WRITE,
    AUTH_WORKSPACE_READ,
    AUTH_WORKSPACE_WRITE,
    AUTH_SCOPE_COUNT
};

#define AUTH_SCOPE_BIT(scope) (UINT32_C(1) << (scope))
#define AUTH_SCOPES_ALL       ((UINT32_C(1) << AUTH_SCOPE_COUNT) - 1)

struct auth_rule {
    enum auth_class class;
    enum auth_scope scope;
    bool is_audited; /* leaves an audit record; refusals of it too */
    bool needs_platform_admin;
    bool takes_replicas; /* another server may call it for an agent */
};

const char *auth_scope_name(enum auth_scope scope); /* "agent:read" */

/* "agent:read", "*" for all of them, or "openshell:all" for those of the OpenShell contract, to a
 * mask. ERR_INVALID: no such scope. */
enum err_code auth_scope_parse(struct str_view name, uint32_t *ret_mask) MUST_CHECK;

/* Space-separated names to a mask; unknown ones (of a newer server) are left out. */
uint32_t auth_scopes_of(struct str_view names);

#endif
