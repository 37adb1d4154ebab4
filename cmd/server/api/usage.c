/* What sandboxes used. */
#include "cmd/server/store/sandbox/usage.h"

#include "cmd/server/api/handlers.h"
#include "cmd/server/api/page.h"
#include "common/wire/timestamp.h"
#include "common/wire/wire.h"

typedef Agentgateway__V1__GetUsageRequest request_type;

#define DEFAULT_RANGE_US (24 * US_PER_HOUR)

/* A year and what a bill looks back beyond it: every reading between is read to add them up. */
enum {
    RANGE_DAYS = 400
};

static Agentgateway__V1__UsageRow *map_sum(
    const struct map_context *context, const struct usage_sum *sum)
{
    Agentgateway__V1__UsageRow *row =
        wire_new(context->arena, &agentgateway__v1__usage_row__descriptor);
    if (row == NULL) {
        return NULL;
    }
    row->workspace = CONST_CAST(char *, sum->workspace);
    row->sandbox_id = CONST_CAST(char *, sum->sandbox_id);
    row->sandbox_name = CONST_CAST(char *, sum->sandbox_name);
    row->owner = CONST_CAST(char *, sum->owner);
    row->label_value = CONST_CAST(char *, sum->label_value);
    row->hour = map_time(context->arena, sum->hour_us);
    row->until = map_time(context->arena, sum->until_us);
    row->sandboxes = (uint64_t)sum->sandboxes;
    row->running_us = (uint64_t)sum->running_us;
    row->cpu_us = (uint64_t)sum->cpu_us;
    row->memory_byte_seconds = (uint64_t)sum->memory_byte_seconds;
    row->disk_byte_seconds = (uint64_t)sum->disk_byte_seconds;
    row->memory_peak_bytes = (uint64_t)sum->memory_peak_bytes;
    row->processes_peak = (uint64_t)sum->processes_peak;
    row->read_bytes = (uint64_t)sum->read_bytes;
    row->written_bytes = (uint64_t)sum->written_bytes;
    row->sent_bytes = (uint64_t)sum->sent_bytes;
    row->received_bytes = (uint64_t)sum->received_bytes;
    return row;
}

PAGE_MAP(sum)

static enum err_code check(
    const request_type *request, const struct usage_filter *filter, struct err_info *err)
{
    bool is_by_label = filter->group == USAGE_BY_LABEL;
    bool is_label = wire_is_label(filter->label_key, STR(""));
    if (is_by_label && !is_label) {
        return ERR_SET(err, ERR_INVALID, "label_key: a label's key is needed to group by label");
    }
    if (!is_by_label && request->label_key[0] != '\0') {
        return ERR_SET(err, ERR_INVALID, "label_key: only with group_by USAGE_GROUP_LABEL");
    }
    if (filter->group > USAGE_BY_LABEL) {
        return ERR_SET(err, ERR_INVALID, "group_by: no such group");
    }
    if (filter->after_us >= filter->until_us) {
        return ERR_SET(err, ERR_INVALID, "start: must be before end");
    }
    if (filter->until_us - filter->after_us > RANGE_DAYS * US_PER_DAY) {
        return ERR_SET(err, ERR_INVALID, "start: at most %d days before end", RANGE_DAYS);
    }
    return ERR_OK;
}

API_HANDLER(get_usage)
{
    const request_type *request = (const request_type *)message;
    struct page page;
    struct store_list list;
    TRY(page_open(api, message, &page, err));
    int64_t until_us = wire_timestamp_us(request->end, api->work->now.value);
    const struct usage_filter filter = {
        .after_us = wire_timestamp_us(request->start, until_us - DEFAULT_RANGE_US),
        .until_us = until_us,
        .group = request->group_by == 0 ? USAGE_BY_SANDBOX : (enum usage_group)request->group_by,
        .is_hourly = request->hourly,
        .label_key = str_of(request->label_key),
        .sandbox = str_of(request->sandbox),
        .owner = str_of(request->owner),
        .cursor = page.cursor,
        .limit = page.size + 1,
    };
    TRY(check(request, &filter, err));
    TRY(store_usage_report(api->work->conn, api->workspace_id, &filter, api->arena, &list, err));
    Agentgateway__V1__GetUsageResponse *reply =
        wire_new(api->arena, &agentgateway__v1__get_usage_response__descriptor);
    if (reply == NULL) {
        return API_OUT_OF_MEMORY(err);
    }
    const struct page_rows rows = {
        .records = list.records,
        .count = list.count,
        .record_bytes = sizeof(struct usage_sum),
        .map = map_any_sum,
        .cursor_offset = offsetof(struct usage_sum, cursor),
    };
    const struct page_reply filled = { (void ***)&reply->rows,
                                       &reply->n_rows,
                                       &reply->next_page_token };
    *ret_reply = &reply->base;
    return page_fill(api, message, &page, &rows, &filled, err);
}
