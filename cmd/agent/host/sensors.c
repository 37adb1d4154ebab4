#include "cmd/agent/host/sensors.h"

#include "cmd/agent/host/proc.h"
#include "common/base/cleanup.h"
#include "common/sys/file.h"

#include <stdio.h>

enum {
    SENSOR_FILE_BYTES = 4096,
    ZONES_MAX = 32,
    CHIPS_MAX = 16,
    INPUTS_MAX = 16
};

struct reader {
    void (*add)(void *context, const char *name, double celsius);
    void *context;
    unsigned count;
};

/* First line of a small file, trimmed, as text; false: not there or empty. */
static bool read_line(const char *dir, const char *file, char *out, size_t out_bytes)
{
    AUTO_BUF struct buf text = BUF_INIT(SENSOR_FILE_BYTES);
    AUTO_FREE char *path = mem_printf("%s/%s", dir, file);
    if (file_read(path, SENSOR_FILE_BYTES - 1, &text, NULL) != ERR_OK) {
        return false;
    }
    struct str_view line = str_trim(buf_view(&text));
    return line.len > 0 && str_copy(line, out, out_bytes) == ERR_OK;
}

static void read_sensor(struct reader *reader, const char *dir, const char *file, const char *name)
{
    char text[32];
    int64_t millidegrees = 0;
    if (reader->count >= SENSORS_MAX || !read_line(dir, file, text, sizeof(text))
        || proc_parse_number(str_of(text), &millidegrees) != ERR_OK || millidegrees < -100000
        || millidegrees > 300000) {
        return; /* sensors that are not wired up read as nonsense */
    }
    reader->add(reader->context, name, (double)millidegrees / 1e3);
    reader->count++;
}

static void read_zones(struct reader *reader, const char *root)
{
    for (unsigned i = 0; i < ZONES_MAX; i++) {
        AUTO_FREE char *dir = mem_printf("%s/sys/class/thermal/thermal_zone%u", root, i);
        char type[PROC_NAME_BYTES];
        if (!read_line(dir, "type", type, sizeof(type))) {
            return; /* zones are numbered without gaps */
        }
        AUTO_FREE char *name = mem_printf("%s:%u", type, i);
        read_sensor(reader, dir, "temp", name);
    }
}

static void read_chip(struct reader *reader, const char *dir, const char *chip)
{
    for (unsigned i = 1; i <= INPUTS_MAX; i++) {
        char file[32];
        char label[PROC_NAME_BYTES];
        (void)snprintf(file, sizeof(file), "temp%u_label", i);
        if (!read_line(dir, file, label, sizeof(label))) {
            (void)snprintf(label, sizeof(label), "temp%u", i);
        }
        (void)snprintf(file, sizeof(file), "temp%u_input", i);
        AUTO_FREE char *name = mem_printf("%s/%s", chip, label);
        read_sensor(reader, dir, file, name);
    }
}

void sensors_read(
    const char *root, void (*add)(void *context, const char *name, double celsius), void *context)
{
    struct reader reader = { .add = add, .context = context };
    read_zones(&reader, root);
    for (unsigned i = 0; i < CHIPS_MAX; i++) {
        AUTO_FREE char *dir = mem_printf("%s/sys/class/hwmon/hwmon%u", root, i);
        char chip[PROC_NAME_BYTES];
        if (read_line(dir, "name", chip, sizeof(chip))) {
            AUTO_FREE char *unique = mem_printf("%s:%u", chip, i);
            read_chip(&reader, dir, unique);
        }
    }
}
