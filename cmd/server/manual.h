/* The man page belay-server(8), written from the option table: `belay-server config man`. */
#ifndef SERVER_MANUAL_H
#define SERVER_MANUAL_H

#include "common/base/buf.h"

void server_manual(struct buf *buf);

#endif
