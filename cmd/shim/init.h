/*
 * Process 1 of a sandbox. Runs programs when the shim asks for it, tells how they ended, reaps
 * orphans, and ends, with everything in the sandbox, when the shim's end of the socket closes. It
 * holds nothing worth stealing and cannot be traced, but the shim believes nothing it says.
 */
#ifndef SHIM_INIT_H
#define SHIM_INIT_H

int init_main(void); /* the socket is descriptor 3 */

#endif
