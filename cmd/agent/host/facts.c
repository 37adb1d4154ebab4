#include "cmd/agent/host/facts.h"

#include "cmd/agent/host/proc.h"
#include "common/base/cleanup.h"
#include "common/sys/file.h"
#include "common/sys/thread.h"

#include <stdio.h>
#include <sys/utsname.h>
#include <unistd.h>

enum {
    FACT_FILE_BYTES = 64 * 1024
};

/* The contract wants printable UTF-8; a fact that is something else is left out. */
static void copy_fact(struct str_view text, char *out, size_t out_bytes)
{
    text = str_trim(text);
    bool printable = str_is_utf8(text, NULL);
    for (size_t i = 0; i < text.len; i++) {
        printable = printable && (unsigned char)text.ptr[i] >= 0x20 && text.ptr[i] != 0x7f;
    }
    if (!printable || text.len == 0 || str_copy(text, out, out_bytes) != ERR_OK) {
        out[0] = '\0';
    }
}

static bool read_file(const char *root, const char *path, struct buf *text)
{
    AUTO_FREE char *full = mem_printf("%s%s", root, path);
    buf_clear(text);
    return file_read(full, FACT_FILE_BYTES, text, NULL) == ERR_OK;
}

void host_facts_read(const char *root, struct host_facts *ret_facts)
{
    AUTO_BUF struct buf text = BUF_INIT(FACT_FILE_BYTES);
    struct utsname names;
    struct proc_memory memory;
    memset(ret_facts, 0, sizeof(*ret_facts));
    if (uname(&names) == 0) {
        copy_fact(str_of(names.machine), ret_facts->arch, sizeof(ret_facts->arch));
        copy_fact(str_of(names.release), ret_facts->kernel, sizeof(ret_facts->kernel));
        copy_fact(str_of(names.nodename), ret_facts->hostname, sizeof(ret_facts->hostname));
    }
    /* /etc/os-release is a link to this one on most systems */
    if (read_file(root, "/usr/lib/os-release", &text)
        || read_file(root, "/etc/os-release", &text)) {
        struct str_view name = proc_find_release(buf_view(&text), STR("PRETTY_NAME"));
        copy_fact(name, ret_facts->os, sizeof(ret_facts->os));
    }
    if (ret_facts->os[0] == '\0') {
        copy_fact(STR("Linux"), ret_facts->os, sizeof(ret_facts->os));
    }
    if (read_file(root, "/etc/machine-id", &text)) {
        copy_fact(buf_view(&text), ret_facts->machine_id, sizeof(ret_facts->machine_id));
    }
    if (read_file(root, "/proc/sys/kernel/random/boot_id", &text)) {
        copy_fact(buf_view(&text), ret_facts->boot_id, sizeof(ret_facts->boot_id));
    }
    if (read_file(root, "/proc/meminfo", &text)
        && proc_parse_memory(buf_view(&text), &memory) == ERR_OK) {
        ret_facts->memory_bytes = memory.total;
    }
    ret_facts->cpu_count = thread_cpu_count();
}
