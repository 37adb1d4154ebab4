#include "cmd/shim/spare.h"

#include "cmd/shim/builder/network.h"
#include "cmd/shim/shim.h"
#include "common/base/cleanup.h"
#include "common/sys/fd.h"

enum {
    FOLDER_FDS = 1, /* then the ground, if there is one */
    ALL_FDS = 2
};

static void take_title(char *title, const char *dir)
{
    size_t room = strlen(title);
    size_t bytes = strlen(dir);
    memset(title, '\0', room);
    memcpy(title, dir, bytes < room ? bytes : room);
}

int spare_main(char *title, int agent)
{
    struct message message;
    struct channel_buffer buffer = { .takes_large = false };
    struct channel_fds fds = CHANNEL_FDS_NONE;
    struct shim_start start = { .agent = agent, .ground = -1, .network = network_make() };
    enum err_code code = channel_receive(agent, &buffer, &message, &fds, NULL);
    if (code != ERR_OK || message.type != MESSAGE_ORDER || fds.count < FOLDER_FDS
        || fds.count > ALL_FDS) {
        return code == ERR_UNAVAILABLE ? 0 : 1; /* not needed, or not to be understood */
    }
    AUTO_FREE char *dir = mem_printf("%.*s", STR_ARG(message.order.dir));
    channel_buffer_deinit(&buffer);
    take_title(title, dir);
    start.dir = dir;
    start.dir_fd = fds.fds[0];
    start.ground = fds.count == ALL_FDS ? fds.fds[1] : -1;
    return shim_main(&start);
}
