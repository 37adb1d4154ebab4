/* belay sandbox create: makes one, waits for it, and shows its program's output if there is one. */
#include "cmd/cli/sandbox/commands.h"
#include "cmd/cli/sandbox/environment.h"
#include "cmd/cli/sandbox/follow.h"
#include "cmd/cli/sandbox/policy_file.h"
#include "cmd/cli/sandbox/run.h"
#include "common/wire/wire.h"

enum {
    JSON_BYTES_MAX = 4096,
    CPU_TEXT_MAX = 32
};

#define ANNOTATION_AGENT    "belay.dev/agent"
#define ANNOTATION_SELECTOR "belay.dev/agent-selector"
#define ANNOTATION_RESTART  "belay.dev/restart"

typedef Openshell__V1__CreateSandboxRequest request_type;
typedef Openshell__V1__Sandbox sandbox_type;

/* ---- the request ---- */

/* "2", "0.5", "500m". */
static enum err_code check_cpu(struct cli *cli, const char *text)
{
    struct str_view number = str_of(text);
    struct str_view whole = number;
    struct str_view part = STR("0");
    uint64_t value = 0;
    if (str_has_suffix(number, STR("m"))) {
        whole = str_from(number.ptr, number.len - 1);
    } else if (str_cut(number, '.', &whole, &part)) {
        part = part.len == 0 ? STR("x") : part;
    }
    if (number.len > CPU_TEXT_MAX || str_parse_uint64(whole, 1000000, &value) != ERR_OK
        || str_parse_uint64(part, UINT32_MAX, &value) != ERR_OK) {
        return cli_usage(
            cli, "--cpu: \"%s\" is not an amount of CPUs (2, 0.5) or thousandths (500m)", text);
    }
    return ERR_OK;
}

static void put_limit(struct buf *json, const char *name, const char *value)
{
    buf_append_char(json, json->len > 1 ? ',' : '{');
    buf_append_json(json, str_of(name));
    buf_append_char(json, ':');
    buf_append_json(json, str_of(value));
}

static void put_bytes(struct cli *cli, struct buf *json, const char *name, const char *option)
{
    if (args_is_set(cli->args, option)) {
        put_limit(
            json,
            name,
            arena_printf(cli->arena, "%lld", (long long)args_number(cli->args, option)));
    }
}

static enum err_code fill_limits(struct cli *cli, Openshell__V1__SandboxTemplate *template)
{
    AUTO_BUF struct buf limits = BUF_INIT(JSON_BYTES_MAX);
    AUTO_BUF struct buf json = BUF_INIT(JSON_BYTES_MAX);
    ProtobufCMessage *resources = NULL;
    if (args_is_set(cli->args, "cpu")) {
        TRY(check_cpu(cli, args_text(cli->args, "cpu")));
        put_limit(&limits, "cpu", args_text(cli->args, "cpu"));
    }
    put_bytes(cli, &limits, "memory", "memory");
    put_bytes(cli, &limits, "ephemeral-storage", "disk");
    if (limits.len == 0) {
        return ERR_OK;
    }
    buf_printf(&json, "{\"limits\":%s}}", buf_text(&limits));
    TRY(wire_from_json(
        cli->schema,
        &google__protobuf__struct__descriptor,
        buf_view(&json),
        cli->arena,
        &resources,
        &cli->err));
    template->resources = (Google__Protobuf__Struct *)(void *)resources;
    return ERR_OK;
}

static enum err_code fill_annotations(struct cli *cli, request_type *request)
{
    size_t given = args_count(cli->args, "annotation");
    const char **pairs = arena_alloc(cli->arena, (given + 3) * sizeof(*pairs));
    size_t count = 0;
    for (; count < given; count++) {
        pairs[count] = args_item(cli->args, "annotation", count);
    }
    if (args_is_set(cli->args, "agent")) {
        pairs[count++] =
            arena_printf(cli->arena, ANNOTATION_AGENT "=%s", args_text(cli->args, "agent"));
    }
    if (args_is_set(cli->args, "agent-selector")) {
        pairs[count++] = arena_printf(
            cli->arena, ANNOTATION_SELECTOR "=%s", args_text(cli->args, "agent-selector"));
    }
    if (args_is_set(cli->args, "restart")) {
        pairs[count++] =
            arena_printf(cli->arena, ANNOTATION_RESTART "=%s", args_text(cli->args, "restart"));
    }
    request->n_annotations = count;
    return cli_pairs(
        cli,
        pairs,
        count,
        &openshell__v1__create_sandbox_request__annotations_entry__descriptor,
        &request->annotations);
}

