/*
 * belay image: the root file systems of sandboxes on this machine. The store is the agent's, on the
 * agent's machine and for its user alone, and images do not travel through the server; so the
 * command is belay-agent's, started from here with what was asked for.
 */
#include "cmd/cli/commands/commands.h"
#include "cmd/cli/interrupt.h"
#include "common/base/cleanup.h"

#include <errno.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    WORDS_MAX = 12,
    PATH_BYTES = 4096
};

/* The agent's exit statuses that have a number of ours. */
static const struct {
    int status;
    enum cli_exit exit;
} exits[] = { { 0, CLI_EXIT_OK },    { 64, CLI_EXIT_USAGE },  { 69, CLI_EXIT_UNAVAILABLE },
              { 75, CLI_EXIT_BUSY }, { 77, CLI_EXIT_DENIED }, { 78, CLI_EXIT_CONFLICT } };

static enum cli_exit exit_of(const siginfo_t *end)
{
    if (end->si_code != CLD_EXITED) {
        return (enum cli_exit)(128 + end->si_status);
    }
    for (size_t i = 0; i < ARRAY_LENGTH(exits); i++) {
        if (exits[i].status == end->si_status) {
            return exits[i].exit;
        }
    }
    return CLI_EXIT_FAILED;
}

/* The agent that was installed beside us, else the one in PATH. */
static const char *find_agent(struct cli *cli)
{
    char path[PATH_BYTES];
    ssize_t bytes = readlink("/proc/self/exe", path, sizeof(path) - sizeof("-agent"));
    if (bytes > 0) {
        memcpy(path + bytes, "-agent", sizeof("-agent"));
        if (access(path, X_OK) == 0) {
            return cli_text(cli, path);
        }
    }
    return "belay-agent";
}

/* Signals as a program expects them: what we block and ignore for ourselves is not its own. */
static int spawn(char *const *argv, pid_t *ret_pid)
{
    posix_spawnattr_t attributes;
    sigset_t none;
    sigset_t usual;
    int number = posix_spawnattr_init(&attributes);
    if (number != 0) {
        return number;
    }
    (void)sigemptyset(&none);
    (void)sigemptyset(&usual);
    (void)sigaddset(&usual, SIGPIPE);
    (void)posix_spawnattr_setsigmask(&attributes, &none);
    (void)posix_spawnattr_setsigdefault(&attributes, &usual);
    (void)posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    number = posix_spawnp(ret_pid, argv[0], NULL, &attributes, argv, environ);
    (void)posix_spawnattr_destroy(&attributes);
    return number;
}

struct child {
    atomic_int pid;    /* 0: not started yet */
    atomic_int signal; /* the last that came */
};

/* On the interrupt's thread: what ends us ends the agent's command, which decides how. */
static void pass_on(void *context, int signal)
{
    struct child *child = context;
    if (signal != SIGWINCH) {
        atomic_store(&child->signal, signal);
        int pid = atomic_load(&child->pid);
        (void)(pid == 0 ? 0 : kill(pid, signal));
    }
}

static int start(struct child *child, char *const *argv)
{
    pid_t pid = 0;
    int number = spawn(argv, &pid);
    atomic_store(&child->pid, pid);
    int signal = atomic_load(&child->signal); /* while it was started */
    if (number == 0 && signal != 0) {
        (void)kill(pid, signal);
    }
    return number;
}

/* Its number stays its own until no signal can be passed on any more. */
static enum err_code run_agent(struct cli *cli, char *const *argv)
{
    struct child child;
    siginfo_t end = { .si_code = 0 };
    atomic_init(&child.pid, 0);
    atomic_init(&child.signal, 0);
    (void)fflush(cli->io->out);
    interrupt_claim(cli->io->interrupt, pass_on, &child);
    int number = start(&child, argv);
    pid_t pid = atomic_load(&child.pid);
    while (number == 0 && waitid(P_PID, (id_t)pid, &end, WEXITED | WNOWAIT) != 0
           && errno == EINTR) {
    }
    interrupt_release(cli->io->interrupt);
    if (number != 0) {
        return ERR_SET_ERRNO(
            &cli->err,
            ERR_UNAVAILABLE,
            number,
            "%s: images are kept by the agent of this machine",
            argv[0]);
    }
    if (waitpid(pid, NULL, 0) != pid) {
        return ERR_SET_ERRNO(&cli->err, ERR_INTERNAL, errno, "waiting for %s", argv[0]);
    }
    cli->exit_status = exit_of(&end);
    return ERR_OK;
}

