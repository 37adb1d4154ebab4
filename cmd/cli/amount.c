#include "cmd/cli/amount.h"

enum {
    MILLIS_DIGITS = 3
};

bool amount_parse_count(struct str_view text, uint64_t *ret_count)
{
    return str_parse_uint64(text, AMOUNT_COUNT_MAX, ret_count) == ERR_OK;
}

bool amount_parse_cpus(struct str_view text, uint64_t *ret_millis)
{
    struct str_view whole = text;
    struct str_view part = STR_NONE;
    uint64_t cpus = 0;
    uint64_t rest = 0;
    if (str_has_suffix(text, STR("m"))) {
        text.len--;
        return str_parse_uint64(text, AMOUNT_CPU_MAX * AMOUNT_MILLIS, ret_millis) == ERR_OK;
    }
    if (str_cut(text, '.', &whole, &part)) {
        if (part.len == 0 || part.len > MILLIS_DIGITS
            || str_parse_uint64(part, AMOUNT_MILLIS, &rest) != ERR_OK) {
            return false;
        }
        for (size_t i = part.len; i < MILLIS_DIGITS; i++) {
            rest *= 10;
        }
    }
    if (str_parse_uint64(whole, AMOUNT_CPU_MAX, &cpus) != ERR_OK) {
        return false;
    }
    *ret_millis = cpus * AMOUNT_MILLIS + rest;
    return *ret_millis <= AMOUNT_CPU_MAX * AMOUNT_MILLIS;
}

bool amount_parse_bytes(struct str_view text, uint64_t *ret_bytes)
{
    return str_parse_size_bytes(text, ret_bytes) == ERR_OK && *ret_bytes <= AMOUNT_BYTES_MAX;
}
