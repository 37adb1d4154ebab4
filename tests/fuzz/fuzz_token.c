/* links: common_crypto */
/* base64url and tokens: what decodes must encode to the very same text, so one value has one
 * spelling. */
#include "common/base/cleanup.h"
#include "common/crypto/hash.h"
#include "common/crypto/key.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_round_trip(struct str_view text)
{
    AUTO_BUF struct buf bytes = BUF_INIT(1 << 20);
    AUTO_BUF struct buf again = BUF_INIT(1 << 20);
    if (base64url_decode(text, &bytes) != ERR_OK) {
        if (bytes.len != 0) {
            abort();
        }
        return;
    }
    base64url_encode(buf_view(&bytes), &again);
    if (!str_equal(buf_view(&again), text)) {
        abort();
    }
}

static void check_encoding(struct str_view bytes)
{
    AUTO_BUF struct buf text = BUF_INIT(1 << 20);
    AUTO_BUF struct buf again = BUF_INIT(1 << 20);
    base64url_encode(bytes, &text);
    if (base64url_decode(buf_view(&text), &again) != ERR_OK
        || !str_equal(buf_view(&again), bytes)) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str_view text = str_from((const char *)data, size);
    if (size > 65536) {
        return 0;
    }
    check_round_trip(text);
    check_encoding(text);
    if (token_has_form(text, "blt_")) {
        check_round_trip(str_from(text.ptr + 4, text.len - 4));
    }
    if (size >= KEY_PUBLIC_BYTES) {
        (void)key_sign_public_is_valid(data);
        (void)key_box_public_is_valid(data);
    }
    return 0;
}
