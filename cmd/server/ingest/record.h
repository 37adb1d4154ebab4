/*
 * One uploaded record on its way into the store: decoded once (bounded, whatever the peer sent),
 * then only read. A payload of a format the server does not read, or one that does not decode, is
 * kept as it came, so that a record can neither be lost nor block those behind it.
 */
#ifndef SERVER_INGEST_RECORD_H
#define SERVER_INGEST_RECORD_H

#include "common/base/arena.h"
#include "common/base/time.h"

#include "proto/agentgateway/v1/agentgateway.pb-c.h"

struct wire_schema;

struct record_source {
    int64_t workspace_id;
    int64_t agent_id;
    int64_t epoch; /* of the session that sent it */
};

struct record_upload { /* the fields both upload requests share; borrowed */
    struct str_view payload;
    int64_t captured_at;
    uint64_t sequence;
    Agentgateway__V1__PayloadFormat format;
    Agentgateway__V1__PayloadCompression compression;
    bool is_event_stream;
    bool is_copy;
};

struct record {
    struct record_source source;
    struct arena *arena; /* holds everything below */
    int64_t captured_at;
    int64_t received_at;
    int64_t sequence; /* 0: unsequenced */
    bool is_event_stream;
    bool is_copy; /* of a record that comes in sequence: only rows with a key of their own are
                     stored */
    const Agentgateway__V1__TelemetryBatch *telemetry; /* one of the three */
    const Agentgateway__V1__EventBatch *events;
    struct str_view opaque;
    const char *why_opaque; /* static text; NULL: the peer said so */
};

/* Copies what it needs. ERR_INVALID: sequence over 2^63-1, or a copy with a sequence. ERR_NOMEM:
 * send it again. */
enum err_code record_create(
    const struct wire_schema *schema,
    const struct record_source *source,
    const struct record_upload *upload,
    struct wall_us now,
    struct record **ret_record,
    struct err_info *err) MUST_CHECK;
void record_destroy(struct record *record);

/* Turns a decoded record into an opaque one that holds it packed. false: it is opaque already, or
 * memory was out. */
bool record_make_opaque(struct record *record);

#endif
