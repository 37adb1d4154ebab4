/*
 * Sends one stream of the spool: a round is one client stream with a bounded number of records,
 * ended so that the server's one answer tells what it holds; then the spool is trimmed and the next
 * round begins. Rounds are made small enough to take about a second, so that a slow line is never
 * filled far ahead. A record that the server refuses on its own is quarantined. Loop thread.
 */
#ifndef CMD_AGENT_LINK_UPLOADER_H
#define CMD_AGENT_LINK_UPLOADER_H

#include "cmd/agent/spool/spool.h"

struct link;
struct uploader;

struct uploader *uploader_create(struct link *link, enum spool_stream stream);
void uploader_destroy(struct uploader *uploader); /* NULL is allowed */

/* A session has begun: the spool goes on after the mark that the server holds. Uploads wait for it.
 */
void uploader_resume(struct uploader *uploader, uint64_t mark);
void uploader_start(struct uploader *uploader);  /* it is live */
void uploader_finish(struct uploader *uploader); /* no further round */
void uploader_stop(struct uploader *uploader); /* the session is gone: drops the round under way */
void uploader_poke(struct uploader *uploader); /* there may be records */

/*
 * The newest record is not on its way, and what the server holds ended more than two seconds ago:
 * it waits behind a backlog.
 */
bool uploader_is_behind(const struct uploader *uploader);
bool uploader_is_busy(const struct uploader *uploader); /* a round is under way */

#endif
