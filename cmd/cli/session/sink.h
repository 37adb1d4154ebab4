/*
 * Standard output or errors, written without ever blocking the loop where the system allows it
 * (terminals, pipes, sockets); what does not fit waits, and its owner stops reading until then.
 */
#ifndef CMD_CLI_SESSION_SINK_H
#define CMD_CLI_SESSION_SINK_H

#include "common/base/str.h"

#include <stdio.h>

struct loop;
struct sink;

/* When everything that waited was written; in a callback of the loop. */
typedef void (*sink_drained_fn)(void *context);

/* file NULL: everything is dropped. */
struct sink *sink_create(struct loop *loop, FILE *file, sink_drained_fn drained, void *context);
void sink_destroy(struct sink *sink); /* what waits is dropped; NULL is allowed */

/* ERR_CANCELED: nobody reads any more, ERR_UNAVAILABLE: it cannot be written (a full disk); what
 * comes later is dropped. */
enum err_code sink_put(struct sink *sink, struct str_view bytes, struct err_info *err) MUST_CHECK;

size_t sink_waiting(const struct sink *sink);
/* It cannot be written any more: found out while draining. */
bool sink_is_broken(const struct sink *sink);

#endif
