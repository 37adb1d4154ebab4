/* belay sandbox exec and shell: a program in a running sandbox, with this terminal if asked for. */
#include "cmd/cli/sandbox/commands.h"
#include "cmd/cli/sandbox/environment.h"
#include "cmd/cli/sandbox/run.h"
#include "cmd/cli/session/session.h"

enum {
    TERM_BYTES_MAX = 64
};

typedef Openshell__V1__ExecSandboxRequest__EnvironmentEntry entry_type;

size_t run_words(struct cli *cli, size_t first, char ***ret_words)
{
    size_t count = args_word_count(cli->args);
    count = count > first ? count - first : 0;
    *ret_words = arena_alloc(cli->arena, (count + 1) * sizeof(char *));
    for (size_t i = 0; i < count; i++) {
        (*ret_words)[i] = cli_text(cli, args_word(cli->args, first + i));
    }
    return count;
}

/* The best shell there is, as at a login. */
static size_t login_shell(struct cli *cli, char ***ret_words)
{
    static const char *const words[] = { "/bin/sh",
                                         "-c",
                                         "[ -x /bin/bash ] && exec /bin/bash -l; exec /bin/sh -l" };
    *ret_words = arena_alloc(cli->arena, sizeof(words));
    for (size_t i = 0; i < ARRAY_LENGTH(words); i++) {
        (*ret_words)[i] = cli_text(cli, words[i]);
    }
    return ARRAY_LENGTH(words);
}

/* Programs draw for the kind of terminal this is, unless they are told otherwise. */
static void add_term(struct cli *cli, Openshell__V1__ExecSandboxRequest *start)
{
    const char *term = cli_env(cli, "TERM");
    for (size_t i = 0; i < start->n_environment; i++) {
        if (strcmp(start->environment[i]->key, "TERM") == 0) {
            return;
        }
    }
    if (term == NULL || strlen(term) > TERM_BYTES_MAX || !str_is_utf8(str_of(term), NULL)) {
        return;
    }
    entry_type **entries = arena_alloc(cli->arena, (start->n_environment + 1) * sizeof(void *));
    if (start->n_environment > 0) {
        memcpy(entries, start->environment, start->n_environment * sizeof(void *));
    }
    entry_type *entry =
        cli_message(cli, &openshell__v1__exec_sandbox_request__environment_entry__descriptor);
    entry->key = cli_text(cli, "TERM");
    entry->value = cli_text(cli, term);
    entries[start->n_environment++] = entry;
    start->environment = entries;
}

static struct session_wish wish_for(const Openshell__V1__Sandbox *sandbox)
{
    struct session_wish wish = {
        .name = sandbox->metadata->name,
        .start = OPENSHELL__V1__EXEC_SANDBOX_REQUEST__INIT,
    };
    wish.start.sandbox_id = sandbox->metadata->id;
    return wish;
}

enum err_code run_interactive(struct cli *cli, const Openshell__V1__Sandbox *sandbox)
{
    struct session_wish wish = wish_for(sandbox);
    wish.has_terminal = true;
    wish.has_input = true;
    wish.start.n_command = run_words(cli, 0, &wish.start.command);
    if (wish.start.n_command == 0) {
        wish.start.n_command = login_shell(cli, &wish.start.command);
    }
    add_term(cli, &wish.start);
    return session_run(cli, &wish);
}

static enum err_code run(struct cli *cli, struct session_wish *wish)
{
    Openshell__V1__ExecSandboxRequest *start = &wish->start;
    /* A variable bounds calls; a shell that it ended would be a surprise. */
    int64_t timeout_us =
        args_is_typed(cli->args, "timeout") ? args_number(cli->args, "timeout") : 0;
    start->workdir = cli_text(cli, args_text(cli->args, "workdir"));
    if (start->workdir[0] != 0 && start->workdir[0] != '/') {
        return cli_usage(cli, "--workdir: \"%s\" is not an absolute path", start->workdir);
    }
    TRY(environment_read(
        cli,
        &openshell__v1__exec_sandbox_request__environment_entry__descriptor,
        &start->n_environment,
        &start->environment));
    start->timeout_seconds = (uint32_t)((timeout_us + US_PER_SECOND - 1) / US_PER_SECOND);
    if (wish->has_terminal) {
        add_term(cli, start);
    }
    return session_run(cli, wish);
}

