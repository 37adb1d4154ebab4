/*
 * YAML from JSON: the same value in the form people like to read. The input is JSON that this
 * program made (common/wire); anything else is ERR_CORRUPT. Pure.
 */
#ifndef CMD_CLI_TERM_YAML_H
#define CMD_CLI_TERM_YAML_H

#include "common/base/buf.h"

enum {
    YAML_DEPTH_MAX = 64
};

/* Appends one document without "---", with a newline at its end. */
enum err_code yaml_from_json(struct str_view json, struct buf *buf, struct err_info *err)
    MUST_CHECK;

#endif
