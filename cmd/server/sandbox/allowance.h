/* Quotas, asked before a sandbox is stored. */
#ifndef SERVER_SANDBOX_ALLOWANCE_H
#define SERVER_SANDBOX_ALLOWANCE_H

#include "cmd/server/sandbox/lifecycle.h"
#include "cmd/server/sandbox/spec.h"

/*
 * Whether workspace and owner may have what facts says besides what stands. Two creations at once
 * in a workspace that has quotas take turns, on whichever server. ERR_LIMIT names the quota.
 */
enum err_code allowance_check(
    const struct lifecycle *self, const struct spec_facts *facts, struct err_info *err) MUST_CHECK;

#endif
