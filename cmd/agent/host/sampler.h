/*
 * How this machine feels: one round of samples from /proc, /sys and the cgroup files. Rates need
 * the round before, so the first round has none of them. What cannot be read is left out.
 *
 * One owner, one thread. Reads kernel files and calls statvfs on local file systems only, so a
 * round takes a few milliseconds and never waits for a network.
 */
#ifndef CMD_AGENT_HOST_SAMPLER_H
#define CMD_AGENT_HOST_SAMPLER_H

#include "common/base/time.h"

struct host_sampler;

enum {
    HOST_INSTANCE_BYTES = 256,
    HOST_SAMPLES_MAX = 1024
};

struct host_sample {
    const char *metric; /* static: "host.cpu.busy" */
    const char *unit;   /* static: "ratio", "bytes", "bytes_per_second", "celsius", ... */
    char instance[HOST_INSTANCE_BYTES]; /* "eth0", "/var"; "" when there is one of it */
    double value;                       /* finite */
};

struct host_samples {
    struct wall_us time;
    struct host_sample *rows; /* owned by the sampler, valid until the next round */
    unsigned count;
};

struct host_sampler_options {
    const char *root; /* "": this machine; copied */
    const struct clock *clock;
    bool per_core; /* host.cpu.core.busy of every core */
};

struct host_sampler *host_sampler_create(const struct host_sampler_options *options);
void host_sampler_destroy(struct host_sampler *sampler); /* NULL is allowed */

/* One round. Never empty on a machine with /proc. */
void host_sampler_take(struct host_sampler *sampler, struct host_samples *ret_samples);

/* The round before again, count 0 before the first. */
void host_sampler_peek_last(const struct host_sampler *sampler, struct host_samples *ret_samples);

#endif
