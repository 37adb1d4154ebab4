#include "cmd/cli/term/table.h"
#include "tests/support/test.h"

static const struct table_column COLUMNS[] = { { .title = "NAME" },
                                               { .title = "N", .right = true },
                                               { .title = "TEXT" } };

static void add(struct table *table, const char *name, const char *number, const char *text)
{
    table_add(table, str_of(name), TEXT_PLAIN);
    table_add(table, str_of(number), TEXT_PLAIN);
    table_add(table, str_of(text), TEXT_PLAIN);
}

static void expect(struct table *table, struct table_options options, const char *expected)
{
    AUTO_BUF struct buf out = BUF_INIT(65536);
    table_write(table, &options, &out);
    assert_string_equal(buf_text(&out), expected);
}

static void test_columns_line_up(void **state)
{
    (void)state;
    AUTO_TABLE struct table *table = table_create(COLUMNS, 3);
    add(table, "a", "7", "x");
    add(table, "long-name", "12345", "");
    assert_int_equal(table_row_count(table), 2);
    expect(
        table,
        (struct table_options){ .headers = true },
        "NAME           N  TEXT\n"
        "a              7  x\n"
        "long-name  12345\n");
    expect(
        table,
        (struct table_options){ .headers = false },
        "a              7  x\nlong-name  12345\n");
}

static void test_an_empty_table_is_its_header(void **state)
{
    (void)state;
    AUTO_TABLE struct table *table = table_create(COLUMNS, 3);
    expect(table, (struct table_options){ .headers = true }, "NAME  N  TEXT\n");
    expect(table, (struct table_options){ .headers = false }, "");
}

static void test_wide_characters_count_two_columns(void **state)
{
    (void)state;
    AUTO_TABLE struct table *table = table_create(COLUMNS, 3);
    add(table, "\xe6\x9d\xb1\xe4\xba\xac", "1", "x");
    add(table, "abcd", "1", "y");
    expect(
        table,
        (struct table_options){ .headers = false },
        "\xe6\x9d\xb1\xe4\xba\xac  1  x\nabcd  1  y\n");
}

static void test_hostile_cells_cannot_leave_their_row(void **state)
{
    (void)state;
    AUTO_TABLE struct table *table = table_create(COLUMNS, 3);
    add(table, "evil\nname", "\033[2J", "\xff");
    expect(table, (struct table_options){ .headers = false }, "evil\\nname  \\x1b[2J  \\xff\n");
}

static void test_a_terminal_cuts_the_widest_column(void **state)
{
    (void)state;
    AUTO_TABLE struct table *table = table_create(COLUMNS, 3);
    add(table, "name", "1", "a text that is far too long for this terminal");
    AUTO_BUF struct buf out = BUF_INIT(4096);
    struct table_options options = { .headers = false, .width = 30 };
    table_write(table, &options, &out);
    assert_string_equal(buf_text(&out), "name  1  a text that is far t\xe2\x80\xa6\n");
    assert_int_equal(text_width(str_trim(buf_view(&out))), 30);
}

static void test_what_cannot_fit_keeps_its_least_width(void **state)
{
    (void)state;
    AUTO_TABLE struct table *table = table_create(COLUMNS, 3);
    add(table, "0123456789", "123456789", "0123456789");
    AUTO_BUF struct buf out = BUF_INIT(4096);
    struct table_options options = { .headers = false, .width = 5 };
    table_write(table, &options, &out);
    assert_int_equal(text_width(str_trim(buf_view(&out))), 8 * 3 + 4);
}

static void test_a_live_table_prints_its_header_once(void **state)
{
    (void)state;
    static const struct table_column LIVE[] = { { .title = "A", .min_width = 4 },
                                                { .title = "B" } };
    AUTO_TABLE struct table *table = table_create(LIVE, 2);
    AUTO_BUF struct buf out = BUF_INIT(4096);
    struct table_options options = { .headers = true };
    table_add(table, STR("1"), TEXT_PLAIN);
    table_add(table, STR("x"), TEXT_PLAIN);
    table_flush(table, &options, &out);
    table_add(table, STR("22222"), TEXT_PLAIN);
    table_add(table, STR("y"), TEXT_PLAIN);
    table_flush(table, &options, &out);
    assert_string_equal(buf_text(&out), "A     B\n1     x\n22222  y\n");
    assert_int_equal(table_row_count(table), 0);
}

