#include "cmd/server/domain/placement.h"

#include "common/base/buf.h"
#include "common/base/str.h"

#include <inttypes.h>
#include <stdio.h>

enum {
    MIB = 1024 * 1024,
    TEXT_BYTES = 480
};

enum {
    NONE = PLACEMENT_HINDRANCE_COUNT
};

static const char *const hindrance_texts[PLACEMENT_HINDRANCE_COUNT] = {
    [PLACEMENT_NOT_ASKED_FOR] = "not the agent asked for",
    [PLACEMENT_OFFLINE] = "offline",
    [PLACEMENT_CORDONED] = "cordoned",
    [PLACEMENT_NO_DRIVER] = "without the sandbox driver",
    [PLACEMENT_NO_LABELS] = "not matched by the selector",
    [PLACEMENT_NO_IMAGE] = "without the image",
    [PLACEMENT_NO_RESTART] = "too old to restart a sandbox",
    [PLACEMENT_NO_SLOT] = "at the limit of sandboxes",
    [PLACEMENT_NO_CPU] = "without the cpu",
    [PLACEMENT_NO_MEMORY] = "without the memory",
    [PLACEMENT_NO_DISK] = "without the disk",
};

static bool holds(const char *const *list, size_t count, const char *wanted)
{
    for (size_t i = 0; i < count; i++) {
        if (str_equal(str_of(list[i]), str_of(wanted))) {
            return true;
        }
    }
    return false;
}

static bool is_named(const struct placement_ask *ask, const struct placement_agent *agent)
{
    char id[24];
    (void)snprintf(id, sizeof(id), "%" PRId64, agent->id);
    return ask->agent[0] == '\0' || str_equal(str_of(ask->agent), str_of(agent->name))
        || str_equal(str_of(ask->agent), str_of(id));
}

static int room_of(
    const struct placement_room *asked,
    const struct placement_room *offered,
    const struct placement_room *promised)
{
    if (promised->sandboxes + asked->sandboxes > offered->sandboxes) {
        return PLACEMENT_NO_SLOT;
    }
    if (asked->cpu_millis > offered->cpu_millis - promised->cpu_millis) {
        return PLACEMENT_NO_CPU;
    }
    if (asked->memory_bytes > offered->memory_bytes - promised->memory_bytes) {
        return PLACEMENT_NO_MEMORY;
    }
    return asked->disk_bytes > offered->disk_bytes - promised->disk_bytes ? PLACEMENT_NO_DISK
                                                                          : NONE;
}

bool placement_fits(
    const struct placement_room *asked,
    const struct placement_room *offered,
    const struct placement_room *promised)
{
    return room_of(asked, offered, promised) == NONE;
}

static int hindrance_of(const struct placement_ask *ask, const struct placement_agent *agent)
{
    bool any_driver = ask->driver[0] == '\0';
    if (!is_named(ask, agent)) {
        return PLACEMENT_NOT_ASKED_FOR;
    }
    if (!agent->is_online) {
        return PLACEMENT_OFFLINE;
    }
    if (agent->is_cordoned) {
        return PLACEMENT_CORDONED;
    }
    if (agent->driver_count == 0
        || (!any_driver && !holds(agent->drivers, agent->driver_count, ask->driver))) {
        return PLACEMENT_NO_DRIVER;
    }
    if (!selector_matches(ask->selector, ask->lookup, agent->labels)) {
        return PLACEMENT_NO_LABELS;
    }
    if (ask->image[0] != '\0' && !holds(agent->images, agent->image_count, ask->image)) {
        return PLACEMENT_NO_IMAGE;
    }
    if (ask->needs_restart && !holds(agent->protections, agent->protection_count, "restart")) {
        return PLACEMENT_NO_RESTART;
    }
    return room_of(&ask->room, &agent->offered, &agent->promised);
}

static double share(int64_t promised, int64_t asked, int64_t offered)
{
    return offered <= 0 ? 1.0 : (double)(promised + asked) / (double)offered;
}

