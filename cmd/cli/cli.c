#include "cmd/cli/cli.h"

#include "belay_descriptors.h"
#include "cmd/cli/commands/commands.h"
#include "cmd/cli/connection.h"
#include "cmd/cli/grammar/docs.h"
#include "common/wire/timestamp.h"
#include "common/wire/wire.h"

#include <google/protobuf/timestamp.pb-c.h>

#include <stdarg.h>

enum {
    HELP_BYTES_MAX = 1024 * 1024,
    WORD_BYTES_MAX = 64
};

/* ---- helpers of the commands ---- */

enum err_code cli_usage(struct cli *cli, const char *format, ...)
{
    char text[ERR_TEXT_BYTES];
    va_list list;
    va_start(list, format);
    (void)vsnprintf(text, sizeof(text), format, list);
    va_end(list);
    cli->usage = true;
    return ERR_SET(&cli->err, ERR_INVALID, "%s", text);
}

const char *cli_env(const struct cli *cli, const char *name)
{
    const char *value = cli->io->env != NULL ? cli->io->env(cli->io->env_context, name) : NULL;
    return value != NULL && value[0] != 0 ? value : NULL;
}

char *cli_text(struct cli *cli, const char *text)
{
    return arena_strdup(cli->arena, text == NULL ? "" : text);
}

struct wall_us cli_now(const struct cli *cli)
{
    return clock_wall(cli->io->clock);
}

void *cli_message(struct cli *cli, const ProtobufCMessageDescriptor *type)
{
    return wire_new(cli->arena, type);
}

enum err_code cli_copy(
    struct cli *cli, const ProtobufCMessage *message, struct arena *arena, void *ret_copy)
{
    AUTO_BUF struct buf packed = BUF_INIT(CLI_ARENA_BYTES / 4);
    ProtobufCMessage *copy = NULL;
    wire_pack(message, &packed);
    TRY(wire_unpack_lenient(
        cli->schema, message->descriptor, packed.data, packed.len, arena, &copy, &cli->err));
    memcpy(ret_copy, &copy, sizeof(void *));
    return ERR_OK;
}

/* Fields 1 and 2 of a map entry, by their offsets: all entry types have the same shape. */
static void set_pair(ProtobufCMessage *entry, char *key, char *value)
{
    char *base = (char *)entry;
    memcpy(base + entry->descriptor->fields[0].offset, &key, sizeof(key));
    memcpy(base + entry->descriptor->fields[1].offset, &value, sizeof(value));
}

static bool is_repeated(const char *const *pairs, size_t index)
{
    size_t length = (size_t)(strchr(pairs[index], '=') - pairs[index]) + 1;
    for (size_t i = 0; i < index; i++) {
        if (strncmp(pairs[i], pairs[index], length) == 0) {
            return true;
        }
    }
    return false;
}

enum err_code cli_pairs(
    struct cli *cli,
    const char *const *pairs,
    size_t count,
    const ProtobufCMessageDescriptor *entry_type,
    void *ret_entries)
{
    ProtobufCMessage **entries = NULL;
    if (count > 0) {
        entries = arena_alloc(cli->arena, count * sizeof(void *));
    }
    for (size_t i = 0; i < count; i++) {
        struct str_view key = STR_NONE;
        struct str_view value = STR_NONE;
        if (!str_cut(str_of(pairs[i]), '=', &key, &value) || key.len == 0) {
            return cli_usage(cli, "\"%s\" is not KEY=VALUE", pairs[i]);
        }
        if (is_repeated(pairs, i)) {
            return cli_usage(cli, "\"%.*s\" is given twice", STR_ARG(key));
        }
        entries[i] = cli_message(cli, entry_type);
        set_pair(entries[i], arena_str_dup(cli->arena, key), arena_str_dup(cli->arena, value));
    }
    memcpy(ret_entries, &entries, sizeof(entries));
    return ERR_OK;
}

enum err_code cli_option_pairs(
    struct cli *cli,
    const char *option,
    const ProtobufCMessageDescriptor *entry_type,
    size_t *ret_count,
    void *ret_entries)
{
    size_t count = args_count(cli->args, option);
    const char **pairs = arena_alloc(cli->arena, (count + 1) * sizeof(*pairs));
    for (size_t i = 0; i < count; i++) {
        pairs[i] = args_item(cli->args, option, i);
    }
    *ret_count = count;
    return cli_pairs(cli, pairs, count, entry_type, ret_entries);
}

