/* links: cli_term */
/*
 * What peers can put on an operator's terminal: whatever the bytes, escaped text and table rows are
 * printable UTF-8 on one line, and YAML is made or refused whole.
 */
#include "cmd/cli/term/table.h"
#include "cmd/cli/term/yaml.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_printable(struct str_view text, bool newlines)
{
    if (!str_is_utf8(text, NULL)) {
        abort();
    }
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        bool allowed = newlines && c == '\n';
        bool c1 = c == 0xc2 && i + 1 < text.len && (unsigned char)text.ptr[i + 1] < 0xa0;
        if ((c < 0x20 && !allowed) || c == 0x7f || c1) {
            abort();
        }
    }
}

static void check_table(struct str_view input)
{
    static const struct table_column columns[] = { { .title = "A" },
                                                   { .title = "B", .right = true } };
    AUTO_TABLE struct table *table = table_create(columns, ARRAY_LENGTH(columns));
    AUTO_BUF struct buf out = BUF_INIT(1 << 22);
    struct str_view first = STR_NONE;
    struct str_view rest = STR_NONE;
    (void)str_cut(input, '|', &first, &rest);
    table_add(table, first, TEXT_PLAIN);
    table_add(table, rest, TEXT_PLAIN);
    struct table_options options = { .headers = true, .width = 40 };
    table_write(table, &options, &out);
    check_printable(buf_view(&out), true);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str_view input = str_from((const char *)data, size);
    AUTO_BUF struct buf escaped = BUF_INIT(1 << 22);
    AUTO_BUF struct buf yaml = BUF_INIT(1 << 22);
    text_use_utf8();
    if (size > 65536) {
        return 0;
    }
    text_escape(input, &escaped);
    check_printable(buf_view(&escaped), false);
    check_table(input);
    if (yaml_from_json(input, &yaml, NULL) != ERR_OK && yaml.len > 0) {
        abort();
    }
    return 0;
}
