/*
 * The life of a sandbox as its operators see it: which phase follows a report of the agent, and
 * what may be asked in which phase. Pure; a table.
 */
#ifndef SERVER_DOMAIN_PHASE_H
#define SERVER_DOMAIN_PHASE_H

#include "common/base/err.h"

#include <stdint.h>

/* Values are those of openshell.v1.SandboxPhase. */
enum phase {
    PHASE_GONE = 0, /* nothing is left: the record goes */
    PHASE_PROVISIONING,
    PHASE_READY,
    PHASE_ERROR,
    PHASE_DELETING,
    PHASE_UNKNOWN,
    PHASE_STOPPING,
    PHASE_STOPPED,
    PHASE_STARTING,
    PHASE_COUNT
};

/* Values are those of agentgateway.v1.SandboxState. */
enum phase_report {
    PHASE_REPORT_STARTING = 1,
    PHASE_REPORT_READY,
    PHASE_REPORT_STOPPED,
    PHASE_REPORT_EXITED,
    PHASE_REPORT_FAILED,
    PHASE_REPORT_LOST,
    PHASE_REPORT_DELETED,
    PHASE_REPORT_COUNT
};

enum phase_order {
    PHASE_ORDER_STOP,
    PHASE_ORDER_START,
    PHASE_ORDER_DELETE,
    PHASE_ORDER_EXEC,
    PHASE_ORDER_COUNT
};

/* Lower-case, for messages. */
const char *phase_name(enum phase phase);

/* The phase after a report; the same when the report changes nothing. */
enum phase phase_after_report(enum phase phase, enum phase_report report);

/* The phase after an order; ERR_PRECONDITION names the phase. PHASE_ORDER_EXEC stays READY. */
enum err_code phase_after_order(
    enum phase phase, enum phase_order order, enum phase *ret_phase, struct err_info *err)
    MUST_CHECK;

/* The phase when the agent has been away longer than the grace time. STOPPING, STARTING and
 * DELETING stay: they are what the agent shall be told again when it is back. */
enum phase phase_after_absence(enum phase phase);

/* The phase when a returning agent has no trace of a sandbox it had once reported. */
enum phase phase_after_missing(enum phase phase);

#endif
