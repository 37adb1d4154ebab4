#include "cmd/agent/proxy/tally.h"

#include "common/base/cleanup.h"
#include "common/base/map.h"

#include <stdio.h>

enum {
    KINDS_MAX = 32,
    KEY_BYTES = 1024,
    METHOD_BYTES = 32,
    PATH_BYTES = 256
};

struct row {
    char host[HOST_NAME_BYTES_MAX + 1];
    unsigned port;
    struct proxy_usage usage;
};

/* One kind of denial, of which one was told lately. */
struct kind {
    char host[HOST_NAME_BYTES_MAX + 1];
    char method[METHOD_BYTES + 1];
    char path[PATH_BYTES + 1]; /* of the last one */
    char rule[RULES_NAME_BYTES_MAX + 1];
    char reason[RULES_REASON_BYTES];
    unsigned port;
    bool audited;
    uint64_t held;
};

struct tally {
    struct row rows[PROXY_DESTINATIONS_MAX + 1]; /* the last: all others */
    size_t row_count;
    struct map *kinds;
    uint64_t crowded; /* denials of kinds that had no room */
};

struct tally *tally_create(void)
{
    struct tally *tally = mem_alloc(sizeof(*tally));
    tally->kinds = map_create();
    return tally;
}

void tally_destroy(struct tally *tally)
{
    if (tally != NULL) {
        map_destroy(tally->kinds, mem_free);
        mem_free(tally);
    }
}

struct proxy_usage *tally_row(struct tally *tally, const char *host, unsigned port)
{
    for (size_t i = 0; i < tally->row_count; i++) {
        struct row *row = &tally->rows[i];
        if (row->port == port && strcmp(row->host, host) == 0) {
            return &row->usage;
        }
    }
    if (tally->row_count == PROXY_DESTINATIONS_MAX) {
        return &tally->rows[PROXY_DESTINATIONS_MAX].usage;
    }
    struct row *row = &tally->rows[tally->row_count++];
    (void)snprintf(row->host, sizeof(row->host), "%s", host);
    row->port = port;
    return &row->usage;
}

bool tally_next(const struct tally *tally, size_t *cursor, struct proxy_destination *ret_row)
{
    size_t at = *cursor;
    bool others = at == tally->row_count && tally->row_count == PROXY_DESTINATIONS_MAX;
    if (at >= tally->row_count && !others) {
        return false;
    }
    const struct row *row = &tally->rows[at];
    *ret_row = (struct proxy_destination){ row->host, row->port, row->usage };
    *cursor = at + 1;
    return true;
}

/* ---- Denials ---- */

static void fill(struct kind *kind, const struct proxy_denial *denial)
{
    (void)snprintf(kind->host, sizeof(kind->host), "%s", denial->host);
    (void)snprintf(kind->method, sizeof(kind->method), "%s", denial->method);
    (void)snprintf(kind->path, sizeof(kind->path), "%s", denial->path);
    (void)snprintf(kind->rule, sizeof(kind->rule), "%s", denial->rule);
    (void)snprintf(kind->reason, sizeof(kind->reason), "%s", denial->reason);
    kind->port = denial->port;
    kind->audited = denial->audited;
}

static void tell_kind(struct kind *kind, uint64_t count, tally_fn tell, void *context)
{
    const struct proxy_denial denial = { .host = kind->host,
                                         .port = kind->port,
                                         .method = kind->method,
                                         .path = kind->path,
                                         .rule = kind->rule,
                                         .reason = kind->reason,
                                         .audited = kind->audited,
                                         .count = count };
    tell(context, &denial);
}

void tally_deny(
    struct tally *tally, const struct proxy_denial *denial, tally_fn tell, void *context)
{
    char key[KEY_BYTES];
    (void)snprintf(
        key, sizeof(key), "%s|%u|%s|%s", denial->host, denial->port, denial->rule, denial->reason);
    struct kind *kind = map_find(tally->kinds, str_of(key));
    if (kind != NULL) {
        fill(kind, denial);
        kind->held++;
        return;
    }
    if (map_count(tally->kinds) == KINDS_MAX) {
        tally->crowded++;
        return;
    }
    kind = mem_alloc(sizeof(*kind));
    fill(kind, denial);
    (void)map_put(tally->kinds, str_of(key), kind);
    tell_kind(kind, 1, tell, context);
}

bool tally_flush(struct tally *tally, tally_fn tell, void *context)
{
    size_t cursor = 0;
    struct str_view key;
    void *value = NULL;
    uint64_t crowded = tally->crowded;
    while (map_next(tally->kinds, &cursor, &key, &value)) {
        struct kind *kind = value;
        if (kind->held > 0) {
            uint64_t held = kind->held;
            kind->held = 0;
            tell_kind(kind, held, tell, context);
        } else {
            mem_free(map_remove(tally->kinds, key));
        }
    }
    tally->crowded = 0;
    if (crowded > 0) {
        struct kind others = { .reason = "denials of too many kinds to tell each" };
        tell_kind(&others, crowded, tell, context);
    }
    return map_count(tally->kinds) > 0;
}