static enum err_code run(struct cli *cli, const char *what)
{
    const char *output = args_text(cli->args, "output");
    const char *words[WORDS_MAX] = { find_agent(cli), "image", what };
    size_t count = 3;
    if (strcmp(output, "json") != 0 && strcmp(output, "table") != 0) {
        return ERR_SET(&cli->err, ERR_INVALID, "images are printed as table or json");
    }
    words[count++] = "--output";
    words[count++] = strcmp(output, "json") == 0 ? "json" : "text";
    if (args_is_set(cli->args, "state-dir")) {
        words[count++] = "--state-dir";
        words[count++] = args_text(cli->args, "state-dir");
    }
    words[count++] = "--";
    for (size_t i = 0; i < args_word_count(cli->args) && count < WORDS_MAX - 1; i++) {
        words[count++] = args_word(cli->args, i);
    }
    return run_agent(cli, CONST_CAST(char *const *, words));
}

static enum err_code import(struct cli *cli)
{
    return run(cli, "import");
}

static enum err_code list(struct cli *cli)
{
    return run(cli, "list");
}

static enum err_code remove_one(struct cli *cli)
{
    return run(cli, "remove");
}

static const struct cli_option OPTIONS[] = {
    { .name = "state-dir",
      .type = CLI_FILE,
      .argument = "DIR",
      .env = "BELAY_STATE_DIR",
      .help = "The agent's state folder; /var/lib/belay-agent unless set" },
};

static const struct cli_argument IMPORT_ARGUMENTS[] = {
    { .name = "NAME", .help = "1 to 64 letters, digits, '-', '_', '.'" },
    { .name = "FILE",
      .complete = CLI_COMPLETE_FILE,
      .help = "A tar archive (plain, gzip, zstd), a squashfs file, or - for standard input" },
};

static const struct cli_argument REMOVE_ARGUMENTS[] = {
    { .name = "NAME", .help = "Name of an image" },
};

static const struct cli_example IMPORT_EXAMPLES[] = {
    { "docker export CONTAINER | sudo belay image import python -", "Keep a container's files" },
};

static const struct cli_command IMPORT = {
    .name = "import",
    .summary = "Keep a root file system under a name",
    .description =
        "Takes a tar archive apart, or keeps a squashfs file as it is. The image appears whole or "
        "not at all. Devices are left out, setuid bits dropped, and an archive that tries to reach "
        "beyond its folder is refused.",
    CLI_LIST(argument, IMPORT_ARGUMENTS),
    CLI_LIST(option, OPTIONS),
    CLI_LIST(example, IMPORT_EXAMPLES),
    .run = import,
};

static const struct cli_command LIST = {
    .name = "list",
    .alias = "ls",
    .summary = "Show the images of this machine",
    CLI_LIST(option, OPTIONS),
    .run = list,
};

static const struct cli_command REMOVE = {
    .name = "remove",
    .alias = "rm",
    .summary = "Delete an image that no sandbox uses",
    CLI_LIST(argument, REMOVE_ARGUMENTS),
    CLI_LIST(option, OPTIONS),
    .run = remove_one,
};

static const struct cli_command *const COMMANDS[] = { &IMPORT, &LIST, &REMOVE };

const struct cli_command CMD_IMAGE = {
    .name = "image",
    .summary = "Root file systems of sandboxes on this machine",
    .description =
        "Images are kept by the agent, on its machine; run this there, as the user that the agent "
        "runs as (root for the native driver). A sandbox asks for one by its name, and the server "
        "places it on an agent that has it.",
    CLI_LIST(command, COMMANDS),
};
