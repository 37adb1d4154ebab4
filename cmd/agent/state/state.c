#include "cmd/agent/state/state.h"

#include "common/base/cleanup.h"
#include "common/sys/fd.h"
#include "common/sys/file.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    API_KEY_MAX = 512,
    MODE_PRIVATE = 0600
};

struct state {
    char *dir;
    int lock_fd; /* -1: shared */
    struct key_sign *identity;
    struct key_box *encryption;
};

static char *path_of(const struct state *state, const char *name)
{
    return mem_printf("%s/%s", state->dir, name);
}

/* What file_make_dir says of a folder that is there, for whoever makes none; root may look into
 * others'. */
static enum err_code check_folder(const char *dir, struct err_info *err)
{
    struct stat info;
    if (lstat(dir, &info) != 0) {
        return ERR_SET_ERRNO(
            err, errno == ENOENT ? ERR_NOT_FOUND : ERR_DENIED, errno, "state folder %s", dir);
    }
    if (!S_ISDIR(info.st_mode)) {
        return ERR_SET(err, ERR_DENIED, "state folder %s: not a folder (a link is refused)", dir);
    }
    if (info.st_uid != geteuid() && geteuid() != 0) {
        return ERR_SET(err, ERR_DENIED, "state folder %s: belongs to uid %u", dir, info.st_uid);
    }
    if ((info.st_mode & 077) != 0) {
        return ERR_SET(
            err,
            ERR_DENIED,
            "state folder %s: mode %04o lets others in; run: chmod 700 %s",
            dir,
            (unsigned)info.st_mode & 07777U,
            dir);
    }
    return ERR_OK;
}

static struct state *create(const char *dir)
{
    struct state *state = mem_alloc(sizeof(*state));
    state->dir = mem_strdup(dir);
    state->lock_fd = -1;
    return state;
}

enum err_code state_open(const char *dir, struct state **ret_state, struct err_info *err)
{
    TRY(file_make_dir(dir, 0700, err));
    struct state *state = create(dir);
    enum err_code code = file_lock_dir(dir, &state->lock_fd, err);
    if (code != ERR_OK) {
        state_close(state);
        return code;
    }
    *ret_state = state;
    return ERR_OK;
}

enum err_code state_open_shared(const char *dir, struct state **ret_state, struct err_info *err)
{
    TRY(check_folder(dir, err));
    *ret_state = create(dir);
    return ERR_OK;
}

void state_close(struct state *state)
{
    if (state == NULL) {
        return;
    }
    key_sign_destroy(state->identity);
    key_box_destroy(state->encryption);
    fd_close(&state->lock_fd);
    mem_free(state->dir);
    mem_free(state);
}

const char *state_dir(const struct state *state)
{
    return state->dir;
}

static enum err_code write_file(
    struct state *state, const char *name, struct str_view data, struct err_info *err)
{
    AUTO_FREE char *path = path_of(state, name);
    if (state->lock_fd < 0) {
        return ERR_SET(err, ERR_DENIED, "%s: opened to look only", path);
    }
    return file_write_atomic(path, data.ptr, data.len, MODE_PRIVATE, err);
}

static enum err_code read_secret(
    const struct state *state,
    const char *name,
    size_t max_bytes,
    struct secret **ret_secret,
    struct err_info *err)
{
    AUTO_FREE char *path = path_of(state, name);
    AUTO_BUF struct buf data = BUF_INIT(max_bytes + 1);
    enum err_code code = file_read_private(path, max_bytes, &data, err);
    if (code == ERR_OK) {
        *ret_secret = secret_create(data.data, data.len);
    }
    if (data.data != NULL) {
        secret_wipe(data.data, data.len);
    }
    return code;
}

static enum err_code load_identity(struct state *state, struct err_info *err)
{
    AUTO_SECRET struct secret *seed = NULL;
    enum err_code code = read_secret(state, "identity.key", KEY_SEED_BYTES, &seed, err);
    if (code == ERR_NOT_FOUND) {
        state->identity = key_sign_create();
        return write_file(state, "identity.key", key_sign_peek_seed(state->identity), err);
    }
    TRY(code);
    if (key_sign_from_seed(secret_peek(seed), &state->identity) != ERR_OK) {
        return ERR_SET(
            err,
            ERR_CORRUPT,
            "%s/identity.key is damaged: restore it, or run 'reset --yes' and enroll again",
            state->dir);
    }
    return ERR_OK;
}

static enum err_code load_encryption(struct state *state, struct err_info *err)
{
    AUTO_SECRET struct secret *seed = NULL;
    enum err_code code = read_secret(state, "encryption.key", KEY_SEED_BYTES, &seed, err);
    if (code == ERR_NOT_FOUND) {
        state->encryption = key_box_create();
        return write_file(state, "encryption.key", key_box_peek_seed(state->encryption), err);
    }
    TRY(code);
    if (key_box_from_seed(secret_peek(seed), &state->encryption) != ERR_OK) {
        return ERR_SET(
            err,
            ERR_CORRUPT,
            "%s/encryption.key is damaged: restore it, or run 'reset --yes' and enroll again",
            state->dir);
    }
    return ERR_OK;
}

