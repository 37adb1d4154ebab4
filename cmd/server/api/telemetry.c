/* Telemetry: metrics and range queries. */
#include "cmd/server/api/handlers.h"
#include "cmd/server/api/map.h"
#include "cmd/server/api/page.h"
#include "common/wire/timestamp.h"
#include "common/wire/wire.h"

enum {
    POINTS_DEFAULT = 10000,
    SERIES_MAX = 1000
};

PAGE_MAP(metric)

enum err_code api_list_metrics(
    struct api_call *api,
    const ProtobufCMessage *message,
    ProtobufCMessage **ret_reply,
    struct err_info *err)
{
    const Agentgateway__V1__ListMetricsRequest *request =
        (const Agentgateway__V1__ListMetricsRequest *)message;
    struct page page;
    struct store_list list;
    struct series_filter filter = { .metric = str_of(request->metric_prefix) };
    TRY(page_open(api, message, &page, err));
    TRY(api_agent_id(api, request->agent, &filter.agent_id, err));
    filter.after_id = page.cursor_number;
    filter.limit = page.size + 1;
    TRY(store_series_list(api->work->conn, api->workspace_id, &filter, api->arena, &list, err));
    Agentgateway__V1__ListMetricsResponse *reply =
        wire_new(api->arena, &agentgateway__v1__list_metrics_response__descriptor);
    if (reply == NULL) {
        return API_OUT_OF_MEMORY(err);
    }
    const struct page_rows rows = {
        .records = list.records,
        .count = list.count,
        .record_bytes = sizeof(struct series_record),
        .map = map_any_metric,
        .cursor_offset = offsetof(struct series_record, id),
        .cursor_is_number = true,
    };
    const struct page_reply filled = { (void ***)&reply->metrics,
                                       &reply->n_metrics,
                                       &reply->next_page_token };
    *ret_reply = &reply->base;
    return page_fill(api, message, &page, &rows, &filled, err);
}

struct query {
    struct api_call *api;
    const Agentgateway__V1__QueryTelemetryRequest *request;
    int64_t range_us[2];
    int64_t step_us;
    int64_t points_left;
};

static Agentgateway__V1__TelemetryRow **make_rows(
    struct arena *arena, size_t count, struct err_info *err)
{
    Agentgateway__V1__TelemetryRow **rows = arena_alloc(arena, count * sizeof(void *));
    for (size_t i = 0; rows != NULL && i < count; i++) {
        rows[i] = wire_new(arena, &agentgateway__v1__telemetry_row__descriptor);
        if (rows[i] == NULL) {
            rows = NULL;
        }
    }
    if (rows == NULL) {
        (void)API_OUT_OF_MEMORY(err);
    }
    return rows;
}

static enum err_code take_points(struct query *query, size_t count, struct err_info *err)
{
    query->points_left -= (int64_t)count;
    return query->points_left >= 0
        ? ERR_OK
        : ERR_SET(
            err,
            ERR_LIMIT,
            "max_points: the range holds more; take a larger step_seconds or a shorter range");
}

/* One row more than may be given: so that too many is seen. */
static struct sample_range range_of(const struct query *query, const struct series_record *series)
{
    return (struct sample_range){
        .series_id = series->id,
        .start_us = query->range_us[0],
        .end_us = query->range_us[1],
        .step_us = query->step_us,
        .limit = query->points_left + 1,
    };
}

static enum err_code raw_rows(
    struct query *query,
    const struct series_record *series,
    Agentgateway__V1__TelemetrySeriesData *data,
    struct err_info *err)
{
    struct api_call *api = query->api;
    struct store_list list;
    const struct sample_range range = range_of(query, series);
    TRY(store_sample_raw(api->work->conn, api->workspace_id, &range, api->arena, &list, err));
    const struct sample_row *samples = list.records;
    data->n_rows = list.count;
    TRY(take_points(query, data->n_rows, err));
    data->rows = make_rows(api->arena, data->n_rows, err);
    if (data->rows == NULL) {
        return ERR_LIMIT;
    }
    for (size_t i = 0; i < data->n_rows; i++) {
        data->rows[i]->time = map_time(api->arena, samples[i].time_us);
        data->rows[i]->value = samples[i].value;
    }
    return ERR_OK;
}

static enum err_code step_value(
    struct query *query,
    int64_t series_id,
    const struct sample_step *step,
    double *ret_value,
    struct err_info *err)
{
    struct api_call *api = query->api;
    switch (query->request->aggregate) {
    case AGENTGATEWAY__V1__AGGREGATE__AGGREGATE_MIN:
        *ret_value = step->min;
        return ERR_OK;
    case AGENTGATEWAY__V1__AGGREGATE__AGGREGATE_MAX:
        *ret_value = step->max;
        return ERR_OK;
    case AGENTGATEWAY__V1__AGGREGATE__AGGREGATE_SUM:
        *ret_value = step->sum;
        return ERR_OK;
    case AGENTGATEWAY__V1__AGGREGATE__AGGREGATE_COUNT:
        *ret_value = (double)step->count;
        return ERR_OK;
    case AGENTGATEWAY__V1__AGGREGATE__AGGREGATE_LAST:
        return store_sample_at(
            api->work->conn, api->workspace_id, series_id, step->last_us, ret_value, err);
    case AGENTGATEWAY__V1__AGGREGATE__AGGREGATE_UNSPECIFIED:
    case AGENTGATEWAY__V1__AGGREGATE__AGGREGATE_MEAN:
    case _AGENTGATEWAY__V1__AGGREGATE_IS_INT_SIZE:
        break;
    }
    *ret_value = step->sum / (double)step->count;
    return ERR_OK;
}

