#include "cmd/agent/guest/loan.h"
#include "common/base/cleanup.h"
#include "tests/support/test.h"

#include <stdio.h>

static const struct loan sample = { .id = "ln_1",
                                    .workspace = "acme",
                                    .name = "mill 7 = \xc3\xa4",
                                    .room = { 8, 4000, UINT64_C(8) << 30, UINT64_C(1) << 50 },
                                    .phase = LOAN_ENDING };

static void assert_same(const struct loan *a, const struct loan *b)
{
    assert_string_equal(a->id, b->id);
    assert_string_equal(a->workspace, b->workspace);
    assert_string_equal(a->name, b->name);
    assert_memory_equal(&a->room, &b->room, sizeof(a->room));
    assert_int_equal(a->phase, b->phase);
}

static void test_a_record_goes_out_and_in(void **unused)
{
    (void)unused;
    AUTO_BUF struct buf text = BUF_INIT(LOAN_TEXT_MAX);
    struct loan loan;
    assert_ok(loan_format(&sample, &text, NULL));
    assert_ok(loan_parse(buf_view(&text), &loan, NULL));
    assert_same(&loan, &sample);
    struct loan longest = sample;
    memset(longest.id, 'i', sizeof(longest.id) - 1);
    memset(longest.workspace, 'w', sizeof(longest.workspace) - 1);
    memset(longest.name, 'n', sizeof(longest.name) - 1);
    buf_clear(&text);
    assert_ok(loan_format(&longest, &text, NULL));
    assert_ok(loan_parse(buf_view(&text), &loan, NULL));
    assert_same(&loan, &longest);
}

/* Also cut at the end of a line, and with a byte more. */
static void test_no_part_of_a_record_is_one(void **unused)
{
    (void)unused;
    AUTO_BUF struct buf text = BUF_INIT(LOAN_TEXT_MAX);
    struct loan loan = sample;
    assert_ok(loan_format(&sample, &text, NULL));
    for (size_t bytes = 0; bytes < text.len; bytes++) {
        assert_code(ERR_CORRUPT, loan_parse(str_from(text.data, bytes), &loan, NULL));
    }
    assert_same(&loan, &sample); /* untouched */
    buf_append_char(&text, '\n');
    assert_code(ERR_CORRUPT, loan_parse(buf_view(&text), &loan, NULL));
}

static void test_every_changed_bit_shows(void **unused)
{
    (void)unused;
    AUTO_BUF struct buf text = BUF_INIT(LOAN_TEXT_MAX);
    struct loan loan;
    assert_ok(loan_format(&sample, &text, NULL));
    for (size_t i = 0; i < text.len * 8; i++) {
        text.data[i / 8] = (char)(text.data[i / 8] ^ (1 << (i % 8)));
        assert_code(ERR_CORRUPT, loan_parse(buf_view(&text), &loan, NULL));
        text.data[i / 8] = (char)(text.data[i / 8] ^ (1 << (i % 8)));
    }
    assert_ok(loan_parse(buf_view(&text), &loan, NULL));
}

static void test_what_can_be_read_of_a_damaged_one(void **unused)
{
    (void)unused;
    struct loan loan;
    loan_salvage(
        STR("sandboxes 3\ncpu_millis 10\nloan ln_2\nmemory_bytes 5\ndisk_bytes 6\n"), &loan);
    assert_string_equal(loan.id, "ln_2");
    assert_string_equal(loan.workspace, "");
    assert_int_equal(loan.room.sandboxes, 3);
    assert_int_equal(loan.room.disk_bytes, 6);
    loan_salvage(
        STR("loan ln_2\nsandboxes 3\ncpu_millis 10\nmemory_bytes x\ndisk_bytes 6\n"), &loan);
    assert_string_equal(loan.id, "ln_2");
    assert_int_equal(loan.room.sandboxes, 0); /* the room as a whole or not at all */
    assert_int_equal(loan.room.disk_bytes, 0);
    loan_salvage(STR(""), &loan);
    assert_string_equal(loan.id, "");
    loan_salvage(STR("loan \nloan"), &loan);
    assert_string_equal(loan.id, "");
}

static void test_what_no_record_can_hold(void **unused)
{
    (void)unused;
    AUTO_BUF struct buf text = BUF_INIT(LOAN_TEXT_MAX);
    struct loan wrong[6];
    for (size_t i = 0; i < ARRAY_LENGTH(wrong); i++) {
        wrong[i] = sample;
    }
    (void)snprintf(wrong[0].name, sizeof(wrong[0].name), "a\nphase running");
    (void)snprintf(wrong[1].name, sizeof(wrong[1].name), "\xff");
    wrong[2].id[0] = '\0';
    wrong[3].room.cpu_millis = 0;
    wrong[4].room.sandboxes = 4097;
    wrong[5].workspace[0] = '\0';
    for (size_t i = 0; i < ARRAY_LENGTH(wrong); i++) {
        assert_code(ERR_INVALID, loan_format(&wrong[i], &text, NULL));
        assert_int_equal(text.len, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_record_goes_out_and_in),
        cmocka_unit_test(test_no_part_of_a_record_is_one),
        cmocka_unit_test(test_every_changed_bit_shows),
        cmocka_unit_test(test_what_can_be_read_of_a_damaged_one),
        cmocka_unit_test(test_what_no_record_can_hold),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
