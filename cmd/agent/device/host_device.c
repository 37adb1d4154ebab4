#include "cmd/agent/device/host_device.h"

#include "common/base/cleanup.h"

#include <assert.h>
#include <errno.h>
#include <sys/reboot.h>
#include <unistd.h>

static const char *const action_names[] = {
    [DEVICE_IDENTIFY] = "identify", [DEVICE_REBOOT] = "reboot"
};

static_assert(ARRAY_LENGTH(action_names) == DEVICE_ACTION_COUNT, "a name for each action");

void device_policy_init(struct device_policy *policy)
{
    memset(policy, 0, sizeof(*policy));
    policy->allows[DEVICE_IDENTIFY] = true;
}

static bool find_action(const char *name, enum device_action *ret_action)
{
    for (unsigned i = 0; i < DEVICE_ACTION_COUNT; i++) {
        if (strcmp(action_names[i], name) == 0) {
            *ret_action = (enum device_action)i;
            return true;
        }
    }
    return false;
}

enum err_code device_policy_allow(
    struct device_policy *policy, const char *action, struct err_info *err)
{
    enum device_action index = DEVICE_IDENTIFY;
    if (!find_action(action, &index)) {
        return ERR_SET(
            err,
            ERR_INVALID,
            "allow-actions: %s is no action; there are: identify, reboot",
            action);
    }
    policy->allows[index] = true;
    return ERR_OK;
}

enum device_verdict device_check(
    const struct device_policy *policy,
    const char *device,
    const char *action,
    enum device_action *ret_action,
    struct err_info *err)
{
    if (device[0] != '\0' && strcmp(device, "host") != 0) {
        (void)ERR_SET(err, ERR_NOT_FOUND, "no such device; this agent has: host");
        return DEVICE_UNKNOWN_DEVICE;
    }
    if (!find_action(action, ret_action)) {
        (void)ERR_SET(err, ERR_UNSUPPORTED, "the host knows: identify, reboot");
        return DEVICE_UNKNOWN_ACTION;
    }
    if (!policy->allows[*ret_action]) {
        (void)ERR_SET(
            err,
            ERR_DENIED,
            "%s is not allowed by the machine's own policy (allow-actions)",
            action_names[*ret_action]);
        return DEVICE_REFUSED;
    }
    return DEVICE_OK;
}

static void append_member(struct buf *json, const char *name, const char *value)
{
    buf_printf(json, "\"%s\":", name);
    buf_append_json(json, str_of(value));
    buf_append_char(json, ',');
}

void device_identify(const struct host_facts *facts, struct buf *json)
{
    buf_append_char(json, '{');
    append_member(json, "hostname", facts->hostname);
    append_member(json, "os", facts->os);
    append_member(json, "arch", facts->arch);
    append_member(json, "kernel", facts->kernel);
    append_member(json, "machine_id", facts->machine_id);
    append_member(json, "boot_id", facts->boot_id);
    buf_printf(
        json,
        "\"cpu_count\":%u,\"memory_bytes\":%llu}",
        facts->cpu_count,
        (unsigned long long)facts->memory_bytes);
}

enum err_code device_reboot(struct err_info *err)
{
    sync();
    if (reboot(RB_AUTOBOOT) != 0) {
        return ERR_SET_ERRNO(err, ERR_DENIED, errno, "reboot");
    }
    return ERR_OK;
}
