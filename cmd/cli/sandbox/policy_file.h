/* A sandbox policy as a file: YAML or JSON with the contract's field names. */
#ifndef CMD_CLI_SANDBOX_POLICY_FILE_H
#define CMD_CLI_SANDBOX_POLICY_FILE_H

#include "cmd/cli/cli.h"

#include "proto/openshell/v1/openshell.pb-c.h"

/* "-": standard input. Errors name the file, the place and the field. */
enum err_code policy_file_read(
    struct cli *cli,
    const char *path,
    Openshell__Sandbox__V1__SandboxPolicy **ret_policy) MUST_CHECK;

/* What policy_file_read reads: snake_case names, without what is not set. */
enum err_code policy_file_write(
    struct cli *cli, const Openshell__Sandbox__V1__SandboxPolicy *policy) MUST_CHECK;

#endif
