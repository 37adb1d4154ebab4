/*
 * The agent's own host as a device: identify always works; what changes the machine is refused
 * unless the operator of the machine listed it in `allow-actions`. Loop thread.
 */
#ifndef CMD_AGENT_DEVICE_HOST_DEVICE_H
#define CMD_AGENT_DEVICE_HOST_DEVICE_H

#include "cmd/agent/host/facts.h"
#include "common/base/buf.h"

enum device_verdict {
    DEVICE_OK,
    DEVICE_REFUSED,        /* local policy */
    DEVICE_UNKNOWN_DEVICE, /* no such device here */
    DEVICE_UNKNOWN_ACTION,
    DEVICE_FAILED
};

enum device_action {
    DEVICE_IDENTIFY,
    DEVICE_REBOOT,
    DEVICE_ACTION_COUNT
};

struct device_policy {
    bool allows[DEVICE_ACTION_COUNT];
};

/* Only identify. */
void device_policy_init(struct device_policy *policy);

/* ERR_INVALID: no such action; the text lists them. */
enum err_code device_policy_allow(
    struct device_policy *policy, const char *action, struct err_info *err) MUST_CHECK;

/* What would be done, without doing it; err says why not. device "" and "host" are this machine. */
enum device_verdict device_check(
    const struct device_policy *policy,
    const char *device,
    const char *action,
    enum device_action *ret_action,
    struct err_info *err);

/* Appends what this machine is as JSON. */
void device_identify(const struct host_facts *facts, struct buf *json);

/* Flushes the disks and restarts the machine; returns only on failure. */
enum err_code device_reboot(struct err_info *err) MUST_CHECK;

#endif
