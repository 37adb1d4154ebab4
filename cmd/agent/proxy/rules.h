/*
 * The network rules of one sandbox, compiled, and what they say about one request. Default deny; a
 * deny rule wins over every allow. Immutable once filled. Pure.
 */
#ifndef CMD_AGENT_PROXY_RULES_H
#define CMD_AGENT_PROXY_RULES_H

#include "common/sys/host.h"

struct rules;

enum {
    RULES_REASON_BYTES = 256,
    RULES_NAME_BYTES_MAX = 128 /* of a rule, as it is told; longer ones are cut */
};

enum rules_access {
    RULES_ACCESS_NONE,  /* only what `allows` says */
    RULES_ACCESS_READ,  /* GET, HEAD, OPTIONS */
    RULES_ACCESS_WRITE, /* and POST, PUT, PATCH */
    RULES_ACCESS_FULL
};

struct rules_match {
    struct str_view method; /* empty or "*": any */
    struct str_view path;   /* a glob; empty: any */
};

/* One place that a rule is about. Everything is copied. */
struct rules_endpoint {
    struct str_view rule; /* its name, for people */
    struct str_view host; /* as host_pattern_parse takes it */
    const uint32_t *ports;
    size_t port_count;
    bool no_programs;         /* the rule names no program, so nobody may use it */
    bool inspected;           /* plain HTTP, each request looked at; no tunnel */
    enum rules_access access; /* of an inspected one */
    struct str_view path;     /* a glob: it is about these paths alone; empty: all */
    const struct rules_match *allows;
    size_t allow_count;
    const struct rules_match *denies;
    size_t deny_count;
    const struct str_view *addresses; /* ranges that the name must lead into; none: any public */
    size_t address_count;
    bool audit;         /* what method and path forbid is told and let through */
    bool encoded_slash; /* %2F in a path may pass */
    bool unseen_tls;    /* the name in a TLS hello is not compared */
};

struct rules *rules_create(void);
void rules_destroy(struct rules *rules); /* NULL is allowed */

/* ERR_INVALID says which part of the endpoint is wrong; ERR_LIMIT: too many. */
enum err_code rules_add(
    struct rules *rules, const struct rules_endpoint *endpoint, struct err_info *err) MUST_CHECK;
size_t rules_count(const struct rules *rules);

struct rules_request {
    const struct host *host;
    unsigned port;
    bool is_tunnel;
    struct str_view method; /* of a request; of a tunnel nothing */
    struct str_view path;
    const struct ip_address
        *addresses; /* what the name leads to; none yet: only the name is judged */
    size_t address_count;
    const bool *own; /* for each address: it is this host's */
};

enum rules_verdict {
    RULES_DENY,
    RULES_ALLOW,
    RULES_ALLOW_AUDITED /* method or path would be denied; the rule says to tell and let through */
};

struct rules_decision {
    enum rules_verdict verdict;
    char rule[RULES_NAME_BYTES_MAX + 1]; /* that decided; empty: none matched */
    char reason[RULES_REASON_BYTES];     /* of DENY and ALLOW_AUDITED */
    bool compare_tls_name;
};

void rules_decide(
    const struct rules *rules,
    const struct rules_request *request,
    struct rules_decision *ret_decision);

#endif
