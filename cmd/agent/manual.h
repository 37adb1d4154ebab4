/* The man page belay-agent(8), written from the option table: `belay-agent config man`. */
#ifndef CMD_AGENT_MANUAL_H
#define CMD_AGENT_MANUAL_H

#include "common/base/buf.h"

void agent_manual(struct buf *buf);

#endif
