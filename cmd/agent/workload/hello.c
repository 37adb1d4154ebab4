/* What a control stream begins with: what there is room for, and how every sandbox is. */
#include "cmd/agent/image/images.h"
#include "cmd/agent/workload/note.h"
#include "cmd/agent/workload/report.h"
#include "cmd/agent/workload/workload_private.h"

enum {
    IMAGES_MAX = 256,
    PROTECTIONS_MAX = 9,
    DRIVERS_MAX = 2,
    REPORTS_BYTES = 768 * 1024 /* of a hello, which a server takes up to little more than 1 MiB */
};

struct listing {
    struct arena *arena;
    char **items;
    size_t count;
    size_t max;
    bool is_short; /* of memory */
};

static void add(void *context, const char *name)
{
    struct listing *listing = context;
    if (listing->count < listing->max) {
        char *copy = arena_strdup(listing->arena, name);
        listing->items[listing->count++] = copy;
        listing->is_short = listing->is_short || copy == NULL;
    }
}

static bool open_listing(struct listing *listing, struct arena *arena, size_t max)
{
    *listing = (struct listing){ .arena = arena, .max = max };
    listing->items = arena_alloc(arena, max * sizeof(*listing->items));
    return listing->items != NULL;
}

static void add_drivers(const struct wish_host *host, struct listing *drivers)
{
    static const enum sandbox_driver all[] = { SANDBOX_DRIVER_NATIVE, SANDBOX_DRIVER_BWRAP };

    add(drivers, wish_driver_name(host->fallback));
    for (size_t i = 0; i < ARRAY_LENGTH(all); i++) {
        if (all[i] != host->fallback && wish_driver_fits(host, all[i])) {
            add(drivers, wish_driver_name(all[i]));
        }
    }
}

static void add_protections(const struct wish_host *host, struct listing *protections)
{
    const struct sandbox_report *report = host->report;

    const struct {
        const char *name;
        bool is_there;
    } rows[] = {
        { "seccomp", true },
        { "landlock", report->landlock_abi > 0 },
        { "memory", report->memory > 0 },
        { "cpu", report->cpu > 0 },
        { "pids", report->pids > 0 },
        { "io", report->io > 0 },
        { "disk", report->disk_cap },
        { "egress", host->has_egress },
        { "restart", true },
    };

    static_assert(ARRAY_LENGTH(rows) <= PROTECTIONS_MAX, "each has its place");
    for (size_t i = 0; i < ARRAY_LENGTH(rows); i++) {
        if (rows[i].is_there) {
            add(protections, rows[i].name);
        }
    }
}

/* The offer may be less than at the time of the loan: it depends on what is free at the start. */
static uint64_t rest_of(uint64_t offered, uint64_t lent)
{
    return offered > lent ? offered - lent : 0;
}

enum err_code workload_fill_capacity(
    const struct workload *workload,
    struct arena *arena,
    Agentgateway__V1__Capacity *capacity,
    struct err_info *err)
{
    struct listing drivers;
    struct listing protections;
    struct listing images;
    const struct workload_offer *offer = &workload->options.offer;
    const struct workload_offer *lent = &workload->lent;
    if (!open_listing(&drivers, arena, DRIVERS_MAX)
        || !open_listing(&protections, arena, PROTECTIONS_MAX)
        || !open_listing(&images, arena, IMAGES_MAX)) {
        return ERR_SET(err, ERR_LIMIT, "the hello is too large");
    }
    add_drivers(&workload->host, &drivers);
    add_protections(&workload->host, &protections);
    images_each(workload->image_dir, add, &images);
    if (drivers.is_short || protections.is_short || images.is_short) {
        return ERR_SET(err, ERR_LIMIT, "the hello is too large");
    }
    capacity->cpus = offer->cpus > lent->cpus ? offer->cpus - lent->cpus : 0;
    capacity->memory_bytes = rest_of(offer->memory_bytes, lent->memory_bytes);
    capacity->disk_bytes = rest_of(offer->disk_bytes, lent->disk_bytes);
    capacity->sandboxes = (uint32_t)rest_of(offer->slots, lent->slots);
    capacity->sandbox_drivers = drivers.items;
    capacity->n_sandbox_drivers = drivers.count;
    capacity->sandbox_protections = protections.items;
    capacity->n_sandbox_protections = protections.count;
    capacity->sandbox_images = images.items;
    capacity->n_sandbox_images = images.count;
    return ERR_OK;
}

/* What the report borrows lies in the arena beside it. */
static enum err_code fill_report(
    struct workload *workload,
    const struct sandbox_info *info,
    struct arena *arena,
    Agentgateway__V1__SandboxReport **ret_report,
    struct err_info *err)
{
    struct report *report = arena_alloc(arena, sizeof(*report));
    struct note *note = arena_alloc(arena, sizeof(*note));
    if (report == NULL || note == NULL) {
        return ERR_SET(err, ERR_LIMIT, "the hello is too large");
    }
    workload_fill_anyway(workload, info, report, note);
    *ret_report = &report->message;
    return ERR_OK;
}

/* All of them, also where there are more than slots by now: one that is left out is lost to the
 * server. They are never more than SANDBOX_SLOTS_MAX, which is the contract's bound too. */
static size_t count_sandboxes(const struct workload *workload)
{
    size_t cursor = 0;
    size_t count = 0;
    struct sandbox_info info;
    while (sandbox_next(workload->sandboxes, &cursor, &info)) {
        count++;
    }
    return count;
}

static void tell_later(void *context, const char *sandbox_id)
{
    struct workload *workload = context;
    (void)map_put(workload->missed, str_of(sandbox_id), workload);
}

enum err_code workload_fill_hello(
    struct workload *workload,
    struct arena *arena,
    Agentgateway__V1__ControlHello *hello,
    struct err_info *err)
{
    size_t cursor = 0;
    struct sandbox_info info;
    size_t most = count_sandboxes(workload);
    size_t count = 0;
    hello->sandboxes = arena_alloc(arena, (most + 1) * sizeof(void *));
    if (hello->sandboxes == NULL) {
        return ERR_SET(err, ERR_LIMIT, "the hello is too large");
    }
    map_destroy(workload->missed, NULL); /* what is not in it is gone: that is said too */
    workload->missed = map_create();
    while (count < most && sandbox_next(workload->sandboxes, &cursor, &info)) {
        TRY(fill_report(workload, &info, arena, &hello->sandboxes[count], err));
        count++;
    }
    hello->n_sandboxes = count;
    report_drop_texts(hello->sandboxes, count, REPORTS_BYTES, tell_later, workload);
    return ERR_OK;
}
