#include "cmd/server/ingest/ingest.h"

#include "common/base/list.h"
#include "common/base/log.h"
#include "common/sys/fault.h"
#include "common/sys/lock.h"
#include "common/sys/thread.h"

#include <stdlib.h>

enum {
    QUEUE_RECORDS = 8192,
    BATCH_RECORDS = 512,
    ARENA_BYTES = 1024 * 1024,
};

/* Records waiting may hold this much memory together. */
#define QUEUE_BYTES ((size_t)256 * 1024 * 1024)

struct item {
    struct list link;
    struct record *record;
    size_t bytes;
    const struct ingest_source *source;
    void *context;
    uint64_t place; /* order of arrival */
};

struct waiter {
    struct list link;
    struct rpc_stream *stream;
};

struct ingest {
    struct service *service;
    struct worker *worker;
    struct batch_memory memory;
    struct lock lock;
    struct lock_cond ready;
    struct list items;
    size_t item_count;
    size_t byte_count;
    uint64_t last_place;
    struct list waiters; /* streams that found the queue full */
    bool stopping;
    struct thread thread; /* of ingest_start */
    struct batch *batch;  /* of the turn that runs */
    struct metric *stored;
    struct metric *failed;
    struct metric *opaque;
    struct metric *batch_seconds;
    struct metric *queued;
};

struct batch {
    struct ingest *ingest;
    struct item *items[BATCH_RECORDS];
    struct record *records[BATCH_RECORDS];
    struct batch_result results[BATCH_RECORDS];
    size_t count;
    unsigned attempts;
};

/* By agent, then in the order of arrival. */
static int compare_items(const void *a, const void *b)
{
    const struct item *left = *(struct item *const *)a;
    const struct item *right = *(struct item *const *)b;
    int64_t left_agent = left->record->source.agent_id;
    int64_t right_agent = right->record->source.agent_id;
    if (left_agent != right_agent) {
        return left_agent < right_agent ? -1 : 1;
    }
    return left->place < right->place ? -1 : 1;
}

static void wake_waiters(struct list *waiters)
{
    for (struct list *node = list_pop(waiters); node != NULL; node = list_pop(waiters)) {
        struct waiter *waiter = LIST_ENTRY(node, struct waiter, link);
        rpc_stream_wake(waiter->stream);
        rpc_stream_unref(waiter->stream);
        mem_free(waiter);
    }
}

/* false: nothing is queued. */
static bool take_batch(struct ingest *ingest, struct batch *batch)
{
    struct list waiters;
    list_init(&waiters);
    lock_acquire(&ingest->lock);
    batch->count = 0;
    while (batch->count < BATCH_RECORDS && !list_is_empty(&ingest->items)) {
        struct item *item = LIST_ENTRY(list_pop(&ingest->items), struct item, link);
        ingest->item_count--;
        ingest->byte_count -= item->bytes;
        batch->items[batch->count++] = item;
    }
    for (struct list *node = list_pop(&ingest->waiters); node != NULL;
         node = list_pop(&ingest->waiters)) {
        list_append(&waiters, node);
    }
    metric_set(ingest->queued, (int64_t)ingest->item_count);
    lock_release(&ingest->lock);
    wake_waiters(&waiters);
    return batch->count > 0;
}

static enum err_code write_work(struct work *work, void *context, struct err_info *err)
{
    struct batch *batch = context;
    if (batch->attempts++ > 0) {
        series_cache_clear(
            batch->ingest->memory.cache); /* it may name series that were rolled back */
    }
    enum err_code code = batch_write(
        work, &batch->ingest->memory, batch->records, batch->count, batch->results, err);
    FAULT_POINT("server.batch.unstored");
    if (code != ERR_OK) {
        series_cache_clear(batch->ingest->memory.cache);
    }
    return code;
}

static enum err_code write_batch(struct ingest *ingest, struct batch *batch)
{
    struct err_info err = ERR_INFO_INIT;
    AUTO_ARENA struct arena *arena = arena_create(ARENA_BYTES);
    batch->attempts = 0;
    enum err_code code =
        work_run(ingest->worker, arena, SQL_ALL_WORKSPACES, write_work, batch, &err);
    if (code != ERR_OK) {
        series_cache_clear(ingest->memory.cache);
        log_warn(
            "ingest_failed",
            LOG_STR("code", err_name(code)),
            LOG_INT("records", batch->count),
            LOG_ERR(&err));
    }
    return code;
}

