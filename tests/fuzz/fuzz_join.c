/* links: common_base */
#include "common/base/join.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

/* What is accepted has one text form, and that form is accepted as the same. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct join_string join;
    struct join_string again;
    struct err_info err = ERR_INFO_INIT;
    if (join_parse(str_from((const char *)data, bytes), &join, &err) != ERR_OK) {
        return 0;
    }
    AUTO_BUF struct buf buf = BUF_INIT(JOIN_TEXT_MAX);
    if (join_format(&join, &buf, &err) == ERR_OK
        && (join_parse(buf_view(&buf), &again, &err) != ERR_OK
            || memcmp(&join, &again, sizeof(join)) != 0)) {
        abort();
    }
    return 0;
}
