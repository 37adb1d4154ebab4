#include "cmd/cli/connection.h"

#include "common/wire/wire.h"

#include <arpa/inet.h>
#include <stdlib.h>

enum {
    PAGE_SIZE = 500,
    MESSAGE_BYTES_MAX = 16 * 1024 * 1024,
    KEY_BYTES_MAX = 512,
    HEADERS_MAX = 2,
    PATH_BYTES = 128
};

struct connection {
    struct gateway_choice choice;
    struct rpc_client *client;
    struct rpc_channel *channel;
    struct rpc_header headers[HEADERS_MAX];
    size_t header_count;
};

/* ---- channel ---- */

/* "127.0.0.1:7443"; "127.0.0.1.elsewhere:7443" is a name that anybody may have. */
static bool is_loopback(struct str_view endpoint)
{
    char host[INET_ADDRSTRLEN];
    struct in_addr address;
    struct str_view head = endpoint;
    struct str_view port = STR_NONE;
    return str_cut(endpoint, ':', &head, &port) && str_copy(head, host, sizeof(host)) == ERR_OK
        && inet_pton(AF_INET, host, &address) == 1 && ntohl(address.s_addr) >> 24 == 127;
}

static bool is_protected(const Belay__Cli__V1__Gateway *gateway)
{
    struct str_view endpoint = str_of(gateway->endpoint);
    return gateway->ca_pem[0] != 0 || str_has_prefix(endpoint, STR("unix:"))
        || is_loopback(endpoint) || str_has_prefix(endpoint, STR("[::1]:"))
        || str_has_prefix(endpoint, STR("localhost:"));
}

/* BELAY_API_KEY stands in for the stored key of a named gateway, never for the local socket. */
static const char *key_of(const struct cli *cli, const Belay__Cli__V1__Gateway *gateway)
{
    const char *key = cli_env(cli, "BELAY_API_KEY");
    if (key != NULL && strcmp(gateway->name, GATEWAY_LOCAL) != 0) {
        return key;
    }
    return gateway->api_key[0] != 0 ? gateway->api_key : NULL;
}

static bool is_header_safe(const char *key)
{
    for (const char *c = key; *c != 0; c++) {
        if (*c <= ' ' || *c > '~') {
            return false;
        }
    }
    return strlen(key) <= KEY_BYTES_MAX;
}

static enum err_code set_headers(struct cli *cli, struct connection *connection)
{
    const Belay__Cli__V1__Gateway *gateway = connection->choice.gateway;
    const char *key = key_of(cli, gateway);
    if (key == NULL) {
        return ERR_OK;
    }
    if (!is_header_safe(key)) {
        return ERR_SET(&cli->err, ERR_INVALID, "the API key holds characters that no key has");
    }
    if (!is_protected(gateway)) {
        return ERR_SET(
            &cli->err,
            ERR_DENIED,
            "the API key is not sent to %s: the connection has no TLS",
            gateway->endpoint);
    }
    connection->headers[0].name = "authorization";
    connection->headers[0].value = arena_printf(cli->arena, "Bearer %s", key);
    connection->header_count = 1;
    return ERR_OK;
}

static enum err_code open_channel(struct cli *cli, struct connection *connection)
{
    const Belay__Cli__V1__Gateway *gateway = connection->choice.gateway;
    struct rpc_channel_options options = {
        .target = gateway->endpoint,
        .ca_pem = gateway->ca_pem[0] != 0 ? gateway->ca_pem : NULL,
        .server_name = gateway->server_name[0] != 0 ? gateway->server_name : NULL,
        .user_agent = arena_printf(cli->arena, "belay/%s", cli->grammar->version),
        .max_reply_bytes = MESSAGE_BYTES_MAX,
    };
    if (!is_protected(gateway)) {
        return ERR_SET(
            &cli->err, ERR_DENIED, "%s: plaintext is for this machine only", gateway->endpoint);
    }
    TRY(set_headers(cli, connection));
    TRY(rpc_client_create(cli->schema, &connection->client, &cli->err));
    return rpc_channel_create(connection->client, &options, &connection->channel, &cli->err);
}

static enum err_code open_choice(struct cli *cli, const struct gateway_choice *choice)
{
    struct connection *connection = arena_alloc(cli->arena, sizeof(*connection));
    connection->choice = *choice;
    cli->connection = connection;
    if (args_flag(cli->args, "verbose")) {
        output_note(
            cli,
            "gateway %s (%s): %s",
            choice->gateway->name,
            choice->origin,
            choice->gateway->endpoint);
    }
    return open_channel(cli, connection);
}

enum err_code connection_open(struct cli *cli)
{
    if (cli->connection != NULL) {
        return ERR_OK;
    }
    struct gateway_choice choice = { NULL, NULL };
    TRY(gateway_choose(cli, &choice));
    return open_choice(cli, &choice);
}

