#include "common/base/cleanup.h"
#include "common/sandbox/message.h"
#include "tests/support/test.h"

static void test_a_message_comes_back_as_it_was(void **unused)
{
    (void)unused;
    AUTO_BUF struct buf argv = BUF_INIT(1024);
    AUTO_BUF struct buf bytes = BUF_INIT(MESSAGE_BYTES_MAX);
    struct message out;
    size_t cursor = 0;
    struct str_view item;
    message_list_add(&argv, STR("sh"));
    message_list_add(&argv, STR(""));
    message_list_add(&argv, STR("three"));
    struct message in = { .type = MESSAGE_EXEC,
                          .id = 77,
                          .exec = { .tty = 1,
                                    .rows = 24,
                                    .columns = 80,
                                    .cwd = STR("/sandbox"),
                                    .argv = message_list_of(&argv) } };
    assert_ok(message_encode(&in, &bytes, NULL));
    assert_ok(message_decode(buf_view(&bytes), &out, NULL));
    assert_int_equal(out.type, MESSAGE_EXEC);
    assert_int_equal(out.id, 77);
    assert_int_equal(out.exec.columns, 80);
    assert_true(str_equal(out.exec.cwd, STR("/sandbox")));
    assert_int_equal(message_list_count(&out.exec.argv), 3);
    assert_true(message_list_next(&out.exec.argv, &cursor, &item));
    assert_true(str_equal(item, STR("sh")));
    assert_true(message_list_next(&out.exec.argv, &cursor, &item));
    assert_int_equal(item.len, 0);
    AUTO_FREE const char **array = message_list_array(&out.exec.argv);
    assert_string_equal(array[2], "three");
    assert_null(array[3]);
}

static void test_what_exceeds_its_bound_is_neither_said_nor_heard(void **unused)
{
    (void)unused;
    AUTO_BUF struct buf bytes = BUF_INIT(MESSAGE_BYTES_MAX);
    struct message out;
    struct message in = { .type = MESSAGE_SIGNAL, .signal = { 65 } };
    assert_code(ERR_INVALID, message_encode(&in, &bytes, NULL));
    assert_int_equal(bytes.len, 0);
    in.signal.number = 9;
    assert_ok(message_encode(&in, &bytes, NULL));
    bytes.data[MESSAGE_HEADER_BYTES] = 65;
    assert_code(ERR_INVALID, message_decode(buf_view(&bytes), &out, NULL));
}

static void test_a_list_needs_its_last_nul_and_a_text_has_none(void **unused)
{
    (void)unused;
    AUTO_BUF struct buf bytes = BUF_INIT(MESSAGE_BYTES_MAX);
    struct message in = { .type = MESSAGE_EXEC, .exec = { .argv = { "sh", 2 } } };
    assert_code(ERR_INVALID, message_encode(&in, &bytes, NULL));
    in.exec.argv = (struct message_list){ "sh", 3 };
    in.exec.cwd = str_from("/a\0b", 4);
    assert_code(ERR_INVALID, message_encode(&in, &bytes, NULL));
}

static void test_every_cut_and_every_surplus_is_refused(void **unused)
{
    (void)unused;
    AUTO_BUF struct buf bytes = BUF_INIT(MESSAGE_BYTES_MAX);
    struct message out;
    struct message in = { .type = MESSAGE_OUTPUT, .output = { 1, 4096, STR("data") } };
    assert_ok(message_encode(&in, &bytes, NULL));
    for (size_t cut = 0; cut < bytes.len; cut++) {
        AUTO_FREE char *part = mem_dup(bytes.data, cut == 0 ? 1 : cut);
        assert_int_not_equal(message_decode(str_from(part, cut), &out, NULL), ERR_OK);
    }
    buf_append_char(&bytes, 'x');
    assert_code(ERR_INVALID, message_decode(buf_view(&bytes), &out, NULL));
    bytes.data[0] = 9;
    assert_code(ERR_UNSUPPORTED, message_decode(buf_view(&bytes), &out, NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_message_comes_back_as_it_was),
        cmocka_unit_test(test_what_exceeds_its_bound_is_neither_said_nor_heard),
        cmocka_unit_test(test_a_list_needs_its_last_nul_and_a_text_has_none),
        cmocka_unit_test(test_every_cut_and_every_surplus_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
