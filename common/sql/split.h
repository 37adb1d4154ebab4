/*
 * Cuts a PostgreSQL script into statements: semicolons inside quotes, dollar quotes and comments do
 * not end one. The semicolons of a BEGIN ATOMIC body do: such a function does not go into a script
 * that is split. Pure; views lead into the text given.
 */
#ifndef COMMON_SQL_SPLIT_H
#define COMMON_SQL_SPLIT_H

#include "common/base/str.h"

/* Takes the next statement, without its semicolon, off *rest; false: nothing but space and comments
 * is left. */
bool split_next_statement(struct str_view *rest, struct str_view *ret_statement);

#endif
