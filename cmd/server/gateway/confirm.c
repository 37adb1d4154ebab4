#include "cmd/server/gateway/confirm.h"

#include "cmd/server/store/enrollment.h"
#include "common/crypto/hash.h"

enum {
    BOX_BYTES = 256
};

enum err_code confirm_agent(
    struct work *work,
    struct agent_record *agent,
    struct secret **ret_revealed,
    struct err_info *err)
{
    AUTO_SECRET struct secret *key = token_create("bla_");
    AUTO_BUF struct buf box = BUF_INIT(BOX_BYTES);
    uint8_t hash[HASH_SHA256_BYTES];
    token_hash(secret_peek(key), hash);
    struct str_view sealed = STR_NONE;
    if (ret_revealed == NULL) {
        if (key_seal((const uint8_t *)agent->encryption_key.ptr, secret_peek(key), &box)
            != ERR_OK) {
            return ERR_SET(err, ERR_INVALID, "encryption_pubkey: not a usable X25519 key");
        }
        sealed = str_from(arena_dup(work->arena, box.data, box.len), box.len);
        if (sealed.ptr == NULL) {
            return ERR_SET(err, ERR_NOMEM, "out of memory");
        }
    }
    TRY(store_agent_confirm(work->conn, agent->workspace_id, agent->id, hash, sealed, err));
    const struct enrollment_move move = {
        .id = str_of(agent->enrollment_id),
        .from = ENROLLMENT_AWAITING_CONFIRMATION,
        .to = ENROLLMENT_CONFIRMED,
        .agent_id = agent->id,
    };
    TRY(store_enrollment_move(work->conn, agent->workspace_id, &move, err));
    agent->state = AGENT_CONFIRMED;
    agent->sealed_api_key = sealed;
    work_wake(work, HUB_AGENTS, agent->workspace_id);
    if (ret_revealed != NULL) {
        secret_destroy(*ret_revealed); /* of an attempt that was rolled back */
        *ret_revealed = STEAL(key);
    }
    return ERR_OK;
}
