#include "cmd/cli/gateway_store.h"

#include "common/sys/file.h"
#include "common/wire/wire.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    FILE_BYTES_MAX = 16 * 1024 * 1024
};

/* ---- file ---- */

static enum err_code find_paths(struct cli *cli, struct gateway_store *store)
{
    const char *base = cli_env(cli, "XDG_CONFIG_HOME");
    const char *home = cli_env(cli, "HOME");
    if (base != NULL && base[0] == '/') {
        store->dir = arena_printf(cli->arena, "%s/belay", base);
    } else if (home != NULL) {
        store->dir = arena_printf(cli->arena, "%s/.config/belay", home);
    } else {
        return ERR_SET(
            &cli->err,
            ERR_PRECONDITION,
            "neither HOME nor XDG_CONFIG_HOME says where gateways are kept");
    }
    store->path = arena_printf(cli->arena, "%s/gateways.json", store->dir);
    return ERR_OK;
}

static enum err_code load(struct cli *cli, struct gateway_store *store)
{
    AUTO_BUF struct buf text = BUF_INIT(FILE_BYTES_MAX);
    enum err_code code = file_read_private(store->path, FILE_BYTES_MAX, &text, &cli->err);
    if (code == ERR_NOT_FOUND) {
        cli->err = (struct err_info)ERR_INFO_INIT;
        store->list = cli_message(cli, &belay__cli__v1__gateway_list__descriptor);
        return ERR_OK;
    }
    TRY(code);
    ProtobufCMessage *message = NULL;
    code = wire_from_json(
        cli->schema,
        &belay__cli__v1__gateway_list__descriptor,
        buf_view(&text),
        cli->arena,
        &message,
        &cli->err);
    if (code != ERR_OK) {
        err_prefix(&cli->err, "%s", store->path);
        return ERR_CORRUPT;
    }
    store->list = (Belay__Cli__V1__GatewayList *)(void *)message;
    return ERR_OK;
}

enum err_code gateway_store_get(struct cli *cli, struct gateway_store **ret_store)
{
    if (cli->store == NULL) {
        struct gateway_store *store = arena_alloc(cli->arena, sizeof(*store));
        TRY(find_paths(cli, store));
        TRY(load(cli, store));
        cli->store = store;
    }
    *ret_store = cli->store;
    return ERR_OK;
}

/* The folder and its parent, which may be looser than ours. */
static enum err_code make_folders(struct cli *cli, const char *dir)
{
    char *parent = arena_strdup(cli->arena, dir);
    char *slash = strrchr(parent, '/');
    if (slash != NULL && slash != parent) {
        *slash = 0;
        if (mkdir(parent, 0700) != 0 && errno != EEXIST) {
            return ERR_SET_ERRNO(&cli->err, ERR_UNAVAILABLE, errno, "%s: mkdir", parent);
        }
    }
    return file_make_dir(dir, 0700, &cli->err);
}

enum err_code gateway_store_save(struct cli *cli, struct gateway_store *store)
{
    AUTO_BUF struct buf text = BUF_INIT(FILE_BYTES_MAX);
    TRY(make_folders(cli, store->dir));
    TRY(wire_to_json(
        cli->schema,
        &store->list->base,
        WIRE_JSON_INDENT | WIRE_JSON_SHOW_SECRETS,
        &text,
        &cli->err));
    buf_append_char(&text, '\n');
    if (!buf_ok(&text)) {
        return ERR_SET(&cli->err, ERR_LIMIT, "%s: more than %d bytes", store->path, FILE_BYTES_MAX);
    }
    return file_write_atomic(store->path, text.data, text.len, 0600, &cli->err);
}

/* ---- list ---- */

Belay__Cli__V1__Gateway *gateway_store_find(const struct gateway_store *store, const char *name)
{
    for (size_t i = 0; i < store->list->n_gateways; i++) {
        if (strcmp(store->list->gateways[i]->name, name) == 0) {
            return store->list->gateways[i];
        }
    }
    return NULL;
}

