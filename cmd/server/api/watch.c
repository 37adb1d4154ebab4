#include "cmd/server/api/watch.h"

#include "cmd/server/auth/credentials.h"
#include "common/base/log.h"

enum {
    LOOK_EVERY_US = 2000000,
    ARENA_BYTES = 64 * 1024 * 1024,
    EMITS_MAX = 4096,
    ROUNDS_MAX = 64,
    STUCK_LOOKS_MAX = 15
};

struct watch {
    struct rpc_stream *stream; /* borrowed */
    struct service *service;
    const struct principal *principal;
    const struct api_watch_type *type;
    struct hub_subscription *subscriptions[HUB_TOPIC_COUNT]; /* NULL: not to this topic */
    int64_t workspace_id;
    char workspace[24];
    void *state;
    struct arena *arena; /* of one look */
    const ProtobufCMessage **emits;
    size_t emit_count;
    size_t emit_next; /* what is before has been sent */
    size_t stuck_at;  /* emit_next at the timer before */
    unsigned stuck_looks;
    bool begun;
    bool ending;                     /* watch_end was called in this look */
    bool finished;                   /* nothing more may be sent */
    const ProtobufCMessage *request; /* during begin */
    bool more;
};

void *watch_state(struct watch *watch)
{
    return watch->state;
}

void watch_emit(struct watch *watch, const ProtobufCMessage *message)
{
    if (watch->emit_count < EMITS_MAX && message != NULL) {
        watch->emits[watch->emit_count++] = message;
    }
}

bool watch_is_full(const struct watch *watch)
{
    return watch->emit_count == EMITS_MAX;
}

void watch_end(struct watch *watch)
{
    watch->ending = true;
}

static void finish(struct watch *watch, enum err_code code, const char *text)
{
    watch->finished = true;
    rpc_stream_finish(watch->stream, code, text);
}

static enum err_code watch_open(struct rpc_stream *stream, void **ret_state, struct err_info *err)
{
    (void)err;
    struct rpc_call *call = rpc_stream_call(stream);
    const struct api_method *method = rpc_call_method(call)->policy;
    struct watch *watch = mem_alloc(sizeof(*watch));
    watch->stream = stream;
    watch->service = rpc_call_service(call);
    watch->principal = principal_of(call);
    watch->type = method->watch;
    watch->state = mem_alloc(watch->type->state_bytes);
    watch->arena = arena_create(ARENA_BYTES);
    watch->emits = mem_alloc_array(EMITS_MAX, sizeof(const ProtobufCMessage *));
    *ret_state = watch;
    return ERR_OK;
}

static enum err_code look(struct work *work, void *context, struct err_info *err)
{
    struct watch *watch = context;
    struct api_call api = {
        .call = rpc_stream_call(watch->stream),
        .service = watch->service,
        .principal = watch->principal,
        .work = work,
        .arena = work->arena,
        .workspace_id = watch->workspace_id,
        .workspace = watch->workspace,
        .target = "",
    };
    watch->emit_count = 0;
    watch->emit_next = 0;
    watch->ending = false;
    watch->more = false;
    if (watch->request != NULL) {
        return watch->type->begin(watch, &api, watch->request, err);
    }
    return watch->type->poll(watch, &api, &watch->more, err);
}

/* Sends what the queue takes; the rest waits for it to empty. false: not all is sent, or the stream
 * has ended. */
static bool send_emits(struct watch *watch)
{
    while (watch->emit_next < watch->emit_count) {
        enum err_code code = rpc_stream_send(watch->stream, watch->emits[watch->emit_next]);
        if (code == ERR_LIMIT && rpc_stream_queued_bytes(watch->stream) == 0) {
            code = rpc_stream_send(watch->stream, watch->emits[watch->emit_next]);
        }
        if (code == ERR_LIMIT && rpc_stream_queued_bytes(watch->stream) > 0) {
            return false;
        }
        if (code != ERR_OK) {
            finish(watch, code, "a message could not be sent: start the watch again");
            return false;
        }
        watch->emit_next++;
    }
    if (watch->ending) {
        finish(watch, ERR_OK, NULL);
        return false;
    }
    return true;
}

