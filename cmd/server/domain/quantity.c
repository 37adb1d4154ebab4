#include "cmd/server/domain/quantity.h"

#include <math.h>
#include <stdlib.h>

enum {
    NUMBER_BYTES = 40,
    MILLIS = 1000
};

static const struct suffix {
    const char *text;
    double factor;
} suffixes[] = {
    { "", 1 },
    { "m", 1e-3 },
    { "k", 1e3 },
    { "M", 1e6 },
    { "G", 1e9 },
    { "T", 1e12 },
    { "Ki", 1024.0 },
    { "Mi", 1048576.0 },
    { "Gi", 1073741824.0 },
    { "Ti", 1099511627776.0 },
};

#define MOST 9007199254740992.0 /* 2^53: every whole number up to here is a double */

static bool is_number_char(char c, bool is_first)
{
    return (c >= '0' && c <= '9') || (!is_first && (c == '.' || c == 'e'));
}

static enum err_code parse(struct str_view text, double *ret_value)
{
    char number[NUMBER_BYTES];
    size_t digits = 0;
    while (digits < text.len && is_number_char(text.ptr[digits], digits == 0)) {
        digits++;
    }
    TRY(str_copy(str_from(text.ptr, digits), number, sizeof(number)));
    char *end = NULL;
    double value = strtod(number, &end);
    if (digits == 0 || *end != '\0') {
        return ERR_INVALID;
    }
    struct str_view rest = str_from(text.ptr + digits, text.len - digits);
    for (size_t i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++) {
        if (str_equal(rest, str_of(suffixes[i].text))) {
            *ret_value = value * suffixes[i].factor;
            return ERR_OK;
        }
    }
    return ERR_INVALID;
}

static enum err_code scaled(struct str_view text, double scale, int64_t *ret)
{
    double value = 0;
    TRY(parse(text, &value));
    value = ceil(value * scale - 1e-6);
    if (!(value >= 0 && value <= MOST)) {
        return ERR_INVALID;
    }
    *ret = (int64_t)value;
    return ERR_OK;
}

enum err_code quantity_parse_millis(struct str_view text, int64_t *ret_millis)
{
    return scaled(text, MILLIS, ret_millis);
}

enum err_code quantity_parse_units(struct str_view text, int64_t *ret_units)
{
    return scaled(text, 1, ret_units);
}
