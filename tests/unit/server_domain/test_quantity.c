#include "cmd/server/domain/moniker.h"
#include "cmd/server/domain/quantity.h"
#include "common/base/cleanup.h"
#include "tests/support/test.h"

#include <string.h>

static void amounts(void **state)
{
    (void)state;

    static const struct {
        const char *text;
        int64_t millis;
        int64_t units; /* -1: refused */
    } rows[] = {
        { "1", 1000, 1 },
        { "500m", 500, 1 },
        { "1.5", 1500, 2 },
        { "2k", 2000000, 2000 },
        { "1e3", 1000000, 1000 },
        { "512Mi", INT64_C(512) * 1048576 * 1000, INT64_C(512) << 20 },
        { "1Gi", INT64_C(1073741824) * 1000, INT64_C(1) << 30 },
        { "0", 0, 0 },
        { "", -1, -1 },
        { "-1", -1, -1 },
        { "Mi", -1, -1 },
        { "1MiB", -1, -1 },
        { "1 Gi", -1, -1 },
        { "1e999", -1, -1 },
        { "nan", -1, -1 },
        { "0x10", -1, -1 },
        { "1e", -1, -1 },
        { "99999999999999999999", -1, -1 },
    };

    for (size_t i = 0; i < ARRAY_LENGTH(rows); i++) {
        int64_t millis = -1;
        int64_t units = -1;
        enum err_code code = quantity_parse_millis(str_of(rows[i].text), &millis);
        assert_int_equal(code == ERR_OK, rows[i].millis >= 0);
        assert_int_equal(millis, rows[i].millis);
        code = quantity_parse_units(str_of(rows[i].text), &units);
        assert_int_equal(code == ERR_OK, rows[i].units >= 0);
        assert_int_equal(units, rows[i].units);
    }
}

static void names_fit_and_differ(void **state)
{
    (void)state;
    char one[MONIKER_BYTES];
    char two[MONIKER_BYTES];
    for (uint64_t i = 0; i < 4096; i++) {
        const char *hyphen = strchr(moniker_create(i, one), '-');
        assert_non_null(hyphen);
        assert_in_range(strlen(one), 5, MONIKER_BYTES - 1);
        assert_null(strchr(hyphen + 1, '-'));
    }
    assert_string_not_equal(moniker_create(1, one), moniker_create(65, two));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(amounts),
        cmocka_unit_test(names_fit_and_differ),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
