/* Rows of sandboxes to messages of openshell.v1. Everything is made in the arena and borrows the
 * row's texts; NULL: it is full. */
#ifndef SERVER_OPENSHELL_MAP_H
#define SERVER_OPENSHELL_MAP_H

#include "cmd/server/api/map.h"
#include "cmd/server/store/sandbox/sandbox.h"

#include "proto/openshell/v1/openshell.pb-c.h"

enum {
    MAP_US_PER_MS = 1000,
    MAP_ANSWER_BYTES = 4 * 1024 * 1024 - 1024, /* what clients take, which is 4 MiB of a message */
    MAP_FIELD_BYTES = 6                        /* before an entry of a list: key and length */
};

Openshell__V1__Sandbox *map_sandbox(
    const struct map_context *context, const struct sandbox_record *record);
Openshell__V1__SandboxPolicyRevision *map_policy_revision(
    const struct map_context *context, const struct sandbox_policy_record *record);
Openshell__Sandbox__V1__SandboxPolicy *map_policy(
    const struct map_context *context, struct str_view packed);

/* Events of a sandbox: what its programs wrote (kind "sandbox.log") and everything else that
 * happened to it. Each is a log line, of the source "sandbox" or "gateway"; the latter are platform
 * events too.
 */
bool map_is_line(const struct event_record *record);
Openshell__V1__SandboxLogLine *map_log_line(
    const struct map_context *context, const struct event_record *record);
Openshell__V1__PlatformEvent *map_platform_event(
    const struct map_context *context, const struct event_record *record);

#endif
