/* Standard input as events: also where epoll cannot wait (files, /dev/null are always readable). */
#ifndef CMD_CLI_SESSION_SOURCE_H
#define CMD_CLI_SESSION_SOURCE_H

#include "common/base/err.h"

struct loop;
struct source;

/* It can be read: the owner reads once, or pauses. */
typedef void (*source_fn)(void *context);

/* fd stays the caller's; starts paused. */
struct source *source_create(struct loop *loop, int fd, source_fn fn, void *context);
void source_destroy(struct source *source); /* NULL is allowed */
enum err_code source_pause(struct source *source, bool is_paused, struct err_info *err) MUST_CHECK;

#endif
