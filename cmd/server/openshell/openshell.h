/* openshell.v1.OpenShell: the operators' sandbox API, for clients of the OpenShell contract. */
#ifndef SERVER_OPENSHELL_OPENSHELL_H
#define SERVER_OPENSHELL_OPENSHELL_H

#include "common/rpc/server.h"

/* One row for every method of the contract. */
struct rpc_table openshell_methods(void);

#endif
