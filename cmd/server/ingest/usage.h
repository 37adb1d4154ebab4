/*
 * What agents say their sandboxes used, into rows for accounting: gathered from a batch, then
 * written together. One workspace at a time. One thread.
 */
#ifndef SERVER_INGEST_USAGE_H
#define SERVER_INGEST_USAGE_H

#include "cmd/server/core/work.h"
#include "cmd/server/ingest/record.h"

/* Whether the event is one of usage, and no event to keep. */
bool usage_is_in(const Agentgateway__V1__AgentEvent *event);

struct usages;

struct usages *usages_create(struct sql_conn *conn, int64_t workspace_id);
void usages_destroy(struct usages *usages); /* NULL is allowed */
AUTO_DEFINE(usages, destroy)
#define AUTO_USAGES AUTO(cleanup_usages_destroy)

/* record and event are borrowed as long as usages lives. */
void usages_add(
    struct usages *usages, const struct record *record, const Agentgateway__V1__AgentEvent *event);

/*
 * Inside the ingest's transaction: each becomes one row, once. An agent writes of its own sandboxes
 * alone, those that are gone included. Times are cut to the sandbox's life by this server's clock:
 * an agent's clock moves no cost out of the account.
 */
enum err_code usages_write(struct usages *usages, struct err_info *err) MUST_CHECK;

/* After usages_write, in the order of usages_add: why there is no row of the next one, static text;
 * NULL: it is there. */
const char *usages_next_refusal(struct usages *usages);

#define USAGE_KIND         "sandbox.usage"
#define USAGE_REFUSED_KIND "sandbox.usage_refused"

#endif
