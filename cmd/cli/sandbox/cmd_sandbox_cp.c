/* belay sandbox cp: files and folders to and from a sandbox, as an archive through its tar. */
#include "cmd/cli/cells.h"
#include "cmd/cli/sandbox/commands.h"
#include "cmd/cli/sandbox/sandbox_view.h"
#include "cmd/cli/session/session.h"
#include "cmd/cli/session/tar.h"
#include "common/sys/fd.h"
#include "common/sys/thread.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    ENTRIES_MAX = 1000000,
    NAMES_BYTES_MAX = 256 * 1024 * 1024,
    ANSWER_BYTES = 64,
    STATUS_NO_PROGRAM = 127
};

/* One side of a copy. */
struct place {
    const char *sandbox; /* NULL: this machine */
    const char *folder;  /* the path without its last component */
    const char *name;    /* the last component */
    const char *path;
    bool wants_folder; /* it ended in a slash */
};

struct copy {
    struct cli *cli;
    Openshell__V1__Sandbox *sandbox;
    struct place from;
    struct place to;
    struct tar_counts counts;
    int in_fd; /* of the thread */
    int out_fd;
    int folder_fd;
    mode_t umask;
    bool is_lost;       /* the session: it has been said */
    enum err_code code; /* of the thread */
    struct err_info err;
};

/* ---- paths ---- */

/* "a/b/" is folder "a", name "b"; "b" is folder ".", name "b"; "/" has no name. */
static void split(struct cli *cli, const char *path, struct place *place)
{
    struct str_view trimmed = str_of(path);
    while (trimmed.len > 1 && trimmed.ptr[trimmed.len - 1] == '/') {
        trimmed.len--;
        place->wants_folder = true;
    }
    size_t cut = trimmed.len;
    while (cut > 0 && trimmed.ptr[cut - 1] != '/') {
        cut--;
    }
    place->path = arena_str_dup(cli->arena, trimmed);
    place->name = arena_str_dup(cli->arena, str_from(trimmed.ptr + cut, trimmed.len - cut));
    struct str_view folder = str_from(trimmed.ptr, cut > 1 ? cut - 1 : cut);
    place->folder = folder.len == 0 ? "." : arena_str_dup(cli->arena, folder);
}

static bool is_name(const struct place *place)
{
    return place->name[0] != 0 && strcmp(place->name, ".") != 0 && strcmp(place->name, "..") != 0;
}

/* NAME:PATH is in a sandbox; a path of this machine with a colon is written "./a:b". */
static struct place read_place(struct cli *cli, const char *word)
{
    struct place place = { .sandbox = NULL };
    const char *colon = strchr(word, ':');
    const char *slash = strchr(word, '/');
    const char *path = word;
    if (colon != NULL && colon != word && (slash == NULL || colon < slash)) {
        place.sandbox = arena_str_dup(cli->arena, str_from(word, (size_t)(colon - word)));
        path = colon[1] == 0 ? "." : colon + 1;
    }
    split(cli, path, &place);
    return place;
}

/* ---- programs in the sandbox ---- */

static size_t words_of(struct cli *cli, const char *const *words, char ***ret_words)
{
    size_t count = 0;
    while (words[count] != NULL) {
        count++;
    }
    *ret_words = arena_alloc(cli->arena, (count + 1) * sizeof(char *));
    for (size_t i = 0; i < count; i++) {
        (*ret_words)[i] = cli_text(cli, words[i]);
    }
    return count;
}

/* What a program of the sandbox has to say, a line at a time: it may be written to deceive. */
static void say_errors(struct copy *copy, const struct buf *errors)
{
    struct str_view rest = buf_view(errors);
    while (rest.len > 0) {
        struct str_view line = rest;
        struct str_view tail = STR_NONE;
        (void)str_cut(rest, '\n', &line, &tail);
        rest = tail;
        if (line.len > 0) {
            output_note(copy->cli, "%s: %.*s", copy->sandbox->metadata->name, STR_ARG(line));
        }
    }
}

