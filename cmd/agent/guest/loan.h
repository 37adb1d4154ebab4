/*
 * The record of a loan: part of this agent's room, given to an agent of another workspace. It is a
 * text of "name value" lines that ends with the sum of what stands before, so that whatever is
 * missing or changed shows; in it is no secret. A file of it is replaced atomically.
 *
 *     FOLDER/7.loan   the record of the seventh loan
 *     FOLDER/7.join   what its guest enrolls with, until it has
 *     FOLDER/7/       the state folder of that guest
 */
#ifndef CMD_AGENT_GUEST_LOAN_H
#define CMD_AGENT_GUEST_LOAN_H

#include "cmd/agent/guest/room.h"
#include "common/base/buf.h"

enum {
    LOAN_ID_BYTES = 65,
    LOAN_WORKSPACE_BYTES = 64,
    LOAN_NAME_BYTES = 256,
    LOAN_TEXT_MAX = 2048,
    LOAN_COUNT_MAX = 32 /* their numbers are 1 to this */
};

enum loan_phase {
    LOAN_RUNNING,
    LOAN_ENDING /* taken back: everything of it is being removed */
};

struct loan {
    char id[LOAN_ID_BYTES];
    char workspace[LOAN_WORKSPACE_BYTES]; /* the borrower's */
    char name[LOAN_NAME_BYTES];           /* of the agent there */
    struct room room;
    enum loan_phase phase;
};

/* Appends the text. ERR_INVALID: a field that loan_parse would refuse. */
enum err_code loan_format(const struct loan *loan, struct buf *text, struct err_info *err)
    MUST_CHECK;

/* ERR_CORRUPT: it is not as it was written. */
enum err_code loan_parse(struct str_view text, struct loan *ret_loan, struct err_info *err)
    MUST_CHECK;

/* What can be read of a damaged one: the rest is empty, and the room is there as a whole or not at
 * all. */
void loan_salvage(struct str_view text, struct loan *ret_loan);

/* ".loan", ".join" or "" (the state folder); the caller frees it. */
char *loan_path(const char *folder, unsigned number, const char *suffix);

/* ERR_NOT_FOUND. ERR_CORRUPT: see loan_salvage, whose outcome ret_loan has then. Whatever else
 * keeps it from being read leaves ret_loan empty. */
enum err_code loan_load(
    const char *folder, unsigned number, struct loan *ret_loan, struct err_info *err) MUST_CHECK;
enum err_code loan_save(
    const char *folder, unsigned number, const struct loan *loan, struct err_info *err) MUST_CHECK;

#endif
