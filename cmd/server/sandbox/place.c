#include "cmd/server/sandbox/place.h"

#include "cmd/server/sandbox/labels.h"
#include "cmd/server/store/agent.h"
#include "common/wire/wire.h"

#include <stdlib.h>

enum {
    PAGE_ROWS = 50,
    PAGE_BYTES = 32 * 1024 * 1024,  /* of agents, with a hello of up to 256 KiB each */
    OFFER_BYTES = 16 * 1024 * 1024, /* of one hello unpacked, and its labels */
    MILLIS = 1000
};

typedef Agentgateway__V1__Capacity capacity_type;

static const capacity_type *read_capacity(
    struct work *work, struct str_view packed, struct arena *arena)
{
    ProtobufCMessage *hello = NULL;
    if (packed.len == 0
        || wire_unpack_lenient(
               work->service->schema,
               &agentgateway__v1__control_hello__descriptor,
               packed.ptr,
               packed.len,
               arena,
               &hello,
               NULL)
            != ERR_OK) {
        return NULL;
    }
    return ((const Agentgateway__V1__ControlHello *)hello)->capacity;
}

static void fill_offer(struct placement_agent *agent, const capacity_type *capacity)
{
    if (capacity == NULL) {
        return;
    }
    agent->offered = (struct placement_room){
        .cpu_millis = (int64_t)(capacity->cpus * MILLIS),
        .memory_bytes = (int64_t)capacity->memory_bytes,
        .disk_bytes = (int64_t)capacity->disk_bytes,
        .sandboxes = capacity->sandboxes,
    };
    agent->drivers = (const char *const *)(void *)capacity->sandbox_drivers;
    agent->driver_count = capacity->n_sandbox_drivers;
    agent->images = (const char *const *)(void *)capacity->sandbox_images;
    agent->image_count = capacity->n_sandbox_images;
    agent->protections = (const char *const *)(void *)capacity->sandbox_protections;
    agent->protection_count = capacity->n_sandbox_protections;
}

static struct placement_room room_of(const struct sandbox_load *load)
{
    return (struct placement_room){
        .cpu_millis = load->cpu_millis,
        .memory_bytes = load->memory_bytes,
        .disk_bytes = load->disk_bytes,
        .sandboxes = load->count,
    };
}

static int compare_loads(const void *a, const void *b)
{
    int64_t left = ((const struct sandbox_load *)a)->agent_id;
    int64_t right = ((const struct sandbox_load *)b)->agent_id;
    return left < right ? -1 : left > right;
}

/* What was promised to an agent's sandboxes; loads are by agent. */
static struct placement_room find_promised(const struct store_list *loads, int64_t agent_id)
{
    const struct sandbox_load key = { .agent_id = agent_id };
    const struct sandbox_load *load = loads->count == 0
        ? NULL
        : bsearch(&key, loads->records, loads->count, sizeof(key), compare_loads);
    return load == NULL ? (struct placement_room){ 0, 0, 0, 0 } : room_of(load);
}

static void look_at(
    const struct lifecycle *self,
    struct placement_search *search,
    const struct agent_offer *offer,
    const struct store_list *loads,
    struct arena *arena)
{
    struct work *work = self->work;
    struct placement_agent agent = {
        .id = offer->id,
        .name = offer->name,
        .labels = labels_read(work->service->schema, offer->labels, arena),
        .is_online = offer->last_seen_at >= work->now.value - lifecycle_grace_us(work->service),
        .is_cordoned = offer->cordoned,
        .promised = find_promised(loads, offer->id),
    };
    fill_offer(&agent, read_capacity(work, offer->hello, arena));
    placement_look(search, &agent);
}

/* Page by page: the hellos of a thousand agents need not fit into memory together. */
static enum err_code look_at_all(
    const struct lifecycle *self, struct placement_search *search, struct err_info *err)
{
    struct work *work = self->work;
    AUTO_ARENA struct arena *page_arena = arena_create(PAGE_BYTES);
    AUTO_ARENA struct arena *offer_arena = arena_create(OFFER_BYTES);
    struct store_list loads;
    struct store_list page;
    struct agent_filter filter = { .limit = PAGE_ROWS };
    TRY(store_sandbox_loads(work->conn, self->workspace_id, 0, work->arena, &loads, err));
    do {
        arena_reset(page_arena);
        TRY(store_agent_offers(work->conn, self->workspace_id, &filter, page_arena, &page, err));
        const struct agent_offer *offers = page.records;
        for (size_t i = 0; i < page.count; i++) {
            arena_reset(offer_arena);
            look_at(self, search, &offers[i], &loads, offer_arena);
            filter.after_id = offers[i].id;
        }
    } while (page.count == PAGE_ROWS);
    return ERR_OK;
}

