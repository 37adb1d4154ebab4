#include "cmd/server/auth/rule.h"

static const char *const scope_names[] = {
    [AUTH_SCOPE_NONE] = "",
    [AUTH_AGENT_READ] = "agent:read",
    [AUTH_AGENT_WRITE] = "agent:write",
    [AUTH_DEVICE_READ] = "device:read",
    [AUTH_DEVICE_WRITE] = "device:write",
    [AUTH_COMMAND_READ] = "command:read",
    [AUTH_COMMAND_WRITE] = "command:write",
    [AUTH_TELEMETRY_READ] = "telemetry:read",
    [AUTH_ACCESS_READ] = "access:read",
    [AUTH_ACCESS_WRITE] = "access:write",
    [AUTH_AUDIT_READ] = "audit:read",
    [AUTH_USAGE_READ] = "usage:read",
    [AUTH_USAGE_WRITE] = "usage:write",
    [AUTH_SANDBOX_READ] = "sandbox:read",
    [AUTH_SANDBOX_WRITE] = "sandbox:write",
    [AUTH_CONFIG_READ] = "config:read",
    [AUTH_CONFIG_WRITE] = "config:write",
    [AUTH_PROVIDER_READ] = "provider:read",
    [AUTH_PROVIDER_WRITE] = "provider:write",
    [AUTH_WORKSPACE_READ] = "workspace:read",
    [AUTH_WORKSPACE_WRITE] = "workspace:write",
};

_Static_assert(
    sizeof(scope_names) / sizeof(scope_names[0]) == AUTH_SCOPE_COUNT, "every scope has its name");

const char *auth_scope_name(enum auth_scope scope)
{
    return scope_names[scope];
}

enum err_code auth_scope_parse(struct str_view name, uint32_t *ret_mask)
{
    if (str_equal(name, STR("*"))) {
        *ret_mask = AUTH_SCOPES_ALL;
        return ERR_OK;
    }
    if (str_equal(name, STR("openshell:all"))) {
        *ret_mask = AUTH_SCOPES_ALL & ~(AUTH_SCOPE_BIT(AUTH_SANDBOX_READ) - 1);
        return ERR_OK;
    }
    for (int i = 1; i < AUTH_SCOPE_COUNT; i++) {
        if (str_equal(name, str_of(scope_names[i]))) {
            *ret_mask = AUTH_SCOPE_BIT(i);
            return ERR_OK;
        }
    }
    return ERR_INVALID;
}

uint32_t auth_scopes_of(struct str_view names)
{
    uint32_t mask = AUTH_SCOPE_BIT(AUTH_SCOPE_NONE);
    struct str_view rest = names;
    while (rest.len > 0) {
        struct str_view head = rest;
        if (!str_cut(rest, ' ', &head, &rest)) {
            rest = STR_NONE;
        }
        uint32_t one = 0;
        if (auth_scope_parse(head, &one) == ERR_OK) {
            mask |= one;
        }
    }
    return mask;
}
