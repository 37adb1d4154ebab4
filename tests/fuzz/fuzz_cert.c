/* links: common_crypto */
/*
 * PEM from a peer or a damaged file: fingerprint, expiry and names must agree on what is a
 * certificate, and must never ask a terminal for a passphrase.
 */
#include "common/base/cleanup.h"
#include "common/crypto/cert.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const names[] = { "belay-server", "192.0.2.7", "2001:db8::7" };
    AUTO_FREE char *pem = mem_printf("%.*s", (int)size, (const char *)data);
    struct err_info err = ERR_INFO_INIT;
    struct wall_us end = { 0 };
    uint8_t first[32];
    uint8_t last[32];
    enum err_code of_first = cert_fingerprint(pem, false, first, &err);
    enum err_code of_last = cert_fingerprint(pem, true, last, &err);
    if ((of_first == ERR_OK) != (of_last == ERR_OK)) {
        abort();
    }
    if (of_first != ERR_OK && (err.code == ERR_OK || cert_has_names(pem, names, 1))) {
        abort();
    }
    if (cert_expiry(pem, &end, &err) == ERR_OK && of_first != ERR_OK) {
        abort();
    }
    (void)cert_has_names(pem, names, ARRAY_LENGTH(names));
    return 0;
}
