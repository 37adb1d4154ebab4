#include "cmd/server/sandbox/place.h"

#include "cmd/server/sandbox/labels.h"
#include "cmd/server/store/agent.h"
#include "common/wire/wire.h"

enum {
    AGENTS_MAX = 20000,
    MILLIS = 1000
};

typedef Agentgateway__V1__Capacity capacity_type;

static const capacity_type *read_capacity(struct work *work, struct str_view packed)
{
    ProtobufCMessage *hello = NULL;
    if (packed.len == 0
        || wire_unpack_lenient(
               work->service->schema,
               &agentgateway__v1__control_hello__descriptor,
               packed.ptr,
               packed.len,
               work->arena,
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
}

static void fill_promises(
    struct placement_agent *agents, size_t count, const struct store_list *loads)
{
    const struct sandbox_load *load = loads->records;
    for (size_t i = 0; i < loads->count; i++) {
        for (size_t k = 0; k < count; k++) {
            if (agents[k].id == load[i].agent_id) {
                agents[k].promised = (struct placement_room){
                    .cpu_millis = load[i].cpu_millis,
                    .memory_bytes = load[i].memory_bytes,
                    .disk_bytes = load[i].disk_bytes,
                    .sandboxes = load[i].count,
                };
            }
        }
    }
}

static enum err_code load_agents(
    const struct lifecycle *self,
    struct placement_agent **ret_agents,
    size_t *ret_count,
    struct err_info *err)
{
    struct work *work = self->work;
    struct store_list list;
    struct store_list loads;
    const struct agent_filter filter = { .state = AGENT_CONFIRMED, .limit = AGENTS_MAX };
    TRY(store_agent_list(work->conn, self->workspace_id, &filter, work->arena, &list, err));
    TRY(store_sandbox_loads(work->conn, self->workspace_id, work->arena, &loads, err));
    struct placement_agent *agents = arena_alloc(work->arena, (list.count + 1) * sizeof(*agents));
    if (agents == NULL) {
        return ERR_SET(err, ERR_LIMIT, "the workspace has too many agents to choose from");
    }
    const struct agent_record *records = list.records;
    int64_t online_since = work->now.value - lifecycle_grace_us(work->service);
    for (size_t i = 0; i < list.count; i++) {
        agents[i] = (struct placement_agent){
            .id = records[i].id,
            .name = records[i].name,
            .labels = labels_read(work->service->schema, records[i].labels, work->arena),
            .is_online = records[i].last_seen_at >= online_since,
            .is_cordoned = records[i].cordoned,
        };
        fill_offer(&agents[i], read_capacity(work, records[i].hello));
    }
    fill_promises(agents, list.count, &loads);
    *ret_agents = agents;
    *ret_count = list.count;
    return ERR_OK;
}

enum err_code place_choose(
    const struct lifecycle *self,
    const struct lifecycle_wish *wish,
    const struct spec_facts *facts,
    int64_t *ret_agent_id,
    struct err_info *err)
{
    struct selector *selector = NULL;
    struct placement_agent *agents = NULL;
    const struct placement_agent *chosen = NULL;
    size_t count = 0;
    if (selector_parse(str_of(wish->selector), self->work->arena, &selector, err) != ERR_OK) {
        err_prefix(err, "annotations[" SPEC_SELECTOR_ANNOTATION "]");
        return ERR_INVALID;
    }
    TRY(load_agents(self, &agents, &count, err));
    const struct placement_ask ask = {
        .room = facts->room,
        .driver = facts->driver,
        .image = facts->image,
        .agent = wish->agent,
        .selector = selector,
        .lookup = labels_find,
    };
    TRY(placement_choose(&ask, agents, count, &chosen, err));
    *ret_agent_id = chosen->id;
    return ERR_OK;
}
