/* gRPC status codes and their one mapping to and from err_code. */
#ifndef COMMON_RPC_STATUS_H
#define COMMON_RPC_STATUS_H

#include "common/base/err.h"

enum rpc_status {
    RPC_OK = 0,
    RPC_CANCELLED = 1,
    RPC_UNKNOWN = 2,
    RPC_INVALID_ARGUMENT = 3,
    RPC_DEADLINE_EXCEEDED = 4,
    RPC_NOT_FOUND = 5,
    RPC_ALREADY_EXISTS = 6,
    RPC_PERMISSION_DENIED = 7,
    RPC_RESOURCE_EXHAUSTED = 8,
    RPC_FAILED_PRECONDITION = 9,
    RPC_ABORTED = 10,
    RPC_OUT_OF_RANGE = 11,
    RPC_UNIMPLEMENTED = 12,
    RPC_INTERNAL = 13,
    RPC_UNAVAILABLE = 14,
    RPC_DATA_LOSS = 15,
    RPC_UNAUTHENTICATED = 16,
    RPC_STATUS_COUNT
};

enum rpc_status rpc_status_of(enum err_code code);
enum err_code rpc_err_of(enum rpc_status status);
const char *rpc_status_name(enum rpc_status status); /* "INVALID_ARGUMENT" */

#endif
