/* belay gateway: the servers this user knows. */
#include "cmd/cli/cells.h"
#include "cmd/cli/commands/commands.h"
#include "cmd/cli/connection.h"
#include "common/crypto/cert.h"
#include "common/crypto/hash.h"
#include "common/rpc/client.h"
#include "common/sys/file.h"

#include "proto/agentgateway/v1/admin.pb-c.h"

#include <unistd.h>

enum {
    PEM_BYTES_MAX = 65536,
    KEY_BYTES_MAX = 512,
    SHA256_TEXT_BYTES = 2 * HASH_SHA256_BYTES + 1
};

/* ---- view ---- */

static enum text_style write_name(const struct view_cell *cell, struct buf *out)
{
    const Belay__Cli__V1__Gateway *gateway = cell->item;
    const struct gateway_store *store = cell->cli->store;
    bool current = store != NULL && strcmp(store->list->current, gateway->name) == 0;
    buf_printf(out, "%s%s", gateway->name, current ? " *" : "");
    return current ? TEXT_BOLD : TEXT_PLAIN;
}

static enum text_style write_security(const struct view_cell *cell, struct buf *out)
{
    const Belay__Cli__V1__Gateway *gateway = cell->item;
    if (gateway->ca_pem[0] != 0) {
        return cells_text("tls", out);
    }
    bool socket = str_has_prefix(str_of(gateway->endpoint), STR("unix:"));
    return cells_text(socket ? "socket" : "plaintext", out);
}

static enum text_style write_key(const struct view_cell *cell, struct buf *out)
{
    const Belay__Cli__V1__Gateway *gateway = cell->item;
    return cells_text(gateway->api_key[0] != 0 ? "stored" : "-", out);
}

CELL_TEXT(write_endpoint, Belay__Cli__V1__Gateway, endpoint)
CELL_TEXT(write_workspace, Belay__Cli__V1__Gateway, workspace)
CELL_TEXT(write_pin, Belay__Cli__V1__Gateway, ca_sha256)
CELL_NAME(name_of, Belay__Cli__V1__Gateway, name)

static const struct view_column COLUMNS[] = {
    { { .title = "NAME" }, 0, write_name },
    { { .title = "ENDPOINT" }, 0, write_endpoint },
    { { .title = "SECURITY" }, 0, write_security },
    { { .title = "KEY" }, 0, write_key },
    { { .title = "WORKSPACE" }, 0, write_workspace },
    { { .title = "CA SHA256" }, VIEW_WIDE, write_pin },
};

static const struct view VIEW_GATEWAYS = VIEW(COLUMNS, name_of);

/* ---- add ---- */

static enum err_code check_name(struct cli *cli, const char *name)
{
    size_t length = strlen(name);
    bool fine = length >= 1 && length <= 63 && name[0] != '-' && name[length - 1] != '-';
    for (size_t i = 0; fine && i < length; i++) {
        fine = (name[i] >= 'a' && name[i] <= 'z') || (name[i] >= '0' && name[i] <= '9')
            || name[i] == '-';
    }
    if (!fine) {
        return cli_usage(
            cli, "NAME: \"%s\" is not made of lower-case letters, digits and inner hyphens", name);
    }
    if (strcmp(name, GATEWAY_LOCAL) == 0) {
        return cli_usage(cli, "NAME: \"local\" always means this machine's operator socket");
    }
    return ERR_OK;
}

static bool is_endpoint(const char *endpoint)
{
    struct str_view text = str_of(endpoint);
    if (str_has_prefix(text, STR("unix:/"))) {
        return text.len > 6 && text.len < 108;
    }
    const char *colon = strrchr(endpoint, ':');
    uint64_t port = 0;
    bool bracketed = endpoint[0] == '[' && colon != NULL && colon[-1] == ']';
    bool plain = colon != NULL && colon != endpoint && strchr(endpoint, ':') == colon;
    return (bracketed || plain) && strchr(endpoint, '/') == NULL && text.len <= 300
        && str_parse_uint64(str_of(colon + 1), 65535, &port) == ERR_OK && port > 0;
}

