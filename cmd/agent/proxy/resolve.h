/*
 * Addresses of a name, asked for without blocking the loop (c-ares). Each question reads the
 * system's resolver settings anew, so that a machine that moves between networks asks the right
 * server; names are taken as they stand, without search domains. Loop's thread.
 */
#ifndef CMD_AGENT_PROXY_RESOLVE_H
#define CMD_AGENT_PROXY_RESOLVE_H

#include "common/sys/ip.h"
#include "common/sys/loop.h"

enum {
    RESOLVE_ADDRESSES_MAX = 64
};

struct resolve;

/* Whether text can be given as servers. */
bool resolve_is_servers(const char *text);

/* code: ERR_NOT_FOUND (no such name, or no address), ERR_UNAVAILABLE (no answer), ERR_LIMIT (too
 * many addresses). Never called from within resolve_start; the question is over then. */
typedef void (*resolve_fn)(
    void *context, enum err_code code, const struct ip_address *addresses, size_t count);

/* Once in the process, before the first question; close after the last. */
enum err_code resolve_open(struct err_info *err) MUST_CHECK;
void resolve_close(void);

/* servers: "address:port,..." to ask instead of the system's; NULL: the system's. */
enum err_code resolve_start(
    struct loop *loop,
    const char *servers,
    const char *name,
    resolve_fn fn,
    void *context,
    struct resolve **ret_resolve) MUST_CHECK;
void resolve_cancel(struct resolve *resolve); /* fn is not called any more; NULL is allowed */

#endif
