/*
 * One run of the command line: what every command needs, and the ways it reports. Made by cli_run,
 * lives until its end, one thread (the interrupt thread touches nothing of it but the terminal).
 */
#ifndef CMD_CLI_CLI_H
#define CMD_CLI_CLI_H

#include "cmd/cli/grammar/args.h"
#include "cmd/cli/output.h"
#include "common/base/arena.h"
#include "common/base/time.h"

#include <protobuf-c/protobuf-c.h>

#include <stdio.h>

struct connection;
struct interrupt;
struct gateway_store;
struct wire_schema;

/* Exit statuses, as documented in the command table. */
enum cli_exit {
    CLI_EXIT_OK = 0,
    CLI_EXIT_FAILED = 1,
    CLI_EXIT_NOT_FOUND = 2,
    CLI_EXIT_DENIED = 3,
    CLI_EXIT_INVALID = 4,
    CLI_EXIT_CONFLICT = 5,
    CLI_EXIT_USAGE = 64,
    CLI_EXIT_UNAVAILABLE = 69,
    CLI_EXIT_BUSY = 75,
    CLI_EXIT_INTERRUPTED = 130
};

/* The outside of a run: a test gives its own. */
struct cli_io {
    FILE *in;
    FILE *out;
    FILE *err;
    args_env_fn env;
    void *env_context;
    const struct clock *clock;
    struct interrupt *interrupt; /* NULL: nobody takes signals */
};

struct cli {
    const struct cli_io *io;
    const struct cli_grammar *grammar;
    const struct args *args;
    struct arena *arena; /* everything that lives as long as the run */
    struct output output;
    struct wire_schema *schema;
    struct gateway_store *store;   /* loaded at first use */
    struct connection *connection; /* opened at first use */
    bool usage;                    /* err is about the command line: exit status 64 */
    enum cli_exit exit_status;     /* of a command that ran but whose answer is a failure */
    int signal; /* that ended a wait: 128 and its number are the exit status, whatever else; 0: none
                 */
    struct err_info err;
};

enum {
    CLI_ARENA_BYTES = 256 * 1024 * 1024
};

/* The whole program: reads the line, runs the command, reports; returns the exit status. */
int cli_run(const struct cli_io *io, int argc, char *const *argv);

/* Fails the command as one that was typed wrong; returns ERR_INVALID. */
enum err_code cli_usage(struct cli *cli, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

const char *cli_env(const struct cli *cli, const char *name); /* NULL: unset or empty */

/* A copy for a field of a request; NULL gives the empty text. */
char *cli_text(struct cli *cli, const char *text);
struct wall_us cli_now(const struct cli *cli);

/* A zeroed, initialised message of the run's arena. */
void *cli_message(struct cli *cli, const ProtobufCMessageDescriptor *type);

/*
 * Map entries from a repeated CLI_PAIR option (or words "key=value"): an array of count messages of
 * the entry type. ERR_INVALID on the same key twice.
 */
enum err_code cli_pairs(
    struct cli *cli,
    const char *const *pairs,
    size_t count,
    const ProtobufCMessageDescriptor *entry_type,
    void *ret_entries) MUST_CHECK;
enum err_code cli_option_pairs(
    struct cli *cli,
    const char *option,
    const ProtobufCMessageDescriptor *entry_type,
    size_t *ret_count,
    void *ret_entries) MUST_CHECK;

/* A CLI_TIME option as a message field; NULL when unset. */
void *cli_timestamp(struct cli *cli, const char *option);
void *cli_timestamp_of(struct cli *cli, struct wall_us time);

/* Value of an enum by its short word ("awaiting-confirmation"); the word of a value (static storage
 * or arena). */
int cli_enum_value(const ProtobufCEnumDescriptor *type, const char *word);
const char *cli_enum_word(struct cli *cli, const ProtobufCEnumDescriptor *type, int value);

/* A copy of a message that a stream will take back. */
enum err_code cli_copy(
    struct cli *cli, const ProtobufCMessage *message, struct arena *arena, void *ret_copy)
    MUST_CHECK;

/* Exit status of an error. */
enum cli_exit cli_exit_of(enum err_code code);

/* "belay: TEXT" and what to do next, on standard error. */
void cli_explain(struct cli *cli, enum err_code code);

#endif