enum err_code state_load_keys(struct state *state, struct err_info *err)
{
    if (state->identity == NULL) {
        TRY(load_identity(state, err));
    }
    return state->encryption == NULL ? load_encryption(state, err) : ERR_OK;
}

const struct key_sign *state_identity(const struct state *state)
{
    return state->identity;
}

const struct key_box *state_encryption(const struct state *state)
{
    return state->encryption;
}

struct field_state {
    struct state_enrollment enrollment;
    bool has_target, has_server, has_agent, has_key;
};

static enum err_code set_field(
    struct field_state *fields, struct str_view name, struct str_view value)
{
    struct state_enrollment *out = &fields->enrollment;
    if (str_equal(name, STR("target"))) {
        fields->has_target = value.len > 0;
        return str_copy(value, out->target, sizeof(out->target));
    }
    if (str_equal(name, STR("server_id"))) {
        fields->has_server = value.len > 0;
        return str_copy(value, out->server_id, sizeof(out->server_id));
    }
    if (str_equal(name, STR("name"))) {
        return str_copy(value, out->name, sizeof(out->name));
    }
    if (str_equal(name, STR("agent_id"))) {
        fields->has_agent = true;
        return str_parse_int64(value, 1, INT64_MAX, &out->agent_id);
    }
    if (str_equal(name, STR("command_pubkey"))) {
        fields->has_key = true;
        return str_hex_decode(value, out->command_pubkey, sizeof(out->command_pubkey));
    }
    if (str_equal(name, STR("ca"))) {
        out->has_ca = str_equal(value, STR("pinned"));
        return out->has_ca || str_equal(value, STR("none")) ? ERR_OK : ERR_INVALID;
    }
    return ERR_INVALID;
}

enum err_code state_parse_enrollment(
    struct str_view text, struct state_enrollment *ret_enrollment, struct err_info *err)
{
    struct field_state fields = { 0 };
    unsigned number = 0;
    while (text.len > 0) {
        struct str_view line = text;
        struct str_view name = STR_NONE;
        struct str_view value = STR_NONE;
        if (!str_cut(text, '\n', &line, &text)) {
            text = STR("");
        }
        number++;
        if (!str_cut(line, ' ', &name, &value) || set_field(&fields, name, value) != ERR_OK) {
            return ERR_SET(err, ERR_CORRUPT, "enrollment: line %u is damaged", number);
        }
    }
    if (!fields.has_target || !fields.has_server || !fields.has_agent || !fields.has_key) {
        return ERR_SET(err, ERR_CORRUPT, "enrollment: incomplete");
    }
    *ret_enrollment = fields.enrollment;
    return ERR_OK;
}

enum err_code state_load_enrollment(
    struct state *state, struct state_enrollment *ret_enrollment, struct err_info *err)
{
    AUTO_FREE char *path = path_of(state, "enrollment");
    AUTO_BUF struct buf text = BUF_INIT(STATE_TEXT_MAX);
    TRY(file_read_private(path, STATE_TEXT_MAX - 1, &text, err));
    enum err_code code = state_parse_enrollment(buf_view(&text), ret_enrollment, err);
    if (code != ERR_OK) {
        err_prefix(err, "%s", state->dir);
    }
    return code;
}

enum err_code state_save_enrollment(
    struct state *state, const struct state_enrollment *enrollment, struct err_info *err)
{
    AUTO_BUF struct buf text = BUF_INIT(STATE_TEXT_MAX);
    char key[2 * KEY_PUBLIC_BYTES + 1];
    struct state_enrollment again = { .has_ca = false };
    str_hex_encode(enrollment->command_pubkey, KEY_PUBLIC_BYTES, key);
    buf_printf(&text, "target %s\n", enrollment->target);
    buf_printf(&text, "server_id %s\n", enrollment->server_id);
    buf_printf(&text, "agent_id %" PRId64 "\n", enrollment->agent_id);
    buf_printf(&text, "name %s\n", enrollment->name);
    buf_printf(&text, "command_pubkey %s\n", key);
    buf_printf(&text, "ca %s\n", enrollment->has_ca ? "pinned" : "none");
    /* a newline in a name or id must not become a line of its own */
    TRY(state_parse_enrollment(buf_view(&text), &again, err));
    if (strcmp(again.target, enrollment->target) != 0 || strcmp(again.name, enrollment->name) != 0
        || strcmp(again.server_id, enrollment->server_id) != 0
        || again.has_ca != enrollment->has_ca) {
        return ERR_SET(err, ERR_INVALID, "enrollment: a newline in a name or id");
    }
    return write_file(state, "enrollment", buf_view(&text), err);
}

static const char *api_key_name(bool next)
{
    return next ? "api.key.next" : "api.key";
}