/* How full the agent would be: of what it has least of. */
static double fullness(const struct placement_ask *ask, const struct placement_agent *agent)
{
    const struct placement_room *p = &agent->promised;
    const struct placement_room *o = &agent->offered;
    const double shares[] = {
        share(p->cpu_millis, ask->room.cpu_millis, o->cpu_millis),
        share(p->memory_bytes, ask->room.memory_bytes, o->memory_bytes),
        share(p->disk_bytes, ask->room.disk_bytes, o->disk_bytes),
        share(p->sandboxes, ask->room.sandboxes, o->sandboxes),
    };
    double most = 0;
    for (size_t i = 0; i < sizeof(shares) / sizeof(shares[0]); i++) {
        most = shares[i] > most ? shares[i] : most;
    }
    return most;
}

static void note_free(
    struct placement_room *most,
    const struct placement_room *offered,
    const struct placement_room *promised)
{
    int64_t cpu = offered->cpu_millis - promised->cpu_millis;
    int64_t memory = offered->memory_bytes - promised->memory_bytes;
    int64_t disk = offered->disk_bytes - promised->disk_bytes;
    most->cpu_millis = cpu > most->cpu_millis ? cpu : most->cpu_millis;
    most->memory_bytes = memory > most->memory_bytes ? memory : most->memory_bytes;
    most->disk_bytes = disk > most->disk_bytes ? disk : most->disk_bytes;
}

static void describe_one(
    int hindrance,
    const struct placement_room *asked,
    const struct placement_room *most,
    struct buf *out)
{
    buf_printf(out, "%s", hindrance_texts[hindrance]);
    if (hindrance == PLACEMENT_NO_CPU) {
        buf_printf(
            out,
            " (%" PRId64 "m asked, at most %" PRId64 "m free)",
            asked->cpu_millis,
            most->cpu_millis);
    } else if (hindrance == PLACEMENT_NO_MEMORY || hindrance == PLACEMENT_NO_DISK) {
        bool is_memory = hindrance == PLACEMENT_NO_MEMORY;
        buf_printf(
            out,
            " (%" PRId64 " MiB asked, at most %" PRId64 " MiB free)",
            (is_memory ? asked->memory_bytes : asked->disk_bytes) / MIB,
            (is_memory ? most->memory_bytes : most->disk_bytes) / MIB);
    }
}

static void describe(
    const struct placement_ask *ask,
    const size_t hindered[PLACEMENT_HINDRANCE_COUNT],
    const struct placement_room *most,
    struct buf *out)
{
    const char *separator = "";
    for (int i = 0; i < PLACEMENT_HINDRANCE_COUNT; i++) {
        if (hindered[i] > 0) {
            buf_printf(out, "%s%zu ", separator, hindered[i]);
            describe_one(i, &ask->room, most, out);
            separator = ", ";
        }
    }
}

void placement_look(struct placement_search *search, const struct placement_agent *agent)
{
    int hindrance = hindrance_of(search->ask, agent);
    search->count++;
    if (hindrance != NONE) {
        search->hindered[hindrance]++;
        if (hindrance >= PLACEMENT_NO_SLOT) {
            note_free(&search->most, &agent->offered, &agent->promised);
        }
        return;
    }
    double full = fullness(search->ask, agent);
    if (!search->has_best || full < search->best_fullness) {
        search->has_best = true;
        search->best_fullness = full;
        search->best_id = agent->id;
        search->best_offered = agent->offered;
    }
}

enum err_code placement_end(
    const struct placement_search *search, int64_t *ret_agent_id, struct err_info *err)
{
    if (search->has_best) {
        *ret_agent_id = search->best_id;
        return ERR_OK;
    }
    if (search->count == 0) {
        return ERR_SET(
            err,
            ERR_PRECONDITION,
            "no agent fits: none is enrolled in this workspace, or lent to it");
    }
    AUTO_BUF struct buf text = BUF_INIT(TEXT_BYTES);
    describe(search->ask, search->hindered, &search->most, &text);
    return ERR_SET(
        err, ERR_PRECONDITION, "no agent fits: of %zu agents %s", search->count, buf_text(&text));
}

enum err_code placement_check(
    const struct placement_room *asked,
    const struct placement_room *offered,
    const struct placement_room *promised,
    struct err_info *err)
{
    int hindrance = room_of(asked, offered, promised);
    if (hindrance == NONE) {
        return ERR_OK;
    }
    struct placement_room most = { 0, 0, 0, 0 };
    AUTO_BUF struct buf text = BUF_INIT(TEXT_BYTES);
    note_free(&most, offered, promised);
    describe_one(hindrance, asked, &most, &text);
    return ERR_SET(err, ERR_PRECONDITION, "its agent is %s", buf_text(&text));
}