enum err_code connection_open_to(struct cli *cli, const Belay__Cli__V1__Gateway *gateway)
{
    return open_choice(cli, &(struct gateway_choice){ gateway, "given" });
}

void connection_close(struct cli *cli)
{
    if (cli->connection != NULL) {
        if (cli->connection->channel != NULL) {
            rpc_channel_destroy(cli->connection->channel);
        }
        if (cli->connection->client != NULL) {
            rpc_client_destroy(cli->connection->client);
        }
        cli->connection = NULL;
    }
}

const struct gateway_choice *connection_choice(const struct cli *cli)
{
    return cli->connection != NULL ? &cli->connection->choice : NULL;
}

char *connection_workspace(struct cli *cli)
{
    const char *workspace = args_text(cli->args, "workspace");
    struct gateway_choice choice = { NULL, NULL };
    if (workspace == NULL && cli->connection != NULL) {
        workspace = cli->connection->choice.gateway->workspace;
    } else if (workspace == NULL) {
        struct err_info kept = cli->err;
        bool known = gateway_choose(cli, &choice) == ERR_OK;
        cli->err = kept; /* the call itself reports it */
        workspace = known ? choice.gateway->workspace : NULL;
    }
    return cli_text(cli, workspace);
}

/* ---- calls ---- */

enum err_code connection_add_header(struct cli *cli, const char *name, const char *value)
{
    TRY(connection_open(cli));
    struct connection *connection = cli->connection;
    if (connection->header_count == HEADERS_MAX) {
        return ERR_SET(&cli->err, ERR_INTERNAL, "too many headers");
    }
    connection->headers[connection->header_count++] = (struct rpc_header){ name, value };
    return ERR_OK;
}

struct path {
    char text[PATH_BYTES];
};

static struct path path_of(const char *method)
{
    struct path path;
    const char *service = strchr(method, '/') == NULL ? "agentgateway.v1.AgentAdminService/" : "";
    (void)snprintf(path.text, sizeof(path.text), "/%s%s", service, method);
    return path;
}

static struct rpc_call_options call_options(const struct cli *cli)
{
    return (struct rpc_call_options){
        .deadline_us = args_number(cli->args, "timeout"),
        .headers = cli->connection->headers,
        .header_count = cli->connection->header_count,
    };
}

enum err_code connection_call_in(
    struct cli *cli,
    struct arena *arena,
    const char *method,
    const ProtobufCMessage *request,
    const ProtobufCMessageDescriptor *reply_type,
    void *ret_reply)
{
    struct connection *connection = cli->connection;
    struct rpc_call_options options = call_options(cli);
    const struct path path = path_of(method);
    ProtobufCMessage *reply = NULL;
    TRY(rpc_channel_call(
        connection->channel, path.text, request, reply_type, &options, arena, &reply, &cli->err));
    memcpy(ret_reply, &reply, sizeof(void *));
    return ERR_OK;
}

enum err_code connection_call(
    struct cli *cli,
    const char *method,
    const ProtobufCMessage *request,
    const ProtobufCMessageDescriptor *reply_type,
    void *ret_reply)
{
    TRY(connection_open(cli));
    return connection_call_in(cli, cli->arena, method, request, reply_type, ret_reply);
}

/* ---- lists ---- */

/* A repeated message field of a reply, by its descriptor. */
struct items {
    size_t *count;
    ProtobufCMessage ***list;
    char **next_page_token;
};

static void *field_of(ProtobufCMessage *message, const char *name)
{
    const ProtobufCFieldDescriptor *field =
        protobuf_c_message_descriptor_get_field_by_name(message->descriptor, name);
    return field == NULL ? NULL : (char *)message + field->offset;
}

static struct items items_of(ProtobufCMessage *reply)
{
    const ProtobufCFieldDescriptor *field = &reply->descriptor->fields[0];
    char *base = (char *)reply;
    return (struct items){ (size_t *)(void *)(base + field->quantifier_offset),
                           (ProtobufCMessage ***)(void *)(base + field->offset),
                           field_of(reply, "next_page_token") };
}

/* "": the end. */
static bool has_more(struct items items)
{
    return items.next_page_token != NULL && (*items.next_page_token)[0] != 0;
}

/* Moves what page holds behind what all holds. */
static enum err_code append_page(struct cli *cli, struct items all, struct items page)
{
    size_t count = *all.count + *page.count;
    if (*page.count == 0) {
        return ERR_OK;
    }
    ProtobufCMessage **joined = arena_alloc(cli->arena, count * sizeof(void *));
    if (joined == NULL) {
        return ERR_SET(&cli->err, ERR_LIMIT, "the list is larger than memory allows; use --limit");
    }
    if (*all.count > 0) {
        memcpy(joined, *all.list, *all.count * sizeof(void *));
    }
    memcpy(joined + *all.count, *page.list, *page.count * sizeof(void *));
    *all.list = joined;
    *all.count = count;
    return ERR_OK;
}

