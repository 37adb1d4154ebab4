/*
 * What makes this installation itself: its id (in the database, shared by replicas) and the key
 * that signs commands (in the state folder; replicas share the file).
 */
#ifndef SERVER_CORE_IDENTITY_H
#define SERVER_CORE_IDENTITY_H

#include "cmd/server/store/store.h"
#include "common/crypto/key.h"

/* Reads state_dir/command.key (mode 0600), made on first start. */
enum err_code identity_load_command_key(
    const char *state_dir, struct key_sign **ret_key, struct err_info *err) MUST_CHECK;

/* "srv_..."; the first server to ask makes it. */
enum err_code identity_load_server_id(
    struct sql_conn *conn, struct wall_us now, char *ret_id, size_t id_bytes, struct err_info *err)
    MUST_CHECK;

#endif