static enum err_code fetch_pinned(
    struct cli *cli, Belay__Cli__V1__Gateway *gateway, const char *pin)
{
    uint8_t digest[HASH_SHA256_BYTES];
    AUTO_FREE char *pem = NULL;
    if (str_hex_decode(str_of(pin), digest, sizeof(digest)) != ERR_OK) {
        return cli_usage(cli, "--ca-sha256: not 64 hexadecimal digits");
    }
    TRY(rpc_fetch_pinned_ca(
        gateway->endpoint, digest, args_number(cli->args, "timeout"), &pem, &cli->err));
    gateway->ca_pem = cli_text(cli, pem);
    if (gateway->server_name[0] == 0) {
        gateway->server_name = cli_text(cli, RPC_PINNED_SERVER_NAME);
    }
    return ERR_OK;
}

static enum err_code read_ca(struct cli *cli, Belay__Cli__V1__Gateway *gateway, const char *path)
{
    AUTO_BUF struct buf pem = BUF_INIT(PEM_BYTES_MAX);
    TRY(file_read_named(path, PEM_BYTES_MAX, &pem, &cli->err));
    gateway->ca_pem = cli_text(cli, buf_text(&pem));
    return ERR_OK;
}

/* Where the server's identity comes from: a pin, a file, or nothing needed. */
static enum err_code set_trust(struct cli *cli, Belay__Cli__V1__Gateway *gateway)
{
    const char *pin = args_text(cli->args, "ca-sha256");
    const char *file = args_text(cli->args, "ca-file");
    bool plaintext = args_flag(cli->args, "plaintext");
    bool socket = str_has_prefix(str_of(gateway->endpoint), STR("unix:"));
    if ((pin != NULL) + (file != NULL) + plaintext > 1) {
        return cli_usage(cli, "--ca-sha256, --ca-file and --plaintext exclude each other");
    }
    if (socket || plaintext) {
        gateway->plaintext = plaintext && !socket;
        return ERR_OK;
    }
    if (pin == NULL && file == NULL) {
        return cli_usage(
            cli,
            "how is the server known? Give --ca-sha256 PIN (the server prints it at start, \"belay "
            "status\" there shows it) or --ca-file FILE");
    }
    TRY(pin != NULL ? fetch_pinned(cli, gateway, pin) : read_ca(cli, gateway, file));
    uint8_t digest[HASH_SHA256_BYTES];
    char hex[SHA256_TEXT_BYTES];
    TRY(cert_fingerprint(gateway->ca_pem, true, digest, &cli->err));
    str_hex_encode(digest, sizeof(digest), hex);
    gateway->ca_sha256 = cli_text(cli, hex);
    return ERR_OK;
}

/* The key: never an argument, where every user of the machine could read it. */
static enum err_code set_key(struct cli *cli, Belay__Cli__V1__Gateway *gateway)
{
    const char *file = args_text(cli->args, "key-file");
    AUTO_BUF struct buf key = BUF_INIT(KEY_BYTES_MAX + 2);
    if (args_flag(cli->args, "key-stdin") && file != NULL) {
        return cli_usage(cli, "--key-stdin and --key-file exclude each other");
    }
    if (args_flag(cli->args, "key-stdin")) {
        char line[KEY_BYTES_MAX + 2];
        if (fgets(line, sizeof(line), cli->io->in) == NULL) {
            return cli_usage(cli, "--key-stdin: standard input has no key");
        }
        buf_append_str(&key, str_of(line));
        secret_wipe(line, sizeof(line));
    } else if (file != NULL) {
        TRY(file_read_private(file, KEY_BYTES_MAX, &key, &cli->err));
    } else if (cli_env(cli, "BELAY_API_KEY") != NULL) {
        buf_append_str(&key, str_of(cli_env(cli, "BELAY_API_KEY")));
    }
    gateway->api_key = arena_str_dup(cli->arena, str_trim(buf_view(&key)));
    if (key.len > 0) {
        secret_wipe(key.data, key.len);
    }
    return ERR_OK;
}

