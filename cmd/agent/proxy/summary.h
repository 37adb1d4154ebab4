/*
 * What a sandbox exchanged with whom, to be told: the destinations with the most bytes by name, the
 * rest together. A value on the caller's stack.
 */
#ifndef CMD_AGENT_PROXY_SUMMARY_H
#define CMD_AGENT_PROXY_SUMMARY_H

#include "cmd/agent/proxy/proxy.h"

enum {
    SUMMARY_ROWS_MAX = 16, /* the last, where there are more: all others */
    SUMMARY_NAME_BYTES = 264,
    SUMMARY_VALUE_BYTES = 112,
    SUMMARY_TEXT_BYTES = 1600
};

struct summary {
    char names[SUMMARY_ROWS_MAX][SUMMARY_NAME_BYTES];   /* "host:port"; "other" */
    char values[SUMMARY_ROWS_MAX][SUMMARY_VALUE_BYTES]; /* "sent=1 received=2 connections=3" */
    const char *attributes[2 * SUMMARY_ROWS_MAX + 1];   /* name, value, ..., NULL; of the above */
    char text[SUMMARY_TEXT_BYTES];                      /* the sums, and the first of the rows */
};

/* false: it was connected to nothing, and *ret is not written. */
bool summary_make(const struct proxy *proxy, const char *id, struct summary *ret);

#endif
