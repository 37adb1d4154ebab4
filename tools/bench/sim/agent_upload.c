/*
 * Uploads of a simulated agent. A record is made from its number alone, so that sending it once
 * more sends the same bytes; what the server has acknowledged is a number too.
 */
#include "common/base/id.h"
#include "common/base/log.h"
#include "common/wire/timestamp.h"
#include "common/wire/wire.h"
#include "tools/bench/sim/fleet_private.h"

#include "proto/agentgateway/v1/agentgateway.pb-c.h"

#include <stdio.h>

enum {
    PAYLOAD_BYTES_MAX = 256 * 1024,
    PAYLOAD_ARENA_BYTES = 1024 * 1024
};

#define ROUND_US (60 * US_PER_SECOND)
#define RETRY_US US_PER_SECOND

void agent_note_acked(struct agent *agent, uint64_t acked)
{
    struct fleet *fleet = agent->fleet;
    if (acked > agent->made) {
        log_error("sim_acked_too_much", LOG_UINT("agent", agent->number));
        fleet->tally->errors[TALLY_UPLOAD][ERR_INTERNAL]++;
    } else if (acked > agent->acked) {
        fleet_count(fleet, TALLY_RECORDS_ACKED, acked - agent->acked);
        agent->acked = acked;
    } else if (acked < agent->acked) {
        /* what was acknowledged before is not there any more */
        fleet_count(fleet, TALLY_MISSING, agent->acked - acked);
        agent->acked = acked;
    }
}

void agent_make_records(struct agent *agent)
{
    struct fleet *fleet = agent->fleet;
    bool is_over = fleet->phase > FLEET_LOAD || fleet->telemetry_us == 0;
    uint64_t random = 0;
    id_random(&random, sizeof(random));
    agent->telemetry_at = is_over
        ? AGENT_NEVER
        : fleet_now_us(fleet) + scenario_vary(fleet->telemetry_us, fleet->jitter, random);
    if (!is_over) {
        agent->made += fleet->plan->batch;
        fleet_count(fleet, TALLY_RECORDS_MADE, fleet->plan->batch);
        agent_upload(agent);
    }
}

/* One sample of each series; that of the first is the record's number. */
static bool pack_payload(const struct agent *agent, uint64_t sequence, struct buf *payload)
{
    AUTO_ARENA struct arena *arena = arena_create(PAYLOAD_ARENA_BYTES);
    unsigned count = agent->fleet->plan->samples;
    Agentgateway__V1__TelemetryBatch batch = AGENTGATEWAY__V1__TELEMETRY_BATCH__INIT;
    Agentgateway__V1__TelemetrySeries **series = arena_alloc(arena, count * sizeof(*series));
    Agentgateway__V1__TelemetrySample **samples = arena_alloc(arena, count * sizeof(*samples));
    if (series == NULL || samples == NULL) {
        return false;
    }
    for (unsigned i = 0; i < count; i++) {
        series[i] = wire_new(arena, &agentgateway__v1__telemetry_series__descriptor);
        samples[i] = wire_new(arena, &agentgateway__v1__telemetry_sample__descriptor);
        if (series[i] == NULL || samples[i] == NULL) {
            return false;
        }
        series[i]->metric = arena_strdup(arena, i == 0 ? SIM_SEQUENCE_METRIC : "sim.load");
        series[i]->instance = i == 0 ? arena_strdup(arena, "") : arena_printf(arena, "%u", i);
        series[i]->unit = arena_strdup(arena, "count");
        samples[i]->series = i;
        samples[i]->time_us = agent->fleet->base.value + (int64_t)sequence * AGENT_RECORD_US;
        samples[i]->value = i == 0 ? (double)sequence : (double)((sequence * 31 + i) % 1000);
    }
    batch.n_series = count;
    batch.series = series;
    batch.n_samples = count;
    batch.samples = samples;
    wire_pack(&batch.base, payload);
    return buf_ok(payload);
}