enum err_code gateway_store_put(
    struct cli *cli, struct gateway_store *store, Belay__Cli__V1__Gateway *gateway)
{
    Belay__Cli__V1__GatewayList *list = store->list;
    for (size_t i = 0; i < list->n_gateways; i++) {
        if (strcmp(list->gateways[i]->name, gateway->name) == 0) {
            list->gateways[i] = gateway;
            return ERR_OK;
        }
    }
    if (list->n_gateways >= GATEWAYS_MAX) {
        return ERR_SET(&cli->err, ERR_LIMIT, "more than %d gateways", GATEWAYS_MAX);
    }
    Belay__Cli__V1__Gateway **grown =
        arena_alloc(cli->arena, (list->n_gateways + 1) * sizeof(void *));
    if (list->n_gateways > 0) {
        memcpy(grown, list->gateways, list->n_gateways * sizeof(void *));
    }
    grown[list->n_gateways++] = gateway;
    list->gateways = grown;
    return ERR_OK;
}

void gateway_store_remove(struct gateway_store *store, const char *name)
{
    Belay__Cli__V1__GatewayList *list = store->list;
    size_t kept = 0;
    for (size_t i = 0; i < list->n_gateways; i++) {
        if (strcmp(list->gateways[i]->name, name) != 0) {
            list->gateways[kept++] = list->gateways[i];
        }
    }
    list->n_gateways = kept;
    if (strcmp(list->current, name) == 0) {
        list->current = list->current + strlen(list->current);
    }
}

/* ---- choice ---- */

static Belay__Cli__V1__Gateway *local_gateway(struct cli *cli, const char *path)
{
    Belay__Cli__V1__Gateway *gateway = cli_message(cli, &belay__cli__v1__gateway__descriptor);
    gateway->name = cli_text(cli, GATEWAY_LOCAL);
    gateway->endpoint = str_has_prefix(str_of(path), STR("unix:"))
        ? cli_text(cli, path)
        : arena_printf(cli->arena, "unix:%s", path);
    return gateway;
}

/* A socket below the current folder could be anybody's: only ours or root's is taken. */
static bool is_own_socket(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISSOCK(info.st_mode)
        && (info.st_uid == geteuid() || info.st_uid == 0);
}

static bool is_socket(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISSOCK(info.st_mode);
}

static bool choose_found(struct cli *cli, struct gateway_choice *ret_choice)
{
    static const char BELOW[] = "./var/operator.sock";
    static const char SYSTEM[] = "/run/belay/operator.sock";
    const char *socket = cli_env(cli, "BELAY_SOCKET");
    if (socket != NULL) {
        *ret_choice =
            (struct gateway_choice){ local_gateway(cli, socket), "environment BELAY_SOCKET" };
        return true;
    }
    if (is_own_socket(BELOW)) {
        *ret_choice = (struct gateway_choice){ local_gateway(cli, BELOW), "found in ./var" };
        return true;
    }
    if (is_socket(SYSTEM)) {
        *ret_choice = (struct gateway_choice){ local_gateway(cli, SYSTEM), "found in /run/belay" };
        return true;
    }
    return false;
}

static enum err_code choose_named(
    struct cli *cli, const char *name, const char *origin, struct gateway_choice *ret_choice)
{
    struct gateway_store *store = NULL;
    if (strcmp(name, GATEWAY_LOCAL) == 0) {
        if (choose_found(cli, ret_choice)) {
            return ERR_OK;
        }
        return ERR_SET(&cli->err, ERR_UNAVAILABLE, "no operator socket was found on this machine");
    }
    TRY(gateway_store_get(cli, &store));
    ret_choice->gateway = gateway_store_find(store, name);
    ret_choice->origin = origin;
    if (ret_choice->gateway == NULL) {
        return ERR_SET(&cli->err, ERR_NOT_FOUND, "no gateway is called \"%s\"", name);
    }
    return ERR_OK;
}

enum err_code gateway_choose(struct cli *cli, struct gateway_choice *ret_choice)
{
    const char *name = args_text(cli->args, "gateway");
    struct gateway_store *store = NULL;
    if (name != NULL) {
        return choose_named(cli, name, "--gateway", ret_choice);
    }
    if (cli_env(cli, "BELAY_SOCKET") != NULL && choose_found(cli, ret_choice)) {
        return ERR_OK;
    }
    enum err_code code = gateway_store_get(cli, &store);
    if (code != ERR_OK && code != ERR_PRECONDITION) {
        return code;
    }
    if (code == ERR_OK && store->list->current[0] != 0) {
        return choose_named(cli, store->list->current, "belay gateway use", ret_choice);
    }
    if (choose_found(cli, ret_choice)) {
        return ERR_OK;
    }
    return ERR_SET(
        &cli->err,
        ERR_UNAVAILABLE,
        "no server to talk to: no gateway is in use and no operator socket was found");
}