static enum err_code step_rows(
    struct query *query,
    const struct series_record *series,
    Agentgateway__V1__TelemetrySeriesData *data,
    struct err_info *err)
{
    struct api_call *api = query->api;
    struct store_list list;
    const struct sample_range range = range_of(query, series);
    TRY(store_sample_steps(api->work->conn, api->workspace_id, &range, api->arena, &list, err));
    const struct sample_step *steps = list.records;
    data->n_rows = list.count;
    TRY(take_points(query, data->n_rows, err));
    data->rows = make_rows(api->arena, data->n_rows, err);
    if (data->rows == NULL) {
        return ERR_LIMIT;
    }
    for (size_t i = 0; i < data->n_rows; i++) {
        data->rows[i]->time = map_time(api->arena, steps[i].start_us);
        TRY(step_value(query, series->id, &steps[i], &data->rows[i]->value, err));
    }
    return ERR_OK;
}

static enum err_code open_query(struct query *query, struct err_info *err)
{
    const Agentgateway__V1__QueryTelemetryRequest *request = query->request;
    query->range_us[1] = wire_timestamp_us(request->end, query->api->work->now.value);
    query->range_us[0] = wire_timestamp_us(request->start, query->range_us[1] - US_PER_HOUR);
    query->step_us = request->step_seconds * US_PER_SECOND;
    query->points_left = request->max_points == 0 ? POINTS_DEFAULT : request->max_points;
    if (query->range_us[0] >= query->range_us[1]) {
        return ERR_SET(err, ERR_INVALID, "start: must be before end");
    }
    return ERR_OK;
}

static enum err_code add_series(
    struct query *query,
    const struct series_record *series,
    Agentgateway__V1__QueryTelemetryResponse *reply,
    struct err_info *err)
{
    Agentgateway__V1__TelemetrySeriesData *data =
        wire_new(query->api->arena, &agentgateway__v1__telemetry_series_data__descriptor);
    if (data == NULL) {
        return API_OUT_OF_MEMORY(err);
    }
    data->agent_id = series->agent_id;
    data->agent_name = arena_strdup(query->api->arena, series->agent_name);
    data->device = arena_strdup(query->api->arena, series->device);
    data->instance = arena_strdup(query->api->arena, series->instance);
    data->unit = arena_strdup(query->api->arena, series->unit);
    if (data->agent_name == NULL || data->device == NULL || data->instance == NULL
        || data->unit == NULL) {
        return API_OUT_OF_MEMORY(err);
    }
    TRY((query->step_us == 0 ? raw_rows : step_rows)(query, series, data, err));
    if (data->n_rows > 0) {
        reply->series[reply->n_series++] = data;
    }
    return ERR_OK;
}

enum err_code api_query_telemetry(
    struct api_call *api,
    const ProtobufCMessage *message,
    ProtobufCMessage **ret_reply,
    struct err_info *err)
{
    const Agentgateway__V1__QueryTelemetryRequest *request =
        (const Agentgateway__V1__QueryTelemetryRequest *)message;
    struct query query = { .api = api, .request = request };
    struct store_list list;
    struct series_filter filter = {
        .metric = str_of(request->metric),
        .device = request->device[0] == '\0' ? STR_NONE : str_of(request->device),
        .instance = request->instance[0] == '\0' ? STR_NONE : str_of(request->instance),
        .limit = SERIES_MAX + 1,
    };
    TRY(open_query(&query, err));
    TRY(api_agent_id(api, request->agent, &filter.agent_id, err));
    TRY(store_series_match(api->work->conn, api->workspace_id, &filter, api->arena, &list, err));
    if (list.count > SERIES_MAX) {
        return ERR_SET(
            err,
            ERR_LIMIT,
            "more than %d series match: name an agent, device or instance",
            SERIES_MAX);
    }
    Agentgateway__V1__QueryTelemetryResponse *reply =
        wire_new(api->arena, &agentgateway__v1__query_telemetry_response__descriptor);
    if (reply == NULL) {
        return API_OUT_OF_MEMORY(err);
    }
    reply->metric = arena_strdup(api->arena, request->metric);
    reply->series = arena_alloc(api->arena, list.count * sizeof(void *));
    if (reply->metric == NULL || reply->series == NULL) {
        return API_OUT_OF_MEMORY(err);
    }
    const struct series_record *series = list.records;
    for (size_t i = 0; i < list.count; i++) {
        TRY(add_series(&query, &series[i], reply, err));
    }
    *ret_reply = &reply->base;
    return ERR_OK;
}
