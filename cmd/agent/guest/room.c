#include "cmd/agent/guest/room.h"

#include "common/base/cleanup.h"

#include <inttypes.h>
#include <string.h>

static const struct {
    const char *name;
    const char *unit;
    size_t offset;
} parts[] = {
    { "sandboxes", "", offsetof(struct room, sandboxes) },
    { "processor", " thousandths", offsetof(struct room, cpu_millis) },
    { "memory", " bytes", offsetof(struct room, memory_bytes) },
    { "disk", " bytes", offsetof(struct room, disk_bytes) },
};

static uint64_t get(const struct room *room, size_t part)
{
    uint64_t value = 0;
    memcpy(&value, (const char *)room + parts[part].offset, sizeof(value));
    return value;
}

static void set(struct room *room, size_t part, uint64_t value)
{
    memcpy((char *)room + parts[part].offset, &value, sizeof(value));
}

void room_add(struct room *sum, const struct room *part)
{
    for (size_t i = 0; i < ARRAY_LENGTH(parts); i++) {
        uint64_t more = get(part, i);
        uint64_t so_far = get(sum, i);
        set(sum, i, more > UINT64_MAX - so_far ? UINT64_MAX : so_far + more);
    }
}

void room_subtract(struct room *rest, const struct room *part)
{
    for (size_t i = 0; i < ARRAY_LENGTH(parts); i++) {
        uint64_t less = get(part, i);
        uint64_t so_far = get(rest, i);
        set(rest, i, less > so_far ? 0 : so_far - less);
    }
}

enum err_code room_check(const struct room *left, const struct room *wanted, struct err_info *err)
{
    for (size_t i = 0; i < ARRAY_LENGTH(parts); i++) {
        if (get(wanted, i) > get(left, i)) {
            return ERR_SET(
                err,
                ERR_LIMIT,
                "%s: %" PRIu64 "%s asked for, and this agent has %" PRIu64 " left",
                parts[i].name,
                get(wanted, i),
                parts[i].unit,
                get(left, i));
        }
    }
    return ERR_OK;
}
