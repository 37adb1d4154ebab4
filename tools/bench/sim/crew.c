#include "tools/bench/sim/crew.h"

#include "common/base/cleanup.h"

#include <errno.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

struct crew {
    unsigned count;
    pid_t pids[]; /* 0: has ended */
};

static int spawn(char *const *argv, int board_fd, unsigned slot, pid_t *ret_pid)
{
    size_t count = 0;
    while (argv[count] != NULL) {
        count++;
    }
    AUTO_FREE char *board = mem_printf("%d:%u", board_fd, slot);
    AUTO_FREE char **args = mem_alloc_array(count + 3, sizeof(*args));
    char option[] = "--board";
    args[0] = argv[0];
    args[1] = option;
    args[2] = board;
    for (size_t i = 1; i < count; i++) {
        args[i + 2] = argv[i];
    }
    return posix_spawn(ret_pid, "/proc/self/exe", NULL, NULL, args, environ);
}

enum err_code crew_start(
    unsigned count, char *const *argv, int board_fd, struct crew **ret_crew, struct err_info *err)
{
    struct crew *crew = mem_alloc(sizeof(*crew) + count * sizeof(crew->pids[0]));
    crew->count = count;
    for (unsigned i = 0; i < count; i++) {
        int failed = spawn(argv, board_fd, i, &crew->pids[i]);
        if (failed != 0) {
            crew->pids[i] = 0;
            crew_join(crew);
            return ERR_SET_ERRNO(err, ERR_LIMIT, failed, "starting a process");
        }
    }
    *ret_crew = crew;
    return ERR_OK;
}

bool crew_lost_one(struct crew *crew)
{
    bool is_lost = false;
    for (unsigned i = 0; i < crew->count; i++) {
        int status = 0;
        if (crew->pids[i] != 0 && waitpid(crew->pids[i], &status, WNOHANG) == crew->pids[i]) {
            crew->pids[i] = 0;
            is_lost = is_lost || !WIFEXITED(status) || WEXITSTATUS(status) != 0;
        }
    }
    return is_lost;
}

void crew_join(struct crew *crew)
{
    if (crew == NULL) {
        return;
    }
    for (unsigned i = 0; i < crew->count; i++) {
        if (crew->pids[i] != 0) {
            (void)kill(crew->pids[i], SIGTERM);
        }
    }
    for (unsigned i = 0; i < crew->count; i++) {
        while (crew->pids[i] != 0 && waitpid(crew->pids[i], NULL, 0) < 0 && errno == EINTR) {
        }
    }
    mem_free(crew);
}
