#include "cmd/server/auth/replica_pass.h"

#include "common/base/cleanup.h"
#include "common/crypto/key.h"

#include <inttypes.h>
#include <stdio.h>

enum {
    MESSAGE_BYTES = 1024,
    SIGNATURE_CHARS = 2 * KEY_SIGNATURE_BYTES
};

#define DOMAIN "belay.replica.v1"

static void append_part(struct buf *message, struct str_view part)
{
    uint8_t length[8];
    for (size_t i = 0; i < sizeof(length); i++) {
        length[i] = (uint8_t)((uint64_t)part.len >> (8 * (sizeof(length) - 1 - i)));
    }
    buf_append(message, length, sizeof(length));
    buf_append(message, part.ptr, part.len);
}

/* Each part with its length, as a command's: no two passes share a message. */
static bool fill_message(
    const struct service *service, const struct replica_pass *pass, struct buf *message)
{
    char agent[24];
    (void)snprintf(agent, sizeof(agent), "%" PRId64, pass->agent_id);
    append_part(message, STR(DOMAIN));
    append_part(message, str_of(service->server_id));
    append_part(message, pass->address);
    append_part(message, pass->relay_id);
    append_part(message, str_of(agent));
    return buf_ok(message);
}

enum err_code replica_pass_create(
    const struct service *service,
    const struct replica_pass *pass,
    char out[REPLICA_PASS_BYTES],
    struct err_info *err)
{
    uint8_t signature[KEY_SIGNATURE_BYTES];
    char hex[SIGNATURE_CHARS + 1];
    AUTO_BUF struct buf message = BUF_INIT(MESSAGE_BYTES);
    if (!fill_message(service, pass, &message) || pass->relay_id.len >= ID_TEXT_BYTES) {
        return ERR_SET(err, ERR_LIMIT, "the relay's names are too long");
    }
    key_sign_message(service->command_key, buf_view(&message), signature);
    str_hex_encode(signature, sizeof(signature), hex);
    (void)snprintf(
        out,
        REPLICA_PASS_BYTES,
        REPLICA_PASS_PREFIX "%.*s.%" PRId64 ".%s",
        STR_ARG(pass->relay_id),
        pass->agent_id,
        hex);
    return ERR_OK;
}

static bool split(struct str_view token, struct replica_pass *pass, struct str_view *ret_signature)
{
    struct str_view rest = STR_NONE;
    struct str_view agent = STR_NONE;
    uint64_t agent_id = 0;
    if (!str_has_prefix(token, STR(REPLICA_PASS_PREFIX))) {
        return false;
    }
    token.ptr += strlen(REPLICA_PASS_PREFIX);
    token.len -= strlen(REPLICA_PASS_PREFIX);
    if (!str_cut(token, '.', &pass->relay_id, &rest) || !str_cut(rest, '.', &agent, ret_signature)
        || str_parse_uint64(agent, INT64_MAX, &agent_id) != ERR_OK) {
        return false;
    }
    pass->agent_id = (int64_t)agent_id;
    return pass->relay_id.len < ID_TEXT_BYTES && ret_signature->len == SIGNATURE_CHARS;
}

enum err_code replica_pass_check(
    const struct service *service,
    struct str_view token,
    struct principal *ret_principal,
    struct err_info *err)
{
    uint8_t signature[KEY_SIGNATURE_BYTES];
    struct str_view hex = STR_NONE;
    struct replica_pass pass = { .address = str_of(service->replica_address) };
    AUTO_BUF struct buf message = BUF_INIT(MESSAGE_BYTES);
    bool is_good = pass.address.len > 0 && split(token, &pass, &hex)
        && str_hex_decode(hex, signature, sizeof(signature)) == ERR_OK
        && fill_message(service, &pass, &message)
        && key_verify(key_sign_public(service->command_key), buf_view(&message), signature);
    if (!is_good) {
        return ERR_SET(err, ERR_UNAUTHENTICATED, "the credential is unknown, expired or revoked");
    }
    *ret_principal = (struct principal){ .kind = PRINCIPAL_REPLICA,
                                         .agent_id = pass.agent_id,
                                         .expires_at = INT64_MAX };
    (void)snprintf(
        ret_principal->subject,
        sizeof(ret_principal->subject),
        "replica:agent:%" PRId64,
        pass.agent_id);
    return str_copy(pass.relay_id, ret_principal->relay_id, sizeof(ret_principal->relay_id));
}
