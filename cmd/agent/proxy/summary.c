#include "cmd/agent/proxy/summary.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    NAMED_IN_TEXT = 4,
    ROWS_MAX = PROXY_DESTINATIONS_MAX + 1
};

static uint64_t bytes_of(const struct proxy_destination *row)
{
    return row->usage.in_bytes + row->usage.out_bytes;
}

/* The common row last, whatever it sums up to. */
static int compare(const void *a, const void *b)
{
    const struct proxy_destination *left = a;
    const struct proxy_destination *right = b;
    if ((left->host[0] == '\0') != (right->host[0] == '\0')) {
        return left->host[0] == '\0' ? 1 : -1;
    }
    if (bytes_of(left) != bytes_of(right)) {
        return bytes_of(left) > bytes_of(right) ? -1 : 1;
    }
    int order = strcmp(left->host, right->host);
    return order != 0 ? order : (left->port > right->port) - (left->port < right->port);
}

static void add(struct proxy_usage *sum, const struct proxy_usage *usage)
{
    sum->in_bytes += usage->in_bytes;
    sum->out_bytes += usage->out_bytes;
    sum->connections += usage->connections;
}

static void put_row(struct summary *summary, size_t at, const struct proxy_destination *row)
{
    if (row->host[0] == '\0') {
        (void)snprintf(summary->names[at], SUMMARY_NAME_BYTES, "other");
    } else {
        bool is_ipv6 = strchr(row->host, ':') != NULL;
        (void)snprintf(
            summary->names[at],
            SUMMARY_NAME_BYTES,
            "%s%s%s:%u",
            is_ipv6 ? "[" : "",
            row->host,
            is_ipv6 ? "]" : "",
            row->port);
    }
    (void)snprintf(
        summary->values[at],
        SUMMARY_VALUE_BYTES,
        "sent=%" PRIu64 " received=%" PRIu64 " connections=%" PRIu64,
        row->usage.out_bytes,
        row->usage.in_bytes,
        row->usage.connections);
    summary->attributes[2 * at] = summary->names[at];
    summary->attributes[2 * at + 1] = summary->values[at];
}

static void put_text(struct summary *summary, const struct proxy_usage *sum, size_t rows)
{
    struct str_view others = STR("");
    int used = snprintf(
        summary->text,
        SUMMARY_TEXT_BYTES,
        "sent %" PRIu64 " and received %" PRIu64 " bytes by %" PRIu64 " connections:",
        sum->out_bytes,
        sum->in_bytes,
        sum->connections);
    for (size_t i = 0; i < rows && i < NAMED_IN_TEXT && used < SUMMARY_TEXT_BYTES; i++) {
        used += snprintf(
            summary->text + used,
            SUMMARY_TEXT_BYTES - (size_t)used,
            "%s %s %s",
            i == 0 ? "" : ",",
            summary->names[i],
            summary->values[i]);
        others = i + 1 < rows ? STR(", ...") : STR("");
    }
    if (used < SUMMARY_TEXT_BYTES) {
        (void)snprintf(summary->text + used, SUMMARY_TEXT_BYTES - (size_t)used, "%s", others.ptr);
    }
}

bool summary_make(const struct proxy *proxy, const char *id, struct summary *ret)
{
    struct proxy_destination rows[ROWS_MAX];
    struct proxy_destination other = { .host = "" };
    struct proxy_usage sum = { .in_bytes = 0 };
    size_t count = 0;
    size_t cursor = 0;
    while (count < ROWS_MAX && proxy_next_destination(proxy, id, &cursor, &rows[count])) {
        add(&sum, &rows[count].usage);
        count += rows[count].usage.connections > 0 ? 1 : 0; /* else it was denied, which is told */
    }
    if (sum.connections == 0) {
        return false;
    }
    qsort(rows, count, sizeof(*rows), compare);
    size_t named = count <= SUMMARY_ROWS_MAX ? count : SUMMARY_ROWS_MAX - 1;
    for (size_t i = 0; i < named; i++) {
        put_row(ret, i, &rows[i]);
    }
    for (size_t i = named; i < count; i++) {
        add(&other.usage, &rows[i].usage);
    }
    if (named < count) {
        put_row(ret, named++, &other);
    }
    ret->attributes[2 * named] = NULL;
    put_text(ret, &sum, named);
    return true;
}
