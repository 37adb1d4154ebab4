/* links: common_sandbox */
/*
 * What shim, init and agent read: messages, records, and the kernel's lists of control groups. A
 * message that decodes must encode to the very same bytes.
 */
#include "common/base/cleanup.h"
#include "common/sandbox/cgroup.h"
#include "common/sandbox/message.h"
#include "common/sandbox/record.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_message(struct str_view data)
{
    struct message message;
    AUTO_BUF struct buf again = BUF_INIT((size_t)MESSAGE_BYTES_MAX * 4);
    if (message_decode(data, &message, NULL) != ERR_OK) {
        return;
    }
    if (message_encode(&message, &again, NULL) != ERR_OK || !str_equal(buf_view(&again), data)) {
        abort();
    }
    if (message.type == MESSAGE_EXEC) {
        size_t count = message_list_count(&message.exec.argv);
        AUTO_FREE const char **argv = message_list_array(&message.exec.argv);
        if (count > MESSAGE_WORDS_MAX || argv[count] != NULL) {
            abort();
        }
    }
    if (message.type == MESSAGE_SPEC) {
        struct cgroup_set set;
        if (cgroup_set_parse(&message.spec.cgroups, &set, NULL) == ERR_OK) {
            cgroup_set_deinit(&set);
        }
    }
}

static void check_record(struct str_view data)
{
    struct record record;
    if (record_parse(data, &record, NULL) == ERR_OK) {
        (void)record_number(&record, "status");
        (void)record_text(&record, "boot");
    }
}

static void check_groups(struct str_view data)
{
    struct cgroup_set set;
    struct str_view mounts = data;
    struct str_view own = STR_NONE;
    if (!str_cut(data, '\1', &mounts, &own)) {
        mounts = data;
    }
    cgroup_host_parse(mounts, own, &set);
    cgroup_set_deinit(&set);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str_view text = str_from((const char *)data, size);
    check_message(text);
    check_record(text);
    check_groups(text);
    return 0;
}
