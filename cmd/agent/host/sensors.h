/* Temperatures of thermal zones and hwmon chips below ROOT/sys. */
#ifndef CMD_AGENT_HOST_SENSORS_H
#define CMD_AGENT_HOST_SENSORS_H

enum {
    SENSORS_MAX = 64
};

/* Calls add with a name ("x86_pkg_temp:0", "nvme:1/Composite") and degrees for at most SENSORS_MAX
 * sensors. */
void sensors_read(
    const char *root, void (*add)(void *context, const char *name, double celsius), void *context);

#endif
