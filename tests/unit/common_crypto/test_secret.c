#include "common/base/mem.h"
#include "common/crypto/secret.h"
#include "tests/support/test.h"

#include <sys/resource.h>

static void test_secret_holds_bytes_and_ends_with_nul(void **state)
{
    (void)state;
    AUTO_SECRET struct secret *secret = secret_create("abc\0d", 5);
    struct str_view view = secret_peek(secret);
    assert_int_equal(view.len, 5);
    assert_memory_equal(view.ptr, "abc\0d", 6);
    AUTO_SECRET struct secret *empty = secret_create(NULL, 0);
    assert_int_equal(secret_peek(empty).len, 0);
    assert_int_equal(secret_peek(empty).ptr[0], 0);
    secret_destroy(NULL);
}

static void test_zeroed_secret_is_filled_in(void **state)
{
    (void)state;
    uint8_t *bytes = NULL;
    AUTO_SECRET struct secret *secret = secret_create_zeroed(4, &bytes);
    assert_memory_equal(bytes, "\0\0\0\0", 5);
    memcpy(bytes, "wxyz", 4);
    assert_true(str_equal(secret_peek(secret), STR("wxyz")));
}

static void test_equal_compares_all_bytes(void **state)
{
    (void)state;
    assert_true(secret_equal(STR("same"), STR("same")));
    assert_true(secret_equal(STR_NONE, STR("")));
    assert_false(secret_equal(STR("same"), STR("samE")));
    assert_false(secret_equal(STR("same"), STR("Same")));
    assert_false(secret_equal(STR("same"), STR("samesame")));
}

static void test_wipe_leaves_zeros(void **state)
{
    (void)state;
    char text[8] = "secret";
    secret_wipe(text, sizeof(text));
    assert_memory_equal(text, "\0\0\0\0\0\0\0\0", sizeof(text));
    secret_wipe(NULL, 0);
}

static void test_sizes_of_peers_may_fail(void **state)
{
    (void)state;
    uint8_t *bytes = NULL;
    assert_null(secret_try_create_zeroed(SIZE_MAX, &bytes));
    mem_fail_after(0);
    struct secret *secret = secret_try_create_zeroed(16, &bytes);
    mem_fail_after(-1);
    assert_null(secret);
    assert_null(bytes);
}

static void test_start_turns_core_dumps_off(void **state)
{
    (void)state;
    struct err_info err = ERR_INFO_INIT;
    assert_ok_err(err, crypto_start(&err));
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_CORE, &limit), 0);
    assert_int_equal(limit.rlim_cur, 0);
    assert_int_equal(limit.rlim_max, 0);
    assert_ok_err(err, crypto_start(&err));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_secret_holds_bytes_and_ends_with_nul),
        cmocka_unit_test(test_zeroed_secret_is_filled_in),
        cmocka_unit_test(test_equal_compares_all_bytes),
        cmocka_unit_test(test_wipe_leaves_zeros),
        cmocka_unit_test(test_sizes_of_peers_may_fail),
        cmocka_unit_test(test_start_turns_core_dumps_off),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
