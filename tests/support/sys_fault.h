/*
 * System calls on files that fail by number. A program that has sys_fault.c among its sources makes
 * them through it, SQLite's library included: the dynamic linker prefers what the program defines.
 * Counted are the calls of the thread that armed it, while it is armed: open, read, write, sync,
 * truncate, rename, unlink.
 */
#ifndef TESTS_SUPPORT_SYS_FAULT_H
#define TESTS_SUPPORT_SYS_FAULT_H

#include <stdbool.h>

struct sys_fault {
    long after;      /* so many calls succeed */
    bool persists;   /* and every one after them fails; else one does */
    int number;      /* errno of those that fail */
    int read_number; /* of reads that fail; 0: number */
};

/* The counting begins anew. */
void sys_fault_arm(const struct sys_fault *fault);

/* No call fails or counts until it goes on. */
void sys_fault_pause(bool pauses);

/* Disarms; true: a call has failed. */
bool sys_fault_disarm(void);

#endif