static bool send_record(struct agent *agent, uint64_t sequence)
{
    AUTO_BUF struct buf payload = BUF_INIT(PAYLOAD_BYTES_MAX);
    Agentgateway__V1__UploadTelemetryRequest request =
        AGENTGATEWAY__V1__UPLOAD_TELEMETRY_REQUEST__INIT;
    struct wall_us time = { agent->fleet->base.value + (int64_t)sequence * AGENT_RECORD_US };
    Google__Protobuf__Timestamp captured_at = wire_timestamp_of(time);
    if (!pack_payload(agent, sequence, &payload)) {
        return false;
    }
    request.payload.data = (uint8_t *)payload.data;
    request.payload.len = payload.len;
    request.captured_at = &captured_at;
    request.sequence = sequence;
    request.format = AGENTGATEWAY__V1__PAYLOAD_FORMAT__PAYLOAD_FORMAT_TELEMETRY_BATCH;
    if (rpc_client_stream_send(agent->upload, &request.base) != ERR_OK) {
        return false;
    }
    fleet_count(agent->fleet, TALLY_RECORDS_SENT, 1);
    fleet_count(agent->fleet, TALLY_RECORDS_REPEATED, sequence <= agent->sent ? 1 : 0);
    return true;
}

static void on_reply(void *context, const ProtobufCMessage *message)
{
    struct agent *agent = context;
    const Agentgateway__V1__UploadTelemetryResponse *reply = (const void *)message;
    agent->round_acked = reply->acked_sequence;
}

static void settle(struct agent *agent)
{
    struct fleet *fleet = agent->fleet;
    fleet_count(fleet, TALLY_UPLOADS, 1);
    tally_time(fleet->tally, TALLY_UPLOAD, fleet_now_us(fleet) - agent->upload_at.value);
    bool was_repeat = agent->repeat_first != 0;
    agent->repeat_first = 0;
    if (!was_repeat && fleet_dice(fleet->lose_acks)) {
        fleet_count(fleet, TALLY_UPLOAD_ACKS_LOST, 1);
        return; /* the next round sends it again */
    }
    agent_note_acked(agent, agent->round_acked);
    if (!was_repeat && fleet_dice(fleet->duplicate)) {
        agent->repeat_first = agent->round_first;
    }
}

static void on_closed(void *context, enum err_code code, const struct err_info *err)
{
    struct agent *agent = context;
    rpc_client_stream_release(STEAL(agent->upload));
    if (code == ERR_OK && agent->round_acked >= agent->round_last) {
        settle(agent);
        agent_upload(agent);
    } else {
        enum err_code kept = code == ERR_OK ? ERR_CORRUPT : code;
        log_info("sim_upload_failed", LOG_UINT("agent", agent->number), LOG_ERR(err));
        agent->fleet->tally->errors[TALLY_UPLOAD][kept]++;
        agent->repeat_first = 0;
        agent->retry_at = fleet_now_us(agent->fleet) + RETRY_US;
        agent_set_due(agent);
    }
    if (code == ERR_UNAUTHENTICATED) {
        agent_feed_type(agent, LINK_EVENT_FAILED);
    }
}

static enum err_code open_round(struct agent *agent)
{
    static const struct rpc_client_stream_ops ops = { .message = on_reply, .closed = on_closed };
    struct rpc_header header = { "authorization", agent->authorization };
    struct rpc_call_options options = { .deadline_us = ROUND_US,
                                        .headers = &header,
                                        .header_count = 1 };
    agent->upload_at.value = fleet_now_us(agent->fleet);
    agent->round_acked = 0;
    return rpc_client_stream_open(
        agent->channel,
        GATEWAY_PATH("UploadTelemetry"),
        &agentgateway__v1__upload_telemetry_response__descriptor,
        &options,
        &agent->fleet->executor,
        &ops,
        agent,
        &agent->upload,
        NULL);
}

void agent_upload(struct agent *agent)
{
    uint64_t first = agent->repeat_first != 0 ? agent->repeat_first : agent->acked + 1;
    uint64_t last = agent->repeat_first != 0 ? agent->round_last : agent->made;
    if (!agent->is_online || agent->is_leaving || agent->upload != NULL || first > last
        || open_round(agent) != ERR_OK) {
        return;
    }
    last = last - first >= AGENT_ROUND_RECORDS ? first + AGENT_ROUND_RECORDS - 1 : last;
    agent->round_first = first;
    agent->round_last = first - 1;
    for (uint64_t sequence = first; sequence <= last && send_record(agent, sequence); sequence++) {
        agent->round_last = sequence;
    }
    agent->sent = agent->round_last > agent->sent ? agent->round_last : agent->sent;
    rpc_client_stream_half_close(agent->upload);
}