/* Asks the server who we are; a gateway that does not answer is not kept. */
static enum err_code verify(struct cli *cli, const Belay__Cli__V1__Gateway *gateway)
{
    Agentgateway__V1__GetServerInfoRequest request =
        AGENTGATEWAY__V1__GET_SERVER_INFO_REQUEST__INIT;
    Agentgateway__V1__ServerInfo *info = NULL;
    TRY(connection_open_to(cli, gateway));
    TRY(connection_call(
        cli, "GetServerInfo", &request.base, &agentgateway__v1__server_info__descriptor, &info));
    output_note(
        cli,
        "Gateway %s: belay-server %s, workspace %s, you are %s.",
        gateway->name,
        info->version,
        info->workspace,
        info->principal);
    return ERR_OK;
}

/* What the words and options say, checked as far as that goes without the server. */
static enum err_code read_line(struct cli *cli, Belay__Cli__V1__Gateway *gateway)
{
    gateway->name = cli_text(cli, args_word(cli->args, 0));
    gateway->endpoint = cli_text(cli, args_word(cli->args, 1));
    gateway->server_name = cli_text(cli, args_text(cli->args, "server-name"));
    gateway->workspace = cli_text(cli, args_text(cli->args, "workspace"));
    TRY(check_name(cli, gateway->name));
    if (!is_endpoint(gateway->endpoint)) {
        return cli_usage(
            cli,
            "ENDPOINT: \"%s\" is neither HOST:PORT, [V6]:PORT nor unix:/PATH",
            gateway->endpoint);
    }
    return ERR_OK;
}

static enum err_code keep(
    struct cli *cli, struct gateway_store *store, Belay__Cli__V1__Gateway *gateway)
{
    TRY(gateway_store_put(cli, store, gateway));
    if (store->list->current[0] == 0 || args_flag(cli->args, "use")) {
        store->list->current = gateway->name;
    }
    TRY(gateway_store_save(cli, store));
    if (strcmp(store->list->current, gateway->name) == 0) {
        output_note(cli, "Added and in use.");
    } else {
        output_note(cli, "Added. Use it with: belay gateway use %s", gateway->name);
    }
    return ERR_OK;
}

static enum err_code add(struct cli *cli)
{
    struct gateway_store *store = NULL;
    Belay__Cli__V1__Gateway *gateway = cli_message(cli, &belay__cli__v1__gateway__descriptor);
    TRY(read_line(cli, gateway));
    TRY(gateway_store_get(cli, &store));
    if (gateway_store_find(store, gateway->name) != NULL && !args_flag(cli->args, "replace")) {
        return ERR_SET(
            &cli->err, ERR_EXISTS, "gateway \"%s\" exists; --replace overwrites it", gateway->name);
    }
    TRY(set_trust(cli, gateway));
    TRY(set_key(cli, gateway));
    if (!args_flag(cli->args, "no-verify")) {
        TRY(verify(cli, gateway));
    }
    return keep(cli, store, gateway);
}

/* ---- the others ---- */

static enum err_code use(struct cli *cli)
{
    const char *name = args_word(cli->args, 0);
    struct gateway_store *store = NULL;
    TRY(gateway_store_get(cli, &store));
    if (strcmp(name, GATEWAY_LOCAL) == 0) {
        name = "";
    } else if (gateway_store_find(store, name) == NULL) {
        return ERR_SET(&cli->err, ERR_NOT_FOUND, "no gateway is called \"%s\"", name);
    }
    store->list->current = cli_text(cli, name);
    TRY(gateway_store_save(cli, store));
    output_note(cli, "Calls go to %s now.", args_word(cli->args, 0));
    return ERR_OK;
}

static enum err_code list(struct cli *cli)
{
    struct gateway_store *store = NULL;
    TRY(gateway_store_get(cli, &store));
    return output_list(
        cli, &VIEW_GATEWAYS, &store->list->base, store->list->gateways, store->list->n_gateways);
}