/* in_fd -1: it gets no input; out NULL: what it writes is dropped. */
static enum err_code run(struct copy *copy, const char *const *words, int in_fd, FILE *out)
{
    AUTO_BUF struct buf errors = BUF_INIT(SESSION_ERRORS_MAX);
    const struct session_files files = { in_fd, out, &errors };
    struct session_wish wish = {
        .name = copy->sandbox->metadata->name,
        .start = OPENSHELL__V1__EXEC_SANDBOX_REQUEST__INIT,
        .has_input = in_fd >= 0,
        .files = &files,
    };
    wish.start.sandbox_id = copy->sandbox->metadata->id;
    wish.start.n_command = words_of(copy->cli, words, &wish.start.command);
    enum err_code code = session_run(copy->cli, &wish);
    copy->is_lost = wish.is_lost;
    say_errors(copy, &errors);
    TRY(code);
    if ((int)copy->cli->exit_status == STATUS_NO_PROGRAM) {
        return ERR_SET(
            &copy->cli->err,
            ERR_UNSUPPORTED,
            "there is no %s in the sandbox: it is needed to copy",
            words[0]);
    }
    return ERR_OK;
}

/* What PATH is in the sandbox: 'd' a folder, 'p' only its parent is one, 'n' neither; 0: the
 * session is lost. */
static enum err_code look(struct copy *copy, char *ret_kind)
{
    const struct place *to = &copy->to;
    struct cli *cli = copy->cli;
    const char *const words[] = {
        "/bin/sh",
        "-c",
        "if [ -d \"$1\" ]; then echo d; elif [ -d \"$2\" ]; then echo p; else echo n; fi",
        "sh",
        to->path,
        to->folder,
        NULL,
    };
    char answer[ANSWER_BYTES] = { 0 };
    FILE *out = fmemopen(answer, sizeof(answer), "w");
    if (out == NULL) {
        return ERR_SET(&cli->err, ERR_NOMEM, "out of memory");
    }
    enum err_code code = run(copy, words, -1, out);
    (void)fclose(out);
    TRY(code);
    bool is_answer = cli->exit_status == CLI_EXIT_OK && answer[0] != 0
        && strchr("dpn", answer[0]) != NULL && strcmp(answer + 1, "\n") == 0;
    if (!copy->is_lost && !is_answer) {
        cli->exit_status = CLI_EXIT_OK;
        return ERR_SET(
            &cli->err, ERR_CORRUPT, "the sandbox does not say what \"%s\" is there", to->path);
    }
    *ret_kind = copy->is_lost ? '\0' : answer[0];
    return ERR_OK;
}

/* ---- with the archive on its way ---- */

static void pack(void *context)
{
    struct copy *copy = context;
    const char *name = copy->to.name;
    copy->code = tar_pack(copy->from.path, name, copy->out_fd, &copy->counts, &copy->err);
    fd_close(&copy->out_fd);
}

static void unpack(void *context)
{
    struct copy *copy = context;
    const struct tar_target target = {
        .folder_fd = copy->folder_fd,
        .name = copy->to.name,
        .member = copy->from.name,
        .bytes_max = (uint64_t)args_number(copy->cli->args, "max-size"),
        .entries_max = ENTRIES_MAX,
        .names_max = NAMES_BYTES_MAX,
        .umask = copy->umask,
    };
    copy->code = tar_unpack(copy->in_fd, &target, &copy->counts, &copy->err);
    fd_close(&copy->in_fd);
}

static enum err_code make_pipe(struct copy *copy, int ret_ends[2])
{
    return pipe2(ret_ends, O_CLOEXEC) == 0
        ? ERR_OK
        : ERR_SET_ERRNO(&copy->cli->err, ERR_LIMIT, errno, "a pipe");
}

/*
 * The error that explains the most: what broke here, unless it is only that the other side was gone
 * already; then what the session says.
 */