static enum err_code exec(struct cli *cli)
{
    Openshell__V1__Sandbox *sandbox = NULL;
    TRY(sandbox_find_ready(cli, args_word(cli->args, 0), &sandbox));
    struct session_wish wish = wish_for(sandbox);
    wish.has_terminal = args_flag(cli->args, "tty");
    wish.has_input = args_flag(cli->args, "stdin");
    wish.start.n_command = run_words(cli, 1, &wish.start.command);
    return run(cli, &wish);
}

static enum err_code shell(struct cli *cli)
{
    Openshell__V1__Sandbox *sandbox = NULL;
    TRY(sandbox_find_ready(cli, args_word(cli->args, 0), &sandbox));
    struct session_wish wish = wish_for(sandbox);
    wish.has_terminal = true;
    wish.has_input = true;
    wish.start.n_command = login_shell(cli, &wish.start.command);
    return run(cli, &wish);
}

/* ---- table ---- */

#define OPTION_WORKDIR                                           \
    {                                                            \
        .name = "workdir", .type = CLI_TEXT, .argument = "PATH", \
        .help = "Where it starts; /sandbox without it"           \
    }
static const struct cli_argument EXEC_ARGUMENTS[] = {
    ARGUMENT_SANDBOX,
    { .name = "CMD", .flags = CLI_REPEAT, .help = "The program and its arguments, after --" },
};
static const struct cli_option EXEC_OPTIONS[] = {
    { .name = "stdin",
      .letter = 'i',
      .type = CLI_FLAG,
      .help = "Hand standard input on to it; else it gets none" },
    { .name = "tty",
      .letter = 't',
      .type = CLI_FLAG,
      .help = "Give it a terminal; with -i keys, size and Ctrl-C of this one too" },
    OPTION_WORKDIR,
    OPTION_ENV,
    OPTION_ENV_FILE,
};
static const struct cli_example EXEC_EXAMPLES[] = {
    { "belay sandbox exec web -- ls -l /sandbox", "One program" },
    { "tar c site | belay sandbox exec -i web -- tar x -C /sandbox", "Input from a pipe" },
    { "belay sandbox exec -it web -- top", "One that needs a terminal" },
};
#define SESSION_DESCRIPTION                                                                        \
    "The exit status is the program's (128 and the signal's number when it was killed, 124 when "  \
    "--timeout was over), or 255 when the connection was lost after it had begun to answer. With " \
    "a terminal, at the start of a line: ~. ends the session, ~? shows the keys, ~~ is one ~."
const struct cli_command CMD_SANDBOX_EXEC = {
    .name = "exec",
    .summary = "Run a program in a sandbox",
    .description = SESSION_DESCRIPTION,
    CLI_LIST(argument, EXEC_ARGUMENTS),
    CLI_LIST(option, EXEC_OPTIONS),
    CLI_LIST(example, EXEC_EXAMPLES),
    .run = exec,
};

static const struct cli_argument SHELL_ARGUMENTS[] = { ARGUMENT_SANDBOX };
static const struct cli_option SHELL_OPTIONS[] = {
    OPTION_WORKDIR,
    OPTION_ENV,
    OPTION_ENV_FILE,
};
const struct cli_command CMD_SANDBOX_SHELL = {
    .name = "shell",
    .summary = "A login shell in a sandbox, with this terminal",
    .description = SESSION_DESCRIPTION,
    CLI_LIST(argument, SHELL_ARGUMENTS),
    CLI_LIST(option, SHELL_OPTIONS),
    .run = shell,
};
