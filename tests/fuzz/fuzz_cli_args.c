/* links: cli_core */
/* Command lines of any shape, words separated by newlines: read or refused with a text, never more.
 */
#include "cmd/cli/commands/commands.h"
#include "common/base/cleanup.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum {
    WORDS_MAX = 600
};

static const char *env_of(void *context, const char *name)
{
    return strcmp(name, "BELAY_OUTPUT") == 0 ? context : NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO_ARENA struct arena *arena = arena_create(1 << 22);
    struct str_view rest = str_from((const char *)data, size);
    struct str_view word = STR_NONE;
    struct err_info err = ERR_INFO_INIT;
    struct args *args = NULL;
    if (size > 65536) {
        return 0;
    }
    char **argv = arena_alloc(arena, WORDS_MAX * sizeof(char *));
    int argc = 0;
    argv[argc++] = arena_strdup(arena, "belay");
    for (bool more = true; more && argc < WORDS_MAX;) {
        more = str_cut(rest, '\n', &word, &rest);
        argv[argc++] = arena_str_dup(arena, more ? word : rest);
    }
    struct args_source source = {
        .argc = argc, .argv = argv, .env = env_of, .context = argv[argc - 1]
    };
    if (args_parse(commands_grammar(), &source, arena, &args, &err) != ERR_OK && err.text[0] == 0) {
        abort();
    }
    if (args != NULL && args_command(args) == NULL) {
        abort();
    }
    return 0;
}
