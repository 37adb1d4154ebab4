/* spool inspect, list, verify: reads the file beside a running agent, or without one. */
#include "belay_descriptors.h"
#include "cmd/agent/agent.h"
#include "cmd/agent/link/batch.h"
#include "cmd/agent/outcome.h"
#include "cmd/agent/spool/spool.h"
#include "cmd/agent/verbs.h"
#include "common/base/cleanup.h"

#include <inttypes.h>
#include <stdio.h>

enum {
    LIST_STEP = 128,
    LIST_ARENA_BYTES = 160 * 1024 * 1024,
    TEXT_BYTES = 4 * 1024 * 1024
};

static const char *const stream_names[] = {
    [SPOOL_TELEMETRY] = "telemetry", [SPOOL_EVENTS] = "events"
};

static int inspect(struct spool *spool, bool json)
{
    struct spool_stats stats;
    spool_get_stats(spool, &stats);
    for (unsigned i = 0; i < SPOOL_STREAM_COUNT; i++) {
        const struct spool_stream_stats *row = &stats.streams[i];
        (void)printf(
            json ? "%s\"%s\":{\"records\":%" PRIu64 ",\"bytes\":%" PRIu64
                   ",\"next_sequence\":%" PRIu64 ",\"acked_sequence\":%" PRIu64
                   ",\"dropped\":%" PRIu64 ",\"quarantined\":%" PRIu64 "}%s"
                 : "%s%-10s %" PRIu64 " records, %" PRIu64 " bytes, next sequence %" PRIu64
                   ", acknowledged %" PRIu64 ", dropped %" PRIu64 ", quarantined %" PRIu64 "%s",
            !json        ? ""
                : i == 0 ? "{"
                         : ",",
            stream_names[i],
            row->records,
            row->bytes,
            row->next_sequence,
            row->acked_sequence,
            row->dropped_records,
            row->quarantined,
            !json || i + 1 == SPOOL_STREAM_COUNT ? (json ? "}\n" : "\n") : "");
    }
    return AGENT_EXIT_OK;
}

static void print_record(
    const struct wire_schema *schema, enum spool_stream stream, const struct spool_record *record)
{
    AUTO_BUF struct buf text = BUF_INIT(TEXT_BYTES);
    struct err_info err = ERR_INFO_INIT;
    char time[TIME_TEXT_BYTES];
    enum err_code code =
        batch_describe(schema, record->format, record->compression, record->payload, &text, &err);
    (void)printf(
        "%s %" PRIu64 " %s %zu bytes\n%s",
        stream_names[stream],
        record->sequence,
        time_format(record->captured_at, time),
        record->payload.len,
        code == ERR_OK ? buf_text(&text) : "");
    if (code != ERR_OK) {
        (void)printf("  not readable: %s\n", err.text);
    }
}

static enum err_code list_stream(
    struct spool *spool,
    const struct wire_schema *schema,
    enum spool_stream stream,
    struct err_info *err)
{
    uint64_t after = 0;
    AUTO_ARENA struct arena *arena = arena_create(LIST_ARENA_BYTES);
    for (;;) {
        struct spool_batch batch = { 0 };
        arena_reset(arena);
        TRY(spool_peek(
            spool,
            &(struct spool_ask){ stream, after, SPOOL_PAYLOAD_MAX, LIST_STEP },
            arena,
            &batch,
            err));
        if (batch.count == 0) {
            return ERR_OK;
        }
        for (unsigned i = 0; i < batch.count; i++) {
            print_record(schema, stream, &batch.records[i]);
        }
        after = batch.records[batch.count - 1].sequence;
    }
}

static int list(struct spool *spool)
{
    struct wire_schema *schema = NULL;
    struct err_info err = ERR_INFO_INIT;
    enum err_code code = wire_schema_load(belay_descriptors, belay_descriptors_size, &schema, &err);
    for (unsigned i = 0; i < SPOOL_STREAM_COUNT && code == ERR_OK; i++) {
        code = list_stream(spool, schema, (enum spool_stream)i, &err);
    }
    wire_schema_destroy(schema);
    return code == ERR_OK ? AGENT_EXIT_OK : outcome_fail(code, &err);
}

static int verify(struct spool *spool)
{
    struct spool_report report;
    struct err_info err = ERR_INFO_INIT;
    enum err_code code = spool_verify(spool, &report, &err);
    if (code != ERR_OK) {
        return outcome_fail(code, &err);
    }
    bool good = report.bad_records == 0 && report.totals_match && report.file_ok;
    (void)printf(
        "%s: %" PRIu64 " records read, %" PRIu64 " damaged; counters %s; file %s\n",
        good ? "good" : "DAMAGED",
        report.records,
        report.bad_records,
        report.totals_match ? "agree" : "DO NOT AGREE",
        report.file_ok ? "sound" : "DAMAGED");
    return good ? AGENT_EXIT_OK : AGENT_EXIT_FAILURE;
}

int verb_spool(const struct config *config)
{
    const char *what = config_word_count(config) < 2 ? "inspect" : config_word(config, 1);
    AUTO_FREE char *path = mem_printf("%s/spool.db", config_text(config, "state-dir"));
    struct spool_options options = { .path = path,
                                     .clock = clock_system(),
                                     .max_bytes = UINT64_MAX,
                                     .max_age_us = INT64_MAX,
                                     .read_only = true };
    struct spool *spool = NULL;
    struct err_info err = ERR_INFO_INIT;
    int status = AGENT_EXIT_USAGE;
    enum err_code code = spool_open(&options, &spool, &err);
    if (code != ERR_OK) {
        return outcome_fail(code, &err);
    }
    if (strcmp(what, "inspect") == 0) {
        status = inspect(spool, strcmp(config_text(config, "output"), "json") == 0);
    } else if (strcmp(what, "list") == 0) {
        status = list(spool);
    } else if (strcmp(what, "verify") == 0) {
        status = verify(spool);
    } else {
        (void)fprintf(stderr, "belay-agent: spool inspect, list or verify\n");
    }
    spool_close(spool);
    return status;
}
