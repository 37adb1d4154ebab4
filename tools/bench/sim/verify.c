#include "tools/bench/sim/verify.h"

#include "common/base/log.h"
#include "tools/bench/sim/fleet_private.h"

enum {
    RECORDS_PER_QUERY = 50000,
    VERIFY_ARENA_BYTES = 64 * 1024 * 1024
};

/* Numbers [first, last] of one agent. */
struct span {
    uint64_t first;
    uint64_t last;
};

static void count_values(
    const struct agent *agent, struct span span, const double *values, size_t count)
{
    struct fleet *fleet = agent->fleet;
    AUTO_FREE uint8_t *seen = mem_alloc(span.last - span.first + 1);
    for (size_t i = 0; i < count; i++) {
        uint64_t sequence = (uint64_t)values[i];
        if (sequence < span.first || sequence > span.last) {
            log_error("sim_foreign_record", LOG_INT("agent_id", agent->id));
            fleet_count(fleet, TALLY_STORED_TWICE, 1);
            continue;
        }
        fleet_count(fleet, seen[sequence - span.first] == 0 ? TALLY_STORED : TALLY_STORED_TWICE, 1);
        seen[sequence - span.first] = 1;
    }
    for (uint64_t sequence = span.first; sequence <= span.last; sequence++) {
        if (sequence <= agent->acked && seen[sequence - span.first] == 0) {
            fleet_count(fleet, TALLY_MISSING, 1);
        }
    }
}

static enum err_code verify_span(const struct agent *agent, struct span span, struct err_info *err)
{
    AUTO_ARENA struct arena *arena = arena_create(VERIFY_ARENA_BYTES);
    int64_t base = agent->fleet->base.value;
    const struct wall_us range[2] = {
        { base + (int64_t)span.first * AGENT_RECORD_US },
        { base + (int64_t)(span.last + 1) * AGENT_RECORD_US },
    };
    const double *values = NULL;
    size_t count = 0;
    TRY(operator_query(agent->fleet->operators, agent->id, range, arena, &values, &count, err));
    count_values(agent, span, values, count);
    return ERR_OK;
}

static void verify_agent(const struct agent *agent)
{
    struct err_info err = ERR_INFO_INIT;
    for (uint64_t first = 1; first <= agent->made; first += RECORDS_PER_QUERY) {
        uint64_t last = first + RECORDS_PER_QUERY - 1;
        struct span span = { first, last < agent->made ? last : agent->made };
        if (verify_span(agent, span, &err) != ERR_OK) {
            log_error("sim_verify_failed", LOG_INT("agent_id", agent->id), LOG_ERR(&err));
            fleet_count(agent->fleet, TALLY_MISSING, span.last - span.first + 1);
        }
    }
}

void verify_fleet(struct fleet *fleet)
{
    for (unsigned i = 0; i < fleet->count; i++) {
        if (fleet->agents[i].id != 0) {
            verify_agent(&fleet->agents[i]);
        }
    }
}
