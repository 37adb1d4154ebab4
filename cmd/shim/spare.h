/*
 * A shim that is started ahead, for a sandbox that nobody has asked for yet: what takes long and
 * depends on no sandbox is done by then (the program itself, a network). It waits for one order of
 * its agent, and ends with that agent if none comes.
 */
#ifndef SHIM_SPARE_H
#define SHIM_SPARE_H

/* title: the process's last argument, whose place in memory gets the folder's name, cut to its
 * length, so that it is seen which sandbox a shim is of. agent: a connected socket, consumed.
 * Returns the exit status. */
int spare_main(char *title, int agent);

#endif
