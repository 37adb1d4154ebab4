#include "common/rpc/status.h"
#include "tests/support/test.h"

#include <string.h>

static void test_every_error_has_a_status_and_a_way_back(void **state)
{
    (void)state;
    for (int code = ERR_OK; code < ERR_CODE_COUNT; code++) {
        enum rpc_status status = rpc_status_of((enum err_code)code);
        assert_true(status >= RPC_OK && status < RPC_STATUS_COUNT);
        assert_int_equal(status == RPC_OK, code == ERR_OK);
        /* Where several codes share a status, the way back gives the one that stands for it. */
        assert_int_equal(rpc_status_of(rpc_err_of(status)), status);
    }
    assert_int_equal(rpc_status_of(ERR_CODE_COUNT), RPC_INTERNAL);
}

static void test_every_status_has_an_error_and_a_name(void **state)
{
    (void)state;
    for (int status = RPC_OK; status < RPC_STATUS_COUNT; status++) {
        assert_int_equal(rpc_err_of((enum rpc_status)status) == ERR_OK, status == RPC_OK);
        assert_true(strlen(rpc_status_name((enum rpc_status)status)) >= 2);
        for (int other = RPC_OK; other < status; other++) {
            assert_string_not_equal(
                rpc_status_name((enum rpc_status)status), rpc_status_name((enum rpc_status)other));
        }
    }
    assert_int_equal(
        rpc_err_of(RPC_UNKNOWN), ERR_UNCERTAIN); /* a lost answer: not to be retried blind */
    assert_string_equal(rpc_status_name(RPC_STATUS_COUNT), "UNKNOWN");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_error_has_a_status_and_a_way_back),
        cmocka_unit_test(test_every_status_has_an_error_and_a_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
