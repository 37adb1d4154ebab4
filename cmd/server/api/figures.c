/* What sandboxes use now. */
#include "cmd/server/store/sandbox/figures.h"

#include "cmd/server/api/handlers.h"
#include "cmd/server/api/page.h"
#include "cmd/server/domain/phase.h"
#include "common/wire/timestamp.h"
#include "common/wire/wire.h"

typedef Agentgateway__V1__ListSandboxFiguresRequest request_type;
typedef Agentgateway__V1__ListSandboxFiguresResponse reply_type;

/* Who asks again keeps the agents reading; the agents hear of it once in so many seconds. */
#define WATCH_US (20 * US_PER_SECOND)
#define RENEW_US (10 * US_PER_SECOND)

enum {
    MILLIS = 1000
};

static uint64_t cpu_millis(const struct figures_reading *reading)
{
    double share = (double)reading->cpu_us * MILLIS / (double)reading->interval_us;
    return share < (double)INT64_MAX ? (uint64_t)(share + 0.5) : INT64_MAX;
}

static void map_reading(
    const struct map_context *context,
    const struct figures_reading *reading,
    Agentgateway__V1__SandboxFigures *figures)
{
    int64_t age_us = context->now.value - reading->received_at;
    figures->taken_at = wire_timestamp_new(context->arena, (struct wall_us){ reading->taken_at });
    figures->age_ms = age_us > 0 ? (uint64_t)(age_us / US_PER_MS) : 0;
    figures->interval_us = (uint64_t)reading->interval_us;
    figures->cpu_us = (uint64_t)reading->cpu_us;
    figures->cpu_millis = reading->interval_us == 0 ? 0 : cpu_millis(reading);
    figures->read_bytes = (uint64_t)reading->read_bytes;
    figures->written_bytes = (uint64_t)reading->written_bytes;
    figures->sent_bytes = (uint64_t)reading->sent_bytes;
    figures->received_bytes = (uint64_t)reading->received_bytes;
    figures->memory_bytes = (uint64_t)reading->memory_bytes;
    figures->disk_bytes = (uint64_t)reading->disk_bytes;
    figures->processes = (uint64_t)reading->processes;
}

static Agentgateway__V1__SandboxFigures *map_figures(
    const struct map_context *context, const struct figures_record *record)
{
    Agentgateway__V1__SandboxFigures *figures =
        wire_new(context->arena, &agentgateway__v1__sandbox_figures__descriptor);
    if (figures == NULL) {
        return NULL;
    }
    figures->workspace = CONST_CAST(char *, record->workspace);
    figures->sandbox_id = CONST_CAST(char *, record->sandbox_id);
    figures->sandbox_name = CONST_CAST(char *, record->name);
    figures->owner = CONST_CAST(char *, record->owner);
    figures->agent_name = CONST_CAST(char *, record->agent_name);
    figures->agent_online =
        record->agent_seen_at >= map_online_since(context->service, context->now);
    figures->phase = CONST_CAST(char *, phase_name((enum phase)record->phase));
    figures->cpu_limit_millis = (uint64_t)record->cpu_millis;
    figures->memory_limit_bytes = (uint64_t)record->memory_limit_bytes;
    figures->disk_limit_bytes = (uint64_t)record->disk_limit_bytes;
    if (record->phase == PHASE_READY && record->reading.received_at != 0) {
        map_reading(context, &record->reading, figures);
    }
    return figures;
}

PAGE_MAP(figures)

/* The agents hear that somebody looks; of a database that takes no writes nobody hears. */
static enum err_code note(struct api_call *api, struct err_info *err)
{
    struct work *work = api->work;
    if (!sql_takes_writes(work->conn)) {
        return ERR_OK;
    }
    const struct figures_watch watch = { api->workspace_id, work->now.value + WATCH_US };
    struct store_list list = { .count = 0 };
    TRY(store_figures_watch(
        work->conn, &watch, work->now.value + RENEW_US, api->arena, &list, err));
    const struct figures_watch *noted = list.records;
    for (size_t i = 0; i < list.count; i++) {
        work_wake(work, HUB_FIGURES, noted[i].workspace_id);
    }
    return ERR_OK;
}

static enum err_code check_names(const request_type *request, struct err_info *err)
{
    for (size_t i = 0; i < request->n_sandboxes; i++) {
        if (request->sandboxes[i][0] == '\0') {
            return ERR_SET(err, ERR_INVALID, "sandboxes: a name has at least one character");
        }
    }
    return ERR_OK;
}

API_HANDLER(list_sandbox_figures)
{
    const request_type *request = (const request_type *)message;
    struct page page;
    struct store_list list = { .count = 0 };
    TRY(page_open(api, message, &page, err));
    TRY(check_names(request, err));
    TRY(note(api, err));
    const struct figures_filter filter = { .cursor = page.cursor,
                                           .names = request->sandboxes,
                                           .name_count = request->n_sandboxes,
                                           .limit = page.size + 1 };
    TRY(store_figures_list(api->work->conn, api->workspace_id, &filter, api->arena, &list, err));
    reply_type *reply =
        wire_new(api->arena, &agentgateway__v1__list_sandbox_figures_response__descriptor);
    if (reply == NULL) {
        return API_OUT_OF_MEMORY(err);
    }
    const struct page_rows rows = {
        .records = list.records,
        .count = list.count,
        .record_bytes = sizeof(struct figures_record),
        .map = map_any_figures,
        .cursor_offset = offsetof(struct figures_record, cursor),
    };
    const struct page_reply filled = { (void ***)&reply->figures,
                                       &reply->n_figures,
                                       &reply->next_page_token };
    *ret_reply = &reply->base;
    return page_fill(api, message, &page, &rows, &filled, err);
}
