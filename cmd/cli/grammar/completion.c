/*
 * Completion scripts. Each shell gets one generated function: the words so far pick a command by
 * its path ("agent list"), and the command's row gives its members, options and what its arguments
 * name. Names of agents and the like are asked from the program itself, with a short timeout.
 */
#include "cmd/cli/grammar/docs.h"
#include "common/base/cleanup.h"

/* The command line that lists candidates, indexed by enum cli_complete; NULL: none. */
static const char *const SOURCES[] = {
    [CLI_COMPLETE_NONE] = NULL,
    [CLI_COMPLETE_FILE] = NULL,
    [CLI_COMPLETE_GATEWAY] = "gateway list -o name",
    [CLI_COMPLETE_AGENT] = "agent list -o name --timeout 2s",
    [CLI_COMPLETE_ENROLLMENT] = "enroll list -o name --timeout 2s",
    [CLI_COMPLETE_METRIC] = "telemetry list -o name --timeout 2s",
    [CLI_COMPLETE_COMMAND_ID] = "command list -o name --timeout 2s",
    [CLI_COMPLETE_SANDBOX] = "sandbox list -o name --timeout 2s",
    [CLI_COMPLETE_LOAN] = "loan list -o name --timeout 2s",
    [CLI_COMPLETE_APIKEY] = "apikey list -o name --timeout 2s",
};
_Static_assert(ARRAY_LENGTH(SOURCES) == CLI_COMPLETE_COUNT, "a row for every kind");

struct script {
    const struct cli_grammar *grammar;
    struct buf *buf;
};

/* "agent list" without the program's name. */
static void put_key(const struct cli_path *path, struct buf *buf)
{
    for (size_t i = 1; i < path->depth; i++) {
        buf_printf(buf, "%s%s", i > 1 ? " " : "", path->steps[i]->name);
    }
}

static void put_choices(const char *const *choices, struct buf *buf)
{
    for (size_t i = 0; choices[i] != NULL; i++) {
        buf_printf(buf, "%s%s", i > 0 ? " " : "", choices[i]);
    }
}

/* Text inside single quotes of a shell. */
static void put_quoted(const char *text, const char *quote, struct buf *buf)
{
    for (const char *c = text; *c != 0; c++) {
        if (*c == '\'') {
            buf_append_str(buf, str_of(quote));
        } else {
            buf_append_char(buf, *c);
        }
    }
}

/* ---- bash ---- */

static void bash_words(const struct cli_path *path, struct buf *buf)
{
    const struct cli_command *command = cli_path_end(path);
    for (size_t i = 0; i < command->command_count; i++) {
        if (!command->commands[i]->hidden) {
            buf_printf(buf, "%s ", command->commands[i]->name);
        }
    }
}

static void bash_option_names(const struct cli_option *options, size_t count, struct buf *buf)
{
    for (size_t i = 0; i < count; i++) {
        if ((options[i].flags & CLI_HIDDEN) == 0) {
            buf_printf(buf, "--%s ", options[i].name);
        }
    }
}

static void bash_command(void *context, const struct cli_path *path)
{
    struct script *script = context;
    struct buf *buf = script->buf;
    const struct cli_command *command = cli_path_end(path);
    buf_append_str(buf, STR("        '"));
    put_key(path, buf);
    buf_append_str(buf, STR("')\n            members='"));
    bash_words(path, buf);
    buf_append_str(buf, STR("'\n            options='"));
    bash_option_names(command->options, command->option_count, buf);
    buf_append_str(buf, STR("'\n"));
    for (size_t i = 0; i < command->argument_count; i++) {
        const struct cli_argument *argument = &command->arguments[i];
        bool repeats = (argument->flags & CLI_REPEAT) != 0;
        if (argument->choices != NULL) {
            buf_printf(buf, "            (( given %s %zu )) && words='", repeats ? ">=" : "==", i);
            put_choices(argument->choices, buf);
            buf_append_str(buf, STR("'\n"));
        } else if (argument->complete != CLI_COMPLETE_NONE) {
            buf_printf(
                buf,
                "            (( given %s %zu )) && source='%s'\n",
                repeats ? ">=" : "==",
                i,
                SOURCES[argument->complete] == NULL ? "FILES" : SOURCES[argument->complete]);
        }
    }
    buf_append_str(buf, STR("            ;;\n"));
}

static void bash_option_value(const struct cli_option *option, const char *key, struct buf *buf)
{
    if (option->type == CLI_FLAG || (option->flags & CLI_HIDDEN) != 0) {
        return;
    }
    buf_printf(buf, "        '%s --%s'", key, option->name);
    if (option->letter != 0) {
        buf_printf(buf, "|'%s -%c'", key, option->letter);
    }
    buf_append_str(buf, STR(") value=1; "));
    if (option->choices != NULL) {
        buf_append_str(buf, STR("words='"));
        put_choices(option->choices, buf);
        buf_append_str(buf, STR("' "));
    } else if (option->type == CLI_FILE) {
        buf_append_str(buf, STR("source=FILES "));
    } else if (SOURCES[option->complete] != NULL) {
        buf_printf(buf, "source='%s' ", SOURCES[option->complete]);
    }
    buf_append_str(buf, STR(";;\n"));
}