/* With --tty the words are run in a terminal of ours once it is ready; until then its main program
 * is the login shell that waits. */
static enum err_code fill_spec(struct cli *cli, Openshell__V1__SandboxSpec *spec)
{
    spec->template_ = cli_message(cli, &openshell__v1__sandbox_template__descriptor);
    spec->template_->image = cli_text(cli, args_text(cli->args, "image"));
    spec->template_->runtime_class_name = cli_text(cli, args_text(cli->args, "driver"));
    TRY(fill_limits(cli, spec->template_));
    TRY(environment_read(
        cli,
        &openshell__v1__sandbox_spec__environment_entry__descriptor,
        &spec->n_environment,
        &spec->environment));
    if (args_is_set(cli->args, "policy")) {
        TRY(policy_file_read(cli, args_text(cli->args, "policy"), &spec->policy));
    }
    if (!args_flag(cli->args, "tty")) {
        spec->n_command = run_words(cli, 0, &spec->command);
    }
    return ERR_OK;
}

static enum err_code fill(struct cli *cli, request_type *request)
{
    request->spec = cli_message(cli, &openshell__v1__sandbox_spec__descriptor);
    request->workspace = connection_workspace(cli);
    request->name = cli_text(cli, args_text(cli->args, "name"));
    TRY(cli_option_pairs(
        cli,
        "label",
        &openshell__v1__create_sandbox_request__labels_entry__descriptor,
        &request->n_labels,
        &request->labels));
    TRY(fill_annotations(cli, request));
    return fill_spec(cli, request->spec);
}

/* What contradicts itself is refused before anything is made. */
static enum err_code check_options(struct cli *cli)
{
    bool has_program = args_word_count(cli->args) > 0 || args_flag(cli->args, "tty");
    bool is_left = args_flag(cli->args, "detach") || args_flag(cli->args, "no-wait");
    if (args_flag(cli->args, "rm") && !has_program) {
        return cli_usage(cli, "--rm removes it after its program: give -- CMD, or --tty");
    }
    if (args_flag(cli->args, "rm") && is_left) {
        return cli_usage(
            cli, "--rm excludes --detach and --no-wait: nobody would be there to do it");
    }
    if (args_flag(cli->args, "rm") && args_is_set(cli->args, "restart")
        && strcmp(args_text(cli->args, "restart"), "always") == 0) {
        return cli_usage(cli, "--rm excludes --restart always: it would never be removed");
    }
    if (args_flag(cli->args, "tty") && is_left) {
        return cli_usage(cli, "--tty excludes --detach and --no-wait");
    }
    return ERR_OK;
}

/* ---- after it was made ---- */

static enum err_code show_made(struct cli *cli, const sandbox_type *sandbox)
{
    if (output_is_structured(cli) || cli->output.format == OUTPUT_WIDE) {
        return output_row(cli, &VIEW_SANDBOXES, &sandbox->base);
    }
    return output_line(cli, str_of(sandbox->metadata->name));
}

static enum err_code failed(struct cli *cli, const sandbox_type *sandbox)
{
    if (sandbox == NULL) {
        return ERR_SET(&cli->err, ERR_PRECONDITION, "it was deleted before it was ready");
    }
    const char *reason = sandbox_reason(sandbox);
    return ERR_SET(
        &cli->err,
        ERR_PRECONDITION,
        "sandbox %s is %s%s%s",
        sandbox->metadata->name,
        sandbox_phase_word(cli, sandbox),
        reason[0] != 0 ? ": " : "",
        reason);
}

static bool is_ready(const sandbox_type *sandbox)
{
    return sandbox != NULL
        && sandbox->status->phase == OPENSHELL__V1__SANDBOX_PHASE__SANDBOX_PHASE_READY;
}

static enum err_code put_main_line(
    struct cli *cli, void *context, const Openshell__V1__SandboxLogLine *line)
{
    return follow_is_of_main(line) ? follow_put_line(cli, context, line) : ERR_OK;
}