/* What an agent's sandboxes are promised; no more is promised until the transaction ends. */
static enum err_code lock_promised(
    const struct lifecycle *self,
    int64_t agent_id,
    struct placement_room *ret_promised,
    struct err_info *err)
{
    struct work *work = self->work;
    struct agent_marks marks;
    struct store_list loads;
    TRY(store_agent_marks(work->conn, self->workspace_id, agent_id, &marks, err));
    TRY(store_sandbox_loads(work->conn, self->workspace_id, agent_id, work->arena, &loads, err));
    *ret_promised = find_promised(&loads, agent_id);
    return ERR_OK;
}

/* Others may have been placed there meanwhile. */
static enum err_code confirm_room(
    const struct lifecycle *self, const struct placement_search *search, struct err_info *err)
{
    struct placement_room promised;
    TRY(lock_promised(self, search->best_id, &promised, err));
    return placement_fits(&search->ask->room, &search->best_offered, &promised)
        ? ERR_OK
        : ERR_SET(err, ERR_BUSY, "the agents' room was taken at the same time; try again");
}

enum err_code place_choose(
    const struct lifecycle *self,
    const struct lifecycle_wish *wish,
    const struct spec_facts *facts,
    int64_t *ret_agent_id,
    struct err_info *err)
{
    struct selector *selector = NULL;
    if (selector_parse(str_of(wish->selector), self->work->arena, &selector, err) != ERR_OK) {
        err_prefix(err, "annotations[" SPEC_SELECTOR_ANNOTATION "]");
        return ERR_INVALID;
    }
    const struct placement_ask ask = {
        .room = facts->room,
        .driver = facts->driver,
        .image = facts->image,
        .needs_restart = facts->restart != 0,
        .agent = wish->agent,
        .selector = selector,
        .lookup = labels_find,
    };
    struct placement_search search = PLACEMENT_SEARCH_INIT(&ask);
    TRY(look_at_all(self, &search, err));
    TRY(placement_end(&search, ret_agent_id, err));
    return confirm_room(self, &search, err);
}

/* ERR_NOT_FOUND: it takes part no more. */
static enum err_code read_offered(
    const struct lifecycle *self,
    int64_t agent_id,
    struct placement_room *ret_offered,
    struct err_info *err)
{
    AUTO_ARENA struct arena *arena = arena_create(PAGE_BYTES);
    struct store_list page;
    struct placement_agent agent = { .id = agent_id };
    const struct agent_filter filter = { .after_id = agent_id - 1, .limit = 1 };
    TRY(store_agent_offers(self->work->conn, self->workspace_id, &filter, arena, &page, err));
    const struct agent_offer *offer = page.records;
    if (page.count == 0 || offer->id != agent_id) {
        return ERR_SET(err, ERR_NOT_FOUND, "agent not found");
    }
    fill_offer(&agent, read_capacity(self->work, offer->hello, arena));
    *ret_offered = agent.offered;
    return ERR_OK;
}

enum err_code place_again(
    const struct lifecycle *self, const struct sandbox_record *record, struct err_info *err)
{
    struct placement_room promised;
    struct placement_room offered;
    const struct placement_room asked = {
        .cpu_millis = record->cpu_millis,
        .memory_bytes = record->memory_bytes,
        .disk_bytes = record->disk_bytes,
        .sandboxes = 1,
    };
    enum err_code code =
        record->agent_id == 0 ? ERR_NOT_FOUND : read_offered(self, record->agent_id, &offered, err);
    if (code != ERR_OK) {
        return code == ERR_NOT_FOUND ? ERR_OK : code; /* whoever sends the order says so */
    }
    TRY(lock_promised(self, record->agent_id, &promised, err));
    return placement_check(&asked, &offered, &promised, err);
}
