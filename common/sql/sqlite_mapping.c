#include "common/sql/sqlite_mapping.h"

#include <signal.h>
#include <stddef.h>
#include <unistd.h>

static void end_in_words(int number, siginfo_t *info, void *context)
{
    static const char words[] =
        "belay: a file that is mapped cannot be written: the disk is full, or fails; nothing that "
        "was acknowledged is lost; make room and start again\n";
    (void)context;
    if (info->si_code == BUS_ADRERR) {
        (void)!write(STDERR_FILENO, words, sizeof(words) - 1);
        _exit(SQLITE_MAPPING_EXIT_STATUS);
    }
    (void)signal(number, SIG_DFL); /* and comes again */
}

void sqlite_mapping_end_in_words(void)
{
    struct sigaction action = { .sa_sigaction = end_in_words, .sa_flags = SA_SIGINFO };
    (void)sigemptyset(&action.sa_mask);
    (void)sigaction(SIGBUS, &action, NULL);
}
