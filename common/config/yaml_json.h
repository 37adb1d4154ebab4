/*
 * A YAML document as JSON, for documents that are messages (policies). JSON is YAML too, so both
 * are read. What makes YAML surprising is refused: anchors, aliases, tags, several documents, a key
 * given twice. A plain scalar is a number, a truth value or null exactly where JSON writes it so;
 * everything else is text, so NO and 012 stay what they are.
 */
#ifndef COMMON_CONFIG_YAML_JSON_H
#define COMMON_CONFIG_YAML_JSON_H

#include "common/base/buf.h"

/* name stands in front of errors, with line and column. Appends one JSON value. */
enum err_code yaml_to_json(
    const char *name, struct str_view text, struct buf *out, struct err_info *err) MUST_CHECK;

#endif