enum err_code state_load_api_key(
    struct state *state, bool next, struct secret **ret_key, struct err_info *err)
{
    return read_secret(state, api_key_name(next), API_KEY_MAX, ret_key, err);
}

enum err_code state_save_api_key(
    struct state *state, bool next, const struct secret *key, struct err_info *err)
{
    return write_file(state, api_key_name(next), secret_peek(key), err);
}

enum err_code state_promote_api_key(struct state *state, struct err_info *err)
{
    AUTO_SECRET struct secret *key = NULL;
    TRY(state_load_api_key(state, true, &key, err));
    TRY(state_save_api_key(state, false, key, err));
    state_drop_next_api_key(state);
    return ERR_OK;
}

static void drop_file(struct state *state, const char *name)
{
    AUTO_FREE char *path = path_of(state, name);
    (void)unlink(path);
}

void state_drop_next_api_key(struct state *state)
{
    drop_file(state, "api.key.next");
}

enum err_code state_load_ca(struct state *state, char **ret_pem, struct err_info *err)
{
    AUTO_FREE char *path = path_of(state, "ca.pem");
    AUTO_BUF struct buf text = BUF_INIT(STATE_TEXT_MAX);
    TRY(file_read_private(path, STATE_TEXT_MAX - 1, &text, err));
    *ret_pem = mem_strdup(buf_text(&text));
    return ERR_OK;
}

enum err_code state_save_ca(struct state *state, const char *pem, struct err_info *err)
{
    return write_file(state, "ca.pem", str_of(pem), err);
}

enum err_code state_load_pending(
    struct state *state, struct secret **ret_text, struct err_info *err)
{
    return read_secret(state, "pending", STATE_TEXT_MAX - 1, ret_text, err);
}

enum err_code state_save_pending(struct state *state, struct str_view text, struct err_info *err)
{
    return write_file(state, "pending", text, err);
}

void state_drop_pending(struct state *state)
{
    drop_file(state, "pending");
}

/* The number, and what it lacks to the greatest one: whatever changes in one of them shows. Without
 * the second, as it was written once, it counts as well. */
static bool parse_sequence(struct str_view text, uint64_t *ret_sequence)
{
    uint64_t rest = 0;
    struct str_view second = STR_NONE;
    struct str_view first = text;
    if (!str_has_suffix(text, STR("\n"))) {
        return false; /* cut short */
    }
    first = str_from(text.ptr, text.len - 1);
    bool has_second = str_cut(first, ' ', &first, &second);
    return str_parse_uint64(first, UINT64_MAX, ret_sequence) == ERR_OK
        && (!has_second
            || (str_parse_uint64(second, UINT64_MAX, &rest) == ERR_OK && rest == ~*ret_sequence));
}

enum err_code state_load_command_sequence(
    struct state *state, uint64_t *ret_sequence, struct err_info *err)
{
    AUTO_FREE char *path = path_of(state, "command-sequence");
    AUTO_BUF struct buf text = BUF_INIT(64);
    enum err_code code = file_read_private(path, 63, &text, err);
    if (code == ERR_NOT_FOUND) {
        *ret_sequence = 0;
        return ERR_OK;
    }
    TRY(code);
    if (!parse_sequence(buf_view(&text), ret_sequence)) {
        return ERR_SET(
            err,
            ERR_CORRUPT,
            "%s is damaged: without it old commands could be replayed; restore it, or run "
            "'reset --yes' and enroll again",
            path);
    }
    return ERR_OK;
}

enum err_code state_save_command_sequence(
    struct state *state, uint64_t sequence, struct err_info *err)
{
    static const char name[] = "command-sequence";
    char text[64];
    struct err_info ignored = ERR_INFO_INIT;
    AUTO_FREE char *path = path_of(state, name);
    /* Always as long, since every command waits for this: see file_overwrite. */
    int bytes =
        snprintf(text, sizeof(text), "%020" PRIu64 " %020" PRIu64 "\n", sequence, ~sequence);
    if (state->lock_fd >= 0 && file_overwrite(path, text, (size_t)bytes, &ignored) == ERR_OK) {
        return ERR_OK;
    }
    return write_file(state, name, str_of(text), err);
}

static bool is_ours(const char *name)
{
    static const char *const names[] = { "identity.key", "encryption.key", "api.key",
                                         "api.key.next", "ca.pem",         "enrollment",
                                         "pending",      "agent.sock",     "command-sequence" };
    for (size_t i = 0; i < ARRAY_LENGTH(names); i++) {
        if (strcmp(name, names[i]) == 0) {
            return true;
        }
    }
    return str_has_prefix(str_of(name), STR("spool.db"));
}

enum err_code state_erase(struct state *state, struct err_info *err)
{
    DIR *dir = opendir(state->dir);
    if (dir == NULL) {
        return ERR_SET_ERRNO(err, ERR_DENIED, errno, "%s", state->dir);
    }
    for (struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        if (is_ours(entry->d_name)) {
            drop_file(state, entry->d_name);
        }
    }
    (void)closedir(dir);
    return ERR_OK;
}
