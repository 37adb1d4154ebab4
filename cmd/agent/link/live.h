/*
 * What is now, while the past still goes up. Records go to the server in the order of their
 * sequences, so after a long time offline the newest samples would wait behind all of the backlog.
 * While that is so, each new round of samples also goes up at once as a copy without a sequence,
 * which the server stores by the keys of its samples: watchers see them now, and the record, when
 * its turn comes, adds nothing. Nothing counts on a copy: it is sent once, one at a time, and one
 * that is lost is not sent again. Loop thread.
 */
#ifndef CMD_AGENT_LINK_LIVE_H
#define CMD_AGENT_LINK_LIVE_H

#include "cmd/agent/spool/spool.h"

struct link;
struct live;

struct live *live_create(struct link *link);
void live_destroy(struct live *live); /* NULL is allowed */

void live_start(struct live *live); /* a session with a server that takes copies is live */
void live_stop(struct live *live);  /* drops the one under way */

/* The newest round of samples, after the spool has it. Sent unless one is still under way. */
void live_offer(struct live *live, const struct spool_input *input);

#endif
