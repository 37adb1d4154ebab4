#include "tests/support/sim/sim.h"

#include "common/base/cleanup.h"
#include "common/base/list.h"

#include <sodium.h>

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/random.h>

/* 2026-01-01T00:00:00Z */
#define WALL_START (INT64_C(1767225600) * US_PER_SECOND)
#define MONO_START (1000 * US_PER_SECOND)

struct event {
    struct list link; /* by time, then by order */
    uint64_t id;
    int64_t at;
    sim_fn fn;
    void *context;
};

struct sim {
    struct list events;
    uint64_t last_id;
    int64_t now;
    uint64_t faults; /* states of the two generators: what the world draws, and what programs do */
    uint64_t programs;
    sim_fn meanwhile;
    void *meanwhile_context;
    uint64_t trail;
    bool prints;
};

/* The world whose chance getrandom gives; see the header. */
static struct sim *current;

/* splitmix64 */
static uint64_t draw(uint64_t *state)
{
    uint64_t value = *state += UINT64_C(0x9E3779B97F4A7C15);
    value = (value ^ (value >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    value = (value ^ (value >> 27)) * UINT64_C(0x94D049BB133111EB);
    return value ^ (value >> 31);
}

/* Stands in for the system's. Before a world exists it is a constant sequence. */
ssize_t getrandom(void *out, size_t bytes, unsigned flags)
{
    static uint64_t before = 1;
    uint64_t *state = current == NULL ? &before : &current->programs;
    unsigned char *at = out;
    (void)flags;
    for (size_t i = 0; i < bytes; i++) {
        at[i] = (unsigned char)(draw(state) >> 24);
    }
    return (ssize_t)bytes;
}

static const char *sodium_name(void)
{
    return "simulation";
}

static uint32_t sodium_random(void)
{
    uint32_t value = 0;
    (void)getrandom(&value, sizeof(value), 0);
    return value;
}

static void sodium_buf(void *const out, const size_t bytes)
{
    (void)getrandom(out, bytes, 0);
    sim_fn fn = current == NULL ? NULL : current->meanwhile;
    if (fn != NULL) {
        current->meanwhile = NULL;
        fn(current->meanwhile_context);
        current->meanwhile = fn;
    }
}

/* Keys and tokens come from here too. */
static struct randombytes_implementation sodium_source = { .implementation_name = sodium_name,
                                                           .random = sodium_random,
                                                           .buf = sodium_buf };

struct sim *sim_create(uint64_t seed)
{
    (void)randombytes_set_implementation(&sodium_source);
    struct sim *sim = mem_alloc(sizeof(*sim));
    list_init(&sim->events);
    sim->now = MONO_START;
    sim->faults = seed;
    sim->programs = ~seed;
    (void)draw(&sim->faults);
    sim->trail = UINT64_C(0xCBF29CE484222325);
    current = sim;
    return sim;
}

void sim_destroy(struct sim *sim)
{
    LIST_FOR_EACH(node, &sim->events)
    {
        mem_free(LIST_ENTRY(node, struct event, link));
    }
    current = NULL;
    mem_free(sim);
}

void sim_set_meanwhile(struct sim *sim, sim_fn fn, void *context)
{
    sim->meanwhile = fn;
    sim->meanwhile_context = context;
}

struct mono_us sim_now(const struct sim *sim)
{
    return (struct mono_us){ sim->now };
}

uint64_t sim_after(struct sim *sim, int64_t delay_us, sim_fn fn, void *context)
{
    struct event *event = mem_alloc(sizeof(*event));
    event->id = ++sim->last_id;
    event->at = sim->now + (delay_us < 0 ? 0 : delay_us);
    event->fn = fn;
    event->context = context;
    struct list *at = sim->events.prev;
    while (at != &sim->events && LIST_ENTRY(at, struct event, link)->at > event->at) {
        at = at->prev;
    }
    list_prepend(at, &event->link);
    return event->id;
}

void sim_cancel(struct sim *sim, uint64_t id)
{
    LIST_FOR_EACH(node, &sim->events)
    {
        struct event *event = LIST_ENTRY(node, struct event, link);
        if (event->id == id) {
            list_remove(node);
            mem_free(event);
            return;
        }
    }
}

struct mono_us sim_next(const struct sim *sim)
{
    bool none = list_is_empty(&sim->events);
    return (struct mono_us){ none ? INT64_MAX
                                  : LIST_ENTRY(sim->events.next, struct event, link)->at };
}

void sim_step(struct sim *sim, struct mono_us until)
{
    int64_t next = sim_next(sim).value;
    if (next > until.value) {
        sim->now = until.value > sim->now ? until.value : sim->now;
        return;
    }
    struct event event = *LIST_ENTRY(sim->events.next, struct event, link);
    mem_free(LIST_ENTRY(list_pop(&sim->events), struct event, link));
    sim->now = event.at;
    event.fn(event.context);
}

uint64_t sim_below(struct sim *sim, uint64_t bound)
{
    return draw(&sim->faults) % bound;
}

int64_t sim_between(struct sim *sim, int64_t least, int64_t most)
{
    return least + (int64_t)sim_below(sim, (uint64_t)(most - least) + 1);
}

bool sim_chance(struct sim *sim, unsigned per_mille)
{
    return sim_below(sim, 1000) < per_mille;
}

static struct mono_us clock_read_mono(const struct clock *clock)
{
    const struct sim_clock *self = (const void *)clock;
    return sim_now(self->sim);
}

static struct wall_us clock_read_wall(const struct clock *clock)
{
    const struct sim_clock *self = (const void *)clock;
    return (struct wall_us){ WALL_START + self->sim->now - MONO_START + self->wall_off_us };
}

void sim_clock_init(struct sim_clock *clock, const struct sim *sim)
{
    clock->clock.mono = clock_read_mono;
    clock->clock.wall = clock_read_wall;
    clock->sim = sim;
    clock->wall_off_us = 0;
}

void sim_note(struct sim *sim, const char *format, ...)
{
    char text[256];
    va_list args;
    va_start(args, format);
    int length = vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    for (int i = 0; i < length && i < (int)sizeof(text) - 1; i++) {
        sim->trail = (sim->trail ^ (unsigned char)text[i]) * UINT64_C(0x100000001B3);
    }
    sim->trail = (sim->trail ^ (uint64_t)sim->now) * UINT64_C(0x100000001B3);
    if (sim->prints) {
        (void)printf("%12.6f %s\n", (double)(sim->now - MONO_START) / 1e6, text);
    }
}

uint64_t sim_trail(const struct sim *sim)
{
    return sim->trail;
}

void sim_print(struct sim *sim, bool on)
{
    sim->prints = on;
}
