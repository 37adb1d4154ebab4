/* Amounts as Kubernetes writes them: "500m", "1.5", "512Mi", "2G", "1e3". Pure. */
#ifndef SERVER_DOMAIN_QUANTITY_H
#define SERVER_DOMAIN_QUANTITY_H

#include "common/base/str.h"

/* Thousandths, rounded up. ERR_INVALID: not an amount, negative, or above 2^53. */
enum err_code quantity_parse_millis(struct str_view text, int64_t *ret_millis) MUST_CHECK;

/* Whole units (bytes), rounded up. */
enum err_code quantity_parse_units(struct str_view text, int64_t *ret_units) MUST_CHECK;

#endif