static enum err_code remove_gateway(struct cli *cli)
{
    const char *name = args_word(cli->args, 0);
    struct gateway_store *store = NULL;
    TRY(gateway_store_get(cli, &store));
    if (gateway_store_find(store, name) == NULL) {
        return ERR_SET(&cli->err, ERR_NOT_FOUND, "no gateway is called \"%s\"", name);
    }
    gateway_store_remove(store, name);
    return gateway_store_save(cli, store);
}

/* ---- table ---- */

static const struct cli_argument ADD_ARGUMENTS[] = {
    { .name = "NAME", .help = "How to call it here: lower-case letters, digits, hyphens" },
    { .name = "ENDPOINT", .help = "HOST:PORT of its operators' listener, or unix:/PATH" },
};
static const struct cli_option ADD_OPTIONS[] = {
    { .name = "ca-sha256",
      .type = CLI_TEXT,
      .argument = "PIN",
      .help = "Trust the CA with this SHA-256 (64 hexadecimal digits) and fetch its certificate" },
    { .name = "ca-file",
      .type = CLI_FILE,
      .argument = "FILE",
      .complete = CLI_COMPLETE_FILE,
      .help = "Trust the CA certificate in this PEM file" },
    { .name = "server-name",
      .type = CLI_TEXT,
      .argument = "NAME",
      .help =
          "Name the server's certificate must carry; the default is the endpoint's host, and with "
          "--ca-sha256 the name that each certificate of a server's own CA carries" },
    { .name = "plaintext",
      .type = CLI_FLAG,
      .help = "No TLS; only for this machine (127.0.0.1, ::1)" },
    { .name = "key-file",
      .type = CLI_FILE,
      .argument = "FILE",
      .complete = CLI_COMPLETE_FILE,
      .help =
          "Read the API key from a file of mode 0600; without it $BELAY_API_KEY is taken if set" },
    { .name = "key-stdin", .type = CLI_FLAG, .help = "Read the API key from standard input" },
    { .name = "use", .type = CLI_FLAG, .help = "Use it from now on; the first gateway always is" },
    { .name = "replace", .type = CLI_FLAG, .help = "Overwrite a gateway of the same name" },
    { .name = "no-verify", .type = CLI_FLAG, .help = "Keep it without asking the server" },
};
static const struct cli_example ADD_EXAMPLES[] = {
    { "belay gateway add prod belay.example.com:7443 --ca-sha256 PIN --key-file key",
      "A remote server, known by its CA's hash" },
    { "belay gateway add lab unix:/srv/belay/operator.sock", "A socket in an unusual place" },
};
static const struct cli_command ADD = {
    .name = "add",
    .summary = "Add a server",
    .description =
        "The server is asked once who the caller is; a gateway that does not answer is not "
        "kept (--no-verify keeps it). The API key comes from a file, standard input or the "
        "environment, never from the command line, which other users can read.",
    CLI_LIST(argument, ADD_ARGUMENTS),
    CLI_LIST(option, ADD_OPTIONS),
    CLI_LIST(example, ADD_EXAMPLES),
    .run = add,
};

static const struct cli_argument NAME_ARGUMENTS[] = {
    { .name = "NAME", .complete = CLI_COMPLETE_GATEWAY, .help = "Name of a gateway" },
};
static const struct cli_command USE = {
    .name = "use",
    .summary = "Send calls to this gateway from now on (local: this machine's socket)",
    CLI_LIST(argument, NAME_ARGUMENTS),
    .run = use,
};
static const struct cli_command LIST = {
    .name = "list",
    .alias = "ls",
    .summary = "List the gateways; the one in use has a star",
    .run = list,
};
static const struct cli_command REMOVE = {
    .name = "remove",
    .alias = "rm",
    .summary = "Forget a gateway and its key",
    CLI_LIST(argument, NAME_ARGUMENTS),
    .run = remove_gateway,
};
static const struct cli_command *const COMMANDS[] = { &ADD, &USE, &LIST, &REMOVE };
const struct cli_command CMD_GATEWAY = {
    .name = "gateway",
    .alias = "gw",
    .summary = "The servers this user knows",
    CLI_LIST(command, COMMANDS),
};