/* Its log until its program has ended, whose status becomes ours. */
static enum err_code follow_output(
    struct cli *cli, struct follow *follow, const sandbox_type *sandbox)
{
    sandbox_type *last = NULL;
    int status = 0;
    const struct follow_wish wish = {
        .sandbox = sandbox,
        .until = follow_has_ended,
        .line = put_main_line,
    };
    TRY(follow_run(follow, &wish, &last));
    if (last == NULL || !sandbox_has_exited(last, &status)) {
        return failed(cli, last);
    }
    cli->exit_status = (enum cli_exit)status;
    return ERR_OK;
}

static enum err_code wait_ready(
    struct cli *cli, struct follow *follow, const sandbox_type *sandbox, sandbox_type **ret_last)
{
    const struct follow_wish wish = { .sandbox = sandbox, .until = follow_is_ready };
    int status = 0;
    TRY(follow_run(follow, &wish, ret_last));
    bool has_run = *ret_last != NULL && sandbox_has_exited(*ret_last, &status);
    return is_ready(*ret_last) || has_run ? ERR_OK : failed(cli, *ret_last);
}

static enum err_code use(struct cli *cli, struct follow *follow, const sandbox_type *sandbox)
{
    sandbox_type *last = NULL;
    bool has_words = args_word_count(cli->args) > 0;
    if (args_flag(cli->args, "no-wait")) {
        return show_made(cli, sandbox);
    }
    if (has_words && !args_flag(cli->args, "detach") && !args_flag(cli->args, "tty")) {
        return follow_output(cli, follow, sandbox);
    }
    TRY(wait_ready(cli, follow, sandbox, &last));
    return args_flag(cli->args, "tty") ? run_interactive(cli, last) : show_made(cli, last);
}

/* ---- the end ---- */

static void remove_made(struct cli *cli, const sandbox_type *sandbox)
{
    Openshell__V1__DeleteSandboxRequest request = OPENSHELL__V1__DELETE_SANDBOX_REQUEST__INIT;
    Openshell__V1__DeleteSandboxResponse *reply = NULL;
    struct err_info kept = cli->err;
    request.workspace = sandbox->metadata->workspace;
    request.name = sandbox->metadata->name;
    enum err_code code = connection_call(
        cli,
        CONNECTION_OPENSHELL "DeleteSandbox",
        &request.base,
        &openshell__v1__delete_sandbox_response__descriptor,
        &reply);
    if (code != ERR_OK && code != ERR_NOT_FOUND) {
        output_note(
            cli,
            "belay: %s could not be removed: %s. Later: belay sandbox delete %s",
            request.name,
            cli->err.text,
            request.name);
    }
    cli->err = kept;
}

/* A Ctrl-C while one waits: the sandbox goes with --rm, and is named without. */
static enum err_code finish(
    struct cli *cli, struct follow *follow, const sandbox_type *sandbox, enum err_code code)
{
    int signal = follow_signal(follow);
    if (args_flag(cli->args, "rm")) {
        remove_made(cli, sandbox);
    } else if (signal != 0) {
        output_note(
            cli,
            "%s goes on. Its output: belay sandbox logs -f %s. To end it: belay sandbox delete %s",
            sandbox->metadata->name,
            sandbox->metadata->name,
            sandbox->metadata->name);
    }
    if (signal != 0) {
        cli->signal = signal;
        return ERR_OK;
    }
    return code;
}

static enum err_code create(struct cli *cli)
{
    request_type request = OPENSHELL__V1__CREATE_SANDBOX_REQUEST__INIT;
    Openshell__V1__SandboxResponse *reply = NULL;
    sandbox_type *sandbox = NULL;
    TRY(check_options(cli));
    TRY(fill(cli, &request));
    AUTO_FOLLOW struct follow *follow = follow_create(cli);
    TRY(connection_call(
        cli,
        CONNECTION_OPENSHELL "CreateSandbox",
        &request.base,
        &openshell__v1__sandbox_response__descriptor,
        &reply));
    TRY(sandbox_take(cli, reply->sandbox, &sandbox));
    return finish(cli, follow, sandbox, use(cli, follow, sandbox));
}

/* ---- table ---- */

