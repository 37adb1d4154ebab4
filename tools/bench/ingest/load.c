#include "tools/bench/ingest/load.h"

#include "cmd/server/core/work.h"
#include "cmd/server/store/access.h"
#include "common/base/cleanup.h"
#include "common/wire/compress.h"
#include "common/wire/wire.h"

#include "proto/agentgateway/v1/agentgateway.pb-c.h"

#include <stdio.h>

enum {
    PAYLOAD_BYTES_MAX = 1024 * 1024,
    NAME_BYTES = 32,
    LINE_BYTES = 96,
    STEP_US = 2000000, /* between two samples of a series */
    LIST_ARENA_BYTES = 16 * 1024 * 1024
};

enum err_code load_open(struct load *load, struct seed *seed, struct err_info *err)
{
    load->next_us = clock_wall(clock_system()).value - US_PER_HOUR;
    for (unsigned i = 0; i < LOAD_AGENTS; i++) {
        AUTO_FREE char *name = mem_printf("agent-%u", i);
        TRY(seed_agent_add(seed, name, &load->agents[i], err));
    }
    return ERR_OK;
}

void load_close(struct load *load)
{
    for (unsigned i = 0; i < LOAD_AGENTS; i++) {
        secret_destroy(load->agents[i].token);
    }
}

/* As a host would measure: values that differ, times with microseconds of jitter. */
static double value_at(unsigned series, int64_t time_us)
{
    return (double)((time_us / 997 + series * 31) % 10007) / 10007.0;
}

static int64_t time_at(const struct load *load, size_t round, unsigned step)
{
    int64_t us = load->next_us + (int64_t)(round * LOAD_TIMES + step) * STEP_US;
    return us + us / STEP_US % 977;
}

static void pack_batch(const struct load *load, size_t round, struct buf *payload)
{
    char names[LOAD_SERIES][NAME_BYTES];
    char unit[] = "ratio";
    Agentgateway__V1__TelemetrySeries series[LOAD_SERIES];
    Agentgateway__V1__TelemetrySeries *series_list[LOAD_SERIES];
    Agentgateway__V1__TelemetrySample samples[LOAD_RECORD_ROWS];
    Agentgateway__V1__TelemetrySample *sample_list[LOAD_RECORD_ROWS];
    Agentgateway__V1__TelemetryBatch batch = AGENTGATEWAY__V1__TELEMETRY_BATCH__INIT;
    for (unsigned i = 0; i < LOAD_SERIES; i++) {
        (void)snprintf(names[i], NAME_BYTES, "host.bench.metric_%02u", i);
        agentgateway__v1__telemetry_series__init(&series[i]);
        series[i].metric = names[i];
        series[i].unit = unit;
        series_list[i] = &series[i];
    }
    for (unsigned i = 0; i < LOAD_RECORD_ROWS; i++) {
        agentgateway__v1__telemetry_sample__init(&samples[i]);
        samples[i].series = i % LOAD_SERIES;
        samples[i].time_us = time_at(load, round, i / LOAD_SERIES);
        samples[i].value = value_at(i % LOAD_SERIES, samples[i].time_us);
        sample_list[i] = &samples[i];
    }
    batch.n_series = LOAD_SERIES;
    batch.series = series_list;
    batch.n_samples = LOAD_RECORD_ROWS;
    batch.samples = sample_list;
    AUTO_BUF struct buf plain = BUF_INIT(PAYLOAD_BYTES_MAX);
    wire_pack(&batch.base, &plain);
    (void)wire_compress(buf_view(&plain), payload);
}

static void pack_events(const struct load *load, size_t round, struct buf *payload)
{
    AUTO_FREE char *texts = mem_alloc(LOAD_RECORD_EVENTS * LINE_BYTES);
    char kind[] = "sandbox.log";
    char device[] = "sbx_0123456789abcdef";
    char key[] = "stream";
    char value[] = "stdout";
    Agentgateway__V1__AgentEvent events[LOAD_RECORD_EVENTS];
    Agentgateway__V1__AgentEvent *list[LOAD_RECORD_EVENTS];
    Agentgateway__V1__AgentEvent__AttributesEntry entry =
        AGENTGATEWAY__V1__AGENT_EVENT__ATTRIBUTES_ENTRY__INIT;
    Agentgateway__V1__AgentEvent__AttributesEntry *entries[] = { &entry };
    Agentgateway__V1__EventBatch batch = AGENTGATEWAY__V1__EVENT_BATCH__INIT;
    entry.key = key;
    entry.value = value;
    for (unsigned i = 0; i < LOAD_RECORD_EVENTS; i++) {
        agentgateway__v1__agent_event__init(&events[i]);
        char *text = texts + (size_t)i * LINE_BYTES;
        (void)snprintf(text, LINE_BYTES, "line %zu.%u of what a program has to say", round, i);
        events[i].time_us = time_at(load, round, i);
        events[i].kind = kind;
        events[i].device = device;
        events[i].text = text;
        events[i].n_attributes = 1;
        events[i].attributes = entries;
        list[i] = &events[i];
    }
    batch.n_events = LOAD_RECORD_EVENTS;
    batch.events = list;
    AUTO_BUF struct buf plain = BUF_INIT(PAYLOAD_BYTES_MAX);
    wire_pack(&batch.base, &plain);
    (void)wire_compress(buf_view(&plain), payload);
}

/* Later records begin where these end. */
static void advance(struct load *load, size_t records)
{
    size_t rounds = (records + LOAD_AGENTS - 1) / LOAD_AGENTS;
    load->next_us += (int64_t)(rounds * LOAD_TIMES) * STEP_US;
}

