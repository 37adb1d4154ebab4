/*
 * What the native builder and its child say to each other, over a pair of SEQPACKET sockets: words,
 * each with at most one descriptor. The child is ours until it is init, and then its end closes.
 */
#ifndef SHIM_BUILDER_TALK_H
#define SHIM_BUILDER_TALK_H

#include <stdint.h>

enum talk_kind {
    TALK_WORKSPACE = 1, /* shim: the mount that /sandbox will be, detached */
    TALK_LISTENER = 2,  /* child: the egress proxy's, in the new network */
    TALK_USERNS = 3,    /* child: I am in the new user namespace */
    TALK_MAPPED = 4,    /* shim: its ids are mapped */
    TALK_FAILED = 5     /* child: this step, with this errno */
};

struct talk_word {
    enum talk_kind kind;
    int32_t step;
    int32_t number;
};

/* passed: a descriptor of the caller's, or -1. 0, or -1 with errno. */
int talk_say(int fd, const struct talk_word *word, int passed);

/* Waits. ret_fd: what came with it, the caller's from then on, or -1; NULL where none may come. -1
 * with errno; EPIPE: the other end is closed. */
int talk_hear(int fd, struct talk_word *ret_word, int *ret_fd);

/* The same for one kind alone; any other is EPROTO. */
int talk_await(int fd, enum talk_kind kind, int *ret_fd);

#endif
