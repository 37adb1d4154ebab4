/*
 * The name that a TLS client asks for, read from its first message (ClientHello), however that is
 * cut into records. Nothing else of TLS is looked at, and nothing is changed. Pure.
 */
#ifndef CMD_AGENT_PROXY_PARSE_HELLO_H
#define CMD_AGENT_PROXY_PARSE_HELLO_H

#include "common/base/str.h"

enum {
    HELLO_BYTES_MAX = 17 * 1024, /* of the first bytes, records' heads included */
    HELLO_NAME_BYTES_MAX = 255
};

enum hello {
    HELLO_MORE,     /* it is not all there yet */
    HELLO_OTHER,    /* this is not TLS */
    HELLO_NAMED,    /* ret_name has it */
    HELLO_NAMELESS, /* TLS, and no name is asked for */
    HELLO_BAD       /* begins as TLS and breaks its rules */
};

enum hello hello_parse(struct str_view data, char ret_name[HELLO_NAME_BYTES_MAX + 1]);

#endif