static void bash_values(void *context, const struct cli_path *path)
{
    struct script *script = context;
    const struct cli_command *command = cli_path_end(path);
    AUTO_BUF struct buf key = BUF_INIT(256);
    put_key(path, &key);
    for (size_t i = 0; i < command->option_count; i++) {
        bash_option_value(&command->options[i], buf_text(&key), script->buf);
    }
}

static void bash_pattern(void *context, const struct cli_path *path)
{
    struct script *script = context;
    if (path->depth > 1) {
        buf_append_str(script->buf, STR("|'"));
        put_key(path, script->buf);
        buf_append_char(script->buf, '\'');
    }
}

/* What the words and the source before it come to. */
static void bash_offer(const char *program, struct buf *buf)
{
    buf_printf(
        buf,
        "--help\"; source=; fi\n"
        "    fi\n"
        "    COMPREPLY=()\n"
        "    if [[ $source == FILES ]]; then\n"
        "        compopt -o filenames 2>/dev/null\n"
        "        mapfile -t COMPREPLY < <(compgen -f -- \"$cur\")\n"
        "        return\n"
        "    fi\n"
        "    for word in $words; do\n"
        "        [[ $word == \"$cur\"* ]] && COMPREPLY+=( \"$word\" )\n"
        "    done\n"
        "    [[ -z $source ]] && return\n"
        /* Others chose these names: compgen -W would expand what they hold, $(...) too. */
        "    while IFS= read -r next; do\n"
        "        printf -v word %%q \"$next\"\n"
        "        [[ $next == \"$cur\"* || $word == \"$cur\"* ]] && COMPREPLY+=( \"$word\" )\n"
        "    done < <(%s $source 2>/dev/null)\n"
        "}\n"
        "complete -F _%s %s\n",
        program,
        program,
        program);
}

void docs_complete_bash(const struct cli_grammar *grammar, struct buf *buf)
{
    struct script script = { .grammar = grammar, .buf = buf };
    const char *program = grammar->program;
    buf_printf(
        buf,
        "# bash completion for %s; load it with: source <(%s completion bash)\n"
        "_%s_value() {\n"
        "    value= words= source=\n"
        "    case \"$1 $2\" in\n",
        program,
        program,
        program);
    cli_visit(grammar, bash_values, &script);
    buf_append_str(buf, STR("    esac\n    [[ -n $value ]] && return 0\n    case \" $2\" in\n"));
    for (size_t i = 0; i < grammar->global_count; i++) {
        bash_option_value(&grammar->globals[i], "", buf);
    }
    buf_printf(
        buf,
        "    esac\n"
        "}\n"
        "_%s() {\n"
        "    local cur=${COMP_WORDS[COMP_CWORD]} path= given=0 i word next value words source "
        "members options\n"
        "    for (( i = 1; i < COMP_CWORD; i++ )); do\n"
        "        word=${COMP_WORDS[i]}\n"
        "        if [[ $word == -* ]]; then\n"
        "            _%s_value \"$path\" \"$word\"\n"
        "            if [[ -n $value ]]; then (( i++ )); fi\n"
        "            continue\n"
        "        fi\n"
        "        next=${path:+$path }$word\n"
        "        case \"$next\" in\n"
        "            ''",
        program,
        program);
    cli_visit(grammar, bash_pattern, &script);
    buf_printf(
        buf,
        ") path=$next ;;\n"
        "            *) (( given++ )) ;;\n"
        "        esac\n"
        "    done\n"
        "    _%s_value \"$path\" \"${COMP_WORDS[COMP_CWORD-1]}\"\n"
        "    if [[ -z $value ]]; then\n"
        "        words= source= members= options=\n"
        "        case \"$path\" in\n",
        program);
    cli_visit(grammar, bash_command, &script);
    buf_append_str(
        buf,
        STR("        esac\n        words+=\" $members\"\n        if [[ $cur == -* ]]; "
            "then words=\"$options "));
    bash_option_names(grammar->globals, grammar->global_count, buf);
    bash_offer(program, buf);
}

/* ---- zsh ---- */