static bool is_passing(enum err_code code)
{
    return code == ERR_UNAVAILABLE || code == ERR_UNCERTAIN || code == ERR_BUSY
        || code == ERR_TIMEOUT || code == ERR_LIMIT || code == ERR_NOMEM;
}

static void finish_item(struct ingest *ingest, struct item *item, const struct batch_result *result)
{
    metric_add(result->code == ERR_OK ? ingest->stored : ingest->failed, 1);
    item->source->done(item->context, result);
    record_destroy(item->record);
    mem_free(item);
}

static void fail_item(struct ingest *ingest, struct item *item)
{
    const struct batch_result failed = { .code = ERR_UNAVAILABLE };
    finish_item(ingest, item, &failed);
}

/*
 * One record in a transaction of its own. What the store refuses for the record's own sake is kept
 * as it came, so that it can neither be lost nor block those behind it.
 */
static void write_one(struct ingest *ingest, struct item *item)
{
    AUTO_FREE struct batch *one = mem_alloc(sizeof(*one));
    one->ingest = ingest;
    one->records[0] = item->record;
    one->count = 1;
    enum err_code code = write_batch(ingest, one);
    if (code != ERR_OK && !is_passing(code) && record_make_opaque(item->record)) {
        metric_add(ingest->opaque, 1);
        code = write_batch(ingest, one);
    }
    if (code == ERR_OK) {
        finish_item(ingest, item, &one->results[0]);
    } else {
        fail_item(ingest, item);
    }
}

/* Answers what a broken source has sent after the record that was not stored. */
static void drop_broken(struct ingest *ingest, struct batch *batch)
{
    size_t count = 0;
    for (size_t i = 0; i < batch->count; i++) {
        struct item *item = batch->items[i];
        if (item->source->is_broken(item->context)) {
            fail_item(ingest, item);
        } else {
            batch->items[count++] = item;
        }
    }
    batch->count = count;
}

/* A batch that fails for one record's sake is written record by record, so that the others get
 * through. */
static void write_singly(struct ingest *ingest, const struct batch *batch)
{
    for (size_t i = 0; i < batch->count; i++) {
        struct item *item = batch->items[i];
        if (item->source->is_broken(item->context)) {
            fail_item(ingest, item);
        } else {
            write_one(ingest, item);
        }
    }
}

static void finish_batch(struct ingest *ingest, struct batch *batch, enum err_code code)
{
    for (size_t i = 0; i < batch->count; i++) {
        if (code == ERR_OK) {
            finish_item(ingest, batch->items[i], &batch->results[i]);
        } else {
            fail_item(ingest, batch->items[i]);
        }
    }
}

static void run_batch(struct ingest *ingest, struct batch *batch)
{
    FAULT_POINT("server.batch.taken");
    drop_broken(ingest, batch);
    if (batch->count == 0) {
        return;
    }
    qsort(batch->items, batch->count, sizeof(void *), compare_items);
    for (size_t i = 0; i < batch->count; i++) {
        batch->records[i] = batch->items[i]->record;
        metric_add(ingest->opaque, batch->records[i]->why_opaque != NULL ? 1 : 0);
    }
    int64_t began = clock_mono(clock_system()).value;
    enum err_code code = write_batch(ingest, batch);
    metric_observe_us(ingest->batch_seconds, clock_mono(clock_system()).value - began);
    FAULT_POINT("server.batch.stored");
    /* What is too large for one transaction may pass in several. */
    bool divides = code == ERR_LIMIT && batch->count > 1;
    if (code == ERR_OK || (is_passing(code) && !divides)) {
        finish_batch(ingest, batch, code);
    } else {
        write_singly(ingest, batch);
    }
}

bool ingest_turn(struct ingest *ingest)
{
    if (!take_batch(ingest, ingest->batch)) {
        return false;
    }
    run_batch(ingest, ingest->batch);
    return true;
}

/* false: stopped, and nothing is left. */
static bool wait_records(struct ingest *ingest)
{
    LOCK_GUARD(&ingest->lock);
    while (list_is_empty(&ingest->items) && !ingest->stopping) {
        lock_cond_wait(&ingest->ready, &ingest->lock);
    }
    return !list_is_empty(&ingest->items);
}

static void run(void *context)
{
    while (wait_records(context)) {
        (void)ingest_turn(context);
    }
}

