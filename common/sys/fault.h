/*
 * Named steps: the places where durability matters, at which a fault test ends or holds the
 * process.
 *
 * They exist only in builds with BELAY_FAULTS (every test preset and "faults"); in any other build
 * FAULT_POINT is nothing, and no name of a step is in the program.
 *
 * The test arms one step through a file that the process maps, named by BELAY_FAULT_PAGE: so a step
 * of a running process can be armed, and the file tells afterwards whether it was reached.
 *
 * Any thread.
 */
#ifndef COMMON_SYS_FAULT_H
#define COMMON_SYS_FAULT_H

#ifdef BELAY_FAULTS

#    include <stdatomic.h>
#    include <stdint.h>

enum {
    FAULT_NAME_BYTES = 64,
    FAULT_HOLD_MAX_MS = 20000
};

enum fault_action {
    FAULT_NONE,
    FAULT_KILL, /* SIGKILL to itself */
    FAULT_HOLD  /* waits until it is released, at most FAULT_HOLD_MAX_MS */
};

/* The file, in the machine's byte order. The test writes everything, `action` last. */
struct fault_page {
    _Atomic uint32_t action;   /* enum fault_action; becomes FAULT_NONE when it fires */
    _Atomic uint32_t skip;     /* times that the step is passed before it fires */
    _Atomic uint32_t fired;    /* 1: the step was reached and did what was asked */
    _Atomic uint32_t released; /* 1: a held step goes on */
    char name[FAULT_NAME_BYTES];
};

void fault_reach(const char *name);

#    define FAULT_POINT(name) fault_reach(name)

#else

#    define FAULT_POINT(name) ((void)0)

#endif

#endif
