/*
 * What the server's side of a sandbox needs to survive the agent: kept in the sandbox's own folder
 * (files own.*), so it goes with it. A sandbox without a note is one nobody has ordered anything
 * of.
 */
#ifndef CMD_AGENT_WORKLOAD_NOTE_H
#define CMD_AGENT_WORKLOAD_NOTE_H

#include "cmd/agent/workload/restart.h"
#include "common/base/arena.h"
#include "common/wire/wire.h"

#include "proto/openshell/sandbox/v1/sandbox.pb-c.h"

struct note {
    uint64_t stopped;        /* the generation that was ordered to stop; 0: none */
    uint64_t policy_version; /* in force */
    uint64_t failed_version; /* a newer one that could not be loaded; 0: none */
    char policy_error[256];
    char missing[128]; /* limits that are not enforced; "" */
    struct restart restart;
};

enum note_keeping {
    NOTE_SYNCED, /* on the disk when the call returns */
    NOTE_LATER   /* the sandbox is new: its keeper brings it there */
};

/* Not there, or damaged (which is logged as an error): all zero. Else what keeps it from being
 * read.
 */
enum err_code note_load(const char *dir, struct note *ret_note, struct err_info *err) MUST_CHECK;
enum err_code note_save(
    const char *dir, const struct note *note, enum note_keeping keeping, struct err_info *err)
    MUST_CHECK;

/* The rules in force. NULL: none was ever given. */
enum err_code note_load_policy(
    const char *dir,
    const struct wire_schema *schema,
    struct arena *arena,
    Openshell__Sandbox__V1__SandboxPolicy **ret_policy,
    struct err_info *err) MUST_CHECK;
enum err_code note_save_policy(
    const char *dir,
    const Openshell__Sandbox__V1__SandboxPolicy *policy,
    enum note_keeping keeping,
    struct err_info *err) MUST_CHECK;

#endif
