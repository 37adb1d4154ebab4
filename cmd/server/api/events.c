/* Events: list. */
#include "cmd/server/api/handlers.h"
#include "cmd/server/api/map.h"
#include "cmd/server/api/page.h"
#include "common/wire/timestamp.h"
#include "common/wire/wire.h"

PAGE_MAP(event)

enum err_code api_list_events(
    struct api_call *api,
    const ProtobufCMessage *message,
    ProtobufCMessage **ret_reply,
    struct err_info *err)
{
    const Agentgateway__V1__ListEventsRequest *request =
        (const Agentgateway__V1__ListEventsRequest *)message;
    struct page page;
    struct store_list list;
    struct event_filter filter = {
        .min_severity = (int64_t)request->min_severity,
        .kind_prefix = str_of(request->kind_prefix),
        .start = wire_timestamp_us(request->start, 0),
        .end = wire_timestamp_us(request->end, INT64_MAX),
    };
    TRY(page_open(api, message, &page, err));
    TRY(api_agent_id(api, request->agent, &filter.agent_id, err));
    filter.before_id = page.cursor_number;
    filter.limit = page.size + 1;
    TRY(store_event_list(api->work->conn, api->workspace_id, &filter, api->arena, &list, err));
    Agentgateway__V1__ListEventsResponse *reply =
        wire_new(api->arena, &agentgateway__v1__list_events_response__descriptor);
    if (reply == NULL) {
        return API_OUT_OF_MEMORY(err);
    }
    const struct page_rows rows = {
        .records = list.records,
        .count = list.count,
        .record_bytes = sizeof(struct event_record),
        .map = map_any_event,
        .cursor_offset = offsetof(struct event_record, id),
        .cursor_is_number = true,
    };
    const struct page_reply filled = { (void ***)&reply->events,
                                       &reply->n_events,
                                       &reply->next_page_token };
    *ret_reply = &reply->base;
    return page_fill(api, message, &page, &rows, &filled, err);
}
