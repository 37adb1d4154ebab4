/*
 * The whole agent as a function: what belay-agent is, and what belay-server runs in its agent and
 * combined modes. argv[0] is the program's name in messages, argv[1] the command ("run").
 */
#ifndef CMD_AGENT_AGENT_H
#define CMD_AGENT_AGENT_H

/* Exit statuses, after sysexits.h. */
enum agent_exit {
    AGENT_EXIT_OK = 0,
    AGENT_EXIT_FAILURE = 1,
    AGENT_EXIT_USAGE = 64,
    AGENT_EXIT_UNAVAILABLE = 69, /* the server, or the agent asked for, is not there */
    AGENT_EXIT_CANNOT_CREATE = 73,
    AGENT_EXIT_TEMPORARY = 75, /* in use; try again */
    AGENT_EXIT_NO_PERMISSION = 77,
    AGENT_EXIT_CONFIG = 78
};

/* Before any thread exists. Returns an exit status. */
int agent_main(int argc, char **argv);

/*
 * From now on SIGINT, SIGTERM and SIGHUP are events of a loop (loop_signals), in this thread and
 * all later ones. For verbs that run one, before any thread; the others are ended by a signal as
 * usual.
 */
void agent_hold_signals(void);

#endif
