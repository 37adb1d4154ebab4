/*
 * belay-shim: three programs in one small static file, told apart by argv[0]. The agent starts
 * "belay-shim FOLDER" with its socket as descriptor 3 and, if it has one, a ground as 4, or
 * "belay-shim spare..." ahead, whose folder comes by that socket, and "belay-ground FOLDER" with a
 * socket as 3; the shim starts "belay-init" in the sandbox.
 */
#include "cmd/shim/builder/ground.h"
#include "cmd/shim/init.h"
#include "cmd/shim/shim.h"
#include "cmd/shim/spare.h"
#include "common/sandbox/spec.h"
#include "common/sys/fd.h"

#include <fcntl.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    AGENT_SOCKET = 3,
    GROUND = 4,
    USAGE = 64
};

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash == NULL ? path : slash + 1;
}

/* Away from whoever started us: what was handed over, and nothing else. */
static int leave(int *ret_ground)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    struct stat info;
    if (null < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0 || dup2(null, 2) < 0) {
        return -1;
    }
    if (null > 2) {
        (void)close(null);
    }
    int agent = fstat(AGENT_SOCKET, &info) == 0 && S_ISSOCK(info.st_mode) ? AGENT_SOCKET : -1;
    if (agent >= 0 && fcntl(agent, F_SETFD, FD_CLOEXEC) != 0) {
        return -1;
    }
    bool is_ground = ioctl(GROUND, NS_GET_NSTYPE) == CLONE_NEWNS;
    *ret_ground = is_ground && fcntl(GROUND, F_SETFD, FD_CLOEXEC) == 0 ? GROUND : -1;
    (void)close_range(*ret_ground >= 0 ? GROUND + 1 : AGENT_SOCKET + 1, ~0U, 0);
    return agent;
}

int main(int argc, char **argv)
{
    if (argc > 0 && strcmp(base_name(argv[0]), "belay-init") == 0) {
        return init_main();
    }
    bool is_spare = argc == 2 && strncmp(argv[1], SANDBOX_SPARE, strlen(SANDBOX_SPARE)) == 0;
    if (argc != 2 || (argv[1][0] != '/' && !is_spare)) {
        (void)fprintf(
            stderr,
            "usage: belay-shim FOLDER\n"
            "Started by belay-agent, one for each sandbox; not for people.\n");
        return USAGE;
    }
    int ground = -1;
    int agent = leave(&ground);
    if (strcmp(base_name(argv[0]), "belay-ground") == 0) {
        return ground_main(argv[1], agent);
    }
    pid_t pid = fork();
    if (pid != 0) {
        return pid < 0 ? 1 : 0;
    }
    (void)setsid();
    (void)umask(077);
    if (is_spare) {
        return spare_main(argv[1], agent);
    }
    const struct shim_start start = {
        .dir = argv[1], .dir_fd = -1, .agent = agent, .ground = ground, .network = -1
    };
    return shim_main(&start);
}