static void register_metrics(struct ingest *ingest)
{
    struct metrics *metrics = ingest->service->metrics;
    ingest->stored = metric_get(
        metrics,
        METRIC_COUNTER,
        "belay_ingest_records_total",
        "Uploaded records, by outcome",
        "outcome=\"stored\"");
    ingest->failed = metric_get(
        metrics,
        METRIC_COUNTER,
        "belay_ingest_records_total",
        "Uploaded records, by outcome",
        "outcome=\"failed\"");
    ingest->opaque = metric_get(
        metrics,
        METRIC_COUNTER,
        "belay_ingest_undecodable_total",
        "Uploaded records kept as they came because they did not decode",
        NULL);
    ingest->batch_seconds = metric_get(
        metrics,
        METRIC_HISTOGRAM,
        "belay_ingest_batch_seconds",
        "Time of one batch transaction",
        NULL);
    ingest->queued = metric_get(
        metrics,
        METRIC_GAUGE,
        "belay_ingest_queued_records",
        "Records waiting for the writer",
        NULL);
}

enum err_code ingest_open(struct service *service, struct ingest **ret_ingest, struct err_info *err)
{
    struct ingest *ingest = mem_alloc(sizeof(*ingest));
    ingest->service = service;
    list_init(&ingest->items);
    list_init(&ingest->waiters);
    lock_init(&ingest->lock, LOCK_RANK_INGEST);
    lock_cond_init(&ingest->ready);
    ingest->memory.cache = series_cache_create();
    ingest->batch = mem_alloc(sizeof(*ingest->batch));
    ingest->batch->ingest = ingest;
    register_metrics(ingest);
    void *worker = NULL;
    enum err_code code = worker_open(service, &worker, err);
    ingest->worker = worker;
    if (code != ERR_OK) {
        ingest_stop(ingest);
        return code;
    }
    *ret_ingest = ingest;
    return ERR_OK;
}

enum err_code ingest_start(
    struct service *service, struct ingest **ret_ingest, struct err_info *err)
{
    struct ingest *ingest = NULL;
    TRY(ingest_open(service, &ingest, err));
    enum err_code code = thread_start(&ingest->thread, "ingest", run, ingest, err);
    if (code != ERR_OK) {
        ingest_stop(ingest);
        return code;
    }
    *ret_ingest = ingest;
    return ERR_OK;
}

/* What no turn came for: nothing of it was stored. */
static void fail_rest(struct ingest *ingest)
{
    for (struct list *node = list_pop(&ingest->items); node != NULL;
         node = list_pop(&ingest->items)) {
        fail_item(ingest, LIST_ENTRY(node, struct item, link));
    }
}

void ingest_stop(struct ingest *ingest)
{
    if (ingest == NULL) {
        return;
    }
    lock_acquire(&ingest->lock);
    ingest->stopping = true;
    lock_cond_broadcast(&ingest->ready);
    lock_release(&ingest->lock);
    thread_join(&ingest->thread);
    fail_rest(ingest);
    wake_waiters(&ingest->waiters);
    worker_close(ingest->service, ingest->worker);
    series_cache_destroy(ingest->memory.cache);
    mem_free(ingest->batch);
    lock_cond_deinit(&ingest->ready);
    lock_deinit(&ingest->lock);
    mem_free(ingest);
}

enum err_code ingest_submit(
    struct ingest *ingest,
    struct record *record,
    const struct ingest_source *source,
    void *context,
    struct rpc_stream *room_stream)
{
    size_t bytes = arena_used_bytes(record->arena) + sizeof(*record);
    LOCK_GUARD(&ingest->lock);
    if (ingest->stopping || ingest->item_count >= QUEUE_RECORDS
        || (ingest->byte_count > 0 && ingest->byte_count + bytes > QUEUE_BYTES)) {
        struct waiter *waiter = mem_alloc(sizeof(*waiter));
        waiter->stream = rpc_stream_ref(room_stream);
        list_append(&ingest->waiters, &waiter->link);
        return ERR_BUSY;
    }
    struct item *item = mem_alloc(sizeof(*item));
    item->record = record;
    item->bytes = bytes;
    item->source = source;
    item->context = context;
    item->place = ++ingest->last_place;
    list_append(&ingest->items, &item->link);
    ingest->item_count++;
    ingest->byte_count += bytes;
    lock_cond_signal(&ingest->ready);
    return ERR_OK;
}
