/*
 * A sandbox's record from one phase to the next: each is written with its wakes and, when the phase
 * is another, an event of the kind "sandbox.phase", which goes out at the end of the transaction.
 */
#ifndef SERVER_SANDBOX_TRANSITION_H
#define SERVER_SANDBOX_TRANSITION_H

#include "cmd/server/sandbox/lifecycle.h"

/* The event and the wakes alone; none for a sandbox without an agent. */
void transition_note(
    const struct lifecycle *self, const struct sandbox_record *record, enum phase phase);

/* The same of a revision of the policy (kind "sandbox.policy"): version, status and load_error say
 * which and how it went. */
void transition_note_policy(
    const struct lifecycle *self,
    const struct sandbox_record *record,
    const struct sandbox_policy_record *policy);

/* Writes the record, with all that the caller changed in it. */
enum err_code transition_make(
    const struct lifecycle *self,
    struct sandbox_record *record,
    enum phase phase,
    struct err_info *err) MUST_CHECK;

/* To ERROR; reason and message are borrowed for as long as the record. */
enum err_code transition_fail(
    const struct lifecycle *self,
    struct sandbox_record *record,
    const char *reason,
    const char *message,
    struct err_info *err) MUST_CHECK;

/* Removes the record. */
enum err_code transition_forget(
    const struct lifecycle *self, struct sandbox_record *record, struct err_info *err) MUST_CHECK;

#endif
