#include "common/rpc/status.h"

enum rpc_status rpc_status_of(enum err_code code)
{
    switch (code) {
    case ERR_OK:
        return RPC_OK;
    case ERR_INVALID:
        return RPC_INVALID_ARGUMENT;
    case ERR_UNAUTHENTICATED:
        return RPC_UNAUTHENTICATED;
    case ERR_DENIED:
        return RPC_PERMISSION_DENIED;
    case ERR_NOT_FOUND:
        return RPC_NOT_FOUND;
    case ERR_EXISTS:
        return RPC_ALREADY_EXISTS;
    case ERR_CONFLICT:
        return RPC_ABORTED;
    case ERR_PRECONDITION:
        return RPC_FAILED_PRECONDITION;
    case ERR_LIMIT:
    case ERR_NOMEM:
        return RPC_RESOURCE_EXHAUSTED;
    case ERR_BUSY:
    case ERR_UNAVAILABLE:
        return RPC_UNAVAILABLE;
    case ERR_TIMEOUT:
        return RPC_DEADLINE_EXCEEDED;
    case ERR_CANCELED:
        return RPC_CANCELLED;
    case ERR_CORRUPT:
        return RPC_DATA_LOSS;
    case ERR_UNSUPPORTED:
        return RPC_UNIMPLEMENTED;
    case ERR_UNCERTAIN:
        return RPC_UNKNOWN;
    case ERR_INTERNAL:
    case ERR_CODE_COUNT:
        break;
    }
    return RPC_INTERNAL;
}

enum err_code rpc_err_of(enum rpc_status status)
{
    switch (status) {
    case RPC_OK:
        return ERR_OK;
    case RPC_CANCELLED:
        return ERR_CANCELED;
    case RPC_UNKNOWN:
        return ERR_UNCERTAIN;
    case RPC_INVALID_ARGUMENT:
    case RPC_OUT_OF_RANGE:
        return ERR_INVALID;
    case RPC_DEADLINE_EXCEEDED:
        return ERR_TIMEOUT;
    case RPC_NOT_FOUND:
        return ERR_NOT_FOUND;
    case RPC_ALREADY_EXISTS:
        return ERR_EXISTS;
    case RPC_PERMISSION_DENIED:
        return ERR_DENIED;
    case RPC_RESOURCE_EXHAUSTED:
        return ERR_LIMIT;
    case RPC_FAILED_PRECONDITION:
        return ERR_PRECONDITION;
    case RPC_ABORTED:
        return ERR_CONFLICT;
    case RPC_UNIMPLEMENTED:
        return ERR_UNSUPPORTED;
    case RPC_UNAVAILABLE:
        return ERR_UNAVAILABLE;
    case RPC_DATA_LOSS:
        return ERR_CORRUPT;
    case RPC_UNAUTHENTICATED:
        return ERR_UNAUTHENTICATED;
    case RPC_INTERNAL:
    case RPC_STATUS_COUNT:
        break;
    }
    return ERR_INTERNAL;
}

const char *rpc_status_name(enum rpc_status status)
{
    static const char *const names[RPC_STATUS_COUNT] = {
        [RPC_OK] = "OK",
        [RPC_CANCELLED] = "CANCELLED",
        [RPC_UNKNOWN] = "UNKNOWN",
        [RPC_INVALID_ARGUMENT] = "INVALID_ARGUMENT",
        [RPC_DEADLINE_EXCEEDED] = "DEADLINE_EXCEEDED",
        [RPC_NOT_FOUND] = "NOT_FOUND",
        [RPC_ALREADY_EXISTS] = "ALREADY_EXISTS",
        [RPC_PERMISSION_DENIED] = "PERMISSION_DENIED",
        [RPC_RESOURCE_EXHAUSTED] = "RESOURCE_EXHAUSTED",
        [RPC_FAILED_PRECONDITION] = "FAILED_PRECONDITION",
        [RPC_ABORTED] = "ABORTED",
        [RPC_OUT_OF_RANGE] = "OUT_OF_RANGE",
        [RPC_UNIMPLEMENTED] = "UNIMPLEMENTED",
        [RPC_INTERNAL] = "INTERNAL",
        [RPC_UNAVAILABLE] = "UNAVAILABLE",
        [RPC_DATA_LOSS] = "DATA_LOSS",
        [RPC_UNAUTHENTICATED] = "UNAUTHENTICATED",
    };
    return (unsigned)status < RPC_STATUS_COUNT ? names[status] : "UNKNOWN";
}
