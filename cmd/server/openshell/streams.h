/* The streams of openshell.v1.OpenShell that are relays. */
#ifndef SERVER_OPENSHELL_STREAMS_H
#define SERVER_OPENSHELL_STREAMS_H

#include "common/rpc/call.h"

#include "proto/openshell/v1/openshell.pb-c.h"

extern const struct rpc_stream_ops openshell_exec_ops;
extern const struct rpc_stream_ops openshell_interactive_ops;
extern const struct rpc_stream_ops openshell_forward_ops;

#endif
