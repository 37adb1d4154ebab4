/* Whose is what a request of the contract names by an id alone, for those who may use every
 * workspace. */
#include "cmd/server/openshell/handlers.h"
#include "common/crypto/hash.h"

static enum err_code of_sandbox(
    struct work *work, const char *id, struct workspace_record *ret_workspace, struct err_info *err)
{
    return store_workspace_of_sandbox(work->conn, str_of(id), work->arena, ret_workspace, err);
}

OPENSHELL_WHOSE(watch)
{
    const Openshell__V1__WatchSandboxRequest *request =
        (const Openshell__V1__WatchSandboxRequest *)message;
    return of_sandbox(work, request->id, ret_workspace, err);
}

OPENSHELL_WHOSE(config)
{
    const Openshell__Sandbox__V1__GetSandboxConfigRequest *request =
        (const Openshell__Sandbox__V1__GetSandboxConfigRequest *)message;
    return of_sandbox(work, request->sandbox_id, ret_workspace, err);
}

OPENSHELL_WHOSE(exec)
{
    const Openshell__V1__ExecSandboxRequest *request =
        (const Openshell__V1__ExecSandboxRequest *)message;
    return of_sandbox(work, request->sandbox_id, ret_workspace, err);
}

OPENSHELL_WHOSE(interactive)
{
    const Openshell__V1__ExecSandboxInput *input = (const Openshell__V1__ExecSandboxInput *)message;
    return of_sandbox(work, input->start->sandbox_id, ret_workspace, err);
}

OPENSHELL_WHOSE(forward)
{
    const Openshell__V1__TcpForwardFrame *frame = (const Openshell__V1__TcpForwardFrame *)message;
    return of_sandbox(work, frame->init->sandbox_id, ret_workspace, err);
}

OPENSHELL_WHOSE(session)
{
    const Openshell__V1__CreateSshSessionRequest *request =
        (const Openshell__V1__CreateSshSessionRequest *)message;
    return of_sandbox(work, request->sandbox_id, ret_workspace, err);
}

OPENSHELL_WHOSE(token)
{
    const Openshell__V1__RevokeSshSessionRequest *request =
        (const Openshell__V1__RevokeSshSessionRequest *)message;
    uint8_t hash[HASH_SHA256_BYTES];
    token_hash(str_of(request->token), hash);
    return store_workspace_of_forward(work->conn, hash, work->arena, ret_workspace, err);
}