static enum err_code conclude(struct copy *copy, enum err_code code)
{
    struct cli *cli = copy->cli;
    bool is_cause = copy->code != ERR_OK && copy->code != ERR_CANCELED;
    /* An archive that ends early is the consequence of a tar that failed or a line that was cut. */
    bool has_failed = code != ERR_OK || cli->exit_status != CLI_EXIT_OK;
    bool is_consequence = copy->code == ERR_CORRUPT && has_failed && code != ERR_CANCELED;
    if (is_cause && !is_consequence) {
        output_note(cli, "belay: %s", copy->err.text);
        cli->exit_status = copy->code == ERR_LIMIT ? CLI_EXIT_BUSY : CLI_EXIT_FAILED;
        return ERR_OK;
    }
    TRY(code);
    if (copy->is_lost) {
        return ERR_OK;
    }
    if (cli->exit_status != CLI_EXIT_OK) {
        output_note(cli, "belay: tar in the sandbox failed");
        cli->exit_status = CLI_EXIT_FAILED;
    } else if (copy->code == ERR_CANCELED) {
        output_note(cli, "belay: tar in the sandbox ended before it had read everything");
        cli->exit_status = CLI_EXIT_FAILED;
    }
    return ERR_OK;
}

static enum err_code send(struct copy *copy, const char *folder)
{
    const char *const words[] = { "tar", "-x", "-p", "-o", "-f", "-", "-C", folder, NULL };
    struct thread thread = { .running = false };
    int ends[2] = { -1, -1 };
    TRY(make_pipe(copy, ends));
    copy->out_fd = ends[1];
    enum err_code code = thread_start(&thread, "pack", pack, copy, &copy->cli->err);
    if (code == ERR_OK) {
        code = run(copy, words, ends[0], NULL);
    }
    fd_close(&ends[0]); /* the thread sees that nobody reads */
    thread_join(&thread);
    fd_close(&copy->out_fd);
    return conclude(copy, code);
}

static enum err_code receive(struct copy *copy)
{
    const struct place *from = &copy->from;
    const char *const words[] = {
        "tar", "-c", "-f", "-", "-C", from->folder, "--", from->name, NULL
    };
    struct thread thread = { .running = false };
    int ends[2] = { -1, -1 };
    TRY(make_pipe(copy, ends));
    FILE *out = fdopen(ends[1], "w");
    if (out == NULL) {
        fd_close(&ends[0]);
        fd_close(&ends[1]);
        return ERR_SET(&copy->cli->err, ERR_NOMEM, "out of memory");
    }
    copy->in_fd = ends[0];
    enum err_code code = thread_start(&thread, "unpack", unpack, copy, &copy->cli->err);
    if (code == ERR_OK) {
        code = run(copy, words, -1, out);
    }
    (void)fclose(out);
    thread_join(&thread);
    fd_close(&copy->in_fd);
    return conclude(copy, code);
}

/* ---- both ways ---- */

static enum err_code upload(struct copy *copy)
{
    struct cli *cli = copy->cli;
    char kind = 0;
    char real[PATH_MAX];
    if (realpath(copy->from.path, real) == NULL) {
        return ERR_SET_ERRNO(&cli->err, ERR_NOT_FOUND, errno, "%s", copy->from.path);
    }
    struct place whole = { .sandbox = NULL };
    split(cli, real, &whole);
    if (!is_name(&copy->from)) {
        copy->from = whole; /* "." is called what the folder is called */
    }
    TRY(look(copy, &kind));
    if (kind == '\0') {
        return ERR_OK;
    }
    if (kind == 'd') {
        copy->to.folder = copy->to.path;
        copy->to.name = copy->from.name;
    } else if (kind != 'p' || copy->to.wants_folder || !is_name(&copy->to)) {
        const char *missing = copy->to.wants_folder ? copy->to.path : copy->to.folder;
        return ERR_SET(
            &cli->err, ERR_NOT_FOUND, "there is no folder \"%s\" in the sandbox", missing);
    }
    return send(copy, copy->to.folder);
}

