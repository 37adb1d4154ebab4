/* Word to the service manager (sd_notify protocol) through $NOTIFY_SOCKET; without one nothing
 * happens. */
#ifndef COMMON_SYS_NOTIFY_H
#define COMMON_SYS_NOTIFY_H

/* state: "READY=1", "STOPPING=1", "STATUS=...". Any thread. */
void notify_manager(const char *state);

#endif
