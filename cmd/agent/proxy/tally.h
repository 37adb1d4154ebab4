/*
 * What went through one gate, by destination, and which denials are to be told. Both tables are
 * bounded: the sandbox chooses the names.
 */
#ifndef CMD_AGENT_PROXY_TALLY_H
#define CMD_AGENT_PROXY_TALLY_H

#include "cmd/agent/proxy/proxy.h"

struct tally;

/* tell(context, denial) is called from within tally_deny and tally_flush. */
typedef void (*tally_fn)(void *context, const struct proxy_denial *denial);

struct tally *tally_create(void);
void tally_destroy(struct tally *tally); /* NULL is allowed */

/* The row of a destination, made if there is room, else the common one. Stays where it is. */
struct proxy_usage *tally_row(struct tally *tally, const char *host, unsigned port);
bool tally_next(const struct tally *tally, size_t *cursor, struct proxy_destination *ret_row);

/* Tells it, or holds it back; call tally_flush in a while. */
void tally_deny(
    struct tally *tally, const struct proxy_denial *denial, tally_fn tell, void *context);
/* Tells what was held back since the last time; false: no need to call again until a denial. */
bool tally_flush(struct tally *tally, tally_fn tell, void *context);

#endif
