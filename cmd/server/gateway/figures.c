#include "cmd/server/gateway/figures.h"

#include "cmd/server/store/agent.h"
#include "cmd/server/store/sandbox/figures.h"
#include "common/base/cleanup.h"
#include "common/base/mem.h"
#include "common/wire/wire.h"

#include <stdlib.h>

/* After the time an agent was told, its last readings may still be on their way. */
#define GRACE_US (2 * FIGURES_INTERVAL_US)

enum err_code figures_look(
    struct work *work,
    const struct figures *figures,
    int64_t workspace_id,
    int64_t *ret_until_us,
    struct err_info *err)
{
    int64_t until_us = 0;
    *ret_until_us = 0;
    if (!figures->is_offered || !sql_takes_writes(work->conn)) {
        return ERR_OK;
    }
    TRY(store_figures_watched(work->conn, workspace_id, &until_us, err));
    if (until_us > figures->until_us && until_us > work->now.value) {
        *ret_until_us = until_us;
    }
    return ERR_OK;
}

Agentgateway__V1__ControlSandboxWatch *figures_order(
    struct arena *arena, int64_t until_us, struct wall_us now)
{
    Agentgateway__V1__ControlSandboxWatch *watch =
        wire_new(arena, &agentgateway__v1__control_sandbox_watch__descriptor);
    int64_t left_us = until_us - now.value;
    if (watch != NULL) {
        watch->duration_ms = left_us > 0 ? (uint32_t)(left_us / US_PER_MS) : 0;
        watch->interval_ms = (uint32_t)(FIGURES_INTERVAL_US / US_PER_MS);
    }
    return watch;
}

bool figures_are_wanted(struct figures *figures, const struct clock *clock)
{
    struct mono_us now = clock_mono(clock);
    bool is_watched = figures->until_us + GRACE_US > clock_wall(clock).value;
    bool is_early =
        figures->taken_at.value != 0 && now.value - figures->taken_at.value < FIGURES_LEAST_US;
    if (!is_watched || is_early) {
        return false;
    }
    figures->taken_at = now;
    return true;
}

static int64_t number(uint64_t value)
{
    return value > INT64_MAX ? INT64_MAX : (int64_t)value;
}

static int compare_readings(const void *a, const void *b)
{
    const Agentgateway__V1__SandboxReading *const *left = a;
    const Agentgateway__V1__SandboxReading *const *right = b;
    return strcmp((*left)->sandbox_id, (*right)->sandbox_id);
}

static void fill_reading(
    const Agentgateway__V1__SandboxReading *said, struct figures_reading *reading)
{
    *reading = (struct figures_reading){
        .interval_us = number(said->interval_us),
        .taken_at = said->taken_us < 0 ? 0 : said->taken_us,
        .cpu_us = number(said->cpu_us),
        .read_bytes = number(said->read_bytes),
        .written_bytes = number(said->written_bytes),
        .sent_bytes = number(said->sent_bytes),
        .received_bytes = number(said->received_bytes),
        .memory_bytes = number(said->memory_bytes),
        .disk_bytes = number(said->disk_bytes),
        .processes = said->processes,
    };
}

/* In the order in which everybody takes sandboxes, so that no two transactions meet crosswise, and
 * each once. */
enum err_code figures_store(struct work *work, void *context, struct err_info *err)
{
    const struct figures_answer *answer = context;
    const struct principal *principal = answer->principal;
    size_t said = answer->readings->n_readings;
    AUTO_FREE struct figures_news *news = mem_alloc_array(said + 1, sizeof(*news));
    size_t count = 0;
    const struct figures_of whose = { .workspace_id = principal->workspace_id,
                                      .agent_id = principal->agent_id,
                                      .received_at = work->now };
    TRY(store_agent_fence(
        work->conn, principal->workspace_id, principal->agent_id, principal->epoch, err));
    if (said == 0) {
        return ERR_OK;
    }
    qsort(answer->readings->readings, said, sizeof(void *), compare_readings);
    for (size_t i = 0; i < said; i++) {
        const Agentgateway__V1__SandboxReading *one = answer->readings->readings[i];
        if (count == 0 || strcmp(news[count - 1].sandbox_id, one->sandbox_id) != 0) {
            news[count].sandbox_id = one->sandbox_id;
            fill_reading(one, &news[count++].reading);
        }
    }
    return store_figures_put(work->conn, &whose, news, count, err);
}
