/*
 * A command line read by the table: which command, its words, its options checked by type. Lives in
 * the arena given to args_parse; immutable; any thread.
 */
#ifndef CMD_CLI_GRAMMAR_ARGS_H
#define CMD_CLI_GRAMMAR_ARGS_H

#include "cmd/cli/grammar/command.h"
#include "common/base/arena.h"
#include "common/base/time.h"

struct args;

/* Value of an environment variable or NULL. */
typedef const char *(*args_env_fn)(void *context, const char *name);

struct args_source {
    int argc;
    char *const *argv; /* argv[0] is the program */
    args_env_fn env;   /* NULL: no environment */
    void *context;
};

/*
 * Reads a whole line. Options may stand before, between and after the words; "--" ends them.
 * ERR_INVALID: one line that says what is wrong and names the nearest thing; *ret_args is set then
 * too, with the command as far as it was understood, for the caller's "see COMMAND --help".
 */
enum err_code args_parse(
    const struct cli_grammar *grammar,
    const struct args_source *source,
    struct arena *arena,
    struct args **ret_args,
    struct err_info *err) MUST_CHECK;

const struct cli_path *args_path(const struct args *args);
const struct cli_command *args_command(const struct args *args);
bool args_wants_help(const struct args *args);

size_t args_word_count(const struct args *args);
const char *args_word(const struct args *args, size_t index); /* NULL past the end */

/* By option name; a name that is not in the table aborts. The last of repeated ones counts. */
bool args_is_set(const struct args *args, const char *name);   /* on the line or by a variable */
bool args_is_typed(const struct args *args, const char *name); /* on the line alone */
bool args_flag(const struct args *args, const char *name);
const char *args_text(const struct args *args, const char *name); /* the default, or NULL */
int64_t args_number(const struct args *args, const char *name);   /* int, us, bytes; unset: 0 */
size_t args_count(const struct args *args, const char *name);     /* of a repeated option */
const char *args_item(const struct args *args, const char *name, size_t index);

/* A CLI_TIME option as a point in time; false: unset. */
bool args_time(
    const struct args *args, const char *name, struct wall_us now, struct wall_us *ret_time);

#endif
