/* Devices: list and get. */
#include "cmd/server/api/handlers.h"
#include "cmd/server/api/map.h"
#include "cmd/server/api/page.h"
#include "common/wire/wire.h"

PAGE_MAP(device)

enum err_code api_list_devices(
    struct api_call *api,
    const ProtobufCMessage *message,
    ProtobufCMessage **ret_reply,
    struct err_info *err)
{
    const Agentgateway__V1__ListDevicesRequest *request =
        (const Agentgateway__V1__ListDevicesRequest *)message;
    struct page page;
    struct store_list list;
    struct device_filter filter = { .agent_id = 0 };
    TRY(page_open(api, message, &page, err));
    TRY(api_agent_id(api, request->agent, &filter.agent_id, err));
    filter.after_id = page.cursor_number;
    filter.limit = page.size + 1;
    TRY(store_device_list(api->work->conn, api->workspace_id, &filter, api->arena, &list, err));
    Agentgateway__V1__ListDevicesResponse *reply =
        wire_new(api->arena, &agentgateway__v1__list_devices_response__descriptor);
    if (reply == NULL) {
        return API_OUT_OF_MEMORY(err);
    }
    const struct page_rows rows = {
        .records = list.records,
        .count = list.count,
        .record_bytes = sizeof(struct device_record),
        .map = map_any_device,
        .cursor_offset = offsetof(struct device_record, id),
        .cursor_is_number = true,
    };
    const struct page_reply filled = { (void ***)&reply->devices,
                                       &reply->n_devices,
                                       &reply->next_page_token };
    *ret_reply = &reply->base;
    return page_fill(api, message, &page, &rows, &filled, err);
}

enum err_code api_get_device(
    struct api_call *api,
    const ProtobufCMessage *message,
    ProtobufCMessage **ret_reply,
    struct err_info *err)
{
    const Agentgateway__V1__GetDeviceRequest *request =
        (const Agentgateway__V1__GetDeviceRequest *)message;
    struct device_record record;
    TRY(store_device_get(
        api->work->conn, api->workspace_id, request->id, api->arena, &record, err));
    const struct map_context context = map_context_of(api);
    Agentgateway__V1__Device *device = map_device(&context, &record);
    *ret_reply = device == NULL ? NULL : &device->base;
    return device == NULL ? API_OUT_OF_MEMORY(err) : ERR_OK;
}
