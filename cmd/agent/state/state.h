/*
 * The agent's state folder: who it is and whom it trusts. Mode 0700, locked by one process at a
 * time; every file is replaced atomically and refused when others may read it or when it is a link.
 *
 *   identity.key encryption.key   private keys (32 bytes each)
 *   api.key  api.key.next         what the server gave; next: offered, not used yet
 *   ca.pem                        the server's CA, fetched by the join string's pin
 *   enrollment                    target, ids and the server's command key, as "name value" lines
 *   pending                       a join string not yet redeemed
 *   command-sequence              highest command sequence ever accepted
 *
 * One owner, one thread.
 */
#ifndef CMD_AGENT_STATE_STATE_H
#define CMD_AGENT_STATE_STATE_H

#include "common/crypto/key.h"

enum {
    STATE_TARGET_BYTES = 256,
    STATE_ID_BYTES = 129,
    STATE_NAME_BYTES = 256,
    STATE_TEXT_MAX = 65536
};

struct state;

/* What is lent of this agent lies in this folder below its state: see loan.h. */
#define STATE_GUESTS "guests"

struct state_enrollment {
    char target[STATE_TARGET_BYTES]; /* "host:port", "unix:/path" */
    char server_id[STATE_ID_BYTES];
    char name[STATE_NAME_BYTES]; /* ours, as registered */
    int64_t agent_id;
    uint8_t command_pubkey[KEY_PUBLIC_BYTES];
    bool has_ca; /* ca.pem is to be used */
};

/* ERR_BUSY: another agent runs here. ERR_DENIED: loose modes, another owner, a link; the text says
 * what to run. */
enum err_code state_open(const char *dir, struct state **ret_state, struct err_info *err)
    MUST_CHECK;

/* Without the lock, to look; nothing may be written through it. ERR_NOT_FOUND: no such folder. */
enum err_code state_open_shared(const char *dir, struct state **ret_state, struct err_info *err)
    MUST_CHECK;
void state_close(struct state *state); /* NULL is allowed */
const char *state_dir(const struct state *state);

/* Loads both keys, making (and keeping) them the first time. */
enum err_code state_load_keys(struct state *state, struct err_info *err) MUST_CHECK;
const struct key_sign *state_identity(const struct state *state); /* after state_load_keys */
const struct key_box *state_encryption(const struct state *state);

/* ERR_NOT_FOUND: not enrolled. ERR_CORRUPT names the line. */
enum err_code state_load_enrollment(
    struct state *state, struct state_enrollment *ret_enrollment, struct err_info *err) MUST_CHECK;
enum err_code state_save_enrollment(
    struct state *state,
    const struct state_enrollment *enrollment,
    struct err_info *err) MUST_CHECK;

/* Text form of an enrollment, for tests and fuzzers. */
enum err_code state_parse_enrollment(
    struct str_view text, struct state_enrollment *ret_enrollment, struct err_info *err) MUST_CHECK;

/* The key in use, and the offered one if there is one. ERR_NOT_FOUND: none. */
enum err_code state_load_api_key(
    struct state *state, bool next, struct secret **ret_key, struct err_info *err) MUST_CHECK;
enum err_code state_save_api_key(
    struct state *state, bool next, const struct secret *key, struct err_info *err) MUST_CHECK;

/* The offered key worked: it takes the place of the old one. */
enum err_code state_promote_api_key(struct state *state, struct err_info *err) MUST_CHECK;
void state_drop_next_api_key(struct state *state);

/* The CA as PEM; the caller frees it. */
enum err_code state_load_ca(struct state *state, char **ret_pem, struct err_info *err) MUST_CHECK;
enum err_code state_save_ca(struct state *state, const char *pem, struct err_info *err) MUST_CHECK;

/* A join string (and the name and labels to register with) while the server has not confirmed. */
enum err_code state_load_pending(
    struct state *state, struct secret **ret_text, struct err_info *err) MUST_CHECK;
enum err_code state_save_pending(struct state *state, struct str_view text, struct err_info *err)
    MUST_CHECK;
void state_drop_pending(struct state *state);

/* 0 when there is none. ERR_CORRUPT: the file is not as it was written. */
enum err_code state_load_command_sequence(
    struct state *state, uint64_t *ret_sequence, struct err_info *err) MUST_CHECK;
enum err_code state_save_command_sequence(
    struct state *state, uint64_t sequence, struct err_info *err) MUST_CHECK;

/* Removes everything the agent made in the folder, keys included. */
enum err_code state_erase(struct state *state, struct err_info *err) MUST_CHECK;

#endif
