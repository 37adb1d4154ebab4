/* links: agent_guest */
#include "cmd/agent/guest/loan.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

/* What is accepted has one text form, and that is the text. What can be read of any other can be
 * written, as far as it is whole. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct loan loan;
    struct loan again;
    struct str_view text = str_from((const char *)data, bytes);
    struct buf buf = BUF_INIT(LOAN_TEXT_MAX);
    if (loan_parse(text, &loan, NULL) == ERR_OK
        && (loan_format(&loan, &buf, NULL) != ERR_OK || !str_equal(buf_view(&buf), text))) {
        abort();
    }
    buf_clear(&buf);
    loan_salvage(text, &loan);
    if (loan_format(&loan, &buf, NULL) == ERR_OK
        && (loan_parse(buf_view(&buf), &again, NULL) != ERR_OK
            || memcmp(&loan, &again, sizeof(loan)) != 0)) {
        abort();
    }
    buf_deinit(&buf);
    return 0;
}