struct load_record *load_events_make(struct load *load, size_t count)
{
    struct load_record *records = mem_alloc_array(count, sizeof(*records));
    for (size_t i = 0; i < count; i++) {
        const struct seed_agent *agent = &load->agents[i % LOAD_AGENTS];
        struct buf payload = BUF_INIT(PAYLOAD_BYTES_MAX);
        pack_events(load, i / LOAD_AGENTS, &payload);
        size_t bytes = payload.len;
        records[i].source = (struct record_source){ WORKSPACE_DEFAULT, agent->id, agent->epoch };
        records[i].upload = (struct record_upload){
            .payload = str_from(buf_steal(&payload), bytes),
            .captured_at = time_at(load, i / LOAD_AGENTS, 0),
            .sequence = ++load->event_sequences[i % LOAD_AGENTS],
            .format = AGENTGATEWAY__V1__PAYLOAD_FORMAT__PAYLOAD_FORMAT_EVENT_BATCH,
            .compression = AGENTGATEWAY__V1__PAYLOAD_COMPRESSION__PAYLOAD_COMPRESSION_ZSTD,
            .is_event_stream = true,
        };
    }
    return records;
}

struct load_record *load_records_make(struct load *load, size_t count)
{
    struct load_record *records = mem_alloc_array(count, sizeof(*records));
    for (size_t i = 0; i < count; i++) {
        size_t agent = i % LOAD_AGENTS;
        struct buf payload = BUF_INIT(PAYLOAD_BYTES_MAX);
        pack_batch(load, i / LOAD_AGENTS, &payload);
        size_t bytes = payload.len;
        records[i].source = (struct record_source){ WORKSPACE_DEFAULT,
                                                    load->agents[agent].id,
                                                    load->agents[agent].epoch };
        records[i].upload = (struct record_upload){
            .payload = str_from(buf_steal(&payload), bytes),
            .captured_at = time_at(load, i / LOAD_AGENTS, 0),
            .sequence = ++load->sequences[agent],
            .format = AGENTGATEWAY__V1__PAYLOAD_FORMAT__PAYLOAD_FORMAT_TELEMETRY_BATCH,
            .compression = AGENTGATEWAY__V1__PAYLOAD_COMPRESSION__PAYLOAD_COMPRESSION_ZSTD,
        };
    }
    advance(load, count);
    return records;
}

void load_records_free(struct load_record *records, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        union {
            const char *in;
            char *out;
        } payload = { .in = records[i].upload.payload.ptr };

        mem_free(payload.out);
    }
    mem_free(records);
}

static enum err_code list_series(struct sql_conn *conn, void *context, struct err_info *err)
{
    struct load *load = context;
    const struct series_filter filter = { .metric = STR("host.bench."),
                                          .limit = LOAD_AGENTS * LOAD_SERIES };
    AUTO_ARENA struct arena *arena = arena_create(LIST_ARENA_BYTES);
    struct store_list list;
    TRY(store_series_list(conn, WORKSPACE_DEFAULT, &filter, arena, &list, err));
    const struct series_record *rows = list.records;
    if (list.count != LOAD_AGENTS * LOAD_SERIES) {
        return ERR_SET(err, ERR_INTERNAL, "%zu series are stored", list.count);
    }
    for (size_t i = 0; i < list.count; i++) {
        load->series[i] = rows[i].id;
    }
    return ERR_OK;
}

enum err_code load_find_series(struct load *load, struct seed *seed, struct err_info *err)
{
    return sql_transact(seed->conn, SQL_ALL_WORKSPACES, list_series, load, err);
}

/* Rows of one agent's part of a batch, in the order in which the writer has them. */
static void fill_agent(
    const struct load *load, size_t agent, size_t rounds[2], struct sample_columns *out)
{
    union {
        const int64_t *in;
        int64_t *out;
    } ids[3] = { { .in = out->workspace_ids }, { .in = out->series_ids }, { .in = out->times_us } };

    union {
        const double *in;
        double *out;
    } values = { .in = out->values };

    for (size_t round = rounds[0]; round < rounds[1]; round++) {
        for (unsigned i = 0; i < LOAD_RECORD_ROWS; i++) {
            unsigned series = i % LOAD_SERIES;
            size_t at = out->count++;
            ids[0].out[at] = WORKSPACE_DEFAULT;
            ids[1].out[at] = load->series[agent * LOAD_SERIES + series];
            ids[2].out[at] = time_at(load, round, i / LOAD_SERIES);
            values.out[at] = value_at(series, ids[2].out[at]);
        }
    }
}

struct sample_columns load_columns_make(struct load *load, size_t records)
{
    size_t rows = records * LOAD_RECORD_ROWS;
    struct sample_columns columns = {
        .workspace_ids = mem_alloc_array(rows, sizeof(int64_t)),
        .series_ids = mem_alloc_array(rows, sizeof(int64_t)),
        .times_us = mem_alloc_array(rows, sizeof(int64_t)),
        .values = mem_alloc_array(rows, sizeof(double)),
    };
    size_t rounds = records / LOAD_AGENTS;
    for (size_t first = 0; first < rounds; first += LOAD_BATCH_RECORDS / LOAD_AGENTS) {
        size_t end = first + LOAD_BATCH_RECORDS / LOAD_AGENTS;
        size_t part[2] = { first, end < rounds ? end : rounds };
        for (size_t agent = 0; agent < LOAD_AGENTS; agent++) {
            fill_agent(load, agent, part, &columns);
        }
    }
    advance(load, records);
    return columns;
}

void load_columns_free(struct sample_columns *columns)
{
    const void *const lists[] = {
        columns->workspace_ids, columns->series_ids, columns->times_us, columns->values
    };
    for (size_t i = 0; i < ARRAY_LENGTH(lists); i++) {
        union {
            const void *in;
            void *out;
        } list = { .in = lists[i] };

        mem_free(list.out);
    }
}
