/* Amounts as people write them: "20", "0.5" or "500m" CPUs, "16GiB". Pure. */
#ifndef CMD_CLI_AMOUNT_H
#define CMD_CLI_AMOUNT_H

#include "common/base/str.h"

#define AMOUNT_CPU_MAX   UINT64_C(1000000)
#define AMOUNT_COUNT_MAX UINT64_C(1000000)
#define AMOUNT_BYTES_MAX (UINT64_C(1) << 60)

enum {
    AMOUNT_MILLIS = 1000 /* of one CPU */
};

/* One way to read an amount; false: it is not written so, or larger than the bound above. */
typedef bool (*amount_parse_fn)(struct str_view text, uint64_t *ret_value);

bool amount_parse_count(struct str_view text, uint64_t *ret_count);
bool amount_parse_cpus(struct str_view text, uint64_t *ret_millis);
bool amount_parse_bytes(struct str_view text, uint64_t *ret_bytes);

#endif
