/* links: common_sql */
/* Cutting a script ends, stays inside the text and makes progress with every statement. */
#include "common/sql/split.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;
    struct str_view rest = str_from(text, size);
    struct str_view statement = STR_NONE;
    size_t left = size;
    while (split_next_statement(&rest, &statement)) {
        bool is_inside = statement.len > 0 && statement.ptr >= text
            && statement.ptr + statement.len <= text + size && rest.len < left;
        if (!is_inside) {
            abort();
        }
        left = rest.len;
    }
    return 0;
}