void *cli_timestamp_of(struct cli *cli, struct wall_us time)
{
    Google__Protobuf__Timestamp *timestamp =
        cli_message(cli, &google__protobuf__timestamp__descriptor);
    *timestamp = wire_timestamp_of(time);
    return timestamp;
}

void *cli_timestamp(struct cli *cli, const char *option)
{
    struct wall_us time = { 0 };
    if (!args_time(cli->args, option, cli_now(cli), &time)) {
        return NULL;
    }
    return cli_timestamp_of(cli, time);
}

/* ---- enums as words ---- */

/* "AgentState" and AGENT_STATE_AWAITING_CONFIRMATION: what follows the type's own name. */
static const char *value_tail(const ProtobufCEnumDescriptor *type, const char *name)
{
    for (const char *c = type->short_name; *c != 0 && *name != 0; c++) {
        if (c != type->short_name && *c >= 'A' && *c <= 'Z' && *name == '_') {
            name++;
        }
        char upper = *c >= 'a' && *c <= 'z' ? (char)(*c - 'a' + 'A') : *c;
        if (*name != upper) {
            return name;
        }
        name++;
    }
    return *name == '_' ? name + 1 : name;
}

static void word_of(const ProtobufCEnumDescriptor *type, const char *name, char out[WORD_BYTES_MAX])
{
    const char *tail = value_tail(type, name);
    size_t length = 0;
    for (; tail[length] != 0 && length + 1 < WORD_BYTES_MAX; length++) {
        char c = tail[length];
        out[length] = c == '_' ? '-' : c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
    }
    out[length] = 0;
}

int cli_enum_value(const ProtobufCEnumDescriptor *type, const char *word)
{
    for (unsigned i = 0; word != NULL && i < type->n_values; i++) {
        char candidate[WORD_BYTES_MAX];
        word_of(type, type->values[i].name, candidate);
        if (strcmp(candidate, word) == 0) {
            return type->values[i].value;
        }
    }
    return 0;
}

const char *cli_enum_word(struct cli *cli, const ProtobufCEnumDescriptor *type, int value)
{
    const ProtobufCEnumValue *found = protobuf_c_enum_descriptor_get_value(type, value);
    char word[WORD_BYTES_MAX];
    if (found == NULL) {
        return arena_printf(cli->arena, "%d", value);
    }
    word_of(type, found->name, word);
    return arena_strdup(cli->arena, word);
}

/* ---- the run ---- */

static enum err_code show_help(struct cli *cli, FILE *out)
{
    AUTO_BUF struct buf text = BUF_INIT(HELP_BYTES_MAX);
    docs_help(cli->grammar, args_path(cli->args), cli->output.width, &text);
    (void)fputs(buf_text(&text), out);
    return ERR_OK;
}

static enum err_code run_command(struct cli *cli)
{
    TRY(wire_schema_load(belay_descriptors, belay_descriptors_size, &cli->schema, &cli->err));
    return args_command(cli->args)->run(cli);
}

static enum err_code run(struct cli *cli, int argc, char *const *argv)
{
    struct args *args = NULL;
    struct args_source source = {
        .argc = argc, .argv = argv, .env = cli->io->env, .context = cli->io->env_context
    };
    enum err_code code = args_parse(cli->grammar, &source, cli->arena, &args, &cli->err);
    cli->args = args;
    if (args == NULL) {
        return code;
    }
    if (code == ERR_OK) {
        output_init(cli);
    }
    if (code == ERR_OK && args_wants_help(args)) {
        return show_help(cli, cli->io->out);
    }
    if (code != ERR_OK && argc == 1) {
        (void)show_help(cli, cli->io->err);
    }
    if (code != ERR_OK) {
        cli->usage = true;
        return code;
    }
    return run_command(cli);
}

int cli_run(const struct cli_io *io, int argc, char *const *argv)
{
    AUTO_ARENA struct arena *arena = arena_create(CLI_ARENA_BYTES);
    struct cli cli = { .io = io, .grammar = commands_grammar(), .arena = arena };
    enum err_code code = run(&cli, argc, argv);
    if (code != ERR_OK) {
        cli_explain(&cli, code);
    }
    connection_close(&cli);
    wire_schema_destroy(cli.schema);
    if (fflush(io->out) != 0 && code == ERR_OK) {
        return CLI_EXIT_FAILED;
    }
    if (cli.usage) {
        return CLI_EXIT_USAGE;
    }
    if (cli.signal != 0) {
        return 128 + cli.signal;
    }
    return code == ERR_OK ? (int)cli.exit_status : (int)cli_exit_of(code);
}
