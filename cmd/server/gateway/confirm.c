#include "cmd/server/gateway/confirm.h"

#include "cmd/server/store/enrollment/enrollment.h"
#include "common/crypto/hash.h"

enum {
    BOX_BYTES = 256
};

static enum err_code seal(
    struct work *work,
    struct str_view encryption_key,
    const struct secret *api_key,
    struct str_view *ret_sealed,
    struct err_info *err)
{
    AUTO_BUF struct buf box = BUF_INIT(BOX_BYTES);
    if (key_seal((const uint8_t *)encryption_key.ptr, secret_peek(api_key), &box) != ERR_OK) {
        return ERR_SET(err, ERR_INVALID, "encryption_pubkey: not a usable X25519 key");
    }
    *ret_sealed = str_from(arena_dup(work->arena, box.data, box.len), box.len);
    return ret_sealed->ptr == NULL ? ERR_SET(err, ERR_NOMEM, "out of memory") : ERR_OK;
}

enum err_code confirm_make_key(
    struct work *work,
    struct str_view encryption_key,
    struct secret **ret_revealed,
    struct confirm_key *ret_key,
    struct err_info *err)
{
    AUTO_SECRET struct secret *key = token_create("bla_");
    token_hash(secret_peek(key), ret_key->hash);
    ret_key->sealed = STR_NONE;
    if (ret_revealed == NULL) {
        return seal(work, encryption_key, key, &ret_key->sealed, err);
    }
    *ret_revealed = STEAL(key);
    return ERR_OK;
}

enum err_code confirm_agent(
    struct work *work,
    struct agent_record *agent,
    struct secret **ret_revealed,
    struct err_info *err)
{
    struct confirm_key key;
    AUTO_SECRET struct secret *revealed = NULL;
    TRY(confirm_make_key(
        work, agent->encryption_key, ret_revealed == NULL ? NULL : &revealed, &key, err));
    TRY(store_agent_confirm(work->conn, agent->workspace_id, agent->id, key.hash, key.sealed, err));
    const struct enrollment_move move = {
        .id = str_of(agent->enrollment_id),
        .from = ENROLLMENT_AWAITING_CONFIRMATION,
        .to = ENROLLMENT_CONFIRMED,
        .agent_id = agent->id,
    };
    TRY(store_enrollment_move(work->conn, agent->workspace_id, &move, err));
    agent->state = AGENT_CONFIRMED;
    agent->sealed_api_key = key.sealed;
    work_wake(work, HUB_AGENTS, agent->workspace_id);
    if (ret_revealed != NULL) {
        secret_destroy(*ret_revealed); /* of an attempt that was rolled back */
        *ret_revealed = STEAL(revealed);
    }
    return ERR_OK;
}
