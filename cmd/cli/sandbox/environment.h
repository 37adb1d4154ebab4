/*
 * Variables for a program: --env NAME=VALUE, --env NAME (its value from our own environment, so
 * that a secret is in no command line), --env-file FILE.
 */
#ifndef CMD_CLI_SANDBOX_ENVIRONMENT_H
#define CMD_CLI_SANDBOX_ENVIRONMENT_H

#include "cmd/cli/cli.h"

/* Map entries of entry_type from the options "env" and "env-file"; --env goes before the file. */
enum err_code environment_read(
    struct cli *cli,
    const ProtobufCMessageDescriptor *entry_type,
    size_t *ret_count,
    void *ret_entries) MUST_CHECK;

#define OPTION_ENV                                                                              \
    {                                                                                           \
        .name = "env", .letter = 'e', .type = CLI_TEXT, .flags = CLI_REPEAT,                    \
        .argument = "NAME[=VALUE]",                                                             \
        .help = "Variable of the program; without =VALUE the value it has here, which keeps a " \
                "secret out of the command line"                                                \
    }
#define OPTION_ENV_FILE                                                                          \
    {                                                                                            \
        .name = "env-file", .type = CLI_FILE, .argument = "FILE",                                \
        .help = "Variables from a file of lines NAME=VALUE or NAME; empty lines and lines that " \
                "start with # are skipped"                                                       \
    }

#endif
