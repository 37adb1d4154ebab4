#include "common/base/map.h"

#include "common/base/mem.h"

#include <sys/random.h>

enum {
    FIRST_SLOTS = 16
};

struct slot {
    char *key; /* NULL: never used; value NULL with a key: deleted */
    size_t key_len;
    uint64_t hash;
    void *value;
};

struct map {
    struct slot *slots;
    size_t slot_count; /* power of two */
    size_t live;
    size_t filled; /* live and deleted */
    uint64_t seed[2];
};

static uint64_t rotate(uint64_t x, int bits)
{
    return (x << bits) | (x >> (64 - bits));
}

static inline void sip_round(uint64_t v[4])
{
    v[0] += v[1];
    v[1] = rotate(v[1], 13) ^ v[0];
    v[0] = rotate(v[0], 32);
    v[2] += v[3];
    v[3] = rotate(v[3], 16) ^ v[2];
    v[0] += v[3];
    v[3] = rotate(v[3], 21) ^ v[0];
    v[2] += v[1];
    v[1] = rotate(v[1], 17) ^ v[2];
    v[2] = rotate(v[2], 32);
}

/* SipHash-1-3: keys come from peers, so the hash is keyed. */
static uint64_t hash_key(const uint64_t seed[2], const char *key, size_t len)
{
    uint64_t v[4] = {
        seed[0] ^ 0x736f6d6570736575U,
        seed[1] ^ 0x646f72616e646f6dU,
        seed[0] ^ 0x6c7967656e657261U,
        seed[1] ^ 0x7465646279746573U,
    };
    size_t whole = len / 8;
    for (size_t i = 0; i < whole; i++) {
        uint64_t word = 0;
        memcpy(&word, key + 8 * i, 8);
        v[3] ^= word;
        sip_round(v);
        v[0] ^= word;
    }
    uint64_t last = (uint64_t)len << 56;
    uint64_t tail = 0;
    if (len % 8 != 0) {
        memcpy(&tail, key + 8 * whole, len % 8);
    }
    last |= tail;
    v[3] ^= last;
    sip_round(v);
    v[0] ^= last;
    v[2] ^= 0xff;
    sip_round(v);
    sip_round(v);
    sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

struct map *map_create(void)
{
    struct map *map = mem_alloc(sizeof(*map));
    if (getrandom(map->seed, sizeof(map->seed), 0) != (ssize_t)sizeof(map->seed)) {
        map->seed[0] ^= (uint64_t)(uintptr_t)map;
    }
    map->slot_count = FIRST_SLOTS;
    map->slots = mem_alloc_array(map->slot_count, sizeof(*map->slots));
    return map;
}

void map_destroy(struct map *map, void (*free_value)(void *value))
{
    if (map == NULL) {
        return;
    }
    for (size_t i = 0; i < map->slot_count; i++) {
        if (map->slots[i].value != NULL && free_value != NULL) {
            free_value(map->slots[i].value);
        }
        mem_free(map->slots[i].key);
    }
    mem_free(map->slots);
    mem_free(map);
}

static bool slot_matches(const struct slot *slot, uint64_t hash, struct str_view key)
{
    return slot->hash == hash && slot->key_len == key.len
        && (key.len == 0 || memcmp(slot->key, key.ptr, key.len) == 0);
}

/* The slot of key, or the empty slot where it would go. */
static struct slot *probe(const struct map *map, uint64_t hash, struct str_view key)
{
    size_t mask = map->slot_count - 1;
    size_t at = (size_t)hash & mask;
    while (map->slots[at].key != NULL && !slot_matches(&map->slots[at], hash, key)) {
        at = (at + 1) & mask;
    }
    return &map->slots[at];
}

void *map_find(const struct map *map, struct str_view key)
{
    return probe(map, hash_key(map->seed, key.ptr, key.len), key)->value;
}

static void rehash(struct map *map)
{
    struct slot *old = map->slots;
    size_t old_count = map->slot_count;
    map->slot_count = FIRST_SLOTS;
    while (map->slot_count < (map->live + 1) * 2) {
        map->slot_count *= 2;
    }
    map->slots = mem_alloc_array(map->slot_count, sizeof(*map->slots));
    map->filled = map->live;
    for (size_t i = 0; i < old_count; i++) {
        if (old[i].value != NULL) {
            *probe(map, old[i].hash, str_from(old[i].key, old[i].key_len)) = old[i];
        } else {
            mem_free(old[i].key);
        }
    }
    mem_free(old);
}

void *map_put(struct map *map, struct str_view key, void *value)
{
    uint64_t hash = hash_key(map->seed, key.ptr, key.len);
    struct slot *slot = probe(map, hash, key);
    void *previous = slot->value;
    if (slot->key == NULL) {
        if ((map->filled + 1) * 4 > map->slot_count * 3) {
            rehash(map);
            slot = probe(map, hash, key);
        }
        slot->key = mem_alloc(key.len + 1);
        if (key.len > 0) {
            memcpy(slot->key, key.ptr, key.len);
        }
        slot->key_len = key.len;
        slot->hash = hash;
        map->filled++;
    }
    slot->value = value;
    map->live += previous == NULL ? 1 : 0;
    return previous;
}

void *map_remove(struct map *map, struct str_view key)
{
    struct slot *slot = probe(map, hash_key(map->seed, key.ptr, key.len), key);
    void *value = slot->value;
    if (value != NULL) {
        slot->value = NULL;
        map->live--;
    }
    return value;
}

size_t map_count(const struct map *map)
{
    return map->live;
}

bool map_next(const struct map *map, size_t *cursor, struct str_view *ret_key, void **ret_value)
{
    while (*cursor < map->slot_count) {
        const struct slot *slot = &map->slots[(*cursor)++];
        if (slot->value != NULL) {
            *ret_key = str_from(slot->key, slot->key_len);
            *ret_value = slot->value;
            return true;
        }
    }
    return false;
}
