/*
 * Join strings: all an agent needs to find and trust its server, in one word that an operator can
 * paste: "belay://HOST:PORT/?token=blt_...&ca=SHA256HEX" or "belay+unix:///PATH?token=blt_...".
 * The pin may be left out only where nobody can stand in between: loopback and Unix sockets. A join
 * string holds a secret: it is never logged. Pure; any thread.
 */
#ifndef COMMON_BASE_JOIN_H
#define COMMON_BASE_JOIN_H

#include "common/base/buf.h"

enum {
    JOIN_TARGET_BYTES = 256,
    JOIN_TOKEN_BYTES = 513,
    JOIN_PIN_BYTES = 32,
    JOIN_TEXT_MAX = 1024
};

struct join_string {
    char target[JOIN_TARGET_BYTES]; /* "host:port", "[v6]:port", "unix:/path" */
    char token[JOIN_TOKEN_BYTES];   /* secret */
    uint8_t ca_pin[JOIN_PIN_BYTES]; /* SHA-256 of the CA certificate's DER form */
    bool has_pin;
};

/* ERR_INVALID: one line saying what is wrong and what a join string looks like; never the token. */
enum err_code join_parse(struct str_view text, struct join_string *ret_join, struct err_info *err)
    MUST_CHECK;

/* Appends the text form; a join string that join_parse would refuse gives ERR_INVALID. */
enum err_code join_format(const struct join_string *join, struct buf *buf, struct err_info *err)
    MUST_CHECK;

#endif
