#include "cmd/server/core/identity.h"

#include "cmd/server/store/access.h"
#include "common/base/id.h"
#include "common/base/log.h"
#include "common/sys/file.h"

enum {
    ARENA_BYTES = 4096
};

enum err_code identity_load_command_key(
    const char *state_dir, struct key_sign **ret_key, struct err_info *err)
{
    AUTO_FREE char *path = mem_printf("%s/command.key", state_dir);
    AUTO_BUF struct buf seed = BUF_INIT(KEY_SEED_BYTES);
    enum err_code code = file_read_private(path, KEY_SEED_BYTES, &seed, err);
    if (code == ERR_NOT_FOUND) {
        struct key_sign *key = key_sign_create();
        struct str_view made = key_sign_peek_seed(key);
        code = file_write_atomic(path, made.ptr, made.len, 0600, err);
        if (code != ERR_OK) {
            key_sign_destroy(key);
            return code;
        }
        *ret_key = key;
        return ERR_OK;
    }
    TRY(code);
    code = key_sign_from_seed(buf_view(&seed), ret_key);
    secret_wipe(seed.data, seed.len);
    return code == ERR_OK ? ERR_OK
                          : ERR_SET(
                              err,
                              ERR_CORRUPT,
                              "%s: not a key of 32 bytes; restore it from a backup: agents pin it",
                              path);
}

static enum err_code read_or_make(
    struct sql_conn *conn,
    struct wall_us now,
    struct arena *arena,
    struct str_view *ret_id,
    struct err_info *err)
{
    char made[ID_TEXT_BYTES];
    enum err_code code = store_meta_get(conn, "server_id", arena, ret_id, err);
    if (code != ERR_NOT_FOUND) {
        return code;
    }
    TRY(store_meta_put(conn, "server_id", str_of(id_create("srv", now, made)), err));
    return store_meta_get(conn, "server_id", arena, ret_id, err);
}

/* The second wall between workspaces stands only for an ordinary role. */
static enum err_code check_wall(struct sql_conn *conn, struct err_info *err)
{
    bool passes = false;
    TRY(store_role_passes_wall(conn, &passes, err));
    if (passes) {
        log_warn(
            "row_level_security_off",
            LOG_STR("text", "the database role is a superuser or has BYPASSRLS: use another"));
    }
    return ERR_OK;
}

enum err_code identity_load_server_id(
    struct sql_conn *conn, struct wall_us now, char *ret_id, size_t id_bytes, struct err_info *err)
{
    AUTO_ARENA struct arena *arena = arena_create(ARENA_BYTES);
    struct str_view id = STR_NONE;
    TRY(sql_begin(conn, SQL_ALL_WORKSPACES, err));
    enum err_code code = read_or_make(conn, now, arena, &id, err);
    if (code == ERR_OK) {
        code = check_wall(conn, err);
    }
    if (code != ERR_OK) {
        sql_rollback(conn);
        return code;
    }
    TRY(sql_commit(conn, err));
    return str_copy(id, ret_id, id_bytes) == ERR_OK
        ? ERR_OK
        : ERR_SET(err, ERR_CORRUPT, "server_id in the database is not an id");
}
