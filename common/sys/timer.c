#include "common/sys/timer.h"

#include "common/base/map.h"
#include "common/base/mem.h"
#include "common/sys/lock.h"
#include "common/sys/thread.h"

struct entry {
    struct mono_us deadline;
    uint64_t id;
    size_t at; /* place in the heap */
    void (*fn)(void *context);
    void *context;
};

struct timer_wheel {
    struct lock lock;
    struct lock_cond changed;
    struct entry **heap; /* least deadline first */
    size_t count;
    size_t capacity;
    struct map *by_id;
    uint64_t last_id;
    struct mono_us wakes_at; /* the thread looks by itself at this time; INT64_MIN: soon */
    bool stopping;
    struct thread thread;
};

static void place(struct timer_wheel *wheel, size_t at, struct entry *entry)
{
    wheel->heap[at] = entry;
    entry->at = at;
}

static void sift_up(struct timer_wheel *wheel, size_t at)
{
    struct entry *entry = wheel->heap[at];
    while (at > 0 && wheel->heap[(at - 1) / 2]->deadline.value > entry->deadline.value) {
        place(wheel, at, wheel->heap[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    place(wheel, at, entry);
}

static void sift_down(struct timer_wheel *wheel, size_t at)
{
    struct entry *entry = wheel->heap[at];
    for (size_t child = 2 * at + 1; child < wheel->count; child = 2 * at + 1) {
        if (child + 1 < wheel->count
            && wheel->heap[child + 1]->deadline.value < wheel->heap[child]->deadline.value) {
            child++;
        }
        if (wheel->heap[child]->deadline.value >= entry->deadline.value) {
            break;
        }
        place(wheel, at, wheel->heap[child]);
        at = child;
    }
    place(wheel, at, entry);
}

static struct entry *take_locked(struct timer_wheel *wheel, size_t at)
{
    struct entry *entry = wheel->heap[at];
    struct entry *last = wheel->heap[--wheel->count];
    if (entry != last) {
        place(wheel, at, last);
        sift_up(wheel, at);
        sift_down(wheel, last->at);
    }
    int64_t key = (int64_t)entry->id;
    (void)map_remove(wheel->by_id, map_key_of(&key));
    return entry;
}

/* The next entry that is due, or NULL when stopping. */
static struct entry *wait_due(struct timer_wheel *wheel)
{
    LOCK_GUARD(&wheel->lock);
    while (!wheel->stopping) {
        struct mono_us until = { INT64_MAX };
        if (wheel->count > 0) {
            until = wheel->heap[0]->deadline;
            if (until.value <= clock_mono(clock_system()).value) {
                return take_locked(wheel, 0);
            }
        }
        wheel->wakes_at = until;
        (void)lock_cond_wait_until(&wheel->changed, &wheel->lock, until);
        wheel->wakes_at.value = INT64_MIN;
    }
    return NULL;
}

static void run(void *context)
{
    struct timer_wheel *wheel = context;
    for (struct entry *entry = wait_due(wheel); entry != NULL; entry = wait_due(wheel)) {
        entry->fn(entry->context);
        mem_free(entry);
    }
}

enum err_code timer_wheel_start(struct timer_wheel **ret_wheel, struct err_info *err)
{
    struct timer_wheel *wheel = mem_alloc(sizeof(*wheel));
    wheel->wakes_at.value = INT64_MIN;
    lock_init(&wheel->lock, LOCK_RANK_TIMER);
    lock_cond_init(&wheel->changed);
    wheel->by_id = map_create();
    enum err_code code = thread_start(&wheel->thread, "timer", run, wheel, err);
    if (code != ERR_OK) {
        timer_wheel_stop(wheel);
        return code;
    }
    *ret_wheel = wheel;
    return ERR_OK;
}

void timer_wheel_stop(struct timer_wheel *wheel)
{
    if (wheel == NULL) {
        return;
    }
    lock_acquire(&wheel->lock);
    wheel->stopping = true;
    lock_cond_broadcast(&wheel->changed);
    lock_release(&wheel->lock);
    thread_join(&wheel->thread);
    for (size_t i = 0; i < wheel->count; i++) {
        mem_free(wheel->heap[i]);
    }
    map_destroy(wheel->by_id, NULL);
    mem_free(wheel->heap);
    lock_cond_deinit(&wheel->changed);
    lock_deinit(&wheel->lock);
    mem_free(wheel);
}

uint64_t timer_wheel_add(
    struct timer_wheel *wheel, int64_t delay_us, void (*fn)(void *context), void *context)
{
    struct entry *entry = mem_alloc(sizeof(*entry));
    entry->deadline.value = clock_mono(clock_system()).value + delay_us;
    entry->fn = fn;
    entry->context = context;
    LOCK_GUARD(&wheel->lock);
    if (wheel->count == wheel->capacity) {
        wheel->capacity = wheel->capacity == 0 ? 64 : wheel->capacity * 2;
        wheel->heap = mem_realloc(wheel->heap, wheel->capacity * sizeof(struct entry *));
    }
    entry->id = ++wheel->last_id;
    int64_t key = (int64_t)entry->id;
    (void)map_put(wheel->by_id, map_key_of(&key), entry);
    place(wheel, wheel->count++, entry);
    sift_up(wheel, wheel->count - 1);
    /* Most entries are cancelled long before their time: waking the thread for each would cost
     * more than all the rest. */
    if (entry->deadline.value < wheel->wakes_at.value) {
        wheel->wakes_at = entry->deadline;
        lock_cond_signal(&wheel->changed);
    }
    return entry->id;
}

bool timer_wheel_cancel(struct timer_wheel *wheel, uint64_t id)
{
    int64_t key = (int64_t)id;
    LOCK_GUARD(&wheel->lock);
    struct entry *entry = map_find(wheel->by_id, map_key_of(&key));
    if (entry == NULL) {
        return false;
    }
    mem_free(take_locked(wheel, entry->at));
    return true;
}
