/*
 * Payloads of the spool: samples and events as the contract's batches, compressed where it helps,
 * and back to people's text. One thread per call.
 */
#ifndef CMD_AGENT_LINK_BATCH_H
#define CMD_AGENT_LINK_BATCH_H

#include "cmd/agent/host/sampler.h"
#include "common/wire/wire.h"

enum {
    BATCH_BYTES_MAX = 1048576,
    BATCH_ATTRIBUTES_MAX = 16,
    BATCH_TEXT_MAX = 4096
};

struct batch_attribute {
    const char *name;
    const char *value;
};

struct batch_event {
    struct wall_us time;
    int severity;     /* agentgateway.v1.Severity */
    const char *kind; /* "spool.dropped" */
    const char *text; /* cut at BATCH_TEXT_MAX */
    const struct batch_attribute *attributes;
    unsigned attribute_count;
};

/* Appends a TelemetryBatch, not compressed. ERR_LIMIT: does not fit. */
enum err_code batch_pack_samples(
    const struct host_samples *samples, struct buf *payload, struct err_info *err) MUST_CHECK;

/* Appends an EventBatch of one event. */
enum err_code batch_pack_event(
    const struct batch_event *event, struct buf *payload, struct err_info *err) MUST_CHECK;

/* Replaces payload by its zstd frame if that is smaller; returns the
 * agentgateway.v1.PayloadCompression. */
unsigned batch_compress(struct buf *payload);

/* Appends one line per sample or event. Hostile input is fine: ERR_INVALID, ERR_LIMIT. */
enum err_code batch_describe(
    const struct wire_schema *schema,
    unsigned format,
    unsigned compression,
    struct str_view payload,
    struct buf *text,
    struct err_info *err) MUST_CHECK;

#endif
