/* The rows of a server: each must agree with the schema, and each method of a served service has
 * one. */
#include "common/rpc/rpc_private.h"
#include "common/wire/wire.h"

const char rpc_builtin_policy = 0;

struct str_view rpc_path_service(const char *path)
{
    struct str_view service = STR_NONE;
    struct str_view rest = STR_NONE;
    if (path[0] != '/' || !str_cut(str_of(path + 1), '/', &service, &rest)) {
        return STR_NONE;
    }
    return service;
}

bool rpc_server_has_service(const struct rpc_server *server, struct str_view name)
{
    size_t cursor = 0;
    struct str_view key = STR_NONE;
    void *row = NULL;
    while (map_next(server->rows, &cursor, &key, &row)) {
        if (str_equal(rpc_path_service(((struct rpc_method *)row)->path), name)) {
            return true;
        }
    }
    return false;
}

static enum rpc_kind kind_of(const struct wire_method *method)
{
    if (method->client_streaming) {
        return method->server_streaming ? RPC_BIDI : RPC_CLIENT_STREAM;
    }
    return method->server_streaming ? RPC_SERVER_STREAM : RPC_UNARY;
}

static enum err_code check_row(
    const struct rpc_server *server, const struct rpc_method *row, struct err_info *err)
{
    const struct wire_method *method = wire_schema_find_method(server->options.schema, row->path);
    if (method == NULL) {
        return ERR_SET(err, ERR_PRECONDITION, "%s: the contract has no such method", row->path);
    }
    if (row->kind != kind_of(method)) {
        return ERR_SET(
            err, ERR_PRECONDITION, "%s: the row's kind differs from the contract", row->path);
    }
    if (strcmp(row->input->name, method->input) != 0
        || strcmp(row->output->name, method->output) != 0) {
        return ERR_SET(
            err, ERR_PRECONDITION, "%s: the row's types differ from the contract", row->path);
    }
    bool has_handler = row->kind == RPC_UNARY ? row->unary != NULL : row->stream != NULL;
    if (!has_handler || row->policy == NULL || row->max_request_bytes == 0) {
        return ERR_SET(
            err, ERR_PRECONDITION, "%s: no handler, no policy or no size bound", row->path);
    }
    if (row->kind != RPC_UNARY
        && (row->stream->open == NULL || row->stream->message == NULL
            || row->stream->closed == NULL)) {
        return ERR_SET(
            err, ERR_PRECONDITION, "%s: open, message and closed are required", row->path);
    }
    return ERR_OK;
}

/* The map does not change values; the cast only drops const on the way in. */
static enum err_code add_row(
    struct rpc_server *server, const struct rpc_method *row, struct err_info *err)
{
    union {
        const struct rpc_method *in;
        void *out;
    } value = { .in = row };

    if (map_put(server->rows, str_of(row->path), value.out) != NULL) {
        return ERR_SET(err, ERR_PRECONDITION, "%s: two rows", row->path);
    }
    if (row->max_request_bytes > server->largest_message) {
        server->largest_message = row->max_request_bytes;
    }
    return ERR_OK;
}

static enum err_code add_table(
    struct rpc_server *server, const struct rpc_table *table, struct err_info *err)
{
    for (size_t i = 0; i < table->count; i++) {
        TRY(check_row(server, &table->rows[i], err));
        TRY(add_row(server, &table->rows[i], err));
    }
    return ERR_OK;
}

static enum err_code check_complete(struct rpc_server *server, struct err_info *err)
{
    const struct wire_schema *schema = server->options.schema;
    for (size_t i = 0; i < wire_schema_method_count(schema); i++) {
        const struct wire_method *method = wire_schema_method(schema, i);
        if (rpc_server_has_service(server, rpc_path_service(method->path))
            && map_find(server->rows, str_of(method->path)) == NULL) {
            return ERR_SET(err, ERR_PRECONDITION, "%s: no row for this method", method->path);
        }
    }
    return ERR_OK;
}

enum err_code rpc_table_build(struct rpc_server *server, struct err_info *err)
{
    server->rows = map_create();
    for (size_t i = 0; i < server->options.table_count; i++) {
        TRY(add_table(server, &server->options.tables[i], err));
    }
    const struct rpc_table own[] = { rpc_health_table(), rpc_reflection_table() };
    for (size_t i = 0; i < ARRAY_LENGTH(own); i++) {
        for (size_t k = 0; k < own[i].count; k++) { /* not checked: v1alpha uses the types of v1 */
            TRY(add_row(server, &own[i].rows[k], err));
        }
    }
    return check_complete(server, err);
}
