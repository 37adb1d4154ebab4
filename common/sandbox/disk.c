#include "common/sandbox/disk.h"

#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "common/sys/file.h"

#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

enum {
    SYSFS_BYTES_MAX = 4096
};

/* "254:0\n" */
static dev_t parse(struct str_view text)
{
    uint64_t high = 0;
    uint64_t low = 0;
    struct str_view first = STR_NONE;
    struct str_view second = STR_NONE;
    bool good = str_cut(str_trim(text), ':', &first, &second)
        && str_parse_uint64(first, UINT32_MAX, &high) == ERR_OK
        && str_parse_uint64(second, UINT32_MAX, &low) == ERR_OK;
    return good ? makedev((unsigned)high, (unsigned)low) : 0;
}

dev_t disk_whole(dev_t device)
{
    char path[80];
    struct stat info;
    AUTO_BUF struct buf text = BUF_INIT(SYSFS_BYTES_MAX);
    unsigned high = major(device);
    unsigned low = minor(device);
    (void)snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/partition", high, low);
    if (stat(path, &info) != 0) {
        return device;
    }
    (void)snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/../dev", high, low);
    return file_read(path, SYSFS_BYTES_MAX, &text, NULL) == ERR_OK ? parse(buf_view(&text)) : 0;
}

dev_t disk_of_folder(const char *dir)
{
    struct stat info;
    bool good = stat(dir, &info) == 0 && major(info.st_dev) != 0;
    return good ? disk_whole(info.st_dev) : 0;
}
