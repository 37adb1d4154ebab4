#include "cmd/cli/interrupt.h"

#include "common/base/cleanup.h"
#include "common/sys/fd.h"
#include "common/sys/lock.h"
#include "common/sys/thread.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

struct interrupt {
    struct thread thread;
    int signals;
    int stop;
    struct lock lock; /* guards what follows */
    interrupt_fn fn;  /* of the claim; NULL: nobody has claimed */
    void *context;
    bool is_spent; /* the claim has had its signal: the next one ends the program */
};

/* Shows the cursor again, which a live plot hides; only a terminal understands. */
static void restore_terminal(void)
{
    static const char SHOW_CURSOR[] = "\033[?25h\n";
    const char *term =
        getenv("TERM"); /* nothing changes the environment: NOLINT(concurrency-mt-unsafe) */
    if (isatty(STDOUT_FILENO) == 1 && term != NULL && strcmp(term, "dumb") != 0) {
        struct err_info err = ERR_INFO_INIT;
        (void)!fd_write_all(STDOUT_FILENO, SHOW_CURSOR, sizeof(SHOW_CURSOR) - 1, &err);
    }
}

/* False: nobody wants it, so the program ends. */
static bool offer(struct interrupt *interrupt, int signal)
{
    LOCK_GUARD(&interrupt->lock);
    bool is_size = signal == SIGWINCH;
    if (interrupt->fn == NULL || (interrupt->is_spent && !is_size)) {
        return is_size;
    }
    interrupt->is_spent = interrupt->is_spent || !is_size;
    interrupt->fn(interrupt->context, signal);
    return true;
}

static void run(void *context)
{
    struct interrupt *interrupt = context;
    struct pollfd fds[2] = { { .fd = interrupt->signals, .events = POLLIN },
                             { .fd = interrupt->stop, .events = POLLIN } };
    for (;;) {
        struct signalfd_siginfo info;
        while (poll(fds, 2, -1) < 0 && errno == EINTR) {
        }
        if ((fds[1].revents & POLLIN) != 0) {
            return;
        }
        if (read(interrupt->signals, &info, sizeof(info)) != (ssize_t)sizeof(info)) {
            continue;
        }
        if (!offer(interrupt, (int)info.ssi_signo)) {
            restore_terminal();
            _exit(128 + (int)info.ssi_signo);
        }
    }
}

void interrupt_claim(struct interrupt *interrupt, interrupt_fn fn, void *context)
{
    if (interrupt != NULL) {
        LOCK_GUARD(&interrupt->lock);
        interrupt->fn = fn;
        interrupt->context = context;
        interrupt->is_spent = false;
    }
}

void interrupt_release(struct interrupt *interrupt)
{
    interrupt_claim(interrupt, NULL, NULL);
}

/* What whoever started us had ignored stays so: nohup, a shell's & in a script. */
static void choose(sigset_t *set)
{
    static const int ENDS[] = { SIGINT, SIGTERM, SIGHUP };
    sigemptyset(set);
    sigaddset(set, SIGWINCH);
    for (size_t i = 0; i < ARRAY_LENGTH(ENDS); i++) {
        struct sigaction action;
        if (sigaction(ENDS[i], NULL, &action) != 0 || action.sa_handler != SIG_IGN) {
            sigaddset(set, ENDS[i]);
        }
    }
}

enum err_code interrupt_start(struct interrupt **ret_interrupt, struct err_info *err)
{
    sigset_t set;
    choose(&set);
    if (pthread_sigmask(SIG_BLOCK, &set, NULL) != 0 || signal(SIGPIPE, SIG_IGN) == SIG_ERR) {
        return ERR_SET(err, ERR_INTERNAL, "cannot take over signals");
    }
    struct interrupt *interrupt = mem_alloc(sizeof(*interrupt));
    lock_init(&interrupt->lock, LOCK_RANK_REGISTRY);
    interrupt->signals = signalfd(-1, &set, SFD_CLOEXEC);
    interrupt->stop = eventfd(0, EFD_CLOEXEC);
    if (interrupt->signals < 0 || interrupt->stop < 0) {
        interrupt_stop(interrupt);
        return ERR_SET_ERRNO(err, ERR_INTERNAL, errno, "cannot take over signals");
    }
    enum err_code code = thread_start(&interrupt->thread, "interrupt", run, interrupt, err);
    if (code != ERR_OK) {
        interrupt_stop(interrupt);
        return code;
    }
    *ret_interrupt = interrupt;
    return ERR_OK;
}

void interrupt_stop(struct interrupt *interrupt)
{
    if (interrupt == NULL) {
        return;
    }
    if (interrupt->stop >= 0) {
        (void)!eventfd_write(interrupt->stop, 1);
    }
    thread_join(&interrupt->thread);
    fd_close(&interrupt->signals);
    fd_close(&interrupt->stop);
    lock_deinit(&interrupt->lock);
    mem_free(interrupt);
}
