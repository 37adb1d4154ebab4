/* Standard input as events: also where epoll cannot wait (files, /dev/null are always readable). */
#ifndef COMMON_SYS_INPUT_H
#define COMMON_SYS_INPUT_H

#include "common/base/err.h"

struct loop;
struct input;

/* It can be read: the owner reads once, or pauses. */
typedef void (*input_fn)(void *context);

/* fd stays the caller's; starts paused. */
struct input *input_create(struct loop *loop, int fd, input_fn fn, void *context);
void input_destroy(struct input *input); /* NULL is allowed */
enum err_code input_pause(struct input *input, bool is_paused, struct err_info *err) MUST_CHECK;

#endif