static enum err_code download(struct copy *copy)
{
    struct cli *cli = copy->cli;
    struct stat stat_of;
    if (!is_name(&copy->from)) {
        return cli_usage(
            cli, "%s: name the file or folder itself, as in /sandbox/NAME", copy->from.path);
    }
    if (stat(copy->to.path, &stat_of) == 0 && S_ISDIR(stat_of.st_mode)) {
        copy->to.folder = copy->to.path;
        copy->to.name = copy->from.name;
    } else if (copy->to.wants_folder || !is_name(&copy->to)) {
        return ERR_SET(&cli->err, ERR_NOT_FOUND, "there is no folder %s", copy->to.path);
    }
    copy->umask = umask(077);
    (void)umask(copy->umask); /* it can only be read so; no other thread makes files yet */
    copy->folder_fd = open(copy->to.folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (copy->folder_fd < 0) {
        return ERR_SET_ERRNO(&cli->err, ERR_NOT_FOUND, errno, "%s", copy->to.folder);
    }
    enum err_code code = receive(copy);
    fd_close(&copy->folder_fd);
    return code;
}

static void add_count(struct buf *text, uint64_t count, const char *noun)
{
    buf_printf(text, "%llu %s%s, ", (unsigned long long)count, noun, count == 1 ? "" : "s");
}

static enum err_code report(struct copy *copy)
{
    struct cli *cli = copy->cli;
    const struct tar_counts *counts = &copy->counts;
    AUTO_BUF struct buf text = BUF_INIT(256);
    add_count(&text, counts->files, "file");
    add_count(&text, counts->folders, "folder");
    add_count(&text, counts->links, "link");
    (void)cells_bytes(counts->bytes, &text);
    output_note(cli, "%s", buf_text(&text));
    if (counts->refused > 0) {
        output_note(
            cli,
            "belay: not copied: %llu; the first: %s",
            (unsigned long long)counts->refused,
            counts->first_refused);
        cli->exit_status = CLI_EXIT_FAILED;
    }
    return ERR_OK;
}

static enum err_code cp(struct cli *cli)
{
    struct copy copy = {
        .cli = cli,
        .from = read_place(cli, args_word(cli->args, 0)),
        .to = read_place(cli, args_word(cli->args, 1)),
        .in_fd = -1,
        .out_fd = -1,
        .folder_fd = -1,
    };
    if ((copy.from.sandbox == NULL) == (copy.to.sandbox == NULL)) {
        return cli_usage(
            cli, "exactly one of FROM and TO is in a sandbox: SANDBOX:PATH (here: PATH, ./a:b)");
    }
    bool is_upload = copy.to.sandbox != NULL;
    TRY(sandbox_find_ready(cli, is_upload ? copy.to.sandbox : copy.from.sandbox, &copy.sandbox));
    TRY(is_upload ? upload(&copy) : download(&copy));
    return cli->exit_status == CLI_EXIT_OK ? report(&copy) : ERR_OK;
}

/* ---- table ---- */

static const struct cli_argument ARGUMENTS[] = {
    { .name = "FROM",
      .complete = CLI_COMPLETE_FILE,
      .help = "A file or folder: here PATH, in a sandbox SANDBOX:PATH" },
    { .name = "TO",
      .complete = CLI_COMPLETE_FILE,
      .help = "Where it goes; into it when that is a folder, else it is the new name" },
};
static const struct cli_option OPTIONS[] = {
    { .name = "max-size",
      .type = CLI_SIZE,
      .argument = "SIZE",
      .fallback = "16GiB",
      .min = 1,
      .max = INT64_MAX,
      .help = "Take no more than this from a sandbox" },
};
static const struct cli_example EXAMPLES[] = {
    { "belay sandbox cp site web:/sandbox", "A folder into a sandbox" },
    { "belay sandbox cp web:/sandbox/out.log .", "A file out of it" },
};
const struct cli_command CMD_SANDBOX_CP = {
    .name = "cp",
    .summary = "Copy files and folders to or from a sandbox",
    .description =
        "With modes and times, without owners; what comes out gets no permission that your umask "
        "denies. The sandbox needs a tar. What comes out of it is "
        "not trusted: nothing outside TO is made or changed, links that lead out, devices and "
        "pipes are left out, counted and named (exit status 1), and an archive that tries to leave "
        "TO ends the copy.",
    CLI_LIST(argument, ARGUMENTS),
    CLI_LIST(option, OPTIONS),
    CLI_LIST(example, EXAMPLES),
    .run = cp,
};