static const struct cli_argument ARGUMENTS[] = {
    { .name = "CMD",
      .flags = CLI_OPTIONAL | CLI_REPEAT,
      .help = "Its main program and arguments, after --; without it a login shell that waits" },
};
static const char *const RESTARTS[] = { "never", "on-failure", "always", NULL };
static const struct cli_option OPTIONS[] = {
    { .name = "name",
      .type = CLI_TEXT,
      .argument = "NAME",
      .min = 1,
      .max = 19,
      .help = "Lower-case letters, digits, single hyphens; two words are made up without it" },
    { .name = "label",
      .letter = 'l',
      .type = CLI_PAIR,
      .flags = CLI_REPEAT,
      .argument = "KEY=VALUE",
      .help = "Label" },
    { .name = "annotation",
      .type = CLI_PAIR,
      .flags = CLI_REPEAT,
      .argument = "KEY=VALUE",
      .help = "Annotation" },
    OPTION_ENV,
    OPTION_ENV_FILE,
    { .name = "policy",
      .type = CLI_FILE,
      .argument = "FILE",
      .help = "What it may do, in YAML or JSON; - is standard input. Without it: no network" },
    { .name = "cpu",
      .type = CLI_TEXT,
      .argument = "AMOUNT",
      .help = "CPUs it gets at most: 2, 0.5, 500m; 1 without it" },
    { .name = "memory",
      .type = CLI_SIZE,
      .argument = "SIZE",
      .min = 4194304,
      .max = INT64_MAX,
      .help = "Memory it gets at most; 512MiB without it" },
    { .name = "disk",
      .type = CLI_SIZE,
      .argument = "SIZE",
      .min = 16777216,
      .max = INT64_MAX,
      .help = "Size of its /sandbox; 1GiB without it" },
    { .name = "image",
      .type = CLI_TEXT,
      .argument = "IMAGE",
      .help = "Root filesystem, from the agent's image store; the host's programs without it" },
    { .name = "driver",
      .type = CLI_TEXT,
      .argument = "DRIVER",
      .help = "How it is isolated: native, bwrap; the agent's choice without it" },
    { .name = "agent",
      .letter = 'a',
      .type = CLI_TEXT,
      .argument = "AGENT",
      .complete = CLI_COMPLETE_AGENT,
      .help = "On this agent, by name or id" },
    { .name = "agent-selector",
      .type = CLI_TEXT,
      .argument = "SELECTOR",
      .help = "On an agent with these labels: a=b,c!=d,e in (f,g),!h" },
    { .name = "restart",
      .type = CLI_CHOICE,
      .argument = "WHEN",
      .choices = RESTARTS,
      .help = "Start CMD again when it ends by itself, after 1 s to 60 s: never (as without it), "
              "on-failure (unless its status is 0), always" },
    { .name = "tty",
      .letter = 't',
      .type = CLI_FLAG,
      .help = "Run CMD (a login shell without it) with this terminal, once it is ready" },
    { .name = "rm", .type = CLI_FLAG, .help = "Remove it when CMD has ended, or at Ctrl-C" },
    { .name = "detach",
      .letter = 'd',
      .type = CLI_FLAG,
      .help = "Wait until it is ready and print its name; do not stay for CMD's output" },
    { .name = "no-wait", .type = CLI_FLAG, .help = "Print its name at once" },
};
static const struct cli_example EXAMPLES[] = {
    { "belay sandbox create --rm -- python3 -c 'print(6*7)'", "Run a program, see what it says" },
    { "belay sandbox create --rm --tty", "A shell in a sandbox that is gone afterwards" },
    { "belay sandbox create --name web --memory 256MiB -d -- python3 -m http.server",
      "A service that stays" },
    { "TOKEN=secret belay sandbox create -e TOKEN --policy policy.yaml -- ./job",
      "A secret and a policy" },
};
const struct cli_command CMD_SANDBOX_CREATE = {
    .name = "create",
    .summary = "Make a sandbox and run a program in it",
    .description =
        "Without CMD it waits until the sandbox is ready and prints its name. With CMD, what it "
        "writes is shown line by line until it ends, and its exit status is the one of belay (128 "
        "and the signal's number when it was killed). Ctrl-C leaves the sandbox running, unless "
        "--rm was given. To give CMD this terminal and its keys: --tty.",
    CLI_LIST(argument, ARGUMENTS),
    CLI_LIST(option, OPTIONS),
    CLI_LIST(example, EXAMPLES),
    .run = create,
};