static void zsh_option(const struct cli_option *option, struct buf *buf)
{
    if ((option->flags & CLI_HIDDEN) != 0) {
        return;
    }
    buf_printf(buf, " '%s--%s[", (option->flags & CLI_REPEAT) != 0 ? "*" : "", option->name);
    for (const char *c = option->help; *c != 0; c++) {
        if (*c == '[' || *c == ']' || *c == ':') {
            buf_append_char(buf, '\\');
        }
        buf_append_char(buf, *c);
        if (*c == '\'') {
            buf_append_str(buf, STR("\\''"));
        }
    }
    buf_append_char(buf, ']');
    if (option->type != CLI_FLAG) {
        buf_printf(buf, ":%s:", option->argument);
    }
    if (option->choices != NULL) {
        buf_append_char(buf, '(');
        put_choices(option->choices, buf);
        buf_append_char(buf, ')');
    } else if (option->type == CLI_FILE) {
        buf_append_str(buf, STR("_files"));
    } else if (SOURCES[option->complete] != NULL) {
        buf_printf(buf, "{_belay_ask %s}", SOURCES[option->complete]);
    }
    buf_append_char(buf, '\'');
}

static void zsh_argument(const struct cli_argument *argument, struct buf *buf)
{
    bool repeats = (argument->flags & CLI_REPEAT) != 0;
    bool optional = (argument->flags & CLI_OPTIONAL) != 0;
    buf_printf(
        buf, " '%s%s%s:", repeats ? "*" : "", optional && !repeats ? "::" : ":", argument->name);
    if (argument->choices != NULL) {
        buf_append_char(buf, '(');
        put_choices(argument->choices, buf);
        buf_append_char(buf, ')');
    } else if (argument->complete == CLI_COMPLETE_FILE) {
        buf_append_str(buf, STR("_files"));
    } else if (SOURCES[argument->complete] != NULL) {
        buf_printf(buf, "{_belay_ask %s}", SOURCES[argument->complete]);
    }
    buf_append_char(buf, '\'');
}

static void zsh_command(void *context, const struct cli_path *path)
{
    struct script *script = context;
    struct buf *buf = script->buf;
    const struct cli_command *command = cli_path_end(path);
    buf_append_str(buf, STR("        '"));
    put_key(path, buf);
    buf_append_str(buf, STR("')\n"));
    if (command->run == NULL) {
        buf_append_str(buf, STR("            members=("));
        for (size_t i = 0; i < command->command_count; i++) {
            if (!command->commands[i]->hidden) {
                buf_printf(buf, " '%s:", command->commands[i]->name);
                put_quoted(command->commands[i]->summary, "'\\''", buf);
                buf_append_char(buf, '\'');
            }
        }
        buf_append_str(buf, STR(" )\n"));
    } else {
        buf_append_str(buf, STR("            specs=("));
        for (size_t i = 0; i < command->option_count; i++) {
            zsh_option(&command->options[i], buf);
        }
        for (size_t i = 0; i < command->argument_count; i++) {
            zsh_argument(&command->arguments[i], buf);
        }
        buf_append_str(buf, STR(" )\n"));
    }
    buf_append_str(buf, STR("            ;;\n"));
}

void docs_complete_zsh(const struct cli_grammar *grammar, struct buf *buf)
{
    struct script script = { .grammar = grammar, .buf = buf };
    const char *program = grammar->program;
    buf_printf(
        buf,
        "#compdef %s\n"
        "# zsh completion for %s; load it with: source <(%s completion zsh)\n"
        "_%s_ask() {\n"
        "    local -a found\n"
        "    found=( ${(f)\"$(%s \"$@\" 2>/dev/null)\"} )\n"
        "    compadd -a found\n"
        "}\n"
        "_%s() {\n"
        "    local path_so_far= candidate i\n"
        "    local -a members specs\n"
        "    local taken=1\n"
        "    for (( i = 2; i < CURRENT; i++ )); do\n"
        "        [[ ${words[i]} == -* ]] && continue\n"
        "        candidate=${path_so_far:+$path_so_far }${words[i]}\n"
        "        case \"$candidate\" in\n"
        "            ''",
        program,
        program,
        program,
        program,
        program,
        program);
    cli_visit(grammar, bash_pattern, &script);
    buf_append_str(
        buf,
        STR(") path_so_far=$candidate; taken=$i ;;\n"
            "        esac\n"
            "    done\n"
            "    case \"$path_so_far\" in\n"));
    cli_visit(grammar, zsh_command, &script);
    buf_append_str(buf, STR("    esac\n    specs+=("));
    for (size_t i = 0; i < grammar->global_count; i++) {
        zsh_option(&grammar->globals[i], buf);
    }
    buf_printf(
        buf,
        " '--help[Show help]' )\n"
        "    if (( ${#members} )) && [[ ${words[CURRENT]} != -* ]]; then\n"
        "        _describe 'command' members\n"
        "        return\n"
        "    fi\n"
        "    words=( \"${words[taken]}\" \"${(@)words[taken+1,-1]}\" )\n"
        "    (( CURRENT -= taken - 1 ))\n"
        "    _arguments $specs\n"
        "}\n"
        "if [[ ${funcstack[1]-} == _%s ]]; then\n"
        "    _%s \"$@\"\n"
        "elif (( $+functions[compdef] )); then\n"
        "    compdef _%s %s\n"
        "fi\n",
        program,
        program,
        program,
        program);
}