static void test_details_leave_out_what_is_empty(void **state)
{
    (void)state;
    AUTO_TABLE struct table *table = table_create(COLUMNS, 3);
    add(table, "a", "", "t");
    AUTO_BUF struct buf out = BUF_INIT(4096);
    struct table_options options = { .headers = true };
    table_write_details(table, &options, &out);
    assert_string_equal(buf_text(&out), "NAME:  a\nTEXT:  t\n");
}

static void test_color_takes_no_room(void **state)
{
    (void)state;
    AUTO_TABLE struct table *table = table_create(COLUMNS, 3);
    table_add(table, STR("a"), TEXT_GOOD);
    table_add(table, STR("1"), TEXT_PLAIN);
    table_add(table, STR("t"), TEXT_PLAIN);
    expect(
        table,
        (struct table_options){ .headers = false, .color = true },
        "\033[32ma\033[0m     1  t\n");
}

/* Half a number says something else than the number: the least important one goes instead. */
static void test_numbers_are_whole_or_left_out(void **state)
{
    (void)state;
    static const struct table_column columns[] = {
        { .title = "SANDBOX", .keep = 8 },
        { .title = "MEMORY", .right = true, .whole = true },
        { .title = "DISK", .right = true, .whole = true, .goes = 1 },
        { .title = "AGE", .right = true, .whole = true, .goes = 3 },
        { .title = "PHASE", .goes = 2 },
    };
    static const char *const cells[] = {
        "python-build", "20.32 MiB", "100.5 MiB", "0.3s", "ready"
    };
    static const char *const expected[] = {
        "python-build  20.32 MiB  100.5 MiB  0.3s  ready\n",
        "python-b\xe2\x80\xa6  20.32 MiB  100.5 MiB  0.3s  ready\n",
        "python-build  20.32 MiB  0.3s  ready\n",
        "python-build  20.32 MiB  0.3s\n",
        "python-b\xe2\x80\xa6  20.32 MiB  0.3s\n",
        "python-build  20.32 MiB\n",
        "python-\xe2\x80\xa6  20.32 MiB\n",
    };
    static const size_t widths[] = { 47, 44, 38, 30, 26, 23, 5 };
    AUTO_TABLE struct table *table = table_create(columns, ARRAY_LENGTH(columns));
    for (size_t i = 0; i < ARRAY_LENGTH(cells); i++) {
        table_add(table, str_of(cells[i]), TEXT_PLAIN);
    }
    for (size_t i = 0; i < ARRAY_LENGTH(widths); i++) {
        expect(table, (struct table_options){ .width = widths[i] }, expected[i]);
    }
    AUTO_BUF struct buf out = BUF_INIT(65536);
    table_write(table, &(struct table_options){ .headers = true, .width = 24 }, &out);
    assert_string_equal(buf_text(&out), "SANDBOX          MEMORY\npython-build  20.32 MiB\n");
}

int main(void)
{
    text_use_utf8();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_columns_line_up),
        cmocka_unit_test(test_an_empty_table_is_its_header),
        cmocka_unit_test(test_wide_characters_count_two_columns),
        cmocka_unit_test(test_hostile_cells_cannot_leave_their_row),
        cmocka_unit_test(test_a_terminal_cuts_the_widest_column),
        cmocka_unit_test(test_what_cannot_fit_keeps_its_least_width),
        cmocka_unit_test(test_numbers_are_whole_or_left_out),
        cmocka_unit_test(test_a_live_table_prints_its_header_once),
        cmocka_unit_test(test_details_leave_out_what_is_empty),
        cmocka_unit_test(test_color_takes_no_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