static uint32_t page_size(size_t limit, size_t have)
{
    size_t left = limit == 0 ? PAGE_SIZE : limit - have;
    return (uint32_t)(left < PAGE_SIZE ? left : PAGE_SIZE);
}

enum err_code connection_list(
    struct cli *cli,
    const char *method,
    ProtobufCMessage *request,
    const ProtobufCMessageDescriptor *reply_type,
    size_t limit,
    void *ret_reply)
{
    uint32_t *size = field_of(request, "page_size");
    char **token = field_of(request, "page_token");
    ProtobufCMessage *reply = NULL;
    if (size == NULL || token == NULL) {
        return ERR_SET(&cli->err, ERR_INTERNAL, "%s has no pages", method);
    }
    *size = page_size(limit, 0);
    TRY(connection_call(cli, method, request, reply_type, &reply));
    struct items all = items_of(reply);
    struct items last = all;
    while (has_more(last) && (limit == 0 || *all.count < limit)) {
        ProtobufCMessage *page = NULL;
        *token = *last.next_page_token;
        *size = page_size(limit, *all.count);
        TRY(connection_call(cli, method, request, reply_type, &page));
        last = items_of(page);
        TRY(append_page(cli, all, last));
    }
    if (all.next_page_token != NULL && last.next_page_token != NULL) {
        *all.next_page_token = *last.next_page_token;
    }
    if (has_more(last) && !output_is_structured(cli)) {
        output_note(cli, "The first %zu are shown; there are more: --limit N (0: all)", *all.count);
    }
    memcpy(ret_reply, &reply, sizeof(void *));
    return ERR_OK;
}

void connection_call_async(
    struct cli *cli,
    const char *method,
    const ProtobufCMessage *request,
    const ProtobufCMessageDescriptor *reply_type,
    const struct connection_answer *answer)
{
    struct rpc_call_options options = call_options(cli);
    const struct path path = path_of(method);
    rpc_channel_call_async(
        cli->connection->channel,
        path.text,
        request,
        reply_type,
        &options,
        answer->executor,
        answer->done,
        answer->context);
}

/* ---- streams ---- */

enum err_code connection_events(
    struct cli *cli,
    const char *method,
    const ProtobufCMessageDescriptor *reply_type,
    const struct connection_listener *listener,
    struct rpc_client_stream **ret_stream)
{
    TRY(connection_open(cli));
    struct rpc_call_options options = call_options(cli);
    const struct path path = path_of(method);
    options.deadline_us = 0; /* a stream has none unless it is asked for */
    return rpc_client_stream_open(
        cli->connection->channel,
        path.text,
        reply_type,
        &options,
        listener->executor,
        listener->ops,
        listener->context,
        ret_stream,
        &cli->err);
}

enum err_code connection_stream(
    struct cli *cli,
    const char *method,
    const ProtobufCMessage *request,
    const ProtobufCMessageDescriptor *reply_type,
    struct rpc_client_stream **ret_stream)
{
    static const struct connection_listener READER = { NULL, NULL, NULL };
    struct rpc_client_stream *stream = NULL;
    TRY(connection_events(cli, method, reply_type, &READER, &stream));
    enum err_code code = rpc_client_stream_send(stream, request);
    if (code != ERR_OK) {
        rpc_client_stream_release(stream);
        return ERR_SET(&cli->err, code, "the request cannot be sent");
    }
    rpc_client_stream_half_close(stream);
    *ret_stream = stream;
    return ERR_OK;
}

static struct mono_us watch_deadline(const struct cli *cli)
{
    if (!args_is_set(cli->args, "timeout")) {
        return (struct mono_us){ INT64_MAX };
    }
    int64_t now = clock_mono(cli->io->clock).value;
    return (struct mono_us){ now + args_number(cli->args, "timeout") };
}

bool connection_is_stream_end(struct rpc_client_stream *stream, enum err_code code)
{
    return code == ERR_NOT_FOUND && rpc_client_stream_ended_ok(stream);
}

enum err_code connection_watch(
    struct cli *cli,
    struct rpc_client_stream *stream,
    bool may_end,
    connection_message_fn handle,
    void *context)
{
    AUTO_ARENA struct arena *arena = arena_create(MESSAGE_BYTES_MAX);
    struct mono_us deadline = watch_deadline(cli);
    for (bool done = false; !done;) {
        ProtobufCMessage *message = NULL;
        arena_reset(arena);
        enum err_code code = rpc_client_stream_read(stream, deadline, arena, &message, &cli->err);
        bool ended = connection_is_stream_end(stream, code);
        if (code == ERR_TIMEOUT || (ended && may_end)) {
            cli->err = (struct err_info)ERR_INFO_INIT;
            return ERR_OK;
        }
        if (ended) {
            return ERR_SET(&cli->err, ERR_UNAVAILABLE, "the server ended the watch");
        }
        TRY(code);
        TRY(handle(cli, context, message, &done));
    }
    return ERR_OK;
}
