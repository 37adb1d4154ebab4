/*
 * A sandbox's network: a namespace with a loopback and nothing else. Making one takes the kernel
 * longer than any other namespace, and nothing of it depends on the sandbox.
 */
#ifndef SHIM_BUILDER_NETWORK_H
#define SHIM_BUILDER_NETWORK_H

/* One that is ready, as a descriptor; the caller stays where it is. -1: it may not make one. */
int network_make(void);

/* Of the network that the caller is in. 0, or -1 and errno. */
int network_raise_loopback(void);

#endif
