#include "cmd/server/domain/phase.h"

#include "common/base/mem.h"

#include <stdbool.h>

#define STARTING     PHASE_STARTING
#define READY        PHASE_READY
#define STOPPED      PHASE_STOPPED
#define STOPPING     PHASE_STOPPING
#define ERROR        PHASE_ERROR
#define DELETING     PHASE_DELETING
#define PROVISIONING PHASE_PROVISIONING
#define GONE         PHASE_GONE

static const char *const names[PHASE_COUNT] = {
    [PHASE_GONE] = "gone",         [PHASE_PROVISIONING] = "provisioning",
    [PHASE_READY] = "ready",       [PHASE_ERROR] = "error",
    [PHASE_DELETING] = "deleting", [PHASE_UNKNOWN] = "unknown",
    [PHASE_STOPPING] = "stopping", [PHASE_STOPPED] = "stopped",
    [PHASE_STARTING] = "starting",
};

/*
 * Reports are level-triggered and newer ones only, so a row says what the newest truth makes of a
 * phase. ERROR is terminal but for deletion. STOPPING and STARTING outlast reports that were under
 * way when the order was given.
 */
/* clang-format off */
static const enum phase after_report[PHASE_COUNT][PHASE_REPORT_COUNT] = {
    /*                        -        starting      ready     stopped   exited    failed    lost      deleted */
    [PHASE_PROVISIONING] = { GONE,    PROVISIONING, READY,    STOPPED,  ERROR,    ERROR,    ERROR,    ERROR },
    [PHASE_READY]        = { GONE,    STARTING,     READY,    STOPPED,  ERROR,    ERROR,    ERROR,    ERROR },
    [PHASE_ERROR]        = { GONE,    ERROR,        ERROR,    ERROR,    ERROR,    ERROR,    ERROR,    ERROR },
    [PHASE_DELETING]     = { GONE,    DELETING,     DELETING, DELETING, DELETING, DELETING, DELETING, GONE  },
    [PHASE_UNKNOWN]      = { GONE,    PROVISIONING, READY,    STOPPED,  ERROR,    ERROR,    ERROR,    ERROR },
    [PHASE_STOPPING]     = { GONE,    STOPPING,     STOPPING, STOPPED,  STOPPED,  ERROR,    ERROR,    ERROR },
    [PHASE_STOPPED]      = { GONE,    STARTING,     READY,    STOPPED,  STOPPED,  ERROR,    ERROR,    ERROR },
    [PHASE_STARTING]     = { GONE,    STARTING,     READY,    STARTING, ERROR,    ERROR,    ERROR,    ERROR },
};

/* clang-format on */

struct order {
    const char *verb;
    uint32_t from; /* mask of phases */
    enum phase to; /* PHASE_GONE: as it is */
};

#define BIT(phase) (UINT32_C(1) << (phase))
#define ANY        (BIT(PHASE_COUNT) - 2)

static const struct order orders[PHASE_ORDER_COUNT] = {
    [PHASE_ORDER_STOP] = { "stopped", BIT(PHASE_READY) | BIT(PHASE_STARTING), PHASE_STOPPING },
    [PHASE_ORDER_START] = { "started", BIT(PHASE_STOPPED), PHASE_STARTING },
    [PHASE_ORDER_DELETE] = { "deleted", ANY, PHASE_DELETING },
    [PHASE_ORDER_EXEC] = { "used", BIT(PHASE_READY), PHASE_GONE },
};

const char *phase_name(enum phase phase)
{
    return phase < PHASE_COUNT ? names[phase] : "unspecified";
}

enum phase phase_after_report(enum phase phase, enum phase_report report)
{
    bool is_known = phase > PHASE_GONE && phase < PHASE_COUNT && report >= PHASE_REPORT_STARTING
        && report < PHASE_REPORT_COUNT;
    return is_known ? after_report[phase][report] : phase;
}

enum err_code phase_after_order(
    enum phase phase, enum phase_order order, enum phase *ret_phase, struct err_info *err)
{
    const struct order *row = &orders[order];
    if ((row->from & BIT(phase)) == 0) {
        return ERR_SET(
            err,
            ERR_PRECONDITION,
            "sandbox is not ready to be %s: its phase is %s",
            row->verb,
            phase_name(phase));
    }
    *ret_phase = row->to == PHASE_GONE ? phase : row->to;
    return ERR_OK;
}

enum phase phase_after_absence(enum phase phase)
{
    return phase == PHASE_PROVISIONING || phase == PHASE_READY ? PHASE_UNKNOWN : phase;
}

enum phase phase_after_missing(enum phase phase)
{
    return phase == PHASE_DELETING ? PHASE_GONE : PHASE_ERROR;
}
