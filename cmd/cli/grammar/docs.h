/*
 * What the command table says to people and shells: --help, man pages, the reference page and
 * completion scripts. Pure: the table in, text out; the output depends on nothing else, so that
 * generated files can be compared byte for byte.
 */
#ifndef CMD_CLI_GRAMMAR_DOCS_H
#define CMD_CLI_GRAMMAR_DOCS_H

#include "cmd/cli/grammar/command.h"

/* --help of one command; width: columns to wrap at (0: 100). */
void docs_help(
    const struct cli_grammar *grammar,
    const struct cli_path *path,
    unsigned width,
    struct buf *buf);

/* The whole reference page in Markdown. */
void docs_markdown(const struct cli_grammar *grammar, struct buf *buf);

/* Roff of one page of section 1: belay(1) for the root, belay-agent(1) for a group and its members.
 */
void docs_man(const struct cli_grammar *grammar, const struct cli_path *path, struct buf *buf);

/* Pages there are: the root and its visible children. ret_name gets "belay-agent". */
size_t docs_man_count(const struct cli_grammar *grammar);
void docs_man_path(
    const struct cli_grammar *grammar,
    size_t index,
    struct cli_path *ret_path,
    struct buf *ret_name);

/* Completion scripts, to be sourced by the shell. */
void docs_complete_bash(const struct cli_grammar *grammar, struct buf *buf);
void docs_complete_zsh(const struct cli_grammar *grammar, struct buf *buf);
void docs_complete_fish(const struct cli_grammar *grammar, struct buf *buf);

#endif