/* ---- fish ---- */

static void fish_option(
    const struct cli_grammar *grammar,
    const struct cli_option *option,
    const char *condition,
    struct buf *buf)
{
    if ((option->flags & CLI_HIDDEN) != 0) {
        return;
    }
    buf_printf(buf, "complete -c %s%s -l %s", grammar->program, condition, option->name);
    if (option->letter != 0) {
        buf_printf(buf, " -s %c", option->letter);
    }
    if (option->choices != NULL) {
        buf_append_str(buf, STR(" -x -a '"));
        put_choices(option->choices, buf);
        buf_append_char(buf, '\'');
    } else if (option->type == CLI_FILE) {
        buf_append_str(buf, STR(" -r -F"));
    } else if (SOURCES[option->complete] != NULL) {
        buf_printf(
            buf, " -x -a '(%s %s 2>/dev/null)'", grammar->program, SOURCES[option->complete]);
    } else if (option->type != CLI_FLAG) {
        buf_append_str(buf, STR(" -x"));
    }
    buf_append_str(buf, STR(" -d '"));
    put_quoted(option->help, "\\'", buf);
    buf_append_str(buf, STR("'\n"));
}

static void fish_members(
    const struct script *script, const struct cli_path *path, const char *condition)
{
    const struct cli_command *command = cli_path_end(path);
    for (size_t i = 0; i < command->command_count; i++) {
        if (command->commands[i]->hidden) {
            continue;
        }
        buf_printf(
            script->buf,
            "complete -c %s%s -a %s -d '",
            script->grammar->program,
            condition,
            command->commands[i]->name);
        put_quoted(command->commands[i]->summary, "\\'", script->buf);
        buf_append_str(script->buf, STR("'\n"));
    }
}

static void fish_command(void *context, const struct cli_path *path)
{
    struct script *script = context;
    struct buf *buf = script->buf;
    const struct cli_command *command = cli_path_end(path);
    AUTO_BUF struct buf condition = BUF_INIT(512);
    buf_printf(&condition, " -n '_%s_at \"", script->grammar->program);
    put_key(path, &condition);
    buf_append_str(&condition, STR("\"'"));
    fish_members(script, path, buf_text(&condition));
    for (size_t i = 0; i < command->option_count; i++) {
        fish_option(script->grammar, &command->options[i], buf_text(&condition), buf);
    }
    for (size_t i = 0; i < command->argument_count; i++) {
        const struct cli_argument *argument = &command->arguments[i];
        if (argument->choices != NULL) {
            buf_printf(
                buf, "complete -c %s%s -a '", script->grammar->program, buf_text(&condition));
            put_choices(argument->choices, buf);
            buf_append_str(buf, STR("'\n"));
        } else if (argument->complete == CLI_COMPLETE_FILE) {
            buf_printf(
                buf, "complete -c %s%s -F\n", script->grammar->program, buf_text(&condition));
        } else if (SOURCES[argument->complete] != NULL) {
            buf_printf(
                buf,
                "complete -c %s%s -a '(%s %s 2>/dev/null)'\n",
                script->grammar->program,
                buf_text(&condition),
                script->grammar->program,
                SOURCES[argument->complete]);
        }
    }
}

static void fish_key(void *context, const struct cli_path *path)
{
    struct script *script = context;
    if (path->depth > 1) {
        buf_append_str(script->buf, STR(" '"));
        put_key(path, script->buf);
        buf_append_char(script->buf, '\'');
    }
}

void docs_complete_fish(const struct cli_grammar *grammar, struct buf *buf)
{
    struct script script = { .grammar = grammar, .buf = buf };
    const char *program = grammar->program;
    buf_printf(
        buf,
        "# fish completion for %s; load it with: %s completion fish | source\n"
        "function _%s_at\n"
        "    set -l so_far\n"
        "    for word in (commandline -opc)[2..-1]\n"
        "        string match -q -- '-*' $word; and continue\n"
        "        set -l next (string join ' ' $so_far $word)\n"
        "        contains -- \"$next\"",
        program,
        program,
        program);
    cli_visit(grammar, fish_key, &script);
    buf_printf(
        buf,
        "; and set -a so_far $word\n"
        "    end\n"
        "    test \"$so_far\" = \"$argv[1]\"\n"
        "end\n"
        "complete -c %s -f\n",
        program);
    for (size_t i = 0; i < grammar->global_count; i++) {
        fish_option(grammar, &grammar->globals[i], "", buf);
    }
    cli_visit(grammar, fish_command, &script);
}
