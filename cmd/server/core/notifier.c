#include "cmd/server/core/notifier.h"

#include "cmd/server/core/work.h"
#include "cmd/server/store/audit.h"
#include "common/base/log.h"
#include "common/base/map.h"
#include "common/sys/fault.h"
#include "common/sys/lock.h"
#include "common/sys/thread.h"

enum {
    PACE_US = 100000,  /* between two rounds: what comes meanwhile is said together */
    RETRY_US = 500000, /* after a round that failed */
    WAITING_MAX = 4096,
    PAYLOAD_BYTES = 48
};

struct notifier {
    const struct store_options *store;
    struct hub *hub;
    struct sql_conn *conn; /* the thread's; NULL: not connected */
    struct thread thread;
    struct lock lock;
    struct lock_cond changed;
    struct map *waiting; /* payload -> anything */
    bool is_idle;        /* the thread waits for the first to come */
    bool is_stopping;
};

bool notifier_takes(enum hub_topic topic)
{
    return topic == HUB_AGENTS || topic == HUB_AUDIT;
}

void notifier_tell(struct notifier *notifier, enum hub_topic topic, int64_t key)
{
    char payload[PAYLOAD_BYTES];
    hub_format(topic, key, payload, sizeof(payload));
    LOCK_GUARD(&notifier->lock);
    if (map_count(notifier->waiting) < WAITING_MAX) { /* else: those who watch look by themselves */
        (void)map_put(notifier->waiting, str_of(payload), notifier);
    }
    if (notifier->is_idle) {
        notifier->is_idle = false;
        lock_cond_signal(&notifier->changed);
    }
}

static enum err_code connect(struct notifier *notifier, struct err_info *err)
{
    if (notifier->conn == NULL) {
        return store_connect(notifier->store, &notifier->conn, err);
    }
    return sql_is_usable(notifier->conn) ? ERR_OK : sql_reconnect(notifier->conn, err);
}

static enum err_code say_all(struct sql_conn *conn, void *context, struct err_info *err)
{
    const struct map *said = context;
    struct str_view payload;
    void *value = NULL;
    size_t cursor = 0;
    while (map_next(said, &cursor, &payload, &value)) {
        TRY(sql_notify(conn, WORK_CHANNEL, payload, err));
    }
    return ERR_OK;
}

static enum err_code place(struct sql_conn *conn, void *context, struct err_info *err)
{
    const int64_t *workspace_id = context;
    TRY(store_audit_place(conn, *workspace_id, err));
    FAULT_POINT("server.audit.unplaced");
    return ERR_OK;
}

/* Each workspace in a transaction of its own: no chain waits for another, nor fails with it. */
static enum err_code place_all(
    struct notifier *notifier, const struct map *said, struct err_info *err)
{
    struct str_view payload;
    void *value = NULL;
    size_t cursor = 0;
    enum err_code code = ERR_OK;
    while (map_next(said, &cursor, &payload, &value)) {
        enum hub_topic topic = HUB_TOPIC_COUNT;
        int64_t key = 0;
        TRY(hub_parse(payload, &topic, &key));
        if (topic != HUB_AUDIT) {
            continue;
        }
        enum err_code of_one = sql_transact(notifier->conn, key, place, &key, err);
        if (of_one == ERR_OK) {
            FAULT_POINT("server.audit.placed");
            hub_publish(notifier->hub, topic, key);
        }
        code = code == ERR_OK ? of_one : code;
    }
    return code;
}

static bool say(struct notifier *notifier, struct map *said)
{
    struct err_info err = ERR_INFO_INIT;
    enum err_code code = connect(notifier, &err);
    if (code == ERR_OK) {
        code = place_all(notifier, said, &err);
    }
    if (notifier->conn != NULL && sql_is_usable(notifier->conn)) {
        enum err_code of_wakes =
            sql_transact(notifier->conn, SQL_ALL_WORKSPACES, say_all, said, &err);
        code = code == ERR_OK ? of_wakes : code;
    }
    if (code != ERR_OK) {
        log_debug("wakes_wait", LOG_ERR(&err));
    }
    return code == ERR_OK;
}

/* What could not be said waits on. */
static void keep(struct notifier *notifier, const struct map *unsaid)
{
    struct str_view payload;
    void *value = NULL;
    size_t cursor = 0;
    LOCK_GUARD(&notifier->lock);
    while (map_next(unsaid, &cursor, &payload, &value)) {
        (void)map_put(notifier->waiting, payload, notifier);
    }
}

/* What waits, once something does; false: the end has come, and this is the last of it. */
static bool take(struct notifier *notifier, struct map **ret_taken)
{
    LOCK_GUARD(&notifier->lock);
    while (!notifier->is_stopping && map_count(notifier->waiting) == 0) {
        notifier->is_idle = true;
        lock_cond_wait(&notifier->changed, &notifier->lock);
    }
    notifier->is_idle = false;
    *ret_taken = notifier->waiting;
    notifier->waiting = map_create();
    return !notifier->is_stopping;
}

static void pause_for(struct notifier *notifier, int64_t us)
{
    struct mono_us until = { clock_mono(clock_system()).value + us };
    LOCK_GUARD(&notifier->lock);
    while (!notifier->is_stopping
           && lock_cond_wait_until(&notifier->changed, &notifier->lock, until)) {
    }
}

static void run(void *context)
{
    struct notifier *notifier = context;
    bool goes_on = true;
    while (goes_on) {
        struct map *taken = NULL;
        goes_on = take(notifier, &taken);
        bool is_said = map_count(taken) == 0 || say(notifier, taken);
        if (!is_said) {
            keep(notifier, taken);
        }
        map_destroy(taken, NULL);
        pause_for(notifier, is_said ? PACE_US : RETRY_US);
    }
}

static void destroy(struct notifier *notifier)
{
    sql_close(notifier->conn);
    map_destroy(notifier->waiting, NULL);
    lock_cond_deinit(&notifier->changed);
    lock_deinit(&notifier->lock);
    mem_free(notifier);
}

enum err_code notifier_start(
    const struct store_options *store,
    struct hub *hub,
    struct notifier **ret_notifier,
    struct err_info *err)
{
    struct notifier *notifier = mem_alloc(sizeof(*notifier));
    notifier->store = store;
    notifier->hub = hub;
    notifier->waiting = map_create();
    lock_init(&notifier->lock, LOCK_RANK_REGISTRY);
    lock_cond_init(&notifier->changed);
    enum err_code code = thread_start(&notifier->thread, "notifier", run, notifier, err);
    if (code != ERR_OK) {
        destroy(notifier);
        return code;
    }
    *ret_notifier = notifier;
    return ERR_OK;
}

void notifier_stop(struct notifier *notifier)
{
    if (notifier == NULL) {
        return;
    }
    lock_acquire(&notifier->lock);
    notifier->is_stopping = true;
    lock_cond_broadcast(&notifier->changed);
    lock_release(&notifier->lock);
    thread_join(&notifier->thread);
    destroy(notifier);
}
