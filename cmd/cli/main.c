/* belay: the operator's command line. Everything happens in cli_run; this is the outside. */
#include "cmd/cli/cli.h"
#include "cmd/cli/interrupt.h"
#include "cmd/cli/term/text.h"
#include "common/base/log.h"
#include "common/crypto/secret.h"

#include <stdlib.h>

static const char *env_of(void *context, const char *name)
{
    (void)context;
    return getenv(name);
}

int main(int argc, char **argv)
{
    struct err_info err = ERR_INFO_INIT;
    struct interrupt *interrupt = NULL;
    struct cli_io io = {
        .in = stdin, .out = stdout, .err = stderr, .env = env_of, .clock = clock_system()
    };
    log_set_level(LOG_OFF); /* people get sentences from cli_explain */
    text_use_utf8();
    if (crypto_start(&err) != ERR_OK || interrupt_start(&interrupt, &err) != ERR_OK) {
        (void)fprintf(stderr, "belay: %s\n", err.text);
        return CLI_EXIT_FAILED;
    }
    io.interrupt = interrupt;
    int status = cli_run(&io, argc, argv);
    interrupt_stop(interrupt);
    return status;
}
