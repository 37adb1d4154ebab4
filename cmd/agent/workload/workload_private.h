/* What the parts of this folder share. */
#ifndef CMD_AGENT_WORKLOAD_WORKLOAD_PRIVATE_H
#define CMD_AGENT_WORKLOAD_WORKLOAD_PRIVATE_H

#include "cmd/agent/workload/figures.h"
#include "cmd/agent/workload/logs.h"
#include "cmd/agent/workload/report.h"
#include "cmd/agent/workload/restart.h"
#include "cmd/agent/workload/sequence.h"
#include "cmd/agent/workload/usage.h"
#include "cmd/agent/workload/wish.h"
#include "cmd/agent/workload/workload.h"
#include "common/base/map.h"

struct workload {
    struct workload_options options;
    struct workload_offer lent; /* of options.offer */
    char *boot_id;
    char *image_dir;
    struct sandboxes *sandboxes; /* NULL while they are being opened */
    struct execs *execs;
    struct logs *logs;
    struct usage *usage;
    struct figures *figures;
    struct restarts *restarts;
    struct sequence reports;
    struct wish_host host;
    struct map *missed; /* ids of which the newest report was not taken */
};

/* With its number, which is spent by it. The report borrows from info and note. */
enum err_code workload_fill_report(
    struct workload *workload,
    const struct sandbox_info *info,
    struct report *report,
    struct note *note,
    struct err_info *err) MUST_CHECK;
/* As that, for a hello, which must go out: what cannot be read is left empty, and the number is the
 * last one that was given, or 0, so that the server takes it for a sign of life and not for news.
 * The whole of it is told as soon as it can be. */
void workload_fill_anyway(
    struct workload *workload,
    const struct sandbox_info *info,
    struct report *report,
    struct note *note);

#endif
