/* What the files of the link share. */
#ifndef CMD_AGENT_LINK_LINK_PRIVATE_H
#define CMD_AGENT_LINK_LINK_PRIVATE_H

#include "cmd/agent/link/link.h"
#include "cmd/agent/link/live.h"
#include "cmd/agent/link/uploader.h"
#include "common/base/cleanup.h"
#include "common/base/list.h"
#include "common/rpc/client.h"

enum {
    LINK_CHALLENGE_BYTES = 64,
    LINK_QUEUE_MAX = 16,
    LINK_TOKEN_BYTES = 513,
    LINK_LABEL_BYTES = 320,
    LINK_HELLO_BYTES = 8 * 1024 * 1024
};

#define LINK_CALL_US      (15 * US_PER_SECOND)
#define LINK_PATH(method) "/agentgateway.v1.AgentGatewayService/" method

/* One unary call under way. It outlives its attempt: a late answer is told by the number. */
struct link_call {
    struct list node;
    struct link *link;
    uint64_t attempt;
    void (*done)(
        struct link *link,
        enum err_code code,
        const ProtobufCMessage *reply,
        const struct err_info *err);
};

struct link_label {
    char key[LINK_LABEL_BYTES];
    char value[LINK_LABEL_BYTES];
};

struct link {
    struct link_options options;
    const struct link_ops *ops;
    void *context;
    struct link_core core;
    struct mono_us created_at;
    struct loop_timer *timer;
    struct rpc_executor executor;
    struct rpc_client *client;
    struct rpc_channel *channel; /* of this attempt */
    uint64_t attempt;
    struct list calls;
    struct link_event queue[LINK_QUEUE_MAX]; /* events that came while one was handled */
    unsigned queued;
    bool is_stepping;

    struct state_enrollment enrollment;
    struct secret *token; /* while enrolling */
    struct link_label *labels;
    unsigned label_count;
    bool told_pending;

    bool tries_next_key; /* the key sent in Begin was the offered one */
    bool skips_next_key; /* it was refused: the old one again */
    uint8_t challenge[LINK_CHALLENGE_BYTES];
    struct secret *authorization; /* "Bearer ..."; outlives its channel, never this process */
    struct wall_us session_expires_at;
    struct wall_us server_time; /* 0: never told */
    struct mono_us server_time_at;
    struct rpc_client_stream *control;
    uint32_t stream_number; /* of the last control stream, counted from 1 */
    struct buf capacity;    /* packed, as the server was told last on this stream */
    bool is_half_closed;
    struct uploader *uploaders[SPOOL_STREAM_COUNT];
    struct live *live;
    bool takes_copies; /* the server of this session */
    size_t upload_bytes;

    char last_error[LINK_ERROR_BYTES];
    struct wall_us last_error_at;
    struct wall_us last_upload_at;
    uint64_t uploaded_records;
    uint64_t uploaded_copies;
};

/* Puts an event to the state machine and does what it says. */
void link_feed(struct link *link, const struct link_event *event);
void link_feed_type(struct link *link, enum link_event_type type);

/* Keeps the text as last error, tells the owner, and feeds FAILED or REFUSED as the code says. */
void link_report(
    struct link *link, enum err_code code, const char *what, const struct err_info *err);
void link_fail(struct link *link, enum err_code code, const char *what, const struct err_info *err);

/* While draining: says CLOSED once the control stream and every round have ended. */
void link_check_closed(struct link *link);

/* Makes the attempt's channel if there is none; false: LINK_EVENT_FAILED was fed. */
bool link_need_channel(struct link *link);

void link_call(
    struct link *link,
    const char *path,
    const ProtobufCMessage *request,
    const ProtobufCMessageDescriptor *reply_type,
    void (*done)(
        struct link *link,
        enum err_code code,
        const ProtobufCMessage *reply,
        const struct err_info *err));

/* Actions of the state machine. */
void link_register(struct link *link);
void link_begin(struct link *link);
void link_complete(struct link *link);
void link_open_control(struct link *link);
void link_heartbeat(struct link *link);

/* Tells the server what there is room for, when that is another than it was told last. */
void link_send_capacity(struct link *link);

struct wall_us link_time_of(const Google__Protobuf__Timestamp *timestamp); /* NULL: 0 */

#endif
