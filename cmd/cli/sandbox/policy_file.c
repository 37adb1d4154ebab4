#include "cmd/cli/sandbox/policy_file.h"

#include "common/config/yaml_json.h"
#include "common/sys/file.h"
#include "common/wire/wire.h"

enum {
    FILE_BYTES_MAX = 256 * 1024,
    JSON_BYTES_MAX = 2 * 1024 * 1024
};

static enum err_code read_text(struct cli *cli, const char *path, struct buf *text)
{
    if (strcmp(path, "-") != 0) {
        return file_read_named(path, FILE_BYTES_MAX, text, &cli->err);
    }
    char *space = buf_extend(text, FILE_BYTES_MAX + 1);
    size_t bytes = space == NULL ? 0 : fread(space, 1, FILE_BYTES_MAX + 1, cli->io->in);
    text->len = bytes;
    if (bytes > FILE_BYTES_MAX) {
        return ERR_SET(
            &cli->err, ERR_INVALID, "standard input: more than %d bytes", FILE_BYTES_MAX);
    }
    return ERR_OK;
}

enum err_code policy_file_read(
    struct cli *cli, const char *path, Openshell__Sandbox__V1__SandboxPolicy **ret_policy)
{
    AUTO_BUF struct buf text = BUF_INIT(FILE_BYTES_MAX + 1);
    AUTO_BUF struct buf json = BUF_INIT(JSON_BYTES_MAX);
    const char *name = strcmp(path, "-") == 0 ? "standard input" : path;
    ProtobufCMessage *policy = NULL;
    TRY(read_text(cli, path, &text));
    TRY(yaml_to_json(name, buf_view(&text), &json, &cli->err));
    enum err_code code = wire_from_json(
        cli->schema,
        &openshell__sandbox__v1__sandbox_policy__descriptor,
        buf_view(&json),
        cli->arena,
        &policy,
        &cli->err);
    if (code != ERR_OK) {
        err_prefix(&cli->err, "%s", name);
        return code;
    }
    *ret_policy = (Openshell__Sandbox__V1__SandboxPolicy *)(void *)policy;
    return ERR_OK;
}

enum err_code policy_file_write(
    struct cli *cli, const Openshell__Sandbox__V1__SandboxPolicy *policy)
{
    AUTO_BUF struct buf json = BUF_INIT(JSON_BYTES_MAX);
    bool is_json = cli->output.format == OUTPUT_JSON;
    unsigned flags = WIRE_JSON_PROTO_NAMES | (is_json ? WIRE_JSON_INDENT : 0);
    TRY(wire_to_json(cli->schema, &policy->base, flags, &json, &cli->err));
    return output_json(cli, buf_view(&json), !is_json);
}
