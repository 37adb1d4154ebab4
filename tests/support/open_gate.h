/*
 * A gate that stands open, for servers that tests run in their own process: every call is admitted
 * and nothing is noted.
 */
#ifndef TESTS_SUPPORT_OPEN_GATE_H
#define TESTS_SUPPORT_OPEN_GATE_H

#include "common/rpc/server.h"

extern const struct rpc_gate OPEN_GATE;

#endif
