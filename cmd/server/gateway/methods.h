/* The rows of agentgateway.v1.AgentGatewayService. */
#ifndef SERVER_GATEWAY_METHODS_H
#define SERVER_GATEWAY_METHODS_H

#include "common/rpc/server.h"

struct rpc_table gateway_methods(void);

#endif
