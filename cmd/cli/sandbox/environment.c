#include "cmd/cli/sandbox/environment.h"

#include "common/sys/file.h"

enum {
    PAIRS_MAX = 1024,
    FILE_BYTES_MAX = 1024 * 1024
};

struct pairs {
    const char *list[PAIRS_MAX];
    size_t count;
    size_t fixed; /* the first so many are not replaced */
};

/* Where the variable of a word (NAME or NAME=VALUE) stands already; count: nowhere. */
static size_t find(const struct pairs *pairs, const char *word)
{
    size_t length = strcspn(word, "=");
    for (size_t i = 0; i < pairs->count; i++) {
        if (strncmp(pairs->list[i], word, length) == 0 && pairs->list[i][length] == '=') {
            return i;
        }
    }
    return pairs->count;
}

/* A later one of the same name stands, but for those of the line, which stand before a file's. */
static enum err_code add(struct cli *cli, struct pairs *pairs, const char *origin, const char *word)
{
    const char *pair = word;
    size_t at = find(pairs, word);
    if (at < pairs->fixed) {
        return ERR_OK;
    }
    if (strchr(word, '=') == NULL) {
        const char *value = cli->io->env == NULL ? NULL : cli->io->env(cli->io->env_context, word);
        if (value == NULL) {
            return cli_usage(
                cli, "%s: %s has no value here; set it, or write %s=VALUE", origin, word, word);
        }
        pair = arena_printf(cli->arena, "%s=%s", word, value);
    }
    if (pair[0] == '=') {
        return cli_usage(cli, "%s: \"%s\" has no name", origin, word);
    }
    if (at == PAIRS_MAX) {
        return cli_usage(cli, "%s: more than %d variables", origin, PAIRS_MAX);
    }
    pairs->list[at] = pair;
    pairs->count += at == pairs->count;
    return ERR_OK;
}

static enum err_code add_file(struct cli *cli, struct pairs *pairs, const char *path)
{
    AUTO_BUF struct buf text = BUF_INIT(FILE_BYTES_MAX);
    TRY(file_read_named(path, FILE_BYTES_MAX, &text, &cli->err));
    struct str_view rest = buf_view(&text);
    for (size_t number = 1; rest.len > 0; number++) {
        struct str_view line = rest;
        if (!str_cut(rest, '\n', &line, &rest)) {
            rest = STR_NONE;
        }
        if (str_has_suffix(line, STR("\r"))) {
            line.len--;
        }
        if (line.len == 0 || line.ptr[0] == '#') {
            continue;
        }
        const char *origin = arena_printf(cli->arena, "%s:%zu", path, number);
        if (!str_is_utf8(line, NULL) || memchr(line.ptr, 0, line.len) != NULL) {
            return cli_usage(cli, "%s: the line is not UTF-8 text", origin);
        }
        TRY(add(cli, pairs, origin, arena_str_dup(cli->arena, line)));
    }
    return ERR_OK;
}

enum err_code environment_read(
    struct cli *cli,
    const ProtobufCMessageDescriptor *entry_type,
    size_t *ret_count,
    void *ret_entries)
{
    struct pairs pairs = { .count = 0 };
    for (size_t i = 0; i < args_count(cli->args, "env"); i++) {
        TRY(add(cli, &pairs, "--env", args_item(cli->args, "env", i)));
    }
    pairs.fixed = pairs.count;
    if (args_is_set(cli->args, "env-file")) {
        TRY(add_file(cli, &pairs, args_text(cli->args, "env-file")));
    }
    *ret_count = pairs.count;
    return cli_pairs(cli, pairs.list, pairs.count, entry_type, ret_entries);
}
