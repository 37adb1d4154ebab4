#include "cmd/agent/workload/figures.h"

#include "common/base/arena.h"
#include "common/base/cleanup.h"
#include "common/base/map.h"
#include "common/wire/wire.h"

#include <stdio.h>

enum {
    RUN_SHIFT = 32, /* a sample's sequence has the number of its run above these bits */
    SANDBOXES_MAX = 4096,
    ARENA_BYTES = 4 * 1024 * 1024,
    ID_BYTES = 65
};

#define DURATION_MAX_US US_PER_MINUTE
#define INTERVAL_MIN_US US_PER_SECOND
/* Over less time a rate says more of the moment of reading than of the program. */
#define SPAN_MIN_US US_PER_SECOND
/* The first reading of a run that is younger begins with its start; of an older one it is unknown.
 */
#define YOUNG_US (15 * US_PER_SECOND)

struct reading { /* sums since the start of the run */
    struct message_sample sample;
    struct egress_count network;
};

struct entry {
    char id[ID_BYTES];
    struct reading from;
    struct reading until;
    bool is_new; /* has not gone out */
};

struct figures {
    struct loop *loop;
    const struct figures_ops *ops;
    void *context;
    struct map *entries;
    struct loop_timer *timer;
    struct mono_us end;
    int64_t interval_us;
    bool is_watched;
    size_t awaited; /* samples that were asked for */
};

static void on_timer(void *context);

struct figures *figures_create(struct loop *loop, const struct figures_ops *ops, void *context)
{
    struct figures *figures = mem_alloc(sizeof(*figures));
    figures->loop = loop;
    figures->ops = ops;
    figures->context = context;
    figures->entries = map_create();
    figures->timer = loop_timer_create(loop, on_timer, figures);
    return figures;
}

static void free_entry(void *value)
{
    mem_free(value);
}

void figures_destroy(struct figures *figures)
{
    if (figures != NULL) {
        loop_timer_destroy(figures->timer);
        map_destroy(figures->entries, free_entry);
        mem_free(figures);
    }
}

void figures_forget(struct figures *figures, const char *sandbox_id)
{
    mem_free(map_remove(figures->entries, str_of(sandbox_id)));
}

/* ---- out ---- */

static Agentgateway__V1__SandboxReading *make_reading(
    struct arena *arena, const struct entry *entry)
{
    const struct reading *from = &entry->from;
    const struct reading *until = &entry->until;
    Agentgateway__V1__SandboxReading *reading =
        wire_new(arena, &agentgateway__v1__sandbox_reading__descriptor);
    if (reading == NULL) {
        return NULL;
    }
    reading->sandbox_id = CONST_CAST(char *, entry->id);
    reading->taken_us = (int64_t)until->sample.time_us;
    reading->interval_us = until->sample.run_us - from->sample.run_us;
    reading->cpu_us = until->sample.cpu_us - from->sample.cpu_us;
    reading->read_bytes = until->sample.read_bytes - from->sample.read_bytes;
    reading->written_bytes = until->sample.write_bytes - from->sample.write_bytes;
    reading->sent_bytes = until->network.sent_bytes - from->network.sent_bytes;
    reading->received_bytes = until->network.received_bytes - from->network.received_bytes;
    reading->memory_bytes = until->sample.memory_bytes;
    reading->disk_bytes = until->sample.disk_bytes;
    reading->processes = (uint32_t)until->sample.pids;
    return reading;
}

static void send_new(struct figures *figures)
{
    Agentgateway__V1__ControlSandboxReadings message =
        AGENTGATEWAY__V1__CONTROL_SANDBOX_READINGS__INIT;
    AUTO_ARENA struct arena *arena = arena_create(ARENA_BYTES);
    size_t cursor = 0;
    struct str_view key;
    void *value = NULL;
    message.readings = arena_alloc(arena, SANDBOXES_MAX * sizeof(void *));
    while (map_next(figures->entries, &cursor, &key, &value)
           && message.n_readings < SANDBOXES_MAX) {
        struct entry *entry = value;
        Agentgateway__V1__SandboxReading *reading =
            entry->is_new ? make_reading(arena, entry) : NULL;
        if (reading != NULL) {
            entry->is_new = false;
            message.readings[message.n_readings++] = reading;
        }
    }
    figures->awaited = 0;
    if (message.n_readings > 0) {
        figures->ops->send(figures->context, &message);
    }
}

/* What has not come since the last round goes out now; a shim that hangs holds nobody up. */
static void on_timer(void *context)
{
    struct figures *figures = context;
    if (figures->awaited > 0) {
        send_new(figures);
    }
    if (loop_now(figures->loop).value >= figures->end.value) {
        figures->is_watched = false;
        return;
    }
    figures->awaited = figures->ops->measure(figures->context);
    loop_timer_arm_after(figures->timer, figures->interval_us);
}

void figures_watch(struct figures *figures, int64_t duration_us, int64_t interval_us)
{
    duration_us = duration_us > DURATION_MAX_US ? DURATION_MAX_US : duration_us;
    interval_us = interval_us < INTERVAL_MIN_US ? INTERVAL_MIN_US : interval_us;
    figures->end = (struct mono_us){ loop_now(figures->loop).value + duration_us };
    figures->interval_us = interval_us > DURATION_MAX_US ? DURATION_MAX_US : interval_us;
    if (!figures->is_watched && duration_us > 0) {
        figures->is_watched = true;
        loop_timer_arm_after(figures->timer, 0);
    }
}

/* ---- in ---- */

static struct entry *entry_of(struct figures *figures, const char *sandbox_id)
{
    struct entry *entry = map_find(figures->entries, str_of(sandbox_id));
    if (entry == NULL) {
        entry = mem_alloc(sizeof(*entry));
        (void)snprintf(entry->id, sizeof(entry->id), "%s", sandbox_id);
        (void)map_put(figures->entries, str_of(entry->id), entry);
    }
    return entry;
}

/* Sums start anew with each run, and those of the network with each agent. */
static bool goes_on(const struct reading *before, const struct reading *now)
{
    return before->sample.sequence >> RUN_SHIFT == now->sample.sequence >> RUN_SHIFT
        && now->network.sent_bytes >= before->network.sent_bytes
        && now->network.received_bytes >= before->network.received_bytes;
}

void figures_take(
    struct figures *figures,
    const char *sandbox_id,
    const struct message_sample *sample,
    const struct egress_count *network)
{
    static const struct reading start = { .network = { 0, 0 } };
    struct entry *entry = entry_of(figures, sandbox_id);
    const struct reading now = { *sample, *network };
    if (!goes_on(&entry->until, &now)) {
        entry->from = sample->run_us <= (uint64_t)YOUNG_US ? start : now;
    } else if (sample->run_us - entry->until.sample.run_us >= (uint64_t)SPAN_MIN_US) {
        entry->from = entry->until;
    }
    entry->until = now;
    entry->is_new = now.sample.run_us > entry->from.sample.run_us;
    if (figures->awaited > 0 && --figures->awaited == 0) {
        send_new(figures);
    }
}
