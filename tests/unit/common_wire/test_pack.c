/* Why a message is not packed: it is too large, or there is no memory; never the one for the other.
 */
#include "common/base/mem_fault.h"
#include "common/wire/wire.h"
#include "tests/support/test.h"

#include "proto/openshell/sandbox/v1/sandbox.pb-c.h"

typedef Openshell__Sandbox__V1__NetworkEndpoint message_type;

static message_type message_of(char *host)
{
    message_type message = OPENSHELL__SANDBOX__V1__NETWORK_ENDPOINT__INIT;
    message.host = host;
    return message;
}

static void test_what_is_too_large_is_told_with_its_size(void **unused)
{
    (void)unused;
    char host[] = "0123456789";
    struct err_info err = ERR_INFO_INIT;
    const message_type message = message_of(host);
    AUTO_BUF struct buf out = BUF_INIT(24);
    assert_ok_err(err, wire_pack_within(&message.base, "place", &out, &err));
    assert_int_equal(out.len, 12);
    assert_ok_err(err, wire_pack_within(&message.base, "place", &out, &err));
    assert_int_equal(out.len, 24);
    assert_code(ERR_INVALID, wire_pack_within(&message.base, "place", &out, &err));
    assert_string_equal(err.text, "place: 12 bytes, at most 0");
}

static void test_want_of_memory_is_told_as_such(void **unused)
{
    (void)unused;
    char host[] = "0123456789";
    struct err_info err = ERR_INFO_INIT;
    const message_type message = message_of(host);
    AUTO_BUF struct buf out = BUF_INIT(24);
    const struct mem_fault before = mem_fault_swap((struct mem_fault){ .after = 0 });
    enum err_code code = wire_pack_within(&message.base, "place", &out, &err);
    (void)mem_fault_swap(before);
    assert_code(ERR_NOMEM, code);
    assert_string_equal(err.text, "out of memory");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_too_large_is_told_with_its_size),
        cmocka_unit_test(test_want_of_memory_is_told_as_such),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
