/* What this machine is: read once at start. Unknown facts are empty or 0; nothing here fails. */
#ifndef CMD_AGENT_HOST_FACTS_H
#define CMD_AGENT_HOST_FACTS_H

#include "common/base/str.h"

struct host_facts {
    char os[64]; /* "Debian GNU/Linux 12 (bookworm)" */
    char arch[64];
    char kernel[128];
    char hostname[256];
    char machine_id[64];
    char boot_id[64];
    uint32_t cpu_count;
    uint64_t memory_bytes;
};

/* root: "" for this machine, or a folder that holds etc/ and proc/ (tests). */
void host_facts_read(const char *root, struct host_facts *ret_facts);

#endif
