/*
 * Wakes that go out a moment after their commit, many at once, from a thread and a connection of
 * their own. A notification inside a transaction makes its commit hold a lock of the whole database
 * until it is on the disk, so that no two of them share a flush.
 *
 * Those of audit records go to this server's watches this way too, and not before the records have
 * their places, which they are given here (store/audit.h): who is woken finds them.
 *
 * Only for topics that nobody but watches waits for: watches look by themselves every two seconds,
 * so that a wake that is lost with this process costs that, and no right or order hangs on it.
 * Thread-safe.
 */
#ifndef SERVER_CORE_NOTIFIER_H
#define SERVER_CORE_NOTIFIER_H

#include "cmd/server/core/hub.h"
#include "cmd/server/store/store.h"

struct notifier;

/* Options and hub must outlive it. PostgreSQL only. */
enum err_code notifier_start(
    const struct store_options *store,
    struct hub *hub,
    struct notifier **ret_notifier,
    struct err_info *err) MUST_CHECK;
/* Says what waits, once, if the database takes it, and gives what arrived its place; NULL is
 * allowed. */
void notifier_stop(struct notifier *notifier);

/* Whether wakes of this topic may go this way. */
bool notifier_takes(enum hub_topic topic);

/* Of what is committed. The same topic and key are said once; never blocks. */
void notifier_tell(struct notifier *notifier, enum hub_topic topic, int64_t key);

#endif