static bool look_once(struct watch *watch)
{
    struct err_info err = ERR_INFO_INIT;
    arena_reset(watch->arena);
    struct rpc_call *call = rpc_stream_call(watch->stream);
    const struct api_method *method = rpc_call_method(call)->policy;
    bool writes = watch->request != NULL && method->takes_notes;
    enum err_code code = (writes ? work_run : work_read)(
        rpc_call_worker(call), watch->arena, watch->workspace_id, look, watch, &err);
    if (code == ERR_UNAVAILABLE && watch->begun) {
        watch->emit_count = 0;
        return false; /* the database is away: the watch stays and looks again */
    }
    if (code != ERR_OK) {
        finish(watch, code, err.text);
        return false;
    }
    return send_emits(watch);
}

/* Looks until nothing is new, or until the reader has something left to read. */
static void look_all(struct watch *watch)
{
    if (!watch->finished && atomic_load(&watch->service->draining)) {
        finish(watch, ERR_UNAVAILABLE, "the server is draining: start the watch again");
        return;
    }
    for (int round = 0; round < ROUNDS_MAX; round++) {
        if (watch->finished || !send_emits(watch) || rpc_stream_queued_bytes(watch->stream) > 0) {
            return;
        }
        if (!look_once(watch) || !watch->more) {
            return;
        }
    }
    rpc_stream_wake(watch->stream);
}

static void subscribe(struct watch *watch)
{
    for (int topic = 0; topic < HUB_TOPIC_COUNT; topic++) {
        if ((watch->type->topics & HUB_BIT(topic)) != 0) {
            watch->subscriptions[topic] = hub_subscribe(
                watch->service->hub, (enum hub_topic)topic, watch->workspace_id, watch->stream);
        }
    }
}

static void watch_message(struct rpc_stream *stream, void *state, const ProtobufCMessage *request)
{
    struct watch *watch = state;
    struct err_info err = ERR_INFO_INIT;
    if (watch->begun || watch->finished) {
        return;
    }
    struct rpc_call *call = rpc_stream_call(stream);
    struct api_call api = { .call = call,
                            .service = watch->service,
                            .principal = watch->principal,
                            .arena = watch->arena };
    enum err_code code = api_resolve_workspace(&api, rpc_call_worker(call), request, &err);
    if (code == ERR_OK) {
        watch->workspace_id = api.workspace_id;
        code = str_copy(str_of(api.workspace), watch->workspace, sizeof(watch->workspace));
    }
    if (code != ERR_OK) {
        finish(watch, code, err.text);
        return;
    }
    /* Subscribed before the first look, so that no change falls between the two. */
    subscribe(watch);
    watch->request = request;
    (void)look_once(watch);
    watch->request = NULL;
    if (!watch->finished) {
        watch->begun = true;
        look_all(watch);
        rpc_stream_set_timer(stream, LOOK_EVERY_US);
    }
}

static void watch_look(struct rpc_stream *stream, void *state)
{
    (void)stream;
    struct watch *watch = state;
    if (watch->begun && !watch->finished) {
        look_all(watch);
    }
}

static void watch_timer(struct rpc_stream *stream, void *state)
{
    struct watch *watch = state;
    struct err_info err = ERR_INFO_INIT;
    if (watch->finished) {
        return;
    }
    enum err_code code = credentials_recheck(
        watch->service, rpc_call_worker(rpc_stream_call(stream)), watch->principal, &err);
    if (code == ERR_UNAUTHENTICATED) {
        finish(watch, code, err.text);
        return;
    }
    bool is_stuck = watch->emit_next < watch->emit_count && watch->emit_next == watch->stuck_at;
    watch->stuck_looks = is_stuck ? watch->stuck_looks + 1 : 0;
    watch->stuck_at = watch->emit_next;
    if (watch->stuck_looks > STUCK_LOOKS_MAX) {
        finish(watch, ERR_LIMIT, "the watch is read too slowly: start it again");
        return;
    }
    watch_look(stream, state);
    rpc_stream_set_timer(stream, LOOK_EVERY_US);
}

static void watch_closed(struct rpc_stream *stream, void *state)
{
    (void)stream;
    struct watch *watch = state;
    for (int topic = 0; topic < HUB_TOPIC_COUNT; topic++) {
        hub_unsubscribe(watch->subscriptions[topic]);
    }
    if (watch->type->free_state != NULL) {
        watch->type->free_state(watch->state);
    }
    mem_free(watch->state);
    mem_free(watch->emits);
    arena_destroy(watch->arena);
    mem_free(watch);
}

const struct rpc_stream_ops api_watch_ops = {
    .open = watch_open,
    .message = watch_message,
    .writable = watch_look,
    .woken = watch_look,
    .timer = watch_timer,
    .closed = watch_closed,
};
