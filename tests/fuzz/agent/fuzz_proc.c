/* links: agent_host */
#include "cmd/agent/host/proc.h"
#include "common/base/cleanup.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct str_view text = str_from((const char *)data, bytes);
    struct proc_stat *stat = mem_alloc(sizeof(*stat));
    struct proc_load load;
    struct proc_memory memory;
    struct proc_cgroup group;
    struct proc_disk disks[4];
    struct proc_interface interfaces[4];
    struct proc_mount mounts[4];
    int64_t number = 0;
    uint64_t value = 0;
    (void)!proc_parse_stat(text, stat);
    (void)!proc_parse_load(text, &load);
    (void)!proc_parse_memory(text, &memory);
    (void)!proc_parse_uptime(text, &number);
    (void)proc_parse_disks(text, disks, ARRAY_LENGTH(disks));
    (void)proc_parse_interfaces(text, interfaces, ARRAY_LENGTH(interfaces));
    (void)proc_parse_mounts(text, mounts, ARRAY_LENGTH(mounts));
    proc_parse_cgroup(text, &group);
    (void)!proc_find_number(text, STR("usage_usec"), &value);
    (void)!proc_parse_number(text, &number);
    (void)proc_find_release(text, STR("PRETTY_NAME"));
    mem_free(stat);
    return 0;
}
